"""What the logs of a study's jobs tell: when they ran, and what they warned of."""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from rsa.errors import flattened

__all__ = ["Jobs", "read_logs", "written_duration"]

LINE = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d),\d{3} ([A-Z]+) (.*)")
PLACE_IN_CODE = re.compile(r"^\S*\.py:\d+: ")
"""How Python begins the text of a warning: the file and line that gave it."""


@dataclass(frozen=True)
class Jobs:
    """The jobs of a study, by their logs.

    Parameters
    ----------
    n_jobs : int
        Number of logs.
    first, last : datetime, optional
        The first start and the last message; None without logs.
    warnings : dict
        Each text that was a warning, with the names of the jobs that gave it.
    """

    n_jobs: int = 0
    first: datetime | None = None
    last: datetime | None = None
    warnings: dict[str, list[str]] | None = None

    @property
    def duration(self) -> timedelta | None:
        """From the first start to the last message."""
        return None if self.first is None or self.last is None else self.last - self.first


def read_logs(folder: Path, without: str = "report") -> Jobs:
    """Read the logs below a folder, but for that of one job.

    Parameters
    ----------
    folder : path
        `results/<study>/logs`.
    without : str
        The job that reads them: its log is not whole.
    """
    times: list[datetime] = []
    warnings: dict[str, list[str]] = {}
    jobs = {path.relative_to(folder).with_suffix("").as_posix(): path for path in sorted(folder.rglob("*.log"))}
    jobs.pop(without, None)
    for job, path in jobs.items():
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            if (found := LINE.match(line)) is None:
                continue
            times.append(datetime.fromisoformat(found[1]))
            if found[2] == "WARNING":
                of_text = warnings.setdefault(PLACE_IN_CODE.sub("", flattened(found[3])), [])
                of_text += [] if job in of_text else [job]
    return Jobs(len(jobs), min(times, default=None), max(times, default=None), warnings)


def written_duration(duration: timedelta) -> str:
    """Write a duration in its two largest units.

    Examples
    --------
    >>> written_duration(timedelta(seconds=171)), written_duration(timedelta(days=1, minutes=3))
    ('2 min 51 s', '1 d 0 h')
    """
    seconds = round(duration.total_seconds())
    units = [("d", 86400), ("h", 3600), ("min", 60), ("s", 1)]
    first = next((i for i, (_, size) in enumerate(units) if seconds >= size), 3)
    parts = []
    for unit, size in units[first : first + 2]:
        parts.append(f"{seconds // size} {unit}")
        seconds %= size
    return " ".join(parts)
