"""From the files of a study to its pictures and its page."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from rsa import io
from rsa.core import RDMs, ScoreMap, concatenate
from rsa.maps import derive, layered_models
from rsa.report import study as pages
from rsa.report.methods import Summary
from rsa.stimuli import Stimuli, condition_table

__all__ = ["categories_of", "derived_maps", "page_of", "summary_of"]


def categories_of(stimuli: Stimuli | None, references: RDMs) -> pd.Series | None:
    """Return the category of each condition, in the order of the RDMs, if the stimulus table has a `category`."""
    if stimuli is None:
        return None
    table = condition_table(stimuli.load()).set_index("condition")
    return table["category"].astype(str).reindex(references.conditions) if "category" in table else None


def derived_maps(scores: ScoreMap, names: Sequence[str]) -> ScoreMap | None:
    """Make the derived maps of scores and stack them; None where no model has layers."""
    from rsa.group import stack

    if not names or not layered_models(scores.table):
        return None
    return stack([derive(scores, name) for name in names])


def summary_of(
    settings: dict[str, Any], references: RDMs, scores: Sequence[ScoreMap], brain: Sequence[Path]
) -> Summary:
    """Collect the numbers of a study from its settings and files.

    Parameters
    ----------
    settings : dict
        The configuration.
    references : RDMs
        All references.
    scores : sequence of ScoreMap
        The searchlight maps of all subjects, if there are any.
    brain : sequence of path
        The brain data of all subjects (HDF5).
    """
    models: dict[str, list[str]] = {}
    for model, layer in zip(references.table["model"], references.table["layer"], strict=True):
        models.setdefault(model, []).extend([layer] if layer else [])
    tables = [io.load_row_table(path) for path in brain]
    light, brain_settings = settings["searchlight"] or {}, settings["brain"]
    versions = io.versions()
    return Summary(
        study=settings["study"],
        n_subjects=len(brain_settings["subjects"]),
        n_conditions=references.n_conditions,
        models=models,
        n_runs=max(table["run"].nunique() for table in tables) if all("run" in table for table in tables) else None,
        n_voxels=_range([scores_of.values.shape[1] for scores_of in scores]),
        n_centres=_range([int((scores_of.reason != 1).sum()) for scores_of in scores if scores_of.reason is not None]),
        radius_mm=light.get("radius_mm"),
        min_voxels=light.get("min_voxels"),
        distance=brain_settings.get("distance", settings["brain_distance"]),
        reference_distance=settings["layer_distance"],
        comparison=settings["comparison"],
        space=brain_settings.get("space") if scores else None,
        version=versions["brain-model-rsa"],
        commit=versions["commit"],
    )


def _range(numbers: Sequence[int]) -> int | tuple[int, int] | None:
    if not numbers:
        return None
    return numbers[0] if min(numbers) == max(numbers) else (min(numbers), max(numbers))


def page_of(
    settings: dict[str, Any],
    references: Sequence[Path],
    scores: Sequence[Path],
    brain: Sequence[Path],
    fits: Path | None,
    folder: Path,
) -> str:
    """Write the page of a study from its files and from the pictures that were drawn before.

    Parameters
    ----------
    settings : dict
        The configuration.
    references, scores, brain : sequence of path
        HDF5 files of the references and of all subjects; no scores where the study has no searchlight.
    fits : path, optional
        Table of the fits of regions.
    folder : path
        Folder of the study's results; pictures are in `figures/`.
    """
    stack = concatenate([io.load_rdms(path) for path in references])
    maps = [(str(one.table["subject"].iloc[0]), one) for one in map(io.load_scores, scores)]
    tables = [io.load_table(path) for path in sorted(folder.glob("sub-*/*_peaks.tsv"))]
    return pages.study_page(
        pages.Study(
            summary=summary_of(settings, stack, [one for _, one in maps], brain),
            references=_pictures(folder, "references"),
            group=_pictures(folder, "group") if len(maps) > 1 else [],
            regions=_pictures(folder, "regions") if fits is not None else [],
            subjects={f"Subject {subject}": _pictures(folder, f"sub-{subject}") for subject, _ in maps},
            peaks=pd.concat(tables, ignore_index=True) if maps and tables else None,
            fits=io.load_table(fits) if fits is not None else None,
            reasons=pages.reasons_table(maps) if maps else None,
            made=[*(io.read_provenance(path) for path in [*references, *brain, *scores]), io.provenance()],
        )
    )


def _pictures(folder: Path, name: str) -> list[Path]:
    """Return the pictures of one part of the study in the order in which they are looked at."""
    order = ["rdms", "similarity", "subjects", "profile", "glass", "slices", "best_layer", "layer_gradient", "regions"]
    found = (folder / "figures" / name).glob("*.png")
    return sorted(found, key=lambda path: (order.index(path.stem.split("-")[0]), path.stem))
