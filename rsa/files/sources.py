"""Files that users give: whether their content is on this machine, what text they hold, and the cells of tables."""

import codecs
import csv
import logging
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cache, lru_cache
from io import StringIO
from pathlib import Path
from typing import NamedTuple

from rsa.core import as_label
from rsa.errors import UserError, listed

__all__ = [
    "NoContentError",
    "Version",
    "as_on_disk",
    "content_of",
    "decoded",
    "is_number",
    "load_cells",
    "load_text",
    "problems_of_content",
    "quoted",
    "require_content",
    "unquoted",
    "version_of",
]

logger = logging.getLogger(__name__)

MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
"""Encodings by the bytes at the start of a file that tell them; UTF-32 begins as UTF-16 does, so it comes first."""

KEPT_BYTES, N_KEPT = 2**20, 256
"""Files of up to so many bytes are read once by a job, as long as it reads no more of them than these."""

LARGEST_POINTER = 32 * 1024
"""A file of more bytes is no pointer of git-annex (or Git LFS, whose pointers are smaller still)."""

ANNEXED = re.compile(rb"[^\s\"{}\[\],;<>]*[/\\]annex[/\\]objects[/\\]\S+")
"""What a pointer of git-annex holds, and what a link to its content leads to (or holds, where there are no links)."""

LFS = b"version https://git-lfs.github.com/spec/"

ELSEWHERE = {
    "annex": ("git-annex has only the name", "Get it: `datalad get {0}`, or `git annex get {0}`."),
    "lfs": ("Git LFS has only a pointer", 'Get it: `git lfs pull --include "{0}"`.'),
    "link": ("there is only a link to where nothing is", "Mend the link, or bring what it leads to."),
}
"""Where the content of files may be instead of here, and how it is fetched."""


# -------------------------------------------------------------------------------------------- content


class NoContentError(UserError):
    """A file is here by name only; its content is in git-annex, in Git LFS, or where a link leads to."""

    def __init__(self, path: Path, place: str) -> None:
        super().__init__(_told(place, str(path), path))
        self.path = path


def require_content(path: str | Path) -> None:
    """Raise a `NoContentError` if a file is a link to nothing, or a pointer of git-annex or Git LFS.

    A file that is not there at all passes: its reader says so.
    """
    place = _place_of_content(Path(path))
    if place:
        raise NoContentError(Path(path), place)


def problems_of_content(paths: Iterable[str | Path]) -> list[str]:
    """Say which files are here by name only, and what fetches them, in one line for each place of their content.

    Files that are not there at all count as whole.
    """
    everything = list(dict.fromkeys(Path(path) for path in paths))
    absent: dict[str, list[Path]] = {}
    for path in everything:
        if place := _place_of_content(path):
            absent.setdefault(place, []).append(path)
    return [_told_of_all(place, found, len(everything)) for place, found in absent.items()]


def _told_of_all(place: str, absent: list[Path], n_files: int) -> str:
    if len(absent) == 1:
        return _told(place, str(absent[0]), absent[0])
    names = listed([str(path) for path in absent], 3)
    shared = Path(os.path.commonpath([path.parent for path in absent]))
    return _told(place, f"{len(absent)} of {n_files} files ({names})", shared)


def _told(place: str, what: str, path: Path) -> str:
    """Say that the content of files is elsewhere, and how to get the file or folder at a path."""
    where, cure = ELSEWHERE[place]
    name = f'"{path}"' if " " in str(path) and '"' not in cure else path  # as a shell needs it
    return f"The content of {what} is not on this machine, {where}. {cure.format(name)}"


def _place_of_content(path: Path) -> str:
    """Return the key of `ELSEWHERE` that says where the content of a file is; empty if it is here, or no file is."""
    if not path.exists():
        if not any(one.is_symlink() and not one.exists() for one in (path, *path.parents)):
            return ""
        return "annex" if f"{os.sep}annex{os.sep}objects{os.sep}" in os.path.realpath(path) else "link"
    if not path.is_file() or path.stat().st_size > LARGEST_POINTER:
        return ""
    try:
        start = content_of(path)
    except OSError:
        return ""  # its reader says why
    if start.startswith(LFS):
        return "lfs"
    return "annex" if ANNEXED.fullmatch(start.split(b"\n")[0].rstrip()) else ""


class Version(NamedTuple):
    """What of a file changes when it is written or replaced."""

    inode: int
    n_bytes: int
    written_ns: int
    changed_ns: int


def version_of(path: str | Path) -> Version:
    """Return which file it is, its size, and when it was changed: what is known of a version is known of no other.

    Raises
    ------
    OSError
        If there is no such file, or it cannot be seen.
    """
    now = os.stat(path)
    return Version(now.st_ino, now.st_size, now.st_mtime_ns, now.st_ctime_ns)


def content_of(path: str | Path) -> bytes:
    """Read a file; a small one that did not change since is not read again."""
    version = version_of(path)
    return Path(path).read_bytes() if version.n_bytes > KEPT_BYTES else _kept(str(path), version)


@lru_cache(N_KEPT)
def _kept(path: str, version: Version) -> bytes:
    return Path(path).read_bytes()


def as_on_disk(paths: Sequence[Path]) -> list[Path]:
    """Return paths with their accents as the disk spells them, where nothing is at a path as it is written.

    A file of a Mac may be called e and an accent where a table has one letter, or the other way round. A path for which
    there is nothing, or more than one file, stays as it is.
    """
    listings: dict[Path, dict[str, list[Path]]] = {}

    def spelled(path: Path) -> Path:
        if str(path).isascii() or path.exists():
            return path
        folder = spelled(path.parent)
        if folder not in listings:
            listings[folder] = {}
            for entry in folder.iterdir() if folder.is_dir() else ():
                listings[folder].setdefault(as_label(entry.name), []).append(entry)
        same = listings[folder].get(as_label(path.name), [])
        return same[0] if len(same) == 1 else path

    return [spelled(path) for path in paths]


# ----------------------------------------------------------------------------------------------- text


def decoded(data: bytes) -> tuple[str, list[int]]:
    """Decode the bytes of a text file.

    UTF-8, and any Unicode that begins with its mark (BOM), are certain. A line that is no UTF-8 is read as
    Windows-1252, which has the letters of Latin-1 where Latin-1 has them.

    Parameters
    ----------
    data : bytes
        What the file holds.

    Returns
    -------
    text : str
        Without a mark at its start.
    guessed : list of int
        Numbers of the lines that are no UTF-8, from 1.

    Raises
    ------
    UnicodeDecodeError
        If the mark at the start is not followed by such text.

    Examples
    --------
    >>> decoded("un café".encode("latin-1"))
    ('un café', [1])
    """
    for mark, encoding in MARKS.items():
        if data.startswith(mark) and encoding != "utf-8-sig":
            return data.decode(encoding), []
    lines, guessed = data.removeprefix(codecs.BOM_UTF8).split(b"\n"), []
    text = []
    for number, line in enumerate(lines, start=1):
        try:
            text.append(line.decode("utf-8"))
        except UnicodeDecodeError:
            text.append(_as_windows_1252(line))
            guessed.append(number)
    return "\n".join(text), guessed


def _as_windows_1252(line: bytes) -> str:
    try:
        return line.decode("cp1252")
    except UnicodeDecodeError:  # of five bytes that it does not have
        return line.decode("latin-1")


def load_text(path: str | Path, what: str = "text file") -> str:
    """Read a text file; a warning in the log names the first line that is not in UTF-8.

    Parameters
    ----------
    path : path
        The file.
    what : str
        What messages call it: "table".

    Raises
    ------
    UserError
        If the file is missing, unreadable, or no text.
    """
    require_content(path)
    try:
        text, guessed = decoded(content_of(path))
    except FileNotFoundError as error:
        raise UserError(f"There is no {what} {path}.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not a readable {what}: {error}.") from error
    if "\0" in text:
        raise UserError(f"{path} is not a readable {what}: it holds null bytes. Save it as text in UTF-8.")
    if guessed:
        _warn_of_guess(str(path), guessed[0], len(guessed), text.split("\n")[guessed[0] - 1])
    return text


@cache
def _warn_of_guess(path: str, line: int, n_lines: int, text: str) -> None:
    """Log, once for each file, how text that is not in UTF-8 was read."""
    words = [word for word in re.split(r"[\s,;\"]+", text) if not word.isascii()]
    logger.warning(
        f"{path} is not in UTF-8: {n_lines} lines are read as Windows-1252 (Latin-1), the first, line {line}, with "
        f"{listed(words, 3)}; if that is wrong, save the file as UTF-8"
    )


# ------------------------------------------------------------------------------------- cells of tables


def unquoted(cell: str) -> str:
    """Take off the quotation marks around a cell of a tab-separated table, as spreadsheets and R write them.

    Tab-separated tables have no quoting, so any other quotation mark is text.

    Examples
    --------
    >>> [unquoted('"left, or right"'), unquoted('"a ""b"" c"'), unquoted('"umm I saw'), unquoted('"a" and "b"')]
    ['left, or right', 'a "b" c', '"umm I saw', '"a" and "b"']
    """
    inner = cell[1:-1].replace('""', "")
    whole = len(cell) > 1 and cell[0] == cell[-1] == '"' and '"' not in inner
    return cell[1:-1].replace('""', '"') if whole else cell


def quoted(cell: str) -> str:
    """Return a cell as it is written into a tab-separated table: itself, unless `unquoted` would change it.

    Raises
    ------
    UserError
        If it has a tab or a line break.
    """
    if re.search(r"[\t\n\r]", cell):
        raise UserError(
            f"{cell!r} has a tab or a line break, which no cell of a tab-separated table can hold; rename it."
        )
    return cell if unquoted(cell) == cell else '"' + cell.replace('"', '""') + '"'


def load_cells(path: str | Path) -> list[tuple[int, list[str]]]:
    """Read a table (.csv: commas and quotation marks; anything else: tabs) as it stands; empty lines are left out.

    Returns
    -------
    list of (int, list of str)
        For each row the number of its line, from 1, and its cells.

    Raises
    ------
    UserError
        If the file is missing, empty or no text, or a quotation mark of a .csv swallows what comes after it.
    """
    text = load_text(path, "table")
    rows = _comma_separated(path, text) if str(path).lower().endswith(".csv") else _tab_separated(text)
    filled = [(line, cells) for line, cells in rows if any(cell.strip() for cell in cells)]
    if not filled:
        raise UserError(f"{path} is not a readable table: No columns, it is empty.")
    return filled


def _tab_separated(text: str) -> Iterator[tuple[int, list[str]]]:
    for number, line in enumerate(re.split(r"\r\n|\r|\n", text), start=1):
        yield number, [unquoted(cell) for cell in line.split("\t")]


def _comma_separated(path: str | Path, text: str) -> Iterator[tuple[int, list[str]]]:
    """Read the rows of a .csv; a cell may have line breaks, but no whole rows."""
    lines = re.split(r"\r\n|\r|\n", text)
    reader = csv.reader(StringIO(text, newline=""), strict=True)
    n_columns, start = 0, 1
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise UserError(
                f"{path} is not a readable table: a quotation mark on line {start} is not closed as in CSV ({error}). "
                "Close it, or double those within a cell."
            ) from error
        n_columns = n_columns or len(cells)
        whole = [line.count(",") >= n_columns - 1 for line in lines[start - 1 : reader.line_num]]
        if whole[0] and any(whole[1:]):
            raise UserError(
                f"{path} is not a readable table: a quotation mark on line {start} is closed on line "
                f"{reader.line_num} only, with whole rows between. Close it, or double those within a cell."
            )
        yield start, cells
        start = reader.line_num + 1


def is_number(cell: str) -> bool:
    """Say whether a cell of a table is a number, NaN and infinity included."""
    try:
        float(cell)
    except ValueError:
        return False
    return True
