"""Where to compute: the CPU, or an accelerator that torch can use."""

import ctypes
import fcntl
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rsa.errors import UserError

__all__ = ["choose_device", "own_device"]


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


@contextmanager
def own_device(device: str) -> Iterator[str]:
    """Choose the device to compute on: of several CUDA devices one that no other process has chosen like this.

    So jobs that run side by side on one machine share its devices out among them. If all are taken, the first is used.

    Parameters
    ----------
    device : {"auto", "cpu", "cuda", "cuda:N", "mps"}
        What is asked for; with a number, that device is given in any case.

    Yields
    ------
    str
        The device, until the block ends.

    Raises
    ------
    UserError
        As `choose_device`.
    """
    chosen = choose_device(device)
    several = [f"cuda:{i}" for i in range(count_cuda())] if chosen == "cuda" else []
    with ExitStack() as locks:
        yield next((one for one in several if len(several) > 1 and _is_locked(locks, one)), chosen)


def _is_locked(stack: ExitStack, device: str) -> bool:
    """Lock a device for this process until the stack unwinds; say whether that worked."""
    folder = Path(tempfile.gettempdir()) / f"brain-model-rsa-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "all").replace("/", "-")
    lock = stack.enter_context((folder / f"{visible}-{device.replace(':', '-')}.lock").open("w"))
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


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
