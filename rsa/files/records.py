"""Which files the pipeline wrote: the SHA-256 of each, in a small file of its own in a hidden folder beside it.

The files are those of ``sha256sum``: ``cat .checksums/* | sha256sum --check`` in any folder of the results does without
this package what `rsa.pipeline.results` does.
"""

import hashlib
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

__all__ = ["FOLDER", "NOTES_OF_RUNS", "copies", "is_own", "named_in", "record", "recorded", "recording", "sha256_of"]

FOLDER = ".checksums"
ENDING = ".sha256"

NOTES_OF_RUNS = "logs/runs"
"""Where runs leave notes, in the folder of a study's results: no results, and gone when a run ends."""

log = logging.getLogger(__name__)

_records: ContextVar[bool] = ContextVar("records", default=False)


def sha256_of(path: str | Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def recording() -> Iterator[None]:
    """Keep the checksums of the files that are written in this block: those of the pipeline, and of no notebook."""
    token = _records.set(True)
    try:
        yield
    finally:
        _records.reset(token)


def record(path: Path, written: Path) -> None:
    """Keep the checksum of a file that is about to get its name, if this is a block that keeps them.

    Parameters
    ----------
    path : path
        The name that the file will have. What is kept of it first says whose it is, even if the job is killed now.
    written : path
        Where it is until then.
    """
    if not _records.get():
        return
    place = _place(path)
    place.parent.mkdir(exist_ok=True)
    temporary = place.with_name(f".partial-{path.name}")
    temporary.write_text(f"{sha256_of(written)}  {path.name}\n", encoding="utf-8")
    os.replace(temporary, place)
    log.debug("writes %s", path, extra={"writes": path})


def recorded(path: str | Path) -> str | None:
    """Return the checksum that was kept of a file, if one was."""
    try:
        return _place(Path(path)).read_text(encoding="utf-8", errors="replace").split(" ")[0]
    except (FileNotFoundError, NotADirectoryError):
        return None


def is_own(path: str | Path) -> bool:
    """Say whether a file is there as the pipeline wrote it."""
    kept = recorded(path)
    return kept is not None and Path(path).is_file() and sha256_of(path) == kept


def named_in(folder: str | Path) -> list[Path]:
    """Return the files of a folder, itself and those below it, of which there is a checksum: there or not, sorted."""
    kept = Path(folder).rglob(f"{FOLDER}/*{ENDING}")
    return sorted(one.parent.parent / one.name.removesuffix(ENDING) for one in kept)


def copies(paths: Iterable[str | Path]) -> list[list[str]]:
    """Return the files of the same content, group by group; those that are not there are left out.

    Nearly all are told apart by their size and a few bytes, so that a whole file is read only where these agree.

    Parameters
    ----------
    paths : iterable of path
        Each file counts once, however often it is given.
    """
    groups = [[name for name in dict.fromkeys(map(str, paths)) if os.path.isfile(name)]]
    features: tuple[Callable[[str], int | bytes | str], ...] = (
        os.path.getsize,
        lambda name: _bytes_at(name, 1 / 2),
        lambda name: _bytes_at(name, 1 / 3),
        sha256_of,
    )
    for feature in features:
        split: list[list[str]] = []
        for group in groups:
            found: dict[int | bytes | str, list[str]] = {}
            for name in group:
                found.setdefault(feature(name), []).append(name)
            split += [same for same in found.values() if len(same) > 1]
        groups = split
    return groups


def _bytes_at(name: str, share: float, n_bytes: int = 4096) -> bytes:
    """Read a few bytes of a file, from a share of its size on."""
    with open(name, "rb") as file:
        file.seek(int(share * os.path.getsize(name)))
        return file.read(n_bytes)


def _place(path: Path) -> Path:
    return path.parent / FOLDER / f"{path.name}{ENDING}"
