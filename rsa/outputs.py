"""Scores -> the files that people open: NIfTI maps with sidecars, and tables."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rsa import io
from rsa.core import REASONS, Array, ScoreMap, select
from rsa.errors import UserError
from rsa.maps import MAPS, derive_all, peaks
from rsa.names import map_path

__all__ = ["PEAK_COLUMNS", "peaks_path", "write_description", "write_maps"]

BIDSIGNORE = """# Not in released BIDS: the entities model- and layer-, and everything that is not a map
*_statmap.*
*_peaks.*
brain
figures
group
logs
models
references
scores
simulated
regions.*
report.html
study.json
"""
README = """Representational similarity of a brain and of models, made by brain-model-rsa {version}.

Look at report.html first. The maps of each subject are in sub-*/, those of the group in group/ (NIfTI, with a JSON file
beside each that says what its numbers are); fits of regions are in regions.tsv. study.json holds all settings.
"""

PEAK_COLUMNS = {
    "subject": "Label of the subject",
    "model": "Network, or name of the reference",
    "layer": "Layer of the network",
    "statistic": "What the score is",
    "peak": "Number of the peak in its map, the highest first",
    "x_mm": "Scanner coordinate of the centre of the sphere, mm",
    "y_mm": "Scanner coordinate of the centre of the sphere, mm",
    "z_mm": "Scanner coordinate of the centre of the sphere, mm",
    "score": "Score at the peak",
    "n_voxels": "Number of voxels in the sphere (in a group map: number of subjects)",
}


def peaks_path(folder: str | Path, subject: str, space: str) -> Path:
    """Return the path of the table of peaks that belongs to the maps."""
    path = map_path(folder, subject=subject, space=space, statistic="")
    return path.with_name(path.name.replace("_statmap.nii.gz", "_peaks.tsv"))


def write_maps(
    scores: ScoreMap,
    folder: Path,
    subject: str,
    space: str,
    derived: Iterable[str],
    made: Mapping[str, Any],
    source: Path,
) -> None:
    """Write every map of a subject (or group) as NIfTI with a JSON sidecar, derived maps, and the table of peaks.

    Parameters
    ----------
    scores : ScoreMap
        Over voxels; the table has `model`, `layer` and `statistic`. Derived maps are made of the first statistic.
    folder : path
        Folder of the study's results.
    subject : str
        Empty for the group.
    space : str
        BIDS label of the space.
    derived : iterable of str
        Keys of `MAPS`.
    made : mapping
        Provenance of the scores.
    source : path
        The file of the scores, for the sidecars.
    """
    volume = scores.volume
    if volume is None:
        raise UserError("Maps are written of scores over voxels; these are of regions.")
    common = {"Sources": [str(source)], "Settings": made["settings"], "Software": made["versions"]}
    for (model, layer, statistic), (values, about) in _contents(scores, subject, derived).items():
        path = map_path(folder, subject=subject, space=space, model=model, layer=layer, statistic=statistic)
        whose = {"Subject": subject or "group", "Model": model, "Layer": layer, "Statistic": statistic}
        io.save_nifti(path, volume.to_nifti(values), {**about, **whose, **common})
    io.save_table(peaks_path(folder, subject, space), peaks(scores), PEAK_COLUMNS)


def _contents(
    scores: ScoreMap, subject: str, derived: Iterable[str]
) -> dict[tuple[str, str, str], tuple[Array, dict[str, Any]]]:
    """Collect what is written: (model, layer, statistic) -> values over voxels, and what the sidecar says of them."""
    contents: dict[tuple[str, str, str], tuple[Array, dict[str, Any]]] = {}
    for values, row in zip(scores.values, scores.table.to_dict("records"), strict=True):
        what = f"Similarity of the RDM of the sphere around each voxel to the RDM of {row['model']} {row['layer']}"
        undefined = "NaN outside the mask and where a sphere has no score"
        about: dict[str, Any] = {"Description": what.strip(), "Undefined": undefined}
        contents[row["model"], row["layer"], row["statistic"]] = values, about
    first = select(scores, statistic=scores.table["statistic"].iloc[0])
    result = derive_all(first, derived)
    rows = [] if result is None else zip(result.table.to_dict("records"), result.values, strict=True)
    for labels, values in rows:
        model, name = labels["model"], labels["statistic"]
        layers = first.table["layer"][first.table["model"] == model]
        about = {"Description": MAPS[name].unit, "Layers": dict(enumerate(layers, start=1))}
        contents[model, "", name] = values, about
    for name, text in _counts(subject).items():
        values = scores.reason if name == "reason" else scores.n_members
        levels = {"Levels": REASONS} if name == "reason" else {}
        contents["", "", name] = np.asarray(values, dtype=np.float32), {"Description": text, **levels}
    return contents


def _counts(subject: str) -> dict[str, str]:
    """Name the images that say how many voxels or subjects stand behind a score."""
    if not subject:
        return {"nsubjects": "Number of subjects with a score at each voxel"}
    return {
        "nvoxels": "Number of usable voxels in the sphere around each voxel",
        "reason": "Why a voxel has no score; 0 where it has one",
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
    version = io.versions()["brain-model-rsa"]
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
