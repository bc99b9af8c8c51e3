"""Where to compute: the CPU, or an accelerator that torch can use."""

import ctypes
import os
import sys

from rsa.errors import UserError

__all__ = ["choose_device", "count_cuda"]


def choose_device(device: str) -> str:
    """Return the device to compute on: for "auto" CUDA where there is one, else the CPU.

    Parameters
    ----------
    device : {"auto", "cpu", "cuda", "cuda:N", "mps"}
        What is asked for.

    Raises
    ------
    UserError
        If there is no such device on this machine.
    """
    kind, colon, index = device.partition(":")
    if kind not in ("auto", "cpu", "cuda", "mps") or (colon and not (kind == "cuda" and index.isdecimal())):
        raise UserError(f"Unknown device {device!r}. Choose one of: auto, cpu, cuda, cuda:0 (or another number), mps.")
    if kind == "auto":
        return "cuda" if count_cuda() else "cpu"
    if kind == "cuda" and int(index or 0) >= count_cuda():
        raise UserError(f"This machine has {count_cuda()} CUDA devices, so no {device!r}; set device to auto or cpu.")
    if kind == "mps":
        import torch

        if not torch.backends.mps.is_available():
            raise UserError("This machine has no device 'mps'; set device to auto or cpu.")
    return device


def count_cuda() -> int:
    """Count the devices that torch calls CUDA; torch, which is slow to import, is asked only if there is a driver."""
    if not has_driver():
        return 0
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def has_driver() -> bool:
    """Tell whether there is a driver for GPUs of NVIDIA or AMD."""
    if os.path.exists("/dev/kfd"):  # AMD
        return True
    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return False
    return True
