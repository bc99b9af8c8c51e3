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

CONTROL_GROUPS = Path("/sys/fs/cgroup")
"""Where Linux keeps the limits of containers and of jobs of clusters."""

OWN_GROUPS = Path("/proc/self/cgroup")
"""Where Linux says which of these groups the process is in."""


def machine_bytes() -> int:
    """Return how much memory there is: that of the machine, or less where the process has a limit."""
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([whole, *(limit for limit, _ in _limits())])


def free_bytes() -> int:
    """Return how much memory is free, with what the system would give back; all of it where it does not say.

    Where the process has a limit, what others under the same limit use is not free.
    """
    whole = machine_bytes()
    lines = dict(line.split(":", 1) for line in _read("/proc/meminfo").splitlines() if ":" in line)
    told = lines.get("MemAvailable", "").split()
    of_machine = min(int(told[0]) * 1024, whole) if told else whole
    return max(0, min([of_machine, *(limit - used for limit, used in _limits())]))


def _limits() -> list[tuple[int, int]]:
    """Return each limit of the process, in bytes, and how much of it is used, without what the system would give back.

    Groups lie in each other, such as the step of a job in its job, and each may have a limit.
    """
    found = []
    for folder in _own_groups():
        if limit := _number(folder, "memory.max", "memory.limit_in_bytes"):
            used = _number(folder, "memory.current", "memory.usage_in_bytes")
            told = dict(line.split(" ", 1) for line in _read(folder / "memory.stat").splitlines() if " " in line)
            # Version 1 of control groups counts a group without and with those in it: the latter begin with "total".
            cached = [told.get(f"total_{kind}", told.get(kind, "0")) for kind in ("active_file", "inactive_file")]
            found.append((limit, max(0, used - sum(map(int, cached)))))
    return found


def _own_groups() -> list[Path]:
    """Return the folders of the control groups that the process is in, the innermost first."""
    folders = []
    for line in _read(OWN_GROUPS).splitlines():
        _, kinds, path = line.split(":", 2)
        if kinds in ("", "memory"):  # version 2 has one tree of groups for all; version 1 has one for memory
            top = CONTROL_GROUPS / kinds
            inner = top / path.lstrip("/")
            folders += [folder for folder in (inner, *inner.parents) if folder.is_relative_to(top)]
    return folders


def _number(folder: Path, *names: str) -> int:
    """Return the number in the first file of a folder that has one, or 0."""
    return next((int(text) for name in names if (text := _read(folder / name)).isdigit()), 0)


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


def _read(path: str | Path) -> str:
    try:
        return Path(path).read_text(encoding="ascii", errors="ignore").strip()
    except OSError:
        return ""
