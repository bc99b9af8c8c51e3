"""Public data that the workflow can fetch: downloaded once, then laid out as the dataset kind `bids` reads them."""

import logging
import os
import shutil
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
from nibabel.arrayproxy import ArrayProxy

from rsa.core import Array
from rsa.errors import UserError, listed
from rsa.files import records
from rsa.files.images import count_volumes, opened
from rsa.files.io import provenance_of, require_whole, save_json, save_nifti, save_table, save_text
from rsa.registry import pick

__all__ = ["FETCHED_SUBJECTS", "FETCHERS", "fetch", "fetch_haxby", "fetched_files", "not_fetched"]

logger = logging.getLogger(__name__)

TR_S = 2.5
TASK = "objects"
DERIVATIVES = Path("derivatives", "pymvpa")
SOURCE = Path("sourcedata")
SHARED = ("dataset_description.json", "README", f"task-{TASK}_bold.json", "stimuli.tsv")
"""Files that belong to no single subject; the first is in the derivatives as well."""
HAXBY_URL = "http://data.pymvpa.org/datasets/haxby2001/"
HAXBY_MASK_URL = "https://www.nitrc.org/frs/download.php/7868/mask.nii.gz"
HAXBY_SUBJECTS = ("1", "2", "3", "4", "5", "6")
HAXBY_CATEGORIES = {
    "bottle": ("bottles", 0),
    "cat": ("cats", 1),
    "chair": ("chairs", 0),
    "face": ("faces", 1),
    "house": ("houses", 0),
    "scissors": ("scissors", 0),
    "scrambledpix": ("controls", 0),
    "shoe": ("shoes", 0),
}
"""Each label of a volume: the folder of its pictures, and whether they show something animate."""

HAXBY_DESCRIPTION: dict[str, Any] = {
    "Name": "Haxby et al. (2001): faces and objects in ventral temporal cortex",
    "BIDSVersion": "1.8.0",
    "DatasetType": "raw",
    "License": "CC BY-SA 3.0, copyright of the original authors",
    "HowToAcknowledge": "Cite Haxby et al. (2001) Science 293:2425-2430 and Hanke et al. (2009) Front Neuroinform 3:3.",
    "SourceDatasets": [{"URL": HAXBY_URL}],
}
HAXBY_README = f"""Haxby et al. (2001): faces and objects in ventral temporal cortex (Science 293:2425-2430).

Fetched from {HAXBY_URL} by nilearn, and laid out as BIDS by brain-model-rsa:

* sourcedata/haxby2001: the files as they are distributed.
* sub-*/func: when blocks of which category were shown, from the labels of the volumes (TR {TR_S} s); rest is not
  listed. The data say which category a block showed, not which picture, and the order of the pictures is not known.
* {DERIVATIVES.as_posix()}: the runs of the one series of each subject, every voxel value unchanged, and a brain mask
  of our own: nilearn's compute_epi_mask on the mean over all volumes, the same for all runs.
* stimuli.tsv: the pictures of each category. The pictures of 'scrambledpix' are those of the folder controls.

The series are as the authors distribute them: not detrended, not smoothed and not in a standard space. There are
no estimates of motion, and the source does not say whether motion was corrected. Subject 5 has 11 runs: the data of
run 9 are corrupted, and all of its volumes are labelled rest. The order of slices is not known.
"""


def fetch(dataset: str, folder: str | Path, subjects: Sequence[str]) -> None:
    """Download a public data set, as far as it is not there yet, and lay it out below `folder`.

    Parameters
    ----------
    dataset : str
        A key of `FETCHERS`.
    folder : path
        The root of the data set.
    subjects : sequence of str
        Labels of the subjects.

    Raises
    ------
    UserError
        If there is no such data set or subject, or the download fails.
    """
    pick(FETCHERS, dataset, "data set to fetch")(Path(folder), subjects)


def fetched_files(folder: str | Path, subjects: Sequence[str]) -> list[Path]:
    """Return the files that `fetch` writes last: the table of the stimuli, and a stamp for each subject.

    All other files are there when these are. Parameters are those of `fetch`.
    """
    folder = Path(folder)
    return [folder / "stimuli.tsv", *(_stamp(folder, subject) for subject in subjects)]


def _stamp(folder: Path, subject: str) -> Path:
    return folder / SOURCE / f"sub-{subject}_fetched.json"


# ---------------------------------------------------------------------------------------------- haxby


def fetch_haxby(folder: Path, subjects: Sequence[str]) -> None:
    """Download the data of Haxby et al. (2001) [1]_ by nilearn and lay them out as BIDS.

    A subject is laid out whole or not at all, and its stamp (see `fetched_files`) is written last. What was downloaded
    stays in ``sourcedata/haxby2001`` and is not downloaded again.

    Parameters and errors are those of `fetch`; labels go from "1" to "6".

    References
    ----------
    .. [1] Haxby JV, Gobbini MI, Furey ML, Ishai A, Schouten JL, Pietrini P (2001) Science 293:2425-2430.
    """
    unknown = [subject for subject in subjects if subject not in HAXBY_SUBJECTS]
    if unknown or not subjects:
        raise UserError(
            f"Haxby et al. (2001) have the subjects {listed(HAXBY_SUBJECTS)}; asked for: {listed(unknown) or 'none'}."
        )
    folder, subjects = Path(folder), sorted(set(subjects))
    if foreign := [str(path) for path in _replaced(folder, subjects) if not records.is_own(path)]:
        raise UserError(
            f"{folder} has {listed(foreign, 3)}, which was not fetched, or which changed since: fetch into another "
            "folder, or move what is there; delete it if an earlier version fetched it."
        )
    source = _downloaded_haxby(folder / SOURCE, subjects)
    with records.recording():
        for stamp in fetched_files(folder, subjects):
            stamp.unlink(missing_ok=True)
        _write_shared_files(folder, _table_of_pictures(source["stimuli"], folder))
        for subject, bold, labels in zip(subjects, source["func"], source["session_target"], strict=True):
            logger.info("subject %r: laying out %s", subject, bold)
            _require_whole(Path(bold))
            with provenance_of([bold, labels]) as provenance:
                _lay_out_subject(folder, subject, Path(bold), Path(labels))
            save_json(_stamp(folder, subject), provenance)


def _require_whole(path: Path) -> None:
    """Raise a `UserError` that says how to download a damaged file again."""
    try:
        require_whole(path)
    except UserError as error:
        raise UserError(f"{error} To download it anew, delete its folder and run again.") from error


def _replaced(folder: Path, subjects: Sequence[str]) -> list[Path]:
    """Return the files that are there and that `fetch` replaces: those of no single subject, and all in subjects'."""
    shared = [folder / name for name in (*SHARED, DERIVATIVES / SHARED[0])]
    inside = [
        path
        for subject in subjects
        for part in (Path(), DERIVATIVES)
        for path in sorted((folder / part / f"sub-{subject}").rglob("*"))
    ]
    return [path for path in [*shared, *inside] if path.is_file() and path.parent.name != records.FOLDER]


def not_fetched(folder: str | Path, subjects: Sequence[str]) -> list[str]:
    """Return what `fetch` would replace and did not write: found by names, but for the table of the stimuli.

    There is none in a folder that an earlier version, which kept no checksums, has fetched.
    """
    folder = Path(folder)
    table, *stamps = fetched_files(folder, subjects)
    if any(map(Path.exists, stamps)) and not any(map(records.recorded, stamps)):
        return []
    own = {path: records.is_own if path == table else records.recorded for path in _replaced(folder, subjects)}
    return [str(path) for path, is_ours in own.items() if not is_ours(path)]


def _downloaded_haxby(folder: Path, subjects: Sequence[str]) -> Mapping[str, Any]:
    """Let nilearn download what is not in `folder` yet; return its paths by name, subjects in ascending order.

    nilearn mixes up the files of subjects that come after 6, who has one file less; in ascending order it is right.
    """
    from nilearn.datasets import fetch_haxby as download

    try:
        found: Mapping[str, Any] = download(
            data_dir=folder, subjects=[int(one) for one in subjects], fetch_stimuli=True
        )
    except (OSError, ValueError) as error:
        archives = [f"subj{subject}-2010.01.14.tar.gz" for subject in subjects]
        reason = " ".join(str(error).split())
        raise UserError(
            f"Cannot download the data of Haxby et al. (2001) ({reason}). Run again, which resumes, or by hand: put "
            f"MD5SUMS of {HAXBY_URL} and {HAXBY_MASK_URL} into {folder / 'haxby2001'}, and unpack "
            f"{', '.join([*archives, 'stimuli-2010.01.14.tar.gz'])} of {HAXBY_URL} there; then no network is needed."
        ) from error
    return found


def _write_shared_files(folder: Path, pictures: pd.DataFrame) -> None:
    """Write what belongs to no single subject."""
    made_by = {"DatasetType": "derivative", "GeneratedBy": [{"Name": "brain-model-rsa"}]}
    save_json(folder / "dataset_description.json", HAXBY_DESCRIPTION)
    save_json(folder / DERIVATIVES / "dataset_description.json", HAXBY_DESCRIPTION | made_by)
    save_json(folder / f"task-{TASK}_bold.json", {"TaskName": TASK, "RepetitionTime": TR_S})
    save_text(folder / "README", HAXBY_README)
    save_table(folder / "stimuli.tsv", pictures)


def _lay_out_subject(folder: Path, subject: str, bold: Path, labels: Path) -> None:
    """Write events, runs and masks of a subject beside where they belong, and then move them there."""
    image = opened(bold)
    rows = _volume_labels(labels, count_volumes(image), bold)
    stored = _stored_values(image, bold)  # (n_x, n_y, n_z, n_volumes)
    mask = _brain_mask(image, stored)
    with _folder_beside(folder, subject) as beside:
        for run, volumes in _runs(rows):
            name = f"sub-{subject}_task-{TASK}_run-{run}"
            events = _events(list(rows["labels"].iloc[volumes]))
            save_table(beside / f"sub-{subject}" / "func" / f"{name}_events.tsv", events)
            images = beside / DERIVATIVES / f"sub-{subject}" / "func" / name
            series = _series(image, stored[..., volumes])
            save_nifti(f"{images}_desc-preproc_bold.nii.gz", series, {"RepetitionTime": TR_S, "SkullStripped": False})
            save_nifti(f"{images}_desc-brain_mask.nii.gz", mask, {"Type": "Brain"})
        for part in (DERIVATIVES / f"sub-{subject}", Path(f"sub-{subject}")):
            _move(beside / part, folder / part)


@contextmanager
def _folder_beside(folder: Path, subject: str) -> Iterator[Path]:
    """Make a hidden folder for the time of a block, and remove those that killed jobs left more than an hour ago."""
    prefix = f".partial-sub-{subject}-"
    for abandoned in folder.glob(f"{prefix}*"):
        if time.time() - abandoned.stat().st_mtime > 3600:
            shutil.rmtree(abandoned, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=prefix, dir=folder) as name:
        yield Path(name)


def _move(source: Path, target: Path) -> None:
    """Put a folder where another may be."""
    if target.exists():
        shutil.rmtree(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    os.replace(source, target)


def _volume_labels(path: Path, n_volumes: int, bold: Path) -> pd.DataFrame:
    """Read what was shown during each volume: columns labels and chunks (the run, from 0)."""
    try:
        rows = pd.read_csv(path, sep=r"\s+", dtype={"labels": str, "chunks": int})
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is not a readable table ({error}); delete its folder and run again.") from error
    missing = {"labels", "chunks"} - set(rows)
    if missing or len(rows) != n_volumes:
        raise UserError(
            f"{path} should have the columns labels and chunks and {n_volumes} rows, one per volume of {bold.name}; it "
            f"has {listed(list(rows))} and {len(rows)} rows. Delete its folder and run again."
        )
    unknown = sorted(set(rows["labels"]) - {*HAXBY_CATEGORIES, "rest"})
    if unknown:
        raise UserError(
            f"{path} has labels that are not known: {listed(unknown)}; expected {listed([*HAXBY_CATEGORIES])}."
        )
    return rows


def _runs(rows: pd.DataFrame) -> Iterator[tuple[str, slice]]:
    """Yield the label of each run, from 01, with its volumes; a run in which nothing is shown is left out."""
    for chunk, positions in rows.groupby("chunks").indices.items():
        run, volumes = f"{int(chunk) + 1:02}", slice(int(positions[0]), int(positions[-1]) + 1)
        if len(positions) != volumes.stop - volumes.start:
            raise UserError(f"The volumes of run {run} do not follow each other; delete the download and run again.")
        if set(rows["labels"].iloc[volumes]) == {"rest"}:
            logger.warning("run %s is left out: all of its volumes are labelled rest", run)
            continue
        yield run, volumes


def _events(labels: Sequence[str]) -> pd.DataFrame:
    """Return the blocks of equal labels of a run as BIDS events, onset and duration in seconds; rest is left out.

    Examples
    --------
    >>> _events(["rest", "cat", "cat", "rest", "shoe"])
       onset  duration trial_type
    0    2.5       5.0        cat
    1   10.0       2.5       shoe
    """
    shown = pd.Series(list(labels))
    block = (shown != shown.shift()).cumsum()
    blocks = shown.groupby(block).agg(["first", "size"])
    onset = TR_S * (blocks["size"].cumsum() - blocks["size"])
    events = pd.DataFrame({"onset": onset, "duration": TR_S * blocks["size"], "trial_type": blocks["first"]})
    return events[events["trial_type"] != "rest"].reset_index(drop=True)


def _proxy(image: nib.Nifti1Pair) -> ArrayProxy:
    """Return the data of an image in a file, which are not read yet."""
    assert isinstance(image.dataobj, ArrayProxy), "an image that was opened has its data in its file"
    return image.dataobj


def _stored_values(image: nib.Nifti1Pair, path: Path) -> Array:
    """Read a series (n_x, n_y, n_z, n_volumes) as the numbers in the file, not scaled."""
    try:
        return np.asanyarray(_proxy(image).get_unscaled())
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise UserError(f"{path} is damaged ({error}); delete its folder and run again.") from error


def _series(image: nib.Nifti1Pair, stored: Array) -> nib.Nifti1Image:
    """Return stored numbers as an image with the type, scaling and grid of another, and the TR in its header."""
    part = nib.Nifti1Image(stored, image.affine, image.header)
    part.header.set_slope_inter(_proxy(image).slope, _proxy(image).inter)
    part.header.set_zooms((*image.header.get_zooms()[:3], TR_S))
    part.header.set_xyzt_units("mm", "sec")
    return part


def _brain_mask(image: nib.Nifti1Pair, stored: Array) -> nib.Nifti1Image:
    """Return nilearn's mask of the brain (n_x, n_y, n_z) from the mean over all volumes."""
    from nilearn.masking import compute_epi_mask

    mean = stored.mean(axis=3, dtype=np.float64) * _proxy(image).slope + _proxy(image).inter
    inside = compute_epi_mask(nib.Nifti1Image(mean.astype(np.float32), image.affine))
    return nib.Nifti1Image(np.asarray(inside.dataobj, dtype=np.uint8), image.affine)


def _table_of_pictures(folders: Mapping[str, Any], root: Path) -> pd.DataFrame:
    """List the pictures of each category: condition, file relative to `root`, animate."""
    rows = []
    for condition, (name, animate) in HAXBY_CATEGORIES.items():
        files = _flat(folders.get(name, []))
        if not files:
            raise UserError(
                f"No pictures of {condition!r} came: expected is a folder {name!r}, there are {listed([*folders])}."
            )
        rows += [(condition, os.path.relpath(file, root), animate) for file in files]
    return pd.DataFrame(rows, columns=["condition", "file", "animate"])


def _flat(tree: Any) -> list[str]:
    """Return the files of a tree of nilearn's (lists in mappings), sorted."""
    if isinstance(tree, Mapping):
        return sorted(file for branch in tree.values() for file in _flat(branch))
    return sorted(map(str, tree))


FETCHERS: dict[str, Callable[[Path, Sequence[str]], None]] = {"haxby": fetch_haxby}
"""What can be fetched, by name."""
FETCHED_SUBJECTS: dict[str, tuple[str, ...]] = {"haxby": HAXBY_SUBJECTS}
"""The subjects that there are."""
