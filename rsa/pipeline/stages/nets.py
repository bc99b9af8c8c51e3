"""Networks among themselves: their tables, and maps of where the fit moved."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rsa.core import RDMs, ScoreMap, Volume
from rsa.files import io
from rsa.inference import networks as among
from rsa.inference.contrasts import DIFFERENCE
from rsa.inference.networks import BeforeAfter, Training, Variants
from rsa.models.source import number_of
from rsa.names import map_path
from rsa.pipeline.config import Study
from rsa.pipeline.stages.common import stacked
from rsa.units import learning
from rsa.units.found import Found, Table, save_found
from rsa.units.learning import Responses
from rsa.units.readout import PairReadouts

__all__ = ["networks", "unit_changes"]


def networks(
    study: Path, references: list[Path], output: Path, fits: Path | None = None, scores: Path | None = None
) -> None:
    """Compare networks among themselves: seeds, before and after a training, and along it.

    Parameters
    ----------
    study : path
        Settings (JSON).
    output : path
        Folder of the tables (TSV, with a JSON data dictionary each) and of maps of differences.
    fits : path
        Table of region fits (TSV); without it, RDMs alone are compared.
    scores : path
        Scores of the group, or of the only subject (HDF5), of which maps of differences are made.
    """
    settings = Study.model_validate_json(study.read_text(encoding="utf-8"))
    table, stack = None if fits is None else io.load_table(fits), stacked(references)
    for one in settings.network_comparisons:
        made, columns = TABLES[one.kind](one, settings, table, stack)
        io.save_table(output / f"{one.name}.tsv", made, {name: columns[name] for name in made})
        if isinstance(one, BeforeAfter) and scores is not None:
            _write_differences(one, settings, scores, output / one.name)


def _variants(one: Variants, study: Study, fits: pd.DataFrame, rdms: RDMs) -> tuple[pd.DataFrame, Mapping[str, str]]:
    models = {name: study.named[name] for name in one.models}
    return among.variants(fits, models), among.VARIANTS_COLUMNS


def _before_after(
    one: BeforeAfter, study: Study, fits: pd.DataFrame | None, rdms: RDMs
) -> tuple[pd.DataFrame, Mapping[str, str]]:
    before, after = (study.named[name][0] for name in (one.before, one.after))
    return among.before_after(fits, rdms, before, after, study.comparison), among.BEFORE_AFTER_COLUMNS


def _training(
    one: Training, study: Study, fits: pd.DataFrame | None, rdms: RDMs
) -> tuple[pd.DataFrame, Mapping[str, str]]:
    return among.training(fits, rdms, _steps(one, study), study.comparison), among.TRAINING_COLUMNS


TABLES: dict[str, Callable[..., tuple[pd.DataFrame, Mapping[str, str]]]] = {
    "variants": _variants,
    "before_after": _before_after,
    "training": _training,
}
"""What makes the table of each kind of comparison, and what its columns are."""


def unit_changes(study: Path, units: list[Path], output: Path) -> None:
    """Compare the units of networks with themselves: before and after a training, and along it.

    Parameters
    ----------
    study : path
        Settings (JSON).
    units : list of path
        Folders of the units of networks, model-<label>.
    output : path
        Folder of the tables (TSV, with a JSON data dictionary each).
    """
    settings = Study.model_validate_json(study.read_text(encoding="utf-8"))
    folders = {folder.name.removeprefix("model-"): folder for folder in units}
    for one in settings.unit_comparisons:
        of_networks = {label: folders[label] for label in one.followed(settings.named)}
        tables = OF_UNITS[one.kind](one, settings, of_networks)
        save_found(output, one.name, Found({f"{one.name}_{name}": table for name, table in tables.items()}))
    followed = {one.name: list(one.followed(settings.named)) for one in settings.unit_comparisons}
    io.save_json(output / "networks.json", followed)


def _changed_units(one: BeforeAfter, study: Study, folders: Mapping[str, Path]) -> dict[str, Table]:
    before, after = (Responses.of(folder, label) for label, folder in folders.items())
    changed = learning.unit_changes(before, after)
    tables = {
        "layers": Table(learning.layer_changes(changed), learning.LAYER_COLUMNS),
        "units": Table(changed, learning.UNIT_COLUMNS),
    }
    pairs = [PairReadouts.of(folder) for folder in folders.values()]
    if pairs[0] is not None and pairs[1] is not None:
        tables["categories"] = Table(learning.category_changes(pairs[0], pairs[1]), learning.CATEGORY_COLUMNS)
    return tables


def _followed_units(one: Training, study: Study, folders: Mapping[str, Path]) -> dict[str, Table]:
    responses = [Responses.of(folder, label) for label, folder in folders.items()]
    readouts = [io.table_if_there(folder / "readout.tsv") for folder in folders.values()]
    curve = learning.learning_curve(_steps(one, study), responses, readouts)
    return {"curve": Table(curve, learning.CURVE_COLUMNS)}


OF_UNITS: dict[str, Callable[..., dict[str, Table]]] = {"before_after": _changed_units, "training": _followed_units}
"""What compares units in each kind of comparison: tables by what follows the name of the comparison in theirs."""


def _steps(one: Training, study: Study) -> dict[str, int]:
    """Return the step of each checkpoint, in order."""
    labels = study.named[one.model]
    return {model.label: number_of(model.files()[0]) for model in study.networks if model.label in labels}


def _write_differences(one: BeforeAfter, study: Study, path: Path, folder: Path) -> None:
    """Write, for each layer, the score after less that before at each voxel: the mean over subjects."""
    scores, provenance = io.load_scores(path), io.read_provenance(path)
    volume = scores.volume
    assert volume is not None, "group maps are over voxels"
    before, after = (study.named[name][0] for name in (one.before, one.after))
    n_subjects = len(study.subjects)
    statistic = "mean" if n_subjects > 1 else study.comparison
    rows = {name: _rows_of(scores, name, statistic) for name in (before, after)}
    space = str(getattr(study.template or study.brain, "space", ""))
    where: dict[str, Any] = {"folder": folder, "subject": study.subjects[0] if n_subjects == 1 else "", "space": space}
    for layer in [layer for layer in rows[before] if layer in rows[after]]:
        difference = scores.values[rows[after][layer]] - scores.values[rows[before][layer]]
        sidecar = {
            "Description": f"Score of {after} less that of {before}" + ", mean over subjects" * (n_subjects > 1),
            "Units": "score",
            "Subjects": n_subjects,
            "Layer": layer,
            "Sources": [str(path)],
            "Settings": provenance["settings"],
            "Software": provenance["versions"],
        }
        file = map_path(**where, model=f"{after}less{before}", layer=layer, statistic=DIFFERENCE)
        _save_map(file, volume, difference, sidecar)


def _save_map(file: Path, volume: Volume, values: Any, sidecar: Mapping[str, Any]) -> None:
    io.save_nifti(file, volume.to_image(values), sidecar)


def _rows_of(scores: ScoreMap, model: str, statistic: str) -> dict[str, int]:
    """Return the row of each layer of a network."""
    table = scores.table
    rows = np.flatnonzero((table["model"] == model) & (table["statistic"] == statistic))
    return {str(table["layer"].iloc[row]): int(row) for row in rows}
