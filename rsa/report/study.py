"""The report of a study: figures first, as files that independent jobs can make; then one page that embeds them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd

from rsa.core import REASONS, RDMs, ScoreMap, select
from rsa.report.figures import profile, rdm_grid, rdm_similarity, reference_names, region_bars
from rsa.report.glass import glass_grid
from rsa.report.html import Section, definitions, page, paragraphs
from rsa.report.methods import Summary, counts, methods_text, mixed_versions
from rsa.report.slices import gradient_slices, label_slices, slices
from rsa.report.style import caption_of, save_figure

__all__ = [
    "Study",
    "group_figures",
    "networks_table",
    "peak_profile",
    "reasons_table",
    "reference_figures",
    "region_figures",
    "region_means",
    "study_page",
    "subject_figures",
]

BRAIN_DPI = 110
SEEN_THROUGH = (
    "Along each line of sight the score furthest from 0 is shown, with its sign; left is on the left. "
    "One colour scale for all maps; nothing is thresholded, and where no score is defined the brain is left blank."
)
SLICED = (
    "A cross marks the highest score, whose place in mm is in the title; left is on the left. "
    "The further a score is from 0, the more opaque it is, fully from half of the scale on."
)
LABELLED = (
    "The fainter a colour, the lower that highest score; where no layer scores above 0 there is none. "
    "The best of many layers is above 0 by chance alone, so faint colours mean nothing."
)


# -------------------------------------------------------------------------------------------- figures


def reference_figures(
    references: RDMs, folder: str | Path, *, categories: pd.Series | None = None, comparison: str = "spearman"
) -> list[Path]:
    """Draw the reference RDMs, and how alike they are; return the files (`rdms.png`, `similarity.png`)."""
    names, folder = reference_names(references.table), Path(folder)
    order = " Conditions are sorted by category." if categories is not None else ""
    grid = f"Reference RDMs. The colour is the rank of a dissimilarity among all pairs of its RDM.{order}"
    paths = [save_figure(folder / "rdms.png", rdm_grid(references, names, categories), grid)]
    if len(references) > 1:
        alike = f"How alike the reference RDMs are ({comparison}). Those that are alike have like maps."
        paths.append(save_figure(folder / "similarity.png", rdm_similarity(references, names, comparison), alike))
    return paths


def subject_figures(
    scores: ScoreMap,
    derived: ScoreMap | None,
    *,
    space: str,
    folder: str | Path,
    title: str = "",
    background: nib.Nifti1Image | None = None,
) -> list[Path]:
    """Draw the maps of one subject (or group): glass brains, slices at the peaks, layer preference and gradient.

    Parameters
    ----------
    scores : ScoreMap
        One row per reference, over voxels.
    derived : ScoreMap, optional
        Rows with the statistics `best_layer` and `layer_gradient`, one per model.
    space : str
        Name of the space; "MNI..." is drawn on nilearn's brain.
    folder : path
        Where the PNG files go.
    title : str
        Who it is, for the captions.
    background : image, optional
        What the slices are drawn on.

    Returns
    -------
    list of path
        `glass.png`, `slices.png` and, per model with layers, `best_layer-<i>.png` and `layer_gradient-<i>.png`.
    """
    folder, who = Path(folder), f", {title}" if title else ""
    glass = save_figure(
        folder / "glass.png",
        glass_grid([(title, scores)], space=space),
        f"Glass brains{who}. {SEEN_THROUGH}",
        BRAIN_DPI,
    )
    sliced = slices(scores, space=space, background=background)
    paths = [glass, save_figure(folder / "slices.png", sliced, f"Slices through the peaks{who}. {SLICED}", BRAIN_DPI)]
    for i, labels in enumerate([] if derived is None else derived.table.to_dict("records"), start=1):
        row = ScoreMap(derived.values[i - 1], derived.table.iloc[[i - 1]], derived.volume)  # type: ignore[union-attr]
        paths += _derived_figure(row, labels, scores, space, folder, who, background)
    return paths


def _derived_figure(
    row: ScoreMap,
    labels: Mapping[Any, Any],
    scores: ScoreMap,
    space: str,
    folder: Path,
    who: str,
    background: nib.Nifti1Image | None,
) -> list[Path]:
    """Draw one map that was derived from the layers of a model; other statistics have no picture."""
    model, statistic = str(labels["model"]), str(labels["statistic"])
    number = list(dict.fromkeys(scores.table["model"])).index(model) + 1
    path = folder / f"{statistic}-{number}.png"
    if statistic == "best_layer":
        layers = select(scores, model=model)
        strength = np.where(np.isnan(layers.values), -np.inf, layers.values).max(axis=0)
        figure = label_slices(
            row,
            list(layers.table["layer"]),
            space=space,
            background=background,
            strength=np.where(np.isfinite(strength), strength, np.nan),
        )
        return [save_figure(path, figure, f"Layer of {model} with the highest score{who}. {LABELLED}", BRAIN_DPI)]
    if statistic == "layer_gradient":
        figure = gradient_slices(row, space=space, background=background)
        text = (
            f"Early (blue) and late (red) layers of {model}{who}. Slope of the score from the first layer to the last."
        )
        return [save_figure(path, figure, text, BRAIN_DPI)]
    return []


def group_figures(
    subjects: Sequence[tuple[str, ScoreMap]],
    group: ScoreMap | None,
    derived: ScoreMap | None,
    *,
    space: str,
    folder: str | Path,
    background: nib.Nifti1Image | None = None,
) -> list[Path]:
    """Draw all subjects beside each other, the scores at their peaks, and the maps of the group.

    Parameters
    ----------
    subjects : sequence of (title, ScoreMap)
        The maps of each subject, with the same references.
    group, derived : ScoreMap, optional
        The group's map (`statistic` "mean" joins the subjects' scale; any other has its own), and what is derived.
    space, folder, background
        As in `subject_figures`.
    """
    folder, paths = Path(folder), []
    is_mean = group is not None and str(group.table["statistic"].iloc[0]) == "mean"
    rows = [*subjects, ("mean", group)] if group is not None and is_mean else list(subjects)
    if len(rows) > 1:
        everyone = glass_grid(rows, space=space)
        paths.append(
            save_figure(folder / "subjects.png", everyone, f"Glass brains, all subjects. {SEEN_THROUGH}", BRAIN_DPI)
        )
    table = pd.concat([peak_profile(scores).assign(subject=title) for title, scores in subjects])
    paths.append(
        save_figure(
            folder / "profile.png",
            profile(table),
            "Scores along the layers, at the voxel of each subject where the best layer scores highest. "
            "Thin lines are subjects, thick ones their mean. The voxel was chosen by these scores, so they are too "
            "high on the whole; their order along the layers is what to look at.",
        )
    )
    if group is not None:
        name = f"group: {group.table['statistic'].iloc[0]}"
        paths += subject_figures(group, derived, space=space, folder=folder, title=name, background=background)
    return paths


def region_figures(table: pd.DataFrame, folder: str | Path) -> list[Path]:
    """Draw the fits of references to regions (the table of `rsa.rdm.region_fits`); return the files."""
    ceilings = table.rename(columns={"ceiling_lower": "lower", "ceiling_upper": "upper"})
    ceilings = ceilings[["region", "lower", "upper"]].drop_duplicates()
    caption = (
        "Scores in regions. Bars are means over subjects, whiskers their standard error, dots the subjects; the grey "
        "band is the noise ceiling, the range in which the best possible model would score given the subjects' "
        "differences."
    )
    return [save_figure(Path(folder) / "regions.png", region_bars(table, ceilings), caption)]


# --------------------------------------------------------------------------------------------- tables


def peak_profile(scores: ScoreMap) -> pd.DataFrame:
    """Return the scores of all layers of each model at the one voxel where the best of them scores highest."""
    parts = []
    for model in dict.fromkeys(scores.table["model"]):
        rows = select(scores, model=model)
        if np.isfinite(rows.values).any():
            voxel = int(np.unravel_index(np.nanargmax(rows.values), rows.values.shape)[1])
            parts.append(rows.table.assign(score=rows.values[:, voxel].astype(float)))
        else:
            parts.append(rows.table.assign(score=np.nan))
    return pd.concat(parts, ignore_index=True)


def region_means(table: pd.DataFrame) -> pd.DataFrame:
    """Average the fits of regions over subjects: mean, standard error and number of subjects."""
    keys = ["region", "model", "layer", "ceiling_lower", "ceiling_upper"]
    scores = table.groupby(keys, sort=False, dropna=False)["score"]
    means = scores.agg(mean="mean", standard_error="sem", n_subjects="count").reset_index()
    return means[["region", "model", "layer", "mean", "standard_error", "n_subjects", "ceiling_lower", "ceiling_upper"]]


def reasons_table(maps: Sequence[tuple[str, ScoreMap]]) -> pd.DataFrame:
    """Count the voxels with and without a score, and why, one row per subject (empty if no map says why)."""
    rows = [
        {"subject": title}
        | {text: int((scores.reason == code).sum()) for code, text in REASONS.items() if (scores.reason == code).any()}
        for title, scores in maps
        if scores.reason is not None
    ]
    table = pd.DataFrame(rows).fillna(0)
    return table.astype({column: int for column in table if column != "subject"})


def networks_table(made: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """List the networks whose activations are behind the layer RDMs with this provenance, and what they were given."""
    rows = []
    for source in [one["source"] for one in made if "weights_sha256" in one.get("source", {})]:
        model = source["settings"]["model"]
        seed = {"seed": model["seed"]} if model["weights"] == "untrained" else {}
        shown = {"network": model["architecture"], "weights": model["weights"], **seed, "device": source["device"]}
        rows.append(shown | {name: source[name] for name in ("preprocessing", "weights_sha256")})
    return pd.DataFrame(rows)


# ----------------------------------------------------------------------------------------------- page


@dataclass(frozen=True)
class Study:
    """What the page of a study shows; all but the summary may be left out.

    Parameters
    ----------
    summary : Summary
        Its numbers.
    references, group, regions : sequence of path
        Figures, from `reference_figures`, `group_figures` and `region_figures`.
    subjects : mapping
        The figures of each subject, by name, from `subject_figures`.
    peaks : DataFrame, optional
        From `rsa.maps.peaks`, of all subjects; the first peak of each map is shown.
    fits : DataFrame, optional
        From `rsa.rdm.region_fits`.
    reasons : DataFrame, optional
        From `reasons_table`.
    networks : DataFrame, optional
        From `networks_table`.
    made : sequence of mapping
        The provenance of the files that the report is made of.
    warnings : sequence of str
        What the reader should check.
    """

    summary: Summary
    references: Sequence[Path] = ()
    group: Sequence[Path] = ()
    regions: Sequence[Path] = ()
    subjects: Mapping[str, Sequence[Path]] = field(default_factory=dict)
    peaks: pd.DataFrame | None = None
    fits: pd.DataFrame | None = None
    reasons: pd.DataFrame | None = None
    networks: pd.DataFrame | None = None
    made: Sequence[Mapping[str, Any]] = ()
    warnings: Sequence[str] = ()


def study_page(study: Study) -> str:
    """Write the report of a study as one self-contained HTML page.

    Raises
    ------
    UserError
        If a figure is missing.
    """
    summary = study.summary
    sections = [
        Section("The study in numbers", definitions(counts(summary))),
        Section("Reference RDMs", figures=_captioned(study.references)),
        Section("Group", figures=_captioned(study.group)),
        Section(
            "Regions",
            figures=_captioned(study.regions),
            table=None if study.fits is None else region_means(study.fits),
        ),
        *(Section(name, figures=_captioned(paths)) for name, paths in study.subjects.items()),
        Section("Peaks", paragraphs("The highest score of each map."), table=_first_peaks(study.peaks)),
        Section("Voxels with and without a score", table=study.reasons),
        Section("Methods, to adapt for a paper", paragraphs(*methods_text(summary).split("\n\n"))),
        Section("Networks", table=study.networks),
        Section("How this was made", _made_html(study.made)),
    ]
    shown = [section for section in sections if _has_content(section)]
    lead = "Representational similarity of brain and models. Everything on this page is inside this one file."
    return page(summary.study, shown, lead=lead, warnings=[*study.warnings, *mixed_versions(study.made)])


def _captioned(paths: Sequence[Path]) -> list[tuple[str, Path]]:
    return [(caption_of(path), path) for path in paths]


def _has_content(section: Section) -> bool:
    """Say whether a section has a figure, a row, or a text that stands for itself."""
    has_rows = section.table is not None and len(section.table) > 0
    return bool(section.figures) or has_rows or (section.heading != "Peaks" and bool(section.html))


def _first_peaks(peaks: pd.DataFrame | None) -> pd.DataFrame | None:
    """Keep the first peak of each map, and the columns that say something."""
    if peaks is None:
        return None
    first = peaks[peaks["peak"] == 1] if "peak" in peaks else peaks
    said = [name for name in first if name != "peak" and not first[name].isna().all() and not (first[name] == "").all()]
    return first[said]


def _made_html(made: Sequence[Mapping[str, Any]]) -> str:
    """List versions, settings and inputs of all files that the page was made of; where they differ, all of them."""
    parts = []
    for heading, key in (("Versions", "versions"), ("Settings", "settings"), ("Inputs (SHA-256)", "inputs")):
        entries: dict[str, list[Any]] = {}
        for name, value in (entry for one in made for entry in (one.get(key) or {}).items()):
            if value not in ("", None) and value not in entries.setdefault(name, []):
                entries[name].append(value)
        if any(entries.values()):
            parts.append(
                f"<h3>{heading}</h3>\n{definitions({name: values for name, values in entries.items() if values})}"
            )
    return "\n".join(parts)
