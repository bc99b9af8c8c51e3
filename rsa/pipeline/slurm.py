"""What Slurm is asked: which jobs of a run are in its queue, what its nodes have, and to end jobs."""

import getpass
import re
import subprocess
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from time import monotonic, sleep

from rsa.errors import UserError, flattened, listed

__all__ = ["Node", "QueuedJob", "cancel", "jobs_in_queue", "memory_of_jobs", "nodes", "still_in_queue"]

ENDED = {
    "BOOT_FAIL",
    "CANCELLED",
    "COMPLETED",
    "DEADLINE",
    "FAILED",
    "NODE_FAIL",
    "OUT_OF_MEMORY",
    "PREEMPTED",
    "TIMEOUT",
}
"""States of jobs of which nothing runs any more."""
MOST_SAID_S = 60.0
"""So long an answer of Slurm may take."""
UNLIMITED = ("infinite", "UNLIMITED", "NOT_SET")


@dataclass(frozen=True)
class QueuedJob:
    """A job in the queue of Slurm.

    Parameters
    ----------
    number : str
        By which Slurm knows it.
    run : str
        Its name, which is that of the run that submitted it.
    state : str
        "PENDING", "RUNNING", ...
    """

    number: str
    run: str
    state: str


@dataclass(frozen=True)
class Node:
    """What the nodes of a partition have that are alike.

    Parameters
    ----------
    partition : str
        Its name.
    is_default : bool
        Whether jobs that name no partition come here.
    n_cpus, memory_mb, n_gpus : int
        Of each node.
    minutes : float
        How long a job may run; infinite without a limit.
    """

    partition: str
    is_default: bool
    n_cpus: int
    memory_mb: int
    minutes: float
    n_gpus: int


def jobs_in_queue(runs: Collection[str]) -> list[QueuedJob]:
    """Return the jobs of some runs, by the names of the runs, that wait or run or have not quite ended.

    Raises
    ------
    UserError
        If Slurm cannot be asked.
    """
    if not runs:
        return []
    said = _asked("squeue", "--noheader", f"--name={','.join(runs)}", "--states=all", "--format=%i|%j|%T")
    jobs = [QueuedJob(*line.strip().split("|")) for line in said.splitlines() if line.count("|") == 2]
    return [job for job in jobs if job.run in runs and job.state not in ENDED]


def still_in_queue(number: str) -> bool:
    """Say whether a job of one's own, by its number, waits or runs.

    Raises
    ------
    UserError
        If Slurm cannot be asked.
    """
    said = _asked("squeue", "--noheader", f"--user={getpass.getuser()}", "--states=all", "--format=%A|%T")
    rows = [line.strip().split("|") for line in said.splitlines()]
    return any(row[0] == number and row[1] not in ENDED for row in rows if len(row) == 2)


def cancel(jobs: Sequence[QueuedJob], patience_s: float = 120.0) -> None:
    """End jobs, and wait until nothing of them runs.

    Parameters
    ----------
    jobs : sequence of QueuedJob
        Of one's own.
    patience_s : float
        How long to wait.

    Raises
    ------
    UserError
        If Slurm does not end them, or not in time.
    """
    if not jobs:
        return
    _asked("scancel", *(job.number for job in jobs))
    runs, numbers = {job.run for job in jobs}, {job.number for job in jobs}
    end = monotonic() + patience_s
    while left := [job.number for job in jobs_in_queue(runs) if job.number in numbers]:
        if monotonic() > end:
            raise UserError(
                f"Slurm was asked to end the jobs {listed(left)}, but after {patience_s:g} s they are still in the "
                "queue; look with squeue, and try again when they are gone."
            )
        sleep(0.5)


def memory_of_jobs() -> tuple[bool, float]:
    """Say whether Slurm keeps accounts, without which `sacct` knows nothing, and for how long its queue knows jobs.

    Returns
    -------
    bool
        Whether there are accounts.
    float
        Seconds after its end for which a job is in the queue; infinite if Slurm does not say.

    Raises
    ------
    UserError
        If Slurm cannot be asked.
    """
    said = _asked("scontrol", "show", "config")
    none = re.search(r"^AccountingStorageType\s*=\s*(accounting_storage/none|\(null\))\s*$", said, re.M)
    age = re.search(r"^MinJobAge\s*=\s*(\d+)", said, re.M)
    return none is None, float(age[1]) if age else float("inf")


def nodes(partitions: str = "") -> list[Node]:
    """Return what the nodes of some partitions have, or of all.

    Parameters
    ----------
    partitions : str
        One name, or several with commas between them; "" for all.

    Raises
    ------
    UserError
        If Slurm cannot be asked, or does not know the partition.
    """
    said = _asked("sinfo", "--noheader", "--exact", "--format=%P|%c|%m|%l|%G")
    rows = [line.strip().split("|") for line in said.splitlines()]
    found = [_node(*row) for row in rows if len(row) == 5]
    names, wanted = {node.partition: None for node in found}, [name for name in partitions.split(",") if name]
    for name in wanted:
        if name not in names:
            raise UserError(f"Slurm has no partition {name!r}, only {listed(list(names))}; set slurm_partition to one.")
    return [node for node in found if not wanted or node.partition in wanted]


def _node(partition: str, n_cpus: str, memory_mb: str, limit: str, resources: str) -> Node:
    gpus = re.findall(r"gpu(?::[^:,()]+)?:(\d+)", resources)
    return Node(
        partition.rstrip("*"),
        partition.endswith("*"),
        int(n_cpus.rstrip("+")),
        int(memory_mb.rstrip("+")),
        _minutes(limit),
        sum(map(int, gpus)),
    )


def _minutes(limit: str) -> float:
    """Read a time as Slurm writes it: minutes:seconds, hours:minutes:seconds, or these after days-.

    Examples
    --------
    >>> _minutes("2-12:00:00"), _minutes("4:00:00"), _minutes("30:00"), _minutes("infinite")
    (3600.0, 240.0, 30.0, inf)
    """
    if limit in UNLIMITED:
        return float("inf")
    days, _, clock = limit.rpartition("-")
    parts = [int(part) for part in clock.split(":")]
    hours, minutes, seconds = [0, *parts, 0][-3:] if len(parts) == 1 else [0, *parts][-3:]
    return int(days or 0) * 1440 + hours * 60 + minutes + seconds / 60


def _asked(*command: str) -> str:
    """Return what a program of Slurm prints.

    Raises
    ------
    UserError
        If it is not there, fails, or takes too long.
    """
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=MOST_SAID_S)
    except FileNotFoundError:
        raise UserError(
            f"There is no {command[0]} here to ask Slurm; run this on the machine from which jobs are submitted."
        ) from None
    except subprocess.TimeoutExpired:
        raise UserError(f"Slurm did not answer {command[0]} for {MOST_SAID_S:g} s; try again later.") from None
    if done.returncode:
        raise UserError(f"{command[0]} failed: {flattened(done.stderr or done.stdout)}")
    return done.stdout
