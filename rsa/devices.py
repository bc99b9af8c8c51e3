"""Where to compute: the CPU, or an accelerator that torch can use."""

import ctypes
import sys

from rsa.errors import UserError

__all__ = ["choose_device"]

CUDA_DRIVER = {"linux": "libcuda.so.1", "win32": "nvcuda.dll"}


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
    """Count CUDA devices; torch, which takes seconds and memory to import, is asked only where there is a driver."""
    try:
        ctypes.CDLL(CUDA_DRIVER.get(sys.platform, ""))
    except OSError:
        return 0
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0
