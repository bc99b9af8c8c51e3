"""Which inputs of results were replaced by files with older dates, such as copies that keep them.

Snakemake makes results again when an input is younger than they are. A file that was replaced by an older one (by a
copy or an archive that keeps dates, or by another folder that took the name) is not, so its results would be taken to
be up to date.
"""

import json
import logging
import os
import shlex
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from rsa.errors import UserError, listed
from rsa.files import io, records

__all__ = ["problems_of_inputs", "replaced"]

log = logging.getLogger(__name__)

KNOWN = ".inputs.json"
"""In the hidden folder of checksums of a study: those of inputs that were looked at, and what they looked like then."""

LARGE_BYTES = 2**30
"""Whoever waits until more is read is told why."""

LONG_AGO = "touch -t 197001020000"
"""The command that makes files older than any input."""


def problems_of_inputs(folder: Path, outputs: Sequence[Path], inputs: Iterable[str | Path]) -> list[str]:
    """Return what is wrong with inputs of results that would be taken to be up to date: a line, or nothing.

    Parameters
    ----------
    folder : path
        `results/<study>`.
    outputs : sequence of path
        Files and folders that say of what they were made.
    inputs : iterable of path
        The files that the study reads now.
    """
    found = replaced(outputs, inputs, folder / records.FOLDER / KNOWN)
    if not found:
        return []
    files = f"{len(found)} inputs are" if len(found) > 1 else f"{next(iter(found))} is"
    several = f": {listed(list(found), 3)}" if len(found) > 1 else ""
    return [
        f"{files} not what the results in {folder} were made of, but older than they are, so the results would seem to "
        f"be up to date{several}. {_advice(found)}, and run again: then these results are made "
        "anew. (With `--touch`, once, they are kept as they are; do so only if nothing that counts has changed.)"
    ]


def _advice(found: Mapping[str, Sequence[Path]]) -> str:
    """Say how jobs run again: by a young input, or, where that cannot be, by old outputs."""
    dated = list(dict.fromkeys(_dated(output) for outputs in found.values() for output in outputs))
    if all(os.access(name, os.W_OK) for name in found) and not any(_is_of_future(one) for one in dated):
        return f"Give {'them' if len(found) > 1 else 'it'} the date of now (`touch`)"
    return f"Give what was made of {'them' if len(found) > 1 else 'it'} an old date ({LONG_AGO} {shlex.join(dated)})"


def replaced(outputs: Sequence[Path], inputs: Iterable[str | Path], known: Path | None = None) -> dict[str, list[Path]]:
    """Return the inputs whose content is not that of which outputs were made, though these are younger.

    A file is read only if it, its folder, or a link on the way to it has changed in any way since the output was made.

    Parameters
    ----------
    outputs, inputs
        As for `problems_of_inputs`.
    known : path, optional
        File in which the checksums of files that were read are kept, so that none is read twice.

    Returns
    -------
    dict
        The outputs that were made of something else, by the name of the input.
    """
    wanted, kept, found = set(map(str, inputs)), _Kept(known), dict[str, list[Path]]()
    for output in outputs:
        made_at = _made_at(output)
        for name, checksum in _made_of(output).items() if made_at is not None else ():
            if name in wanted and _is_moved(kept.dates_of(name), made_at or 0) and kept.differs(name, checksum):
                found.setdefault(name, []).append(output)
    kept.save()
    return found


def _dated(output: Path) -> str:
    """Return the file whose date is that of an output for Snakemake: in a folder, one of its own if it is there."""
    own = output / ".snakemake_timestamp"
    return str(own if own.is_file() else output)


def _made_at(output: Path) -> int | None:
    """Return when an output was made, as Snakemake takes it, in ns; None if it is not there."""
    try:
        return os.stat(_dated(output)).st_mtime_ns
    except OSError:
        return None


def _is_of_future(name: str) -> bool:
    """Say whether a file has a date to come, by the clock of another machine: what is touched now is not younger."""
    return os.stat(name).st_mtime_ns > time.time_ns()


def _made_of(output: Path) -> Mapping[str, str]:
    """Return the checksums of the files of which an output was made, as far as it says so."""
    try:
        if output.is_dir():
            about: Any = json.loads((output / "provenance.json").read_text(encoding="utf-8"))
        else:
            about = io.read_provenance(output)
        return dict(about.get("inputs") or {})
    except (OSError, ValueError, KeyError, AttributeError, TypeError, UserError):  # what is damaged is told elsewhere
        return {}


def _is_moved(dates: tuple[int, int] | None, made_at: int) -> bool:
    """Say whether a file is older than an output, and yet came to its place later, or may have."""
    return dates is not None and dates[0] <= made_at < dates[1]


def _moved_at(folder: str) -> int:
    """Return when a folder, or a link on the way to it, last changed, in ns."""
    on_the_way = [folder, *map(str, Path(folder).parents)]
    return max(
        os.stat(folder).st_ctime_ns, *(os.lstat(one).st_ctime_ns for one in on_the_way if os.path.islink(one)), 0
    )


class _Kept:
    """Checksums of files, kept with what the files looked like."""

    def __init__(self, path: Path | None) -> None:
        self.path, self.is_new, self.n_bytes, self.sums = path, False, 0, dict[str, str]()
        self.dates, self.folders = dict[str, tuple[int, int] | None](), dict[str, int]()
        try:
            found: Any = {} if path is None else json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            found = {}
        self.found: dict[str, Any] = found if isinstance(found, dict) else {}

    def dates_of(self, name: str) -> tuple[int, int] | None:
        """Return the date of a file, and when it last came to its place or may have, in ns; None if it is not there."""
        if name not in self.dates:
            try:
                self.dates[name] = self._look(name)
            except OSError:
                self.dates[name] = None
        return self.dates[name]

    def _look(self, name: str) -> tuple[int, int]:
        state, folder = os.stat(name), os.path.dirname(os.path.abspath(name))
        if folder not in self.folders:
            self.folders[folder] = _moved_at(folder)
        return state.st_mtime_ns, max(state.st_ctime_ns, os.lstat(name).st_ctime_ns, self.folders[folder])

    def differs(self, name: str, checksum: str) -> bool:
        """Say whether a file has another content; no, if it cannot be read, which is told elsewhere."""
        try:
            return self.of(name) != checksum
        except OSError:
            return False

    def of(self, name: str) -> str:
        """Return the checksum of a file, which is read if it does not look as it did."""
        if name not in self.sums:
            self.sums[name] = self._sum_of(name)
        return self.sums[name]

    def _sum_of(self, name: str) -> str:
        state = os.stat(name)
        looks = [state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino]
        kept = self.found.get(name)
        if not isinstance(kept, list) or kept[:-1] != looks:
            self._tell_of(state.st_size)
            kept = self.found[name] = [*looks, records.sha256_of(name)]
            self.is_new = True
        return str(kept[-1])

    def _tell_of(self, n_bytes: int) -> None:
        """Say once that files are read, if they are large."""
        before, self.n_bytes = self.n_bytes, self.n_bytes + n_bytes
        if before <= LARGE_BYTES < self.n_bytes:
            log.warning("Inputs came to their places after results were made of them: each is read once, to compare.")

    def save(self) -> None:
        """Keep what was read for the next time, where that is possible."""
        if self.path is None or not self.is_new or not self.path.parent.is_dir():
            return
        temporary = self.path.with_name(f".partial-{self.path.name}-{os.getpid()}")
        try:
            temporary.write_text(json.dumps(self.found), encoding="utf-8")
            os.replace(temporary, self.path)
        except OSError:
            with suppress(OSError):
                temporary.unlink()
