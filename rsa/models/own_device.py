"""Which of several devices of a machine a network runs on, where other processes run networks as well."""

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rsa.devices import choose_device, count_cuda

__all__ = ["own_device"]


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
