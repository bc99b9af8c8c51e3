"""Going on after a run that was killed: who runs a study, which of its jobs are left, and what it has locked.

Whoever runs a study leaves a note in its logs and takes it away at the end. A note that is left tells of a run that
was killed, or that goes on.
"""

import json
import os
import shlex
import socket
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rsa.errors import UserError
from rsa.files import io
from rsa.files.records import NOTES_OF_RUNS
from rsa.pipeline import slurm

__all__ = ["Note", "note_of_this_run", "notes_in", "recovered", "require_no_jobs_left", "unlocked"]


@dataclass(frozen=True)
class Note:
    """Who runs a study, and where.

    Parameters
    ----------
    host : str
        The machine on which Snakemake runs.
    pid : int
        Its process.
    began : str
        When that process was started, by the clock of the machine; "" if unknown.
    folder : str
        The folder in which it was started.
    command : str
        The command that started it.
    jobs : list of str
        The names of its jobs in the queue of Slurm; none where it runs them itself.
    inside : str
        The number of the job of Slurm within which it runs, or "".
    """

    host: str
    pid: int
    began: str
    folder: str
    command: str
    jobs: list[str]
    inside: str = ""

    @property
    def name(self) -> str:
        """The name of its file."""
        return f"{self.host}_{self.pid}.json"

    def is_alive(self) -> bool | None:
        """Say whether that process runs; None if that cannot be seen from here.

        Raises
        ------
        UserError
            If it runs inside a job on another machine, and Slurm cannot be asked.
        """
        if self.host == socket.gethostname():
            return _began(self.pid) == self.began if self.began else _exists(self.pid)
        return slurm.still_in_queue(self.inside) if self.inside else None

    def written(self, results: Path) -> Path:
        """Write the note, and return where."""
        path = results / NOTES_OF_RUNS / self.name
        with io.writing(path, recorded=False) as temporary:
            temporary.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")
        return path


def note_of_this_run(jobs: Sequence[str], inside: str) -> Note:
    """Return a note of this process.

    Parameters
    ----------
    jobs : sequence of str
        The names of its jobs in the queue.
    inside : str
        The job within which it runs, or "".
    """
    pid = os.getpid()
    command = shlex.join([Path(sys.argv[0]).name.replace("__main__.py", "snakemake"), *sys.argv[1:]])
    return Note(socket.gethostname(), pid, _began(pid), str(Path.cwd()), command, list(jobs), inside)


def notes_in(results: Path) -> dict[Path, Note]:
    """Read the notes in a folder of results; one that cannot be read is none.

    Parameters
    ----------
    results : path
        `results/<study>`.
    """
    notes = {}
    for path in sorted((results / NOTES_OF_RUNS).glob("*.json")):
        try:
            notes[path] = Note(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            continue
    return notes


def require_no_jobs_left(results: Path, config: str) -> None:
    """Insist that no job of an earlier run is left in the queue, beside which the same work would be done again.

    Parameters
    ----------
    results : path
        `results/<study>`.
    config : str
        The configuration, for the command that ends these jobs.

    Raises
    ------
    UserError
        Saying how many there are.
    """
    names = [name for note in notes_in(results).values() for name in note.jobs]
    if jobs := slurm.jobs_in_queue(names):
        raise UserError(
            f"{_n_jobs(len(jobs))} of an earlier run of this study {'is' if len(jobs) == 1 else 'are'} still in the "
            f"queue of Slurm; wait for {'it' if len(jobs) == 1 else 'them'}, or end what is left of that run with "
            f"`python -m rsa recover {shlex.quote(config)}`."
        )


def recovered(results: Path, outputs: Sequence[Path], *, is_dead: bool = False) -> str:
    """End what is left of runs of a study that were killed: their jobs in the queue, their locks, their notes.

    Parameters
    ----------
    results : path
        `results/<study>`.
    outputs : sequence of path
        The outputs of its jobs.
    is_dead : bool
        Whether runs of which nothing can be seen from here are known to have ended.

    Returns
    -------
    str
        What was done, and how to go on.

    Raises
    ------
    UserError
        If a run still goes on, or may do so.
    """
    notes = notes_in(results)
    for note in notes.values():
        _require_dead(note, is_dead)
    jobs = slurm.jobs_in_queue([name for note in notes.values() for name in note.jobs])
    slurm.cancel(jobs)
    folders = dict.fromkeys([*(note.folder for note in notes.values()), str(Path.cwd())])
    n_locks = sum(unlocked(Path(folder) / ".snakemake" / "locks", results, outputs) for folder in folders)
    for path in notes:
        path.unlink(missing_ok=True)
    if not notes and not n_locks:
        return f"{results}: no run of this study was killed, as far as can be seen; nothing to do."
    ended = f"{_n_jobs(len(jobs))} ended in the queue of Slurm, " if any(note.jobs for note in notes.values()) else ""
    locks = "locks taken away" if n_locks else "no locks"
    commands = list(dict.fromkeys(note.command for note in notes.values()))
    return f"{results}: {ended}{locks}. The same command goes on{': ' if commands else '.'}{' or '.join(commands)}"


def _require_dead(note: Note, is_dead: bool) -> None:
    alive = note.is_alive()
    where = f"job {note.inside} of Slurm" if note.inside else f"process {note.pid} on {note.host}"
    how = f"scancel --signal=INT --full {note.inside}" if note.inside else f"kill -INT {note.pid}"
    if alive:
        raise UserError(f"This study is being run, by {where}; wait for it, or stop it first: {how}")
    if alive is None and not is_dead:
        raise UserError(
            f"This study was run by {where}, which cannot be seen from {socket.gethostname()}; do this on {note.host}, "
            "or add --is-dead if you know that it has ended."
        )


def unlocked(locks: Path, results: Path, outputs: Iterable[Path]) -> int:
    """Take away the locks that runs of a study have left, and no others; return how many.

    Snakemake's own `--unlock` takes away those of all studies that run in a folder.

    Parameters
    ----------
    locks : path
        `.snakemake/locks`: for each run a list of what it writes, ``0.output.lock``, and of what it reads.
    results, outputs
        As in `recovered`.
    """
    own = {os.path.normpath(path) for path in outputs}
    prefix = os.path.normpath(results) + os.sep
    n_locks = 0
    for lock in sorted(locks.glob("*.output.lock")):
        names = lock.read_text(encoding="utf-8", errors="replace").splitlines()
        if any(os.path.normpath(name) in own or os.path.normpath(name).startswith(prefix) for name in names):
            lock.unlink()
            lock.with_name(lock.name.replace(".output.", ".input.")).unlink(missing_ok=True)
            n_locks += 1
    return n_locks


def _n_jobs(n: int) -> str:
    return f"{n:,} job{'s' * (n != 1)}"


def _began(pid: int) -> str:
    """Return when a process was started, in ticks since the machine was; "" if there is none, or no /proc."""
    try:
        state, *said = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "" if state in "ZX" else said[18]  # Z, X: it has ended, and nobody has asked how
    except (OSError, IndexError, ValueError):
        return ""


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
