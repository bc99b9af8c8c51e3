"""The figures of each part of a study, as files that independent jobs can make, and tables of the same numbers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from rsa.core import QUALITY, REASONS, SAME_S, TEST, Array, RDMs, ScoreMap, select
from rsa.files.fsaverage import has_cortex
from rsa.files.stored import StoredScores
from rsa.maps import MAPS, layered_models, times_of
from rsa.report.ceilings import LINES, ceiling_words, drawn_ceiling, noise_words
from rsa.report.drawing import score_scale, sight_words, stride_words, threshold_words
from rsa.report.figures import order_words, profile, rdm_grid, rdm_similarity, reference_names, region_bars
from rsa.report.glass import glass_grid
from rsa.report.slices import label_slices, signed_slices, slices
from rsa.report.style import is_wanted, save_figure, unit_of, written_times
from rsa.report.surfaces import best_rows, surface_grid
from rsa.report.times import (
    at_peak_times,
    courses,
    has_times,
    of_data,
    of_models,
    peak_voxel,
    rows_like,
    time_courses,
)
from rsa.significance import Significance, significance_of, without_tests

__all__ = [
    "group_figures",
    "peak_profile",
    "reasons_table",
    "reference_figures",
    "region_figures",
    "region_means",
    "subject_figures",
]

SEEN_THROUGH = "{sight} One colour scale for all maps{thresholded}; where no score is defined the brain is left blank."
CORTEX = (
    "Cortex (fsaverage5), inflated and flat{who}; sulci are darker.{layers} Colours are those of the glass brains; the "
    "further a score is from 0, the more opaque it is, fully from half of the scale on{as_well}. Scores are means from "
    "the white to the pial surface, at places that are right to about 5 mm.{thresholded}"
)
SLICED = (
    "A cross marks the highest {which}score, whose coordinates in mm are in the title; left is on the left. "
    "The further a score is from 0, the more opaque it is, fully from half of the scale on{as_well}."
)
BEST_OF_MANY = (
    " Outlined is where {what} of {model} is significant (corrected p ≤ {alpha}; {words}){each}; "
    "elsewhere colours are faded. The map itself was not tested."
)
DOTTED = " Dots below mark the times at which a score is significant (corrected p ≤ {alpha}; {words})."
REGIONS = "Scores in regions. Bars are means over subjects, whiskers their standard error, dots the subjects."
REGION_DOTS = " Dots below mark the times at which the corrected p is {alpha} or less."
QUALITY_WORDS = {
    "ceilinglower": "The lower bound of the noise ceiling is the mean score of each subject's RDM with the average of "
    "the others: what any model can be expected to reach.",
    "reliability": "Split-half reliability is the score of the RDM of odd runs with that of even ones.",
    "ceilingupper": "The upper bound of the noise ceiling is too high, where there is no signal as well: {noise}.",
}
"""What is said of each row that tells how good the data are, by its model, in the order in which they are drawn."""
SHARE = (
    "Mean scores as a share of the upper bound of the noise ceiling: 1, where the colours end, is as near to the "
    "subjects as their own mean. A cross marks the highest mean score, the title says what its share is; the lower a "
    "mean score, the fainter. Blank where the lower bound is not above 0; left is on the left."
)
AT_PEAK = " Of all times, each reference is shown at that of its highest {which}score{whose}; the time is in the title."


# -------------------------------------------------------------------------------------------- figures


def reference_figures(
    references: RDMs, folder: str | Path, *, categories: pd.Series | None = None, comparison: str = "spearman"
) -> list[Path]:
    """Draw the reference RDMs, and how similar they are; return the files (`rdms.png`, `similarity.png`)."""
    names, folder = reference_names(references.table), Path(folder)
    grid = "Reference RDMs. The colour is the rank of a dissimilarity among all pairs of its RDM."
    paths = [save_figure(folder / "rdms.png", rdm_grid(references, names, categories), grid + order_words(categories))]
    if len(references) > 1:
        said = f"How similar the reference RDMs are ({comparison}). References with similar RDMs give similar maps."
        paths.append(save_figure(folder / "similarity.png", rdm_similarity(references, names, comparison), said))
    return paths


def subject_figures(
    scores: ScoreMap,
    derived: ScoreMap | None,
    *,
    space: str,
    folder: str | Path,
    title: str = "",
    background: nib.Nifti1Image | None = None,
    comparison: str = "",
    significance: Significance | None = None,
) -> list[Path]:
    """Draw the maps of one subject (or group): glass brains, slices at the peaks, courses over time, what is derived.

    Parameters
    ----------
    scores : ScoreMap
        One row per reference (and time), over voxels, and rows that tell how good the data are.
    derived : ScoreMap, optional
        From `rsa.maps.derive_all`.
    space : str
        Name of the space; "MNI..." is drawn on nilearn's brain.
    folder : path
        Where the PNG files go.
    title : str
        Who it is, for the captions.
    background : image, optional
        What the slices are drawn on.
    comparison : str
        How RDMs were compared, if it is known: what noise alone does to the upper noise ceiling.
    significance : Significance, optional
        Which scores are significant, if they were tested: these are outlined, the others faded, and times and places
        that are shown are those of significant scores where there are some.

    Returns
    -------
    list of path
        `glass.png`, `slices.png`; in a space of MNI152 `surface.png`; over time `courses.png`; per model with layers
        `best_layer-<i>.png`, `layer_gradient-<i>.png` and, over time, `time_of_best_layer-<i>.png`; per reference
        without layers `peak_time-<i>.png` and `onset_time-<i>.png`; `ceiling.png` if there are rows that tell how good
        the data are.
    """
    folder, who, models = Path(folder), f", {title}" if title else "", of_models(scores)
    found = None if significance is None else significance.of(models)
    (shown,), timed = at_peak_times([models], [found]), _at_peak(models, significance)
    seen, sliced, dotted = _brain_words(significance, models)
    found = None if significance is None else significance.of(shown)
    glass = glass_grid([(title, shown)], space=space, significant=[found])
    cuts = slices(shown, space=space, background=background, significant=found)
    paths = [
        save_figure(folder / "glass.png", glass, f"Glass brains{who}. {seen}{timed}"),
        save_figure(folder / "slices.png", cuts, f"Slices through the peaks{who}. {sliced}{timed}"),
    ]
    if has_cortex(space):
        paths += _surface_figure(shown, folder, who, timed, significance)
    if has_times(models):
        figure = time_courses(courses(models, significance), str(models.table["statistic"].iloc[0]))
        text = (
            f"Scores over time{who}, at the voxel where a model's best layer and time score highest. The voxel was "
            f"selected on these scores, so the values are inflated; look at their shape and order.{dotted}"
        )
        paths.append(save_figure(folder / "courses.png", figure, text))
    look = {"space": space, "background": background}
    for row in [] if derived is None else _single_rows(derived):
        paths += _derived_figure(row, models, folder, who, look, significance)
    return [*paths, *_quality_figures(scores, folder, title, space, comparison)]


def _surface_figure(
    shown: ScoreMap, folder: Path, who: str, timed: str, significance: Significance | None
) -> list[Path]:
    """Draw each model on the cortex, of its layers the one with the highest (significant) score."""
    if not is_wanted(folder / "surface.png"):
        return []
    found = None if significance is None else significance.of(shown)
    rows = best_rows(shown, found)
    best = replace(shown, values=shown.values[rows], table=shown.table.iloc[rows])
    limit = float(score_scale([shown], None).vmax or 1)
    figure = surface_grid(best, significant=None if found is None else found[rows], limit=limit)
    which = "" if significance is None else "significant "
    layers = f" Of the layers of a model that with the highest {which}score is shown." * (len(best) < len(shown))
    as_well, thresholded = "", " Nothing is thresholded."
    if significance is not None:
        said = threshold_words(significance, best)
        as_well, thresholded = ", and wherever it is significant", f" {said[:1].upper()}{said[1:]}"
    caption = CORTEX.format(who=who, layers=layers, as_well=as_well, thresholded=thresholded)
    return [save_figure(folder / "surface.png", figure, caption + timed)]


def _at_peak(scores: ScoreMap, significance: Significance | None, whose: str = "") -> str:
    """Say at which times references are shown, if there are several."""
    which = "" if significance is None else "significant "
    return AT_PEAK.format(which=which, whose=whose) if has_times(scores) else ""


def _brain_words(significance: Significance | None, scores: ScoreMap) -> tuple[str, str, str]:
    """Say what glass brains, slices and courses show of scores."""
    sight, blocks = sight_words(significance), stride_words(scores)
    if significance is None:
        seen = SEEN_THROUGH.format(sight=sight, thresholded=", and nothing is thresholded")
        return seen + blocks, SLICED.format(which="", as_well="") + blocks, ""
    said = threshold_words(significance, scores)
    said = f" {said[:1].upper()}{said[1:]}"
    dotted = DOTTED.format(alpha=significance.written_alpha, words=significance.words)
    as_well = ", and wherever it is significant"
    return (
        SEEN_THROUGH.format(sight=sight, thresholded="") + said + blocks,
        SLICED.format(which="significant ", as_well=as_well) + said + blocks,
        dotted,
    )


def _single_rows(scores: ScoreMap) -> list[ScoreMap]:
    """Return the maps of a stack one by one."""
    return [replace(scores, values=scores.values[[i]], table=scores.table.iloc[[i]]) for i in range(len(scores))]


def _quality_figures(scores: ScoreMap, folder: Path, title: str, space: str, comparison: str) -> list[Path]:
    """Draw split-half reliability and noise ceilings, if there are any, each at the time at which it is highest."""
    quality = of_data(scores)
    if quality is None:
        return []
    (shown,), timed = at_peak_times([quality]), _at_peak(quality, None)
    place = {name: i for i, name in enumerate(QUALITY_WORDS)}
    shown = rows_like(shown, shown.table.sort_values("model", key=lambda names: names.map(place), kind="stable"))
    figure = glass_grid([(title, shown)], space=space)
    n_subjects = 0 if scores.n_members is None else int(scores.n_members.max(initial=0))
    noise = noise_words(n_subjects, comparison)
    said = " ".join(QUALITY_WORDS[name].format(noise=noise) for name in dict.fromkeys(shown.table["model"]))
    text = f"What the data allow{f', {title}' if title else ''}. {said} {_brain_words(None, quality)[0]}{timed}"
    return [save_figure(folder / "ceiling.png", figure, text)]


# ------------------------------------------------------------------------------------- derived figures


def _derived_figure(
    row: ScoreMap,
    scores: ScoreMap,
    folder: Path,
    who: str,
    look: Mapping[str, Any],
    significance: Significance | None = None,
) -> list[Path]:
    """Draw one derived map; of those that are made at every time, that at the time of the model's highest score.

    Maps that each layer of a model has are drawn of references without layers only. What is nowhere significant of the
    scores behind a map is faded.
    """
    labels = row.table.iloc[0]
    model, name = str(labels["model"]), str(labels["statistic"])
    if labels["layer"] and model in layered_models(scores.table):
        return []
    rows, when = select(scores, model=model), ""
    if not pd.isna(labels.get("time_s")):
        rows, when = _at_best_time(rows, significance)
        if rows.table["time_s"].iloc[0] != labels["time_s"]:
            return []
    entry, number = MAPS[name], list(dict.fromkeys(scores.table["model"])).index(model) + 1
    figure = FIGURES[entry.figure](row, rows, entry.unit, {**look, "significant": _any_row(rows, significance)})
    title = entry.title.format(model=model) if entry.title else f"{model}: {entry.unit}"
    caption = f"{title}{who}{when}. {entry.note}".strip() + _outlined(rows, model, significance) + stride_words(row)
    return [save_figure(folder / f"{name}-{number}.png", figure, caption)]


def _any_row(rows: ScoreMap, significance: Significance | None) -> Array | None:
    """Say of each voxel whether any of some rows is significant (1), none (0), or none was tested (NaN)."""
    if significance is None:
        return None
    found = significance.of(rows)
    return np.where(np.isnan(found).all(axis=0), np.nan, (found == 1).any(axis=0))


def _outlined(rows: ScoreMap, model: str, significance: Significance | None) -> str:
    """Say what an outline on a map that was made of some rows means."""
    if significance is None or np.isnan(significance.of(rows)).all():
        return ""
    many = {"layers": rows.table["layer"].nunique() > 1, "times": has_times(rows)}
    what = " at ".join(["a layer"] * many["layers"] + ["a time"] * many["times"]) or "the score"
    alone = [name.removesuffix("s") for name, several in many.items() if several and not significance.covers(name)]
    each = f", each {' and '.join(alone)} corrected by itself" if alone else ""
    how = {"alpha": significance.written_alpha, "words": significance.words}
    return BEST_OF_MANY.format(what=what, model=model, each=each, **how)


def _at_best_time(rows: ScoreMap, significance: Significance | None = None) -> tuple[ScoreMap, str]:
    """Return the rows of a model at the time of its highest (significant) score, and words for that time."""
    times = rows.table["time_s"]
    best = times.iloc[peak_voxel(rows, significance)[0]]
    (time,) = written_times([best], unit=unit_of(rows.table))
    chosen = (times == best).to_numpy()
    which = "significant " if significance is not None and (significance.of(rows) == 1).any() else ""
    when = f", at {time} (the time of the model's highest {which}score)"
    return replace(rows, values=rows.values[chosen], table=rows.table[chosen]), when


def _signed_figure(row: ScoreMap, scores: ScoreMap, unit: str, look: Mapping[str, Any]) -> Figure:
    return signed_slices(row, unit, **look)


def _layers_figure(row: ScoreMap, scores: ScoreMap, unit: str, look: Mapping[str, Any]) -> Figure:
    return label_slices(row, list(scores.table["layer"]), strength=_strength(scores), **look)


def _times_figure(row: ScoreMap, scores: ScoreMap, unit: str, look: Mapping[str, Any]) -> Figure:
    return _in_colours_of_times(row, scores, times_of(scores.table), "time of the highest score", look)


def _onsets_figure(row: ScoreMap, scores: ScoreMap, unit: str, look: Mapping[str, Any]) -> Figure:
    """Draw times of which few voxels have one: the colours span the middle 95 % of them."""
    times_s, onsets_s = np.array(times_of(scores.table)), row.values[np.isfinite(row.values)]
    first, last = np.percentile(onsets_s, [2.5, 97.5], method="inverted_cdf") if onsets_s.size else (0.0, times_s[-1])
    shown = times_s[(times_s > first - SAME_S) & (times_s < last + SAME_S)]
    return _in_colours_of_times(row, scores, shown, "onset", look)


def _in_colours_of_times(
    row: ScoreMap, scores: ScoreMap, times_s: Sequence[float] | Array, what: str, look: Mapping[str, Any]
) -> Figure:
    """Slice a map of times, each in the colour of the nearest of `times_s`."""
    nearest = np.abs(row.values[..., None] - np.array(times_s))  # (1, n_voxels, n_times); maps: single precision
    numbers = replace(row, values=np.where(np.isnan(row.values), np.nan, nearest.argmin(axis=-1) + 1.0))
    return label_slices(
        numbers, written_times(times_s, unit=unit_of(scores.table)), strength=_strength(scores), what=what, **look
    )


FIGURES: dict[str, Callable[[ScoreMap, ScoreMap, str, Mapping[str, Any]], Figure]] = {
    "signed": _signed_figure,
    "layers": _layers_figure,
    "times": _times_figure,
    "onsets": _onsets_figure,
}
"""How derived maps are drawn (`DerivedMap.figure`): from the map, its model's scores, the unit and the slices' look."""


def _strength(scores: ScoreMap) -> Array:
    """Return the highest score of each voxel, NaN where there is none."""
    highest = np.where(np.isnan(scores.values), -np.inf, scores.values).max(axis=0)
    return np.where(np.isfinite(highest), highest, np.nan)


# ------------------------------------------------------------------------------------ group and regions


def group_figures(
    subjects: Sequence[tuple[str, ScoreMap | StoredScores]],
    group: ScoreMap | None,
    derived: ScoreMap | None,
    *,
    space: str,
    folder: str | Path,
    background: nib.Nifti1Image | None = None,
    comparison: str = "",
    significance: Significance | None = None,
    models: Sequence[str] = (),
    differences: ScoreMap | None = None,
    settings: Mapping[str, Any] | None = None,
) -> list[Path]:
    """Draw all subjects beside each other, the scores at their peaks, the maps of the group, and its contrasts.

    Parameters
    ----------
    subjects : sequence of (title, ScoreMap)
        The maps of each subject, with the same references. Those that stay in their files are read one subject at a
        time.
    group, derived : ScoreMap, optional
        The group's maps, and what is derived of them. The first statistic is drawn ("mean" joins the subjects' scale;
        any other has its own), and shares of the noise ceiling, if there are some, in `share.png`.
    space, folder, background, comparison, significance
        Of the group; as in `subject_figures`.
    models : sequence of str
        All models of the study, in order: so each has one colour in all of its figures.
    differences : ScoreMap, optional
        Differences between references, or between groups of subjects, and their tests: drawn in `contrasts.png`.
    settings : mapping, optional
        Those of the tests.
    """
    folder, paths = Path(folder), []
    first = None if group is None else select(without_tests(group), statistic=group.table["statistic"].iloc[0])
    is_mean = first is not None and str(first.table["statistic"].iloc[0]) == "mean"
    rows = [*subjects, ("mean", first)] if first is not None and is_mean else list(subjects)
    if len(rows) > 1:
        paths.append(_everyone(rows, folder, space, significance if is_mean else None))
    group = None if group is None else without_tests(group)
    profiles = []
    for title, scores in subjects:
        profiles.append(peak_profile(_in_memory(scores)).assign(subject=title))
    table = pd.concat(profiles)
    timed = " and the time" if any(len(times_of(_of_references(one.table))) > 1 for _, one in subjects) else ""
    paths.append(
        save_figure(
            folder / "profile.png",
            profile(table, models),
            f"Scores along the layers, at the voxel{timed} of each subject where the best layer scores highest. "
            f"Thin lines are subjects, thick ones their mean. The voxel{timed} {'were' if timed else 'was'} selected "
            "on these scores, so the values are inflated; look at their order along the layers.",
        )
    )
    if group is not None and first is not None:
        name = f"group: {first.table['statistic'].iloc[0]}"
        look: dict[str, Any] = {
            "space": space,
            "background": background,
            "comparison": comparison,
            "significance": significance,
        }
        paths += subject_figures(first, derived, folder=folder, title=name, **look)
        paths += _share_figures(group, first, folder, space, background, significance)
    if differences is not None:
        paths.append(_contrasts(differences, folder, space, settings or {}))
    return paths


def _contrasts(differences: ScoreMap, folder: Path, space: str, settings: Mapping[str, Any]) -> Path:
    """Draw glass brains of differences, and say of what they are."""
    significance, all_rows = significance_of(differences, settings), without_tests(differences)
    (shown,) = at_peak_times([all_rows], [None if significance is None else significance.of(all_rows)])
    inference = settings.get("inference") or {}
    said = [f"{one['name']} is {one['a']} less {one['b']}" for one in inference.get("contrasts") or ()]
    of = "between groups of subjects" if inference.get("groups") else "of scores (Fisher's z)"
    text = f"Differences {of}{': ' if said else ''}{'; '.join(said)}. {_brain_words(significance, all_rows)[0]}"
    found = None if significance is None else significance.of(shown)
    figure = glass_grid([("", shown)], space=space, significant=[found])
    return save_figure(folder / "contrasts.png", figure, text + _at_peak(all_rows, significance))


def _in_memory(scores: ScoreMap | StoredScores) -> ScoreMap:
    return scores if isinstance(scores, ScoreMap) else scores.load()


def _models_of(scores: ScoreMap | StoredScores) -> ScoreMap:
    return of_models(_in_memory(scores))


def _of_references(table: pd.DataFrame) -> pd.DataFrame:
    return table[~table["role"].isin((QUALITY, TEST))]


def _everyone(
    rows: Sequence[tuple[str, ScoreMap | StoredScores]],
    folder: Path,
    space: str,
    significance: Significance | None = None,
) -> Path:
    """Draw glass brains of all subjects (and their mean) beside each other, each reference at one time for all.

    What is significant is that of the last row, the mean.
    """
    models = [partial(_models_of, scores) for _, scores in rows]
    last = models[-1]()
    tested: list[Array | None] = [None] * len(rows)
    if significance is not None:
        tested[-1] = significance.of(last)
    maps = at_peak_times(models, tested)
    titled = [(title, scores) for (title, _), scores in zip(rows, maps, strict=True)]
    timed = _at_peak(last, significance, ", averaged over the maps")
    caption = f"Glass brains, all subjects. {_brain_words(None, last)[0]}{timed}"
    if significance is not None:
        tested[-1] = significance.of(maps[-1])
        seen, _, _ = _brain_words(significance, last)
        caption = (
            f"Glass brains, all subjects; the mean alone was tested. Of the mean: {seen[:1].lower()}{seen[1:]}{timed}"
        )
    figure = glass_grid(titled, space=space, significant=tested)
    return save_figure(folder / "subjects.png", figure, caption)


def _share_figures(
    group: ScoreMap,
    first: ScoreMap,
    folder: Path,
    space: str,
    background: nib.Nifti1Image | None,
    significance: Significance | None,
) -> list[Path]:
    """Slice the shares of the noise ceiling, if there are any, at the peaks of the mean scores."""
    if "share_of_ceiling" not in set(group.table["statistic"]):
        return []
    models = of_models(first)
    (shown,) = at_peak_times([models], [None if significance is None else significance.of(models)])
    shares = rows_like(select(group, statistic="share_of_ceiling"), shown.table)
    timed = " Times are those of the highest mean scores." if has_times(first) else ""
    figure = slices(shares, space=space, background=background, limit=1.0, at=shown)
    return [save_figure(folder / "share.png", figure, SHARE + timed)]


def region_figures(
    table: pd.DataFrame,
    folder: str | Path,
    tests: pd.DataFrame | None = None,
    *,
    alpha: float = 0.05,
    models: Sequence[str] = (),
) -> list[Path]:
    """Draw the fits of references to regions (the table of `rsa.rdm.region_fits`); return the files.

    Over time, regions are drawn at the time of their highest score, and `regions_courses.png` shows all times. If
    some references have no time, their scores alone are the bars. With `tests`, a table with `region`, `model`,
    `layer`, `time_s` and `p_corrected`, dots mark the times at which that p is `alpha` or less. `models` are all models
    of the study, in order: so each has one colour in all of its figures.
    """
    table = table if "ceiling_lower" in table else table.assign(ceiling_lower=np.nan, ceiling_upper=np.nan)
    table = drawn_ceiling(table)
    has_ceiling = bool(table["ceiling_lower"].notna().any())
    ceiling = " " + ceiling_words(table["subject"].nunique(), str(table["statistic"].iloc[0])) if has_ceiling else ""
    caption, paths, timed = REGIONS + ceiling, [], _with_time(table)
    if len(times_of(timed)) > 1:
        text = f"Scores in regions over time, mean over subjects.{ceiling}"
        text += REGION_DOTS.format(alpha=f"{alpha:g}".removeprefix("0")) if tests is not None else ""
        course = time_courses(_region_courses(timed, tests, alpha), str(table["statistic"].iloc[0]), unit_of(table))
        paths.append(save_figure(Path(folder) / "regions_courses.png", course, text))
    if len(timed) == len(table) > 0 and paths:
        caption += " Each region is shown at the time of its highest mean score, which is in the title."
    bars = at_one_time(table)
    if "time_s" in bars and bars["time_s"].notna().all():
        times = pd.Series(written_times(bars["time_s"], unit=unit_of(bars)), bars.index)
        bars = bars.assign(region=bars["region"] + ", " + times)
    ceilings = bars[["region", *LINES]].drop_duplicates()
    return [save_figure(Path(folder) / "regions.png", region_bars(bars, ceilings, models), caption), *paths]


def _with_time(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that have a time."""
    return table[table["time_s"].notna()] if "time_s" in table else table.iloc[:0]


def at_one_time(table: pd.DataFrame) -> pd.DataFrame:
    """Return the fits of references without time if there are some, or else those of the best time of each region."""
    timed = _with_time(table)
    if not len(timed):
        return table
    return table.drop(timed.index) if len(timed) < len(table) else at_region_times(table)


def at_region_times(table: pd.DataFrame) -> pd.DataFrame:
    """Keep one time of each region: that at which its best reference has the highest mean score over subjects.

    Rows come region by region, in the order of the table.
    """
    means = table.groupby(["region", "model", "layer", "time_s"], dropna=False)["score"].mean()
    highest = means.groupby(["region", "time_s"], sort=True).max().fillna(-np.inf)
    chosen = set(highest.groupby("region").idxmax())
    kept = table[[key in chosen for key in zip(table["region"], table["time_s"], strict=True)]]
    place = {name: i for i, name in enumerate(dict.fromkeys(table["region"]))}
    return kept.sort_values("region", key=lambda names: names.map(place), kind="stable")


def _region_courses(table: pd.DataFrame, tests: pd.DataFrame | None, alpha: float) -> pd.DataFrame:
    """Average over subjects for `time_courses`: a panel for each region and model, with what is significant."""
    if tests is not None:
        keys = ["region", "model", "layer", "time_s"]
        table, tests = (one.assign(layer=one["layer"].fillna("")) for one in (table, tests))
        table = table.merge(tests[[*keys, "p_corrected"]], on=keys, how="left", validate="many_to_one")
        table = table.assign(significant=table["p_corrected"] <= alpha)
    table = table.assign(layer=table["layer"].fillna(""), panel=table["region"] + ", " + table["model"])
    groups = table.groupby(["panel", "layer", "time_s"], sort=False)
    means = groups[["score", *LINES]].mean()
    if tests is not None:
        means["significant"] = groups["significant"].any()
    return means.reset_index().rename(columns={"panel": "model"})


# --------------------------------------------------------------------------------------------- tables


def peak_profile(scores: ScoreMap) -> pd.DataFrame:
    """Return the scores of all layers of each model at the one voxel (and time) where the best one scores highest."""
    parts, scores = [], of_models(scores)
    for model in dict.fromkeys(scores.table["model"]):
        rows = select(scores, model=model)
        row, voxel = peak_voxel(rows)
        table = rows.table.assign(score=rows.values[:, voxel].astype(float))
        parts.append(table[table["time_s"] == table["time_s"].iloc[row]] if has_times(rows) else table)
    return pd.concat(parts, ignore_index=True)


def region_means(table: pd.DataFrame) -> pd.DataFrame:
    """Average the fits of regions over subjects (at each time): mean, standard error and number of subjects."""
    time = ["time_s"] if "time_s" in table else []
    keys = ["region", "model", "layer", *time, "ceiling_lower", "ceiling_upper"]
    scores = table.groupby(keys, sort=False, dropna=False)["score"]
    means = scores.agg(mean="mean", standard_error="sem", n_subjects="count").reset_index()
    counted = ["mean", "standard_error", "n_subjects", "ceiling_lower", "ceiling_upper"]
    return means[["region", "model", "layer", *time, *counted]]


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
