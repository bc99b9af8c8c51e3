"""From the files of a study to its pictures and its page."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import TypeAdapter

from rsa.analyses import Analysis
from rsa.core import DEFINED, NOT_A_CENTRE, RDMs, ScoreMap, concatenate
from rsa.errors import listed
from rsa.files import io
from rsa.inputs.stimuli import Stimuli, condition_table
from rsa.meeg.sensors import GROUP
from rsa.rdm import of_one_subject
from rsa.report import study as pages
from rsa.report.methods import Summary

__all__ = ["categories_of", "page_of", "summary_of"]

ORDER = [
    "rdms",
    "similarity",
    "subjects",
    "profile",
    "glass",
    "slices",
    "courses",
    "best_layer",
    "layer_gradient",
    "layer_time",
    "latencies",
    "generalisation",
    "sensor_maps",
    "sensor_times",
    "time_of_best_layer",
    "peak_time",
    "onset_time",
    "share",
    "ceiling",
    "regions",
    "regions_courses",
    "film",
    "rdm_film",
]
"""The pictures of a part of a study, in the order in which they are looked at."""


def categories_of(stimuli: Stimuli | None, references: RDMs) -> pd.Series | None:
    """Return the category of each condition, in the order of the RDMs, if the stimulus table has a `category`."""
    if stimuli is None:
        return None
    table = condition_table(stimuli.load()).set_index("condition")
    return table["category"].astype(str).reindex(references.conditions) if "category" in table else None


def summary_of(
    settings: dict[str, Any],
    references: RDMs,
    scores: Sequence[ScoreMap],
    brain: Sequence[Path],
    fits: pd.DataFrame | None,
    meeg_times_s: Sequence[float] = (),
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
    fits : DataFrame, optional
        The fits of regions.
    meeg_times_s : sequence of float
        The times of the M/EEG RDMs.
    """
    models: dict[str, list[str]] = {}
    for model, layer in zip(references.table["model"], references.table["layer"], strict=True):
        models.setdefault(model, []).extend([layer] if layer else [])
    tables = [io.load_row_table(path) for path in brain]
    light, brain_settings = settings["searchlight"] or {}, settings["brain"] or {}
    meeg = settings.get("meeg") or {}
    versions = io.versions()
    return Summary(
        study=settings["study"],
        n_subjects=len(brain_settings.get("subjects") or meeg["subjects"]),
        n_conditions=references.n_conditions,
        models=models,
        n_runs=_range([table["run"].nunique() for table in tables if "run" in table]),
        n_voxels=_range([scores_of.values.shape[1] for scores_of in scores]),
        n_centres=_range(
            [int((scores_of.reason != NOT_A_CENTRE).sum()) for scores_of in scores if scores_of.reason is not None]
        ),
        radius_mm=light.get("radius_mm"),
        min_voxels=light.get("min_voxels"),
        distance=brain_settings.get("distance", settings["brain_distance"]) if brain_settings else None,
        reference_distance=settings["layer_distance"],
        comparison=settings["comparison"],
        space=brain_settings.get("space") if scores else None,
        template_space=(settings.get("template") or {}).get("space"),
        regions=[] if fits is None else list(dict.fromkeys(fits["region"])),
        glm=brain_settings.get("glm"),
        confounds=brain_settings.get("confounds"),
        smoothing_fwhm_mm=brain_settings.get("smoothing_fwhm_mm") or 0.0,
        delays_s=sorted({float(delay) for table in tables if "delay_s" in table for delay in table["delay_s"]}),
        noise=settings.get("noise"),
        remove_mean=bool(settings.get("remove_mean")),
        reliability=bool(settings.get("reliability") or light.get("reliability")),
        noise_ceiling=bool(settings.get("noise_ceiling")) and len(scores) > 1,
        n_meeg_subjects=len(meeg.get("subjects", ())),
        meeg_distance=meeg.get("distance") or (settings.get("movie") or {}).get("distance") if meeg else None,
        meeg_whitened=(settings.get("movie") or {}).get("whiten") if meeg.get("kind") == "epochs" else None,
        meeg_times_s=meeg_times_s,
        meeg_given=meeg.get("kind") == "movie",
        fusion=settings.get("fusion") or False,
        sensors=bool(settings.get("sensors")),
        analyses=[(one.kind, one.about(settings["comparison"])) for one in _analyses(settings)],
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
    resampled: Sequence[Path] = (),
    movies: Sequence[Path] = (),
    time: Path | None = None,
    sensors: Sequence[Path] = (),
) -> str:
    """Write the page of a study from its files and from the pictures that were drawn before.

    Parameters
    ----------
    settings : dict
        The configuration.
    references, scores, brain : sequence of path
        HDF5 files of the references and of all subjects; no scores where the study has no searchlight. Scores are in
        the space of the images, of which the page gives the numbers and peaks.
    fits : path, optional
        Table of the fits of regions.
    folder : path
        Folder of the study's results; pictures are in `figures/`.
    resampled : sequence of path
        The same scores on the grid of a template, if there is one.
    movies : sequence of path
        HDF5 files of the M/EEG RDMs of all subjects.
    time : path, optional
        Folder of the tables of layers over time.
    sensors : sequence of path
        HDF5 files of the scores over M/EEG sensors of all subjects.
    """
    stack = of_one_subject(concatenate([io.load_rdms(path) for path in references]))
    maps = [(str(one.table["subject"].iloc[0]), one) for one in map(io.load_scores, scores)]
    table = io.load_table(fits) if fits is not None else None
    space = (settings["brain"] or {}).get("space", "")
    tables = [io.load_table(path) for path in sorted(folder.glob(f"sub-*/*_space-{space}_peaks.tsv"))]
    made = [io.read_provenance(path) for path in [*references, *brain, *scores, *resampled, *movies, *sensors]]
    times_s = sorted(set(io.load_row_table(movies[0])["time_s"])) if movies else []
    return pages.study_page(
        pages.Study(
            summary=summary_of(settings, stack, [one for _, one in maps], brain, table, times_s),
            references=_pictures(folder, "references"),
            group=_pictures(folder, "group") if len(maps) > 1 else [],
            regions=_pictures(folder, "regions") if fits is not None else [],
            time=_pictures(folder, "time") if time is not None else [],
            fusion=_pictures(folder, "fusion") if settings.get("fusion") and maps else [],
            analyses=_analysis_parts(settings, folder, [subject for subject, _ in maps]),
            sensors=_pictures(folder, "sensors") if sensors else [],
            sensor_peaks=_sensor_peaks(folder) if sensors else None,
            latencies=io.load_table(time / "latencies.tsv") if time is not None else None,
            subjects={f"Subject {subject}": _pictures(folder, f"sub-{subject}") for subject, _ in maps},
            peaks=pd.concat(tables, ignore_index=True) if maps and tables else None,
            fits=table,
            reasons=pages.reasons_table(maps) if maps else None,
            warnings=[*_undefined_references(stack), *_small_coverage(maps)],
            networks=pages.networks_table(made),
            made=[*({**one, "settings": {}} for one in made), io.provenance(settings=settings)],
        )
    )


def _analyses(settings: dict[str, Any]) -> list[Analysis]:
    """Return the analyses of a configuration that was written as JSON."""
    return TypeAdapter(list[Analysis]).validate_python(settings.get("analyses") or [])


def _analysis_parts(
    settings: dict[str, Any], folder: Path, subjects: Sequence[str]
) -> dict[str, tuple[str, list[Path]]]:
    """Return what each analysis measured, in words, and its pictures: of the group, or of the only subject."""
    parts = {}
    for analysis in _analyses(settings):
        about = analysis.about(settings["comparison"])
        whose = ["group"] if len(subjects) > 1 else [f"sub-{subject}" for subject in subjects]
        names = [f"analyses/{analysis.name}/{name}" for name in (*whose, "regions", "time")]
        pictures = [picture for name in names for picture in _pictures(folder, name)]
        where = f"Maps and tables are in analyses/{analysis.name}/."
        parts[analysis.name] = f"{about[:1].upper()}{about[1:]}. {where}", pictures
    return parts


def _sensor_peaks(folder: Path) -> pd.DataFrame:
    """Read the peaks over sensors of what is drawn: the group's mean, or the only subject."""
    peaks = io.load_table(folder / "sensors" / "peaks.tsv", optional=["sensor"])
    group = peaks[peaks["subject"] == GROUP]
    shown = (group if len(group) else peaks)[["model", "layer", "sensor", "time_s", "score"]]
    return shown.dropna(axis="columns", how="all")


def _undefined_references(references: RDMs) -> list[str]:
    """Name the references for which no score can be defined."""
    undefined = np.isnan(references.values).any(axis=1) | (np.ptp(references.values, axis=1) == 0)
    names = [f"{row.model} {row.layer}".strip() for row in references.table[undefined].itertuples()]
    return [f"No score is defined for {listed(names)}: its RDM has gaps or is constant."] if names else []


def _small_coverage(maps: Sequence[tuple[str, ScoreMap]]) -> list[str]:
    """Name the subjects of whom more than a tenth of the centres have no score."""
    warnings = []
    for subject, scores in maps:
        reasons = scores.reason if scores.reason is not None else np.array([DEFINED])
        share = (reasons[reasons != NOT_A_CENTRE] != DEFINED).mean()
        if share > 0.1:
            warnings.append(f"Subject {subject}: {share:.0%} of the voxels have no score; see the table of reasons.")
    return warnings


def _pictures(folder: Path, name: str) -> list[Path]:
    """Return the pictures of one part of the study in the order in which they are looked at."""
    found = [path for ending in ("png", "gif") for path in (folder / "figures" / name).glob(f"*.{ending}")]
    return sorted(found, key=lambda path: (ORDER.index(path.stem.split("-")[0]), path.stem))
