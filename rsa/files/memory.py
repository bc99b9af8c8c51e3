"""How much memory the machine and this process have, as the system tells it."""

import os
from pathlib import Path

__all__ = ["KERNELS_BYTES", "MB", "free_bytes", "machine_bytes", "peak_bytes", "process_bytes", "room_bytes"]

MB = 10**6
"""Bytes of a megabyte, as Snakemake and schedulers count them."""

KERNELS_BYTES = 130 * MB
"""What compiled loops, and numba with them, take once they are loaded."""

SHARE = 0.8
"""Of what is free when a stage is called by hand, so much is taken."""

LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
"""Where Linux says how much memory a container or a job may have, if there is a limit."""


def machine_bytes() -> int:
    """Return how much memory there is: that of the machine, or less where the process has a limit."""
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([whole, *_limits()])


def _limits() -> list[int]:
    found = [text for path in LIMITS if (text := _read(path)).isdigit()]
    return [int(text) for text in found if int(text) > 0]


def free_bytes() -> int:
    """Return how much memory is free, with what the system would give back; all of it where it does not say."""
    lines = dict(line.split(":", 1) for line in _read("/proc/meminfo").splitlines() if ":" in line)
    told = lines.get("MemAvailable", "").split()
    return min(int(told[0]) * 1024, machine_bytes()) if told else machine_bytes()


def process_bytes() -> int:
    """Return how much memory this process has."""
    return _status("VmRSS")


def peak_bytes() -> int:
    """Return the most memory that this process has had; `ru_maxrss` would begin with that of the parent process."""
    return _status("VmHWM")


def room_bytes(memory_mb: int | None, ahead: int = KERNELS_BYTES) -> int:
    """Return how much more data this process may hold, in bytes: at least 1.

    Parameters
    ----------
    memory_mb : int, optional
        What it may have in all; by default it may take most of what is free.
    ahead : int
        What it is going to take besides data: that of compiled loops, by default.
    """
    left = SHARE * free_bytes() if memory_mb is None else memory_mb * MB - process_bytes()
    return max(1, int(left) - ahead)


def _status(name: str) -> int:
    told = _read("/proc/self/status").partition(f"{name}:")[2].split()
    return 1024 * int(told[0]) if told else 0


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii", errors="ignore").strip()
    except OSError:
        return ""
