"""Loading and saving: HDF5 for the pipeline, NIfTI and TSV for people; every file is written whole or not at all."""

import csv
import errno
import glob
import hashlib
import json
import logging
import lzma
import os
import pickle
import shutil
import struct
import tempfile
import time
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import cache, lru_cache
from io import StringIO
from pathlib import Path
from typing import Any
from xml.parsers.expat import ExpatError

import h5py
import nibabel as nib
import numpy as np
import pandas as pd

from rsa.core import (
    PART,
    QUALITY,
    REFERENCE,
    Array,
    Patterns,
    RDMs,
    Residuals,
    RunNoise,
    ScoreMap,
    Space,
    Volume,
    with_role,
)
from rsa.errors import UserError, listed, one_line
from rsa.files import records
from rsa.files.sources import (
    KEPT_BYTES,
    Version,
    content_of,
    is_number,
    load_cells,
    quoted,
    require_content,
    version_of,
)
from rsa.files.versions import versions

__all__ = [
    "DAMAGES",
    "NO_CACHE",
    "add_checksum",
    "content_hash",
    "load_image",
    "load_patterns",
    "load_rdms",
    "load_row_table",
    "load_score_table",
    "load_scores",
    "load_space",
    "load_table",
    "provenance_of",
    "opened",
    "provenance",
    "read_provenance",
    "reading",
    "require_space",
    "require_whole",
    "save",
    "save_json",
    "save_nifti",
    "save_table",
    "save_text",
    "table_if_there",
    "writing",
]

logger = logging.getLogger(__name__)

RUN_NOISE = ("normalisation", "scope", "shrinkage", "mean_removed")
"""What a file of patterns keeps of `RunNoise`."""

Storable = Patterns | RDMs | ScoreMap

COMPRESSED = (".gz", ".mgz", ".bz2", ".zst")
"""Endings of compressed files."""

PACKED_BYTES = 2**16
"""So much of a compressed file is unpacked at once; it becomes up to a thousand times as much."""

IN_MEMORY = 2**28
"""Files of more bytes are written as they are made, once there is room for them; smaller ones in one piece."""

LABELS = (
    *("condition", "file", "subject", "run", "region", "model", "layer", "network", "neighbour", "heat_map"),
    *("category_a", "category_b", "preferred_before", "preferred_after", "unit_name", "model_a", "model_b"),
)
"""Columns of tables that are text, whatever they look like."""

CHECKSUM = b"\nbrain-model-rsa: SHA-256 of all before this line "
"""What stands at the end of an HDF5 file before its checksum, in hexadecimal."""

BLOCK = 2**20
"""Bytes that are read at a time for a checksum."""

NO_CACHE: dict[str, Any] = {"rdcc_nbytes": 0}
"""How files are opened of which parts of rows are read: with a cache, HDF5 reads whole rows for a part of each."""

FORMAT_VERSION = 1
MISSING: dict[str, Any] = {"keep_default_na": False, "na_values": ["", "n/a", "nan", "NaN"]}
"""What means 'no value' in a table, as in BIDS; a condition may be called NA or None."""

DAMAGES = (
    *(OSError, EOFError, ValueError, LookupError, TypeError, AttributeError, RuntimeError, ArithmeticError),
    *(MemoryError, AssertionError, ImportError, UnboundLocalError, SyntaxError, tokenize.TokenError),
    *(struct.error, zlib.error),
    *(lzma.LZMAError, zipfile.BadZipFile, pickle.PickleError, nib.filebasedimages.ImageFileError),
    *(nib.spatialimages.HeaderDataError, ExpatError),
)
"""What numpy, scipy, h5py, nibabel, MNE, pymatreader, Pillow, torch and the libraries below them raise for a file that
is damaged, or is not what its name says. None of them has a list of its own, and each raises most of these."""


# ---------------------------------------------------------------------------------- what others have made


def _damages_of_all() -> tuple[type[Exception], ...]:
    """Return `DAMAGES`, and what scipy raises for MATLAB files: it is imported when something is wrong."""
    from scipy.io.matlab import MatReadError

    return (*DAMAGES, MatReadError)


@contextmanager
def reading(path: str | Path, kind: str) -> Iterator[None]:
    """Say in one line that a file cannot be read, whatever the library in this block raises.

    Only calls of libraries belong in the block, so that an error of ours keeps its traceback.

    Parameters
    ----------
    path : path
        The file.
    kind : str
        What it should be, with its article: "an SPM.mat".

    Raises
    ------
    UserError
        If it is missing, damaged or of another kind, or its content is not on this machine.
    """
    require_content(path)
    try:
        yield
    except FileNotFoundError as error:
        if not Path(path).exists():
            raise UserError(f"There is no file {path}.") from error
        raise UserError(f"{path} needs a file that is not there: {one_line(error)}.") from error
    except (PermissionError, IsADirectoryError) as error:
        raise UserError(f"Cannot read {path}: {error.strerror}.") from error
    except _damages_of_all() as error:
        raise UserError(
            f"{path} cannot be read as {kind}: {one_line(error)}. Give {kind}, or copy it again if it is damaged."
        ) from error


# ------------------------------------------------------------------------------- whole or not at all


@contextmanager
def writing(path: str | Path, *, recorded: bool = True) -> Iterator[Path]:
    """Give a temporary path beside `path`, and rename it to `path` if the block ends without an error.

    A job that is killed, or a disk that fills up, leaves the old file (or none), never half of a new one.

    Parameters
    ----------
    path : path
        The file that is to be written.
    recorded : bool
        Whether its checksum is kept, where checksums are (`records.recording`): not of what is deleted after its use.

    Raises
    ------
    UserError
        If the disk is full or the folder cannot be written.
    """
    path = Path(path)
    suffix = "".join(path.suffixes[-2:]) if path.suffix == ".gz" else path.suffix
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(path)
        handle, name = tempfile.mkstemp(prefix=f".partial-{path.name}-", suffix=suffix, dir=path.parent)
    except OSError as error:
        raise UserError(f"Cannot write {path}: {error.strerror}.") from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        os.chmod(temporary, 0o666 & ~_umask())
        if recorded:
            records.record(path, temporary)
        os.replace(temporary, path)
    except OSError as error:
        if _is_full_disk(error):
            raise UserError(
                f"Cannot write {path}: the disk is full. Make room and run again; nothing is lost."
            ) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def require_space(path: str | Path, n_bytes: int) -> None:
    """Raise a `UserError` unless the disk of `path` has room for so many bytes: before a long job, not at its end."""
    folder = Path(path).absolute().parent
    while not folder.exists():
        folder = folder.parent
    n_free = shutil.disk_usage(folder).free
    if n_free < n_bytes:
        raise UserError(
            f"{path} needs {n_bytes / 1e9:.1f} GB and the disk has {n_free / 1e9:.1f} GB left; make room, or ask for "
            "less."
        )


def _remove_abandoned(path: Path) -> None:
    """Remove what killed jobs left of this file more than an hour ago; a younger one may still be written."""
    for abandoned in path.parent.glob(f".partial-{glob.escape(path.name)}-*"):
        with suppress(FileNotFoundError):  # it got its name just now
            if time.time() - abandoned.stat().st_mtime > 3600:
                abandoned.unlink()


def _is_full_disk(error: OSError) -> bool:
    """Say whether an error means that there is no room; h5py says so only in its text."""
    codes = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    return error.errno in codes or any(f"errno = {code}" in str(error) for code in codes)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


# --------------------------------------------------------------------------------------- provenance


def content_hash(path: str | Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal.

    Raises
    ------
    UserError
        If the file cannot be read, or is compressed and damaged.
    """
    require_content(path)
    require_whole(path)
    try:
        if os.path.getsize(path) <= KEPT_BYTES:
            return hashlib.sha256(content_of(path)).hexdigest()
        return records.sha256_of(path)
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror}.") from error


def require_whole(path: str | Path) -> None:
    """Unpack a compressed file to its end, where its checksum is: who reads no further than the data never sees it.

    Other files pass. A file that did not change since the last time is not unpacked again.

    Raises
    ------
    UserError
        If the file cannot be read, or is not what was once compressed.
    """
    if not str(path).lower().endswith(COMPRESSED):
        return
    try:
        _unpack(str(path), version_of(path))
    except (FileNotFoundError, PermissionError, IsADirectoryError) as error:
        raise UserError(f"Cannot read {path}: {error.strerror}.") from error
    except DAMAGES as error:
        raise UserError(
            f"{path} is damaged, its data cannot be read to their end: {one_line(error)}. Copy or make it again."
        ) from error


@cache
def _unpack(path: str, version: Version) -> None:
    """Unpack a version of a file, and forget what is in it."""
    if path.lower().endswith((".gz", ".mgz")):
        _unpack_gzip(path)
        return
    with nib.openers.Opener(path) as stream:
        while stream.read(PACKED_BYTES):
            pass


def _unpack_gzip(path: str) -> None:
    """Unpack all members of a gzip file; zlib compares length and checksum at the end of each."""
    member = zlib.decompressobj(wbits=31)
    with open(path, "rb") as file:
        while packed := file.read(PACKED_BYTES):
            while packed:
                member.decompress(packed)
                packed = member.unused_data.lstrip(b"\0")  # some programs fill up the end of a file
                if packed:
                    member = zlib.decompressobj(wbits=31)
    if not member.eof:
        raise EOFError("it ends too early")


def provenance(
    inputs: Sequence[str | Path] = (), settings: Mapping[str, Any] | None = None, device: str = "cpu"
) -> dict[str, Any]:
    """Describe how an output is made: versions, device, settings, and the content hash of every input.

    Inputs are hashed before they are read: see `provenance_of`.

    Parameters
    ----------
    inputs : sequence of path
        The files that are read.
    settings : mapping, optional
        What changes the result: the options of the stage.
    device : str
        Where it is computed.
    """
    return {
        "versions": dict(versions()),
        "device": device,
        "settings": dict(settings or {}),
        "inputs": {str(path): content_hash(path) for path in inputs},
    }


@contextmanager
def provenance_of(
    inputs: Sequence[str | Path], settings: Mapping[str, Any] | None = None, device: str = "cpu"
) -> Iterator[dict[str, Any]]:
    """Give the provenance of what is made of some files, which are to be read in this block and nowhere else.

    Raises
    ------
    UserError
        At the end of the block, if a file is not the one that was hashed at its beginning.
    """
    before = _states(inputs)
    yield provenance(inputs, settings, device)
    after = _states(inputs)
    changed = [path for path in before if after[path] != before[path]]
    if changed:
        raise UserError(f"{listed(changed)} changed while it was read, and nothing was made of it; run again.")


def _states(paths: Sequence[str | Path]) -> dict[str, tuple[int, int] | None]:
    """Return what changes when a file is written or replaced: its size and time; None where there is no file."""
    found: dict[str, tuple[int, int] | None] = {}
    for path in paths:
        try:
            state = os.stat(path)
            found[str(path)] = (state.st_size, state.st_mtime_ns)
        except OSError:
            found[str(path)] = None
    return found


# --------------------------------------------------------------------------------------------- HDF5


def save(
    path: str | Path, thing: Storable, provenance: Mapping[str, Any] | None = None, *, recorded: bool = True
) -> None:
    """Write patterns, RDMs or scores as one HDF5 file.

    The file holds `values` (float32 in chunks of rows; RDMs in float64), `table/<column>` and, as attributes,
    `kind`, `format_version`, what the kind needs, and the provenance as JSON; what has a space holds that (see
    `SPACES`). Nothing in it is pickled.

    Parameters
    ----------
    path : path
        Where to; written whole or not at all.
    thing : Patterns, RDMs or ScoreMap
        What to write.
    provenance : mapping, optional
        See the function `provenance`.
    recorded : bool
        Whether it is a result, of which the log tells and a checksum is kept; see `writing`.
    """
    residuals = thing.residuals.values.nbytes if isinstance(thing, Patterns) and thing.residuals is not None else 0
    is_large = thing.values.nbytes + residuals > IN_MEMORY
    if is_large:
        require_space(path, thing.values.nbytes + residuals)
    # HDF5 crashes the whole process when a disk is full, so a file is made in memory and written as bytes.
    how: dict[str, Any] = {} if is_large else {"driver": "core", "backing_store": False}
    with writing(path, recorded=recorded) as temporary:
        with h5py.File(temporary, "w", **how) as file:
            _fill_file(file, thing, provenance or {})
            if not is_large:
                file.flush()
                temporary.write_bytes(file.id.get_file_image())
        add_checksum(temporary)
    if recorded:
        logger.debug("%s holds %s", path, content := _content(thing), extra={"holds": content})


def _content(thing: Storable) -> str:
    """Say what is in a file, in a few words."""
    n_rows, n_columns = thing.values.shape
    if isinstance(thing, RDMs):
        return f"{n_rows:,} RDM{'s' * (n_rows != 1)} of {len(thing.conditions):,} conditions"
    kind, of = "pattern" if isinstance(thing, Patterns) else "map", "values" if thing.volume is None else "voxels"
    return f"{n_rows:,} {kind}{'s' * (n_rows != 1)} of {n_columns:,} {of}"


def _fill_file(file: h5py.File, thing: Storable, provenance: Mapping[str, Any]) -> None:
    file.attrs.update(kind=type(thing).__name__, format_version=FORMAT_VERSION, provenance=json.dumps(provenance))
    n_rows, n_columns = thing.values.shape
    file.create_dataset("values", data=thing.values, chunks=(1, max(n_columns, 1)) if n_rows else None)
    _save_frame(file, "table", thing.table)
    FILLED[type(thing)](file, thing)


def _fill_rdms(file: h5py.File, rdms: RDMs) -> None:
    file.attrs["distance"] = rdms.distance
    _save_column(file, "conditions", np.array(rdms.conditions, dtype=object))


def _fill_patterns(file: h5py.File, patterns: Patterns) -> None:
    _save_space(file, patterns.space)
    file.create_dataset("usable", data=patterns.usable)
    if patterns.residuals is not None:
        stored = file.create_dataset("residuals", data=patterns.residuals.values)
        stored.attrs["degrees_of_freedom"] = patterns.residuals.degrees_of_freedom
    if (noise := patterns.run_noise) is not None:
        if noise.samples is not None:
            raise UserError("Patterns at one delay are not saved without the others that tell their noise.")
        file.attrs["run_noise"] = json.dumps({name: getattr(noise, name) for name in RUN_NOISE})


def _fill_scores(file: h5py.File, scores: ScoreMap) -> None:
    _save_space(file, scores.space)
    if scores.regions is not None:
        _save_frame(file, "regions", scores.regions)
    for name in ("n_members", "reason"):
        if getattr(scores, name) is not None:
            file.create_dataset(name, data=getattr(scores, name))


FILLED: dict[type, Callable[[h5py.File, Any], None]] = {
    RDMs: _fill_rdms,
    Patterns: _fill_patterns,
    ScoreMap: _fill_scores,
}
"""What a file has besides values and table, by what is stored."""


def load_patterns(path: str | Path, columns: slice | None = None) -> Patterns:
    """Read patterns that `save` wrote, with their residuals, or how noise between runs is used, if they have such.

    Parameters
    ----------
    path : path
        The file.
    columns : slice, optional
        Voxels that follow each other, one of which is usable: only these are read. By default all features.
    """
    with opened(path, "Patterns", **({} if columns is None else NO_CACHE)) as file:
        chosen, residuals = slice(None) if columns is None else columns, None
        if "residuals" in file:
            stored = file["residuals"]
            residuals = Residuals(stored[:, chosen], float(stored.attrs["degrees_of_freedom"]))
        run_noise = RunNoise(**json.loads(file.attrs["run_noise"])) if "run_noise" in file.attrs else None
        table, space = _load_frame(file, "table"), load_space(file)
        if columns is not None and isinstance(space, Volume):
            space = space.of_columns(columns)
        return Patterns(file["values"][:, chosen], table, space, file["usable"][chosen], residuals, run_noise)


def load_row_table(path: str | Path) -> pd.DataFrame:
    """Read the table of the rows of any of these files, and nothing else."""
    with opened(path) as file:
        return _load_frame(file, "table")


def load_rdms(path: str | Path) -> RDMs:
    """Read RDMs that `save` wrote."""
    with opened(path, "RDMs") as file:
        conditions = list(file["conditions"].asstr()[:])
        return RDMs(file["values"][:], conditions, _load_frame(file, "table"), str(file.attrs["distance"]))


def load_scores(path: str | Path, rows: slice = slice(None)) -> ScoreMap:
    """Read scores that `save` wrote: all maps, or those of some rows that follow each other."""
    with opened(path, "ScoreMap") as file:
        extra = {name: file[name][:] if name in file else None for name in ("n_members", "reason")}
        regions = _load_frame(file, "regions") if "regions" in file else None
        table = load_score_table(file).iloc[rows]
        return ScoreMap(file["values"][rows], table, load_space(file), regions, **extra)


def load_score_table(file: h5py.File) -> pd.DataFrame:
    """Read the table of the rows of scores from an open file, with what each row is in the column `role`."""
    return with_role(_with_roles(_load_frame(file, "table")))


def _with_roles(table: pd.DataFrame) -> pd.DataFrame:
    """Say what each row of scores is, which files of earlier versions told by the names of models and statistics."""
    if "role" in table or not {"model", "layer", "statistic"} <= set(table):
        return table
    of_data = table["model"].isin(["reliability", "ceilinglower", "ceilingupper"]) & (table["layer"] == "")
    is_part = table["statistic"].isin(["variance", "commonality"])
    return table.assign(role=np.select([of_data, is_part], [QUALITY, PART], REFERENCE))


def read_provenance(path: str | Path) -> dict[str, Any]:
    """Return the provenance that was written into an HDF5 file of the pipeline."""
    with opened(path) as file:
        found: dict[str, Any] = json.loads(file.attrs["provenance"])
        return found


@contextmanager
def opened(path: str | Path, kind: str | None = None, **how: Any) -> Iterator[h5py.File]:
    """Open an HDF5 file of the pipeline, as h5py takes `how`; say what it is if it is not the kind that is wanted."""
    require_content(path)
    try:
        has_checksum = _is_whole(str(path), version_of(path))
        file = h5py.File(path, "r", **how)
    except FileNotFoundError as error:
        raise UserError(f"There is no file {path}.") from error
    except OSError as error:
        raise UserError(f"{path} is not an HDF5 file, or is damaged; delete it and run again.") from error
    with file, nullcontext() if has_checksum else _of_an_old_file(path):
        found = file.attrs.get("kind")
        if found is None or (kind is not None and found != kind):
            raise UserError(
                f"{path} holds {found or 'no data of this pipeline'}, where {kind or 'its data'} is expected."
            )
        if file.attrs["format_version"] > FORMAT_VERSION:
            raise UserError(
                f"{path} was written by a later version of brain-model-rsa; upgrade, or delete it and run again."
            )
        yield file


@contextmanager
def _of_an_old_file(path: str | Path) -> Iterator[None]:
    """Say what to do about a file without a checksum that cannot be read; of one with, an error is none of the file."""
    try:
        yield
    except DAMAGES as error:
        raise UserError(f"{path} is damaged ({one_line(error)}); delete it and run again.") from error


def add_checksum(path: Path) -> None:
    """Append the SHA-256 of a file to it; the HDF5 library reads no further than its own data."""
    with path.open("r+b") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        file.seek(0, os.SEEK_END)
        file.write(CHECKSUM + digest.encode())


@lru_cache(maxsize=1024)
def _is_whole(path: str, version: Version) -> bool:
    """Say whether a file has a checksum; one that is wrong is a `UserError`. Each version is read once."""
    n_data = version.n_bytes - len(CHECKSUM) - 64
    with open(path, "rb") as file:
        file.seek(max(n_data, 0))
        mark, told = file.read(len(CHECKSUM)), file.read()
        if mark != CHECKSUM:
            return False
        file.seek(0)
        digest, n_left = hashlib.sha256(), n_data
        while block := file.read(min(n_left, BLOCK)):
            digest.update(block)
            n_left -= len(block)
    if digest.hexdigest().encode() != told:
        raise UserError(
            f"{path} is damaged: it is not what was written (by its checksum). Delete it and run again, or copy it "
            "again if it comes from elsewhere."
        )
    return True


def _save_frame(file: h5py.File, name: str, table: pd.DataFrame) -> None:
    group = file.create_group(name)
    group.attrs["columns"] = json.dumps(list(table))
    group.attrs["n_rows"] = len(table)
    for column in table:
        _save_column(group, str(column), table[column].to_numpy())


def _save_column(group: h5py.Group, name: str, values: Array) -> None:
    if values.dtype.kind in "biuf":
        group.create_dataset(name, data=values)
    else:
        text = ["" if pd.isna(value) else str(value) for value in values]
        group.create_dataset(name, data=np.array(text, dtype=object), dtype=h5py.string_dtype())


def _load_frame(file: h5py.File, name: str) -> pd.DataFrame:
    group = file[name]
    columns = {}
    for column in json.loads(group.attrs["columns"]):
        stored = group[column]
        columns[column] = stored.asstr()[:] if h5py.check_string_dtype(stored.dtype) else stored[:]
    return pd.DataFrame(columns, index=range(int(group.attrs["n_rows"])))


@dataclass(frozen=True)
class StoredSpace:
    """How a kind of space is stored: the kind, and functions that write it under a name of the file and read it."""

    kind: type
    save: Callable[[h5py.File, str, Any], None]
    load: Callable[[h5py.File, str], Space]


def _save_volume(file: h5py.File, name: str, volume: Volume) -> None:
    stored = file.create_dataset(name, data=volume.mask, compression="gzip")
    stored.attrs.update(affine=volume.affine, sform_code=volume.sform_code, qform_code=volume.qform_code, unit="mm")


def _load_volume(file: h5py.File, name: str) -> Volume:
    stored = file[name]
    codes = {name: int(stored.attrs[name]) for name in ("sform_code", "qform_code")}
    return Volume(mask=stored[:], affine=stored.attrs["affine"], **codes)


SPACES: dict[str, StoredSpace] = {"mask": StoredSpace(Volume, _save_volume, _load_volume)}
"""The kinds of spaces, by the name under which a file holds them."""


def _save_space(file: h5py.File, space: Space | None) -> None:
    if space is None:
        return
    names = {stored.kind: name for name, stored in SPACES.items()}
    if type(space) not in names:
        there = listed([kind.__name__ for kind in names])
        raise UserError(f"{type(space).__name__} cannot be stored; there are {there}. Add it to `SPACES`.")
    SPACES[names[type(space)]].save(file, names[type(space)], space)


def load_space(file: h5py.File) -> Space | None:
    """Read what the columns are from an open file, if they are in a space."""
    return next((stored.load(file, name) for name, stored in SPACES.items() if name in file), None)


# --------------------------------------------------------------------------- NIfTI, tables and text


def load_image(path: str | Path, *, keep_open: bool = False) -> nib.Nifti1Image:
    """Open an image without reading its data; `keep_open` if they are going to be read bit by bit.

    Raises
    ------
    UserError
        If there is no such file, or it is not an image that nibabel knows.
    """
    require_content(path)
    try:
        options = {"keep_file_open": True} if keep_open else {}  # which images of surfaces do not know
        image: nib.Nifti1Image = nib.load(path, **options)  # type: ignore[assignment]  # any with an affine will do
        return image
    except FileNotFoundError as error:
        raise UserError(f"There is no image {path}.") from error
    except DAMAGES as error:
        raise UserError(f"{path} is not a readable NIfTI image: {one_line(error)}.{_misnamed(path)}") from error


def _misnamed(path: str | Path) -> str:
    """Return a hint if an image is empty, or it is compressed and its name does not say so, or the other way round."""
    try:
        with open(path, "rb") as file:
            start = file.read(2)
    except OSError:
        return ""
    is_packed = start == b"\x1f\x8b"
    if not start:
        return " Copy or make it again."
    header = Path(path).with_suffix(".hdr")
    if Path(path).suffix == ".img" and not header.exists():
        return f" Its header {header} is not there."
    if is_packed == str(path).lower().endswith(".gz"):
        return ""
    return " It is compressed; end its name in .gz." if is_packed else " It is not compressed; take .gz off its name."


def save_nifti(path: str | Path, image: nib.Nifti1Image, sidecar: Mapping[str, Any] | None = None) -> None:
    """Write an image and, beside it, a JSON sidecar that says what its numbers are."""
    with writing(path) as temporary:
        nib.save(image, temporary)
    if sidecar is not None:
        save_json(str(path).removesuffix(".gz").removesuffix(".nii") + ".json", sidecar)


def load_table(path: str | Path, required: Sequence[str] = (), optional: Sequence[str] = ()) -> pd.DataFrame:
    """Read a table (.csv: commas; anything else: tabs), with labels kept as text.

    The columns `LABELS`, and those that are asked for, are read as text ("01" stays "01"). Tab-separated tables have
    no quoting: a quotation mark is text, unless a pair of them is all around a cell.

    Parameters
    ----------
    path : path
        The table.
    required : sequence of str
        Columns that must be there and have a value in every row.
    optional : sequence of str
        Columns that must be there; a value may be missing.

    Raises
    ------
    UserError
        If the file is missing or unreadable, a row has more cells than there are columns, or a required column is not
        there.
    """
    asked = dict.fromkeys([*LABELS, *required, *optional], str)
    header, rows = _header_and_rows(path)
    missing = [name for name in [*required, *optional] if name not in header]
    if missing:
        raise UserError(f"{path} has no column {listed(missing)}; its columns are {listed(header, 20)}.")
    for name in asked:
        _require_labels(path, name, header, rows)
    with StringIO(newline="") as cells:  # by pandas, which finds out which columns are numbers
        csv.writer(cells, quoting=csv.QUOTE_ALL).writerows([header, *(row for _, row in rows)])
        cells.seek(0)
        table = pd.read_csv(cells, dtype=asked, index_col=False, **MISSING)
    empty = [name for name in required if table[name].isna().any()]
    if empty:
        line = rows[int(table[empty[0]].isna().to_numpy().argmax())][0]
        raise UserError(f"{path} has no value in column {empty[0]!r} on line {line}.")
    return table


def table_if_there(path: str | Path) -> pd.DataFrame | None:
    """Read a table (see `load_table`); None if there is no such file, as what it tells was not asked for."""
    return load_table(path) if Path(path).is_file() else None


def _header_and_rows(path: str | Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Read the names of the columns, and the rows with the numbers of their lines, each as long as there are names."""
    (_, header), *rows = load_cells(path)
    n_columns = len(header)
    if rows and all(len(cells) == n_columns + 1 and cells[0] == str(i) for i, (_, cells) in enumerate(rows, start=1)):
        return header, [(line, cells[1:]) for line, cells in rows]  # R numbers the rows, in a column without a name
    for line, cells in rows:
        if any(cells[n_columns:]) or (len(cells) < n_columns and cells[-1].startswith('"')):
            raise UserError(
                f"{path} is not a readable table: line {line} has {len(cells)} cells, and the header names {n_columns} "
                "columns. Take tabs and line breaks out of cells."
            )
    n_named = max((i for i, name in enumerate(header, start=1) if name), default=0)
    short = [line for line, cells in rows if len(cells) < n_named]
    if short:
        logger.warning(
            f"{path}: {len(short)} lines have fewer cells than there are columns, first line {short[0]}; the others "
            "count as missing"
        )
    return header, [(line, (cells + [""] * n_columns)[:n_columns]) for line, cells in rows]


def _require_labels(path: str | Path, name: str, header: Sequence[str], rows: Sequence[tuple[int, list[str]]]) -> None:
    """Check a column of text: it comes once, and its cells fit on a line; log if a label counts as 'no value'."""
    if header.count(name) > 1:
        raise UserError(f"{path} has {header.count(name)} columns {name!r}; rename all but one.")
    cells = {line: row[header.index(name)] for line, row in rows} if name in header else {}
    for line, cell in cells.items():
        if any(mark in cell for mark in "\t\n\r"):
            raise UserError(f"{path} has a tab or a line break in column {name!r} on line {line}: {cell!r}. Rename it.")
    nans = [line for line, cell in cells.items() if cell in ("nan", "NaN")]
    if nans and any(cell not in MISSING["na_values"] and not is_number(cell) for cell in cells.values()):
        logger.warning(
            f"{path}: 'nan' in column {name!r} ({len(nans)} lines, first line {nans[0]}) counts as no value, as n/a "
            "does; if it is a label, rename it"
        )


def save_table(path: str | Path, table: pd.DataFrame, dictionary: Mapping[str, str] | None = None) -> None:
    """Write a tab-separated table and, if given, a JSON dictionary that describes its columns.

    Text is written as it is, quotation marks too; only a cell that `load_table` would take for a quoted one is quoted.

    Raises
    ------
    UserError
        If a text has a tab or a line break.
    """
    cells = table.rename(columns=lambda name: quoted(str(name)))
    cells = cells.map(lambda cell: quoted(cell) if isinstance(cell, str) else cell)
    with writing(path) as temporary:
        cells.to_csv(temporary, sep="\t", index=False, na_rep="n/a", float_format="%.6g", quoting=csv.QUOTE_NONE)
    if dictionary is not None:
        save_json(Path(path).with_suffix(".json"), {name: {"Description": text} for name, text in dictionary.items()})


def save_json(path: str | Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file."""
    save_text(path, json.dumps(content, indent=2, default=str) + "\n")


def save_text(path: str | Path, text: str) -> None:
    """Write a text file in UTF-8."""
    with writing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
