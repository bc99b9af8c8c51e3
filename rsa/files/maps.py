"""Scores -> the files that people open: NIfTI maps with sidecars, and tables."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd

from rsa.core import QUALITY, REASONS, Array, ScoreMap, Volume, select
from rsa.errors import UserError
from rsa.files import io
from rsa.files.fsaverage import FSAVERAGE5, SAMPLED, is_averaged, sampler_of, save_gifti
from rsa.files.versions import versions
from rsa.interpolation import LineSampler
from rsa.maps import MAPS, derive_all, peaks, times_of
from rsa.names import map_path
from rsa.significance import without_tests

__all__ = ["PEAK_COLUMNS", "peaks_path", "write_description", "write_maps"]

BIDSIGNORE = """# Not in released BIDS: the entities model- and layer-, and everything that is not a map
*_statmap.*
*_peaks.*
*_clusters.*
analyses
brain
figures
meeg
time
sensors
group
logs
models
pages
references
scores
simulated
regions.*
regions_group.*
ranking.*
ranking_pairs.*
networks
explorer
report.html
study.json
"""
README = """Representational similarity of a brain and of models, made by brain-model-rsa {version}.

Look at report.html first. The maps of each subject are in sub-*/, those of the group in group/ (NIfTI, with a JSON file
beside each that says what its numbers are; those in MNI152 on the surface fsaverage5 as well, as GIFTI); fits of
regions are in regions.tsv, models in order in ranking.tsv and networks among themselves in networks/, if these were
asked for, and layers over time in time/. Each folder in analyses/ has the same for another measure of the same data.
study.json holds all settings.
"""

LABELS = ["model", "layer", "statistic"]
"""What tells one file of maps from another."""

PEAK_COLUMNS = {
    "subject": "Label of the subject",
    "model": "Network, or name of the reference",
    "layer": "Layer of the network",
    "time_s": "Time after onset, s",
    "statistic": "What the score is",
    "peak": "Number of the peak in its map, the highest first",
    "x_mm": "Scanner coordinate of the centre of the sphere, mm",
    "y_mm": "Scanner coordinate of the centre of the sphere, mm",
    "z_mm": "Scanner coordinate of the centre of the sphere, mm",
    "score": "Score at the peak",
    "p_corrected": "Corrected p at the peak (n/a for a map that was not tested)",
    "n_voxels": "Number of voxels in the sphere (in a group map: number of subjects)",
}

DESCRIPTIONS = {
    "reliability": "Similarity of the RDMs of odd and of even runs of the sphere around each voxel",
    "ceilinglower": "Lower bound of the noise ceiling: mean similarity of each subject's RDM of the sphere around each "
    "voxel to the average of the other subjects'",
    "ceilingupper": "Upper bound of the noise ceiling: mean similarity of each subject's RDM of the sphere around each "
    "voxel to the average of all subjects' (tau-a: to the order of most subjects)",
    "share_of_ceiling": "Mean score divided by the upper bound of the noise ceiling; NaN where the lower bound is not "
    "above 0",
}
"""What is said of maps that are not the similarity to a reference, by their model or statistic."""


def peaks_path(folder: str | Path, subject: str, space: str, analysis: str = "") -> Path:
    """Return the path of the table of peaks that belongs to the maps."""
    path = map_path(folder, subject=subject, space=space, statistic="", analysis=analysis)
    return path.with_name(path.name.replace("_statmap.nii.gz", "_peaks.tsv"))


def clusters_path(folder: str | Path, space: str, analysis: str = "") -> Path:
    """Return the path of the table of clusters of the group."""
    return peaks_path(folder, "", space, analysis).with_name(
        peaks_path(folder, "", space, analysis).name.replace("_peaks.tsv", "_clusters.tsv")
    )


def write_maps(
    scores: ScoreMap,
    folder: Path,
    subject: str,
    space: str,
    derived: Iterable[str] | None,
    provenance: Mapping[str, Any],
    source: Path,
    tests: Mapping[Any, Mapping[str, Any]] | None = None,
    *,
    on_cortex: bool = False,
) -> None:
    """Write every map of a subject (or group) as NIfTI with a JSON sidecar, derived maps, and the table of peaks.

    Parameters
    ----------
    scores : ScoreMap
        Over voxels; the table has `model`, `layer`, `statistic` and, for scores over time, `time_s`: the times of a map
        are the volumes of one 4-D image. Derived maps are made of the first statistic.
    folder : path
        Folder of the study's results.
    subject : str
        Empty for the group.
    space : str
        BIDS label of the space.
    derived : iterable of str, optional
        Keys of `MAPS`; by default all.
    provenance : mapping
        Provenance of the scores.
    source : path
        The file of the scores, for the sidecars.
    tests : mapping, optional
        For each statistic that is made of the scores of all subjects, or by a test, what sidecars say of it:
        `Description` and more. The key is the statistic, or (model, statistic) for what is said of one model alone.
    on_cortex : bool
        Whether each map is written on the surface fsaverage5 as well (GIFTI); the space is MNI152 then.
    """
    volume = scores.volume
    if volume is None:
        raise UserError("Maps are written of scores over voxels; these are of regions.")
    analysis = (provenance["settings"].get("analysis") or {}).get("name", "")
    where = {"folder": folder, "subject": subject, "space": space, "analysis": analysis}
    common = {"Sources": [str(source)], "Settings": provenance["settings"], "Software": provenance["versions"]}
    distance = str(provenance["settings"].get("distance", "unknown"))
    parts, counts = _parts(without_tests(scores), derived, distance), _counts(scores, subject)
    parts[0] = scores
    onto = sampler_of(volume, int(provenance["settings"].get("stride", 1))) if on_cortex else None
    _require_distinct_files(where, [*_labels_of(parts), *({"statistic": name} for name in counts)])
    for labels, rows in _rows_of_files(parts):
        path = map_path(**where, **labels)
        times_s = times_of(rows.table)
        about = _about(rows, scores, provenance["settings"].get("measure"), tests or {})
        about |= {"Times": times_s} if times_s else {}
        sidecar = {**about, **_whose(subject, **labels), **common}
        io.save_nifti(path, _image(volume, rows.values, times_s), sidecar)
        if onto is not None:
            averaged = is_averaged(labels["statistic"], str(rows.table["role"].iloc[0]))
            _save_on_cortex(path, space, onto, rows.values, averaged, sidecar, [f"{time:g} s" for time in times_s])
    for name, (text, values) in counts.items():
        path = map_path(**where, statistic=name)
        about = {"Description": text, **({"Levels": REASONS} if name == "reason" else {})}
        sidecar = {**about, **_whose(subject, statistic=name), **common}
        io.save_nifti(path, volume.to_image(values), sidecar)
        if onto is not None:
            _save_on_cortex(path, space, onto, values[None], False, sidecar)
    found = peaks(scores)
    dictionary = {name: text for name, text in PEAK_COLUMNS.items() if name in found or name == "subject"}
    io.save_table(peaks_path(**where), found, dictionary)


def _save_on_cortex(
    path: Path,
    space: str,
    onto: LineSampler,
    values: Array,
    averaged: bool,
    sidecar: Mapping[str, Any],
    names: Sequence[str] = (),
) -> None:
    """Write maps of a file on the surface as well, and how they came there."""
    sampled = onto.mean(values) if averaged else onto.nearest(values)
    said = {"Mesh": FSAVERAGE5, "Sampling": SAMPLED[averaged], "SampledSpace": space, "Undefined": "NaN"}
    save_gifti(path, space, sampled, {**sidecar, **said, "Sources": [str(path)]}, names)


def _whose(subject: str, model: str = "", layer: str = "", statistic: str = "") -> dict[str, str]:
    return {"Subject": subject or "group", "Model": model, "Layer": layer, "Statistic": statistic}


def _parts(scores: ScoreMap, derived: Iterable[str] | None, distance: str) -> list[ScoreMap]:
    """Return the scores, and derived maps, which are made of the first statistic, if there are some."""
    result = derive_all(select(scores, statistic=scores.table["statistic"].iloc[0]), derived, distance=distance)
    return [scores] if result is None else [scores, result]


def _labels_of(parts: list[ScoreMap]) -> Iterator[dict[str, str]]:
    """Yield what tells each file of maps from the others: its model, layer and statistic."""
    for part in parts:
        for row in part.table[LABELS].drop_duplicates().itertuples(index=False):
            yield dict(zip(LABELS, map(str, row), strict=True))


def _require_distinct_files(where: Mapping[str, Any], labels: Iterable[dict[str, str]]) -> None:
    """Raise a `UserError` if two maps would have one file name, in upper and lower case alike: one would be lost."""
    seen: dict[str, dict[str, str]] = {}
    for one in labels:
        name = map_path(**where, **one).name
        other = seen.setdefault(name.casefold(), one)
        if other is not one:
            two = " and ".join(repr(" ".join(filter(None, labels.values()))) for labels in (other, one))
            raise UserError(f"The maps {two} would both be {name}; rename the model, reference or layer.")


def _rows_of_files(parts: list[ScoreMap]) -> Iterator[tuple[dict[str, str], ScoreMap]]:
    """Yield what goes into each file, scores and then derived maps: its labels and its rows. Times of a file ascend."""
    for part in parts:
        table = part.table if "time_s" in part.table else part.table.assign(time_s=np.nan)
        for labels, rows in table.groupby(LABELS, sort=False):
            ordered = rows.sort_values("time_s")
            if ordered["time_s"].duplicated().any() or (len(rows) > 1 and rows["time_s"].isna().any()):
                raise UserError(
                    f"The scores have {len(rows)} maps {' '.join(labels)!r} that no time tells apart; run all again."
                )
            yield (
                dict(zip(LABELS, labels, strict=True)),
                replace(part, values=part.values[ordered.index], table=ordered),
            )


def _about(
    rows: ScoreMap, scores: ScoreMap, measure: str | None, tests: Mapping[Any, Mapping[str, Any]]
) -> dict[str, Any]:
    """Say in a sidecar what the numbers of a file are: a measure, if they are no similarities."""
    model, layer, statistic = rows.table[LABELS].iloc[0]
    if statistic in MAPS:
        own = (scores.table["model"] == model) & (scores.table["role"] != QUALITY)
        layers = scores.table["layer"][own].unique()
        numbers = {} if layer or not all(layers) else {"Layers": dict(enumerate(layers, start=1))}
        return {"Description": MAPS[statistic].unit, **numbers}
    name = f"{model} {layer}".strip()
    similarity = f"Similarity of the RDM of the sphere around each voxel to the RDM of {name}"
    if measure is not None:
        similarity = f"{measure[:1].upper()}{measure[1:]}, of the RDM of the sphere around each voxel: {name}"
    of_data = DESCRIPTIONS.get(model) if rows.table["role"].iloc[0] == QUALITY else None
    described = DESCRIPTIONS.get(statistic) or of_data or similarity
    about = {"Description": described, "Undefined": "NaN outside the mask and where a sphere has no score"}
    said = tests.get((model, statistic)) or tests.get(statistic)
    if said is None:
        return about
    whose = "Scores" if rows.table.get("subject", pd.Series([""])).iloc[0] else "Of each subject"
    return {**said, **about, "Description": f"{said['Description']}. {whose}: {described}"}


def _image(volume: Volume, values: Array, times_s: Sequence[float]) -> nib.Nifti1Image:
    """Make an image of one map, or of one map per time (the fourth axis).

    Steps and the first time are in the header if the times are evenly spaced. No header can hold others: then the step
    is 1 without a unit, so that programs count maps, and the times are in the sidecar only.
    """
    if len(values) == 1:
        return volume.to_image(values[0])
    image, steps = volume.to_image(values), np.diff(times_s)
    is_even = np.ptp(steps) < 1e-6 * steps.mean()
    image.header.set_zooms((*image.header.get_zooms()[:3], steps.mean() if is_even else 1.0))
    image.header.set_xyzt_units("mm", "sec" if is_even else "unknown")
    image.header["toffset"] = times_s[0] if is_even else 0.0
    return image


def _counts(scores: ScoreMap, subject: str) -> dict[str, tuple[str, Array]]:
    """Return the images that say how many voxels or subjects stand behind a score, with what they are."""
    counts = np.asarray(scores.n_members, dtype=np.float32)
    if not subject:
        return {"nsubjects": ("Number of subjects with a score at each voxel", counts)}
    reasons = np.asarray(scores.reason, dtype=np.float32)
    return {
        "nvoxels": ("Number of usable voxels in the sphere around each voxel", counts),
        "reason": ("Why a voxel has no score; 0 where it has one", reasons),
    }


def write_description(folder: Path, study: Mapping[str, Any], sources: Sequence[str]) -> None:
    """Write what a study's results are: a BIDS derivative, and the settings that made it.

    Parameters
    ----------
    folder : path
        Folder of the study's results; `study.json`, `README`, `dataset_description.json` and `.bidsignore` are written.
    study : mapping
        The settings.
    sources : sequence of str
        Where the brain data are.
    """
    version = versions()["brain-model-rsa"]
    about = {
        "Name": f"{study['study']}: brain-model representational similarity analysis",
        "BIDSVersion": "1.10.0",
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "brain-model-rsa", "Version": version}],
        "SourceDatasets": [{"URL": source} for source in sources],
    }
    io.save_json(folder / "study.json", study)
    io.save_text(folder / ".bidsignore", BIDSIGNORE)
    io.save_text(folder / "README", README.format(version=version))
    io.save_json(folder / "dataset_description.json", about)
