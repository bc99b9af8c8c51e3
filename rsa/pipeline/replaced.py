"""Which inputs of results were replaced by files with older dates, such as copies that keep them.

Snakemake makes results again when an input is younger than they are. A file that was replaced by an older one (by a
copy or an archive that keeps dates, or by another folder that took the name) is not, so its results would be taken to
be up to date.
"""

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rsa.errors import UserError, listed
from rsa.files import io, records

__all__ = ["problems_of_inputs", "replaced"]

KNOWN = ".inputs.json"
"""In the hidden folder of checksums of a study: those of inputs that were looked at, and what they looked like then."""


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
    files = f"{len(found)} inputs are" if len(found) > 1 else f"{found[0]} is"
    several = f": {listed(found, 3)}" if len(found) > 1 else ""
    return [
        f"{files} not what the results in {folder} were made of, but older than they are, so the results would seem to "
        f"be up to date{several}. Give {'them' if len(found) > 1 else 'it'} the date of now (`touch`), and run again."
    ]


def replaced(outputs: Sequence[Path], inputs: Iterable[str | Path], known: Path | None = None) -> list[str]:
    """Return the inputs whose content is not that of which outputs were made, though these are younger.

    A file is read only if it, or a folder that it is in, has changed in any way since the output was made.

    Parameters
    ----------
    outputs, inputs
        As for `problems_of_inputs`.
    known : path, optional
        File in which the checksums of files that were read are kept, so that none is read twice.
    """
    wanted, kept, found = set(map(str, inputs)), _Kept(known), list[str]()
    for output in outputs:
        made_at = _made_at(output)
        for name, checksum in _made_of(output).items() if made_at is not None else ():
            if name in wanted and name not in found and _is_moved(name, made_at or 0) and kept.of(name) != checksum:
                found.append(name)
    kept.save()
    return found


def _made_at(output: Path) -> int | None:
    """Return when an output was made, as Snakemake takes it, in ns; None if it is not there."""
    try:
        return output.stat().st_mtime_ns
    except OSError:
        return None


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


def _is_moved(name: str, made_at: int) -> bool:
    """Say whether a file is older than an output, and yet came to its place later, or may have."""
    try:
        state = os.stat(name)
        if state.st_mtime_ns > made_at:
            return False
        return state.st_ctime_ns > made_at or any(_changed_at(one) > made_at for one in _folders(name))
    except OSError:
        return False


def _folders(name: str) -> Iterator[str]:
    """Yield the folder of a file, and the link that it may be."""
    yield os.path.dirname(name) or "."
    if os.path.islink(name):
        yield name


def _changed_at(name: str) -> int:
    return os.lstat(name).st_ctime_ns


class _Kept:
    """Checksums of files, kept with what the files looked like."""

    def __init__(self, path: Path | None) -> None:
        self.path, self.is_new = path, False
        try:
            self.found: dict[str, Any] = {} if path is None else json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            self.found = {}

    def of(self, name: str) -> str:
        """Return the checksum of a file, which is read if it does not look as it did."""
        state = os.stat(name)
        looks = [state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino]
        kept = self.found.get(name)
        if not isinstance(kept, list) or kept[:-1] != looks:
            kept = self.found[name] = [*looks, records.sha256_of(name)]
            self.is_new = True
        return str(kept[-1])

    def save(self) -> None:
        """Keep what was read for the next time, where that is possible."""
        if self.path is None or not self.is_new or not self.path.parent.is_dir():
            return
        temporary = self.path.with_name(f".partial-{self.path.name}")
        try:
            temporary.write_text(json.dumps(self.found), encoding="utf-8")
            os.replace(temporary, self.path)
        except OSError:
            temporary.unlink(missing_ok=True)
