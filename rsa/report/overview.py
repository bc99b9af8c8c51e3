"""The first page: what was asked, and what was found, in sentences and tables of findings."""

from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rsa.errors import listed
from rsa.report.findings import MOST_PLACES, Findings
from rsa.report.html import Link, Markup
from rsa.report.methods import Measured
from rsa.report.style import written_times

__all__ = [
    "FOR_OTHERS",
    "badges_of",
    "found_html",
    "places_table",
    "question",
    "sentences",
    "telling_picture",
    "too_narrow",
    "written_score",
]

INFLATED = "What fits best, and where and when, was chosen by the same scores that are shown: these are too high."
PICTURES = (
    *("group/best_layer-*.png", "group/surface.png", "group/glass.png", "sub-*/best_layer-*.png", "sub-*/glass.png"),
    *("regions/regions.png", "time/layer_time.png", "sensors/*.png"),
    *("units/*/heat_maps*.png", "units/*/preferred*.png", "references/rdms.png"),
)
"""The picture of the first page is the first of these that there is, below `figures/`."""

FOR_OTHERS = "for other pictures too"
"""What intervals and p over subjects and conditions are called."""

MOST_SUBJECTS = 4
"""So many subjects without a group have a sentence each."""

MINUS = "\N{MINUS SIGN}"


def badges_of(study: Any) -> list[str]:
    """Return what has to be known of all results of a study before any is read."""
    found = ["simulated data"] if study.simulate is not None else []
    untrained = [model.is_untrained for model in study.models]
    some = "untrained weights" if all(untrained) else "some untrained weights"
    return found + [some] * any(untrained)


def question(study: Any, measured: Measured) -> str:
    """Say in a sentence what the study asks, by its settings."""
    if not study.has_data:
        n_conditions = _counted(measured.n_conditions, "condition")
        return f"What do the units of {_joined([*measured.layers])} see in pictures of {n_conditions}?"
    where = "Where in the brain" if study.searchlight is not None else ""
    n_regions = len(measured.regions)
    where = where or (f"In which of {n_regions} regions" if n_regions > 1 else "In a region" if n_regions else "")
    when = "when" if study.meeg is not None else ""
    asked = (" and ".join(filter(None, [where, when])) or "how well").replace("brain and when", "brain, and when,")
    untrained = {model.label: " (untrained weights)" for model in study.networks if model.is_untrained}
    compared = [
        f"{len(layers)} layer{'s' * (len(layers) != 1)} of {name}{untrained.get(name, '')}" if layers else name
        for name, layers in measured.layers.items()
    ]
    data = [f"{_counted(len(study.subjects), 'subject')} (fMRI)"] if study.subjects else []
    data += [f"{_counted(len(study.meeg_subjects), 'subject')} (M/EEG)"] if study.meeg_subjects else []
    simulated = "simulated responses" if study.simulate is not None else "responses"
    return (
        f"{asked[:1].upper()}{asked[1:]} do {simulated} of {' and '.join(data) or 'the brain'} to "
        f"{_counted(measured.n_conditions, 'condition')} have the geometry of {_joined(compared)}?"
    )


# ------------------------------------------------------------------------------------------- sentences


def sentences(found: Findings, study: Any) -> list[tuple[str, bool]]:
    """Return what was found, a sentence or two for each kind of data, and whether it is something that counts."""
    said = [*_of_places(found), *_of_regions(found), *_of_courses(found), *_of_fusion(found), *_of_sensors(found)]
    if len(found.planted):
        n, own = len(found.planted), found.planted[found.planted["is_found"]]
        far = own["peak_distance_mm"].dropna()
        distance = f", and the nearest peaks are {_span(far.min(), far.max())} mm away" if len(far) else ""
        text = f"The data are simulated: in {len(own)} of {n} planted places the planted layer fits best{distance}."
        said.append((text, True))
    if not said and study.models and not study.has_data:
        return [("The study looks at networks alone, without data of brains: see the pages of the networks.", True)]
    return said or [("There are no scores to tell of.", False)]


def _of_places(found: Findings) -> list[tuple[str, bool]]:
    if not len(found.places):
        return []
    alpha, several, result = _p(found.alpha), not found.who, []
    groups = list(found.places.groupby("who", sort=False)) if several else [(found.who, found.places)]
    if len(groups) > MOST_SUBJECTS:
        return _of_many_subjects(found)
    for who, places in groups:
        best = places.iloc[0]
        whose = {"group": "of the group"}.get(str(who), f"of subject {who}")
        where = f"{_reference(best)} with {written_score(best['score'])}{_share(best)} at {_where(best)}"
        n, p = sum(one is True for one in places["significant"]), _is_p(best["p_corrected"])
        if best["significant"] is None:
            result.append((f"The maps {whose} were not tested. The highest score is that of {where}.", True))
        elif n == 0:
            nothing = f"Nothing is significant in the maps {whose}: no corrected p is {alpha} or less."
            result.append((f"{nothing} The highest score, of {where} ({p}), may be chance.", False))
        else:
            have = f"{_counted(n, 'place')} {'has' if n == 1 else 'have'} significant scores"
            have = f"{n} places or more have significant scores" if n >= MOST_PLACES else have
            at_most = f"corrected p \N{LESS-THAN OR EQUAL TO} {alpha}"
            result.append((f"In the maps {whose}, {have} ({at_most}). Highest is {where}, {p}.", True))
    return result


def _of_many_subjects(found: Findings) -> list[tuple[str, bool]]:
    """Tell of subjects without a group, of which there are too many for a sentence each."""
    places, n = found.places, found.places["who"].nunique()
    best = places.loc[places["score"].idxmax()]
    where = f"{_reference(best)} with {written_score(best['score'])} at {_where(best)} of subject {best['who']}"
    if best["significant"] is None:
        return [(f"The maps of {n} subjects were not tested. The highest score is that of {where}.", True)]
    n_found = places.loc[[one is True for one in places["significant"]], "who"].nunique()
    text = f"The maps of {n_found} of {n} subjects have significant scores. Highest is {where}."
    return [(text, n_found > 0)] if n_found else [(f"Nothing is significant in the maps of {n} subjects.", False)]


def _of_regions(found: Findings) -> list[tuple[str, bool]]:
    table = found.regions
    if not len(table):
        return []
    ordered, n_regions = table.sort_values("score", ascending=False, kind="stable"), _counted(len(table), "region")
    if table["significant"].isna().all():
        return [(f"Regions were not tested. The highest of {n_regions}: {_named(ordered.head(3))}.", True)]
    good = ordered[[one is True for one in ordered["significant"]]]
    if not len(good):
        return [(f"Nothing is significant in {n_regions}. The highest is {_named(ordered.head(1))}.", False)]
    more = f" and {len(good) - 3} more" if len(good) > 3 else ""
    best = f"{_named(good.head(3))}{more}"
    return [(f"In {len(good)} of {n_regions} the best reference is significant: {best}.", True)]


def _of_courses(found: Findings) -> list[tuple[str, bool]]:
    if not len(found.courses):
        return []
    best = found.courses.iloc[0]
    interval = _interval_s(best["peak_lower_s"], best["peak_upper_s"]).replace("(", "(95\N{NO-BREAK SPACE}% interval ")
    onset = "" if pd.isna(best["onset_s"]) else f", first above chance at {_time(best['onset_s'])}"
    text = f"{_reference(best)} with {written_score(best['score'])} at {_time(best['peak_s'])}{interval}{onset}"
    if best["significant"] is None:
        said = [(f"M/EEG was not tested. Highest over time is {text}.", True)]
    else:
        word = "highest" if best["significant"] else "nothing is significant; highest"
        said = [(f"In M/EEG, {word} is {text}, {_is_p(best['p_corrected'])}.", bool(best["significant"]))]
    for row in found.hierarchy.itertuples() if len(found.hierarchy) else ():
        if row.lower > 0 or row.upper < 0:
            order = "later" if row.rho > 0 else "earlier"
            span = f"{written_score(row.lower)} to {written_score(row.upper)}"
            rho = f"\N{GREEK SMALL LETTER RHO} = {written_score(row.rho)}, 95\N{NO-BREAK SPACE}% interval {span}"
            said.append((f"Deeper layers of {row.model} peak {order} ({rho}).", True))
    return said


def _of_fusion(found: Findings) -> list[tuple[str, bool]]:
    if not len(found.fusion):
        return []
    best = found.fusion.iloc[0]
    where = f"{written_score(best['score'])} at {_time(best['time_s'])} at {_where(best)}"
    if best["significant"] is None:
        return [(f"Fusion of fMRI and M/EEG was not tested. Highest is {where}.", True)]
    where += f", {_is_p(best['p_corrected'])}"
    if not found.fusion_times_s:
        return [(f"Fusion of fMRI and M/EEG is nowhere significant. Highest is {where}.", False)]
    spans = _joined([_times(first, last) for first, last in found.fusion_times_s])
    return [(f"fMRI and M/EEG share geometry from {spans} (significant somewhere), most with {where}.", True)]


def _of_sensors(found: Findings) -> list[tuple[str, bool]]:
    if not len(found.sensors):
        return []
    best = found.sensors.iloc[0]
    sensor = f" at sensor {best['sensor']}" if best.get("sensor") else ""
    text = f"{_reference(best)} with {written_score(best['score'])}{sensor}, {_time(best['time_s'])}"
    if best["significant"] is None:
        return [(f"Sensors were not tested. Highest is {text}.", True)]
    word = "highest" if best["significant"] else "nothing is significant; highest"
    return [(f"Over sensors, {word} is {text}, {_is_p(best['p_corrected'])}.", bool(best["significant"]))]


# ---------------------------------------------------------------------------------------------- tables


def places_table(
    places: pd.DataFrame,
    score: str,
    explorer: Callable[[Any], str],
    maps: Callable[[Any], str],
    *,
    with_time: bool = False,
) -> pd.DataFrame:
    """Make a table of places for people.

    Parameters
    ----------
    places : DataFrame
        From `rsa.report.findings.best_places`, with `who`.
    score : str
        What scores are called.
    explorer, maps : callable
        Give the link to the explorer and to the NIfTI map of a row; "" for none.
    with_time : bool
        Whether to show times.
    """
    rows = []
    for row in places.to_dict("records"):
        said = _where(row)
        shown = explorer(row)
        at = Link(said, shown, "in the brain explorer") if shown else said
        cells: dict[str, Any] = {"subject": row["who"]} if places["who"].nunique() > 1 else {}
        cells |= {"place": at, "best fit": _reference(row)}
        cells |= {"time": _time(row["time_s"], "s")} if with_time else {}
        cells |= {score: row["score"], "p_corrected": row["p_corrected"]}
        cells |= {"of the ceiling": _bar(row["share_of_ceiling"])}
        cells |= {"next best": "" if not row["next_best"] else f"{row['next_best']} {written_score(row['next_score'])}"}
        cells |= {"map": Link("NIfTI", maps(row), f"map of {_reference(row)}") if maps(row) else ""}
        rows.append(cells)
    return _without_empty(pd.DataFrame(rows))


def regions_table(regions: pd.DataFrame, score: str) -> pd.DataFrame:
    """Make a table of the best reference of each region for people."""
    table = pd.DataFrame(
        {
            "region": regions["region"],
            "best fit": [_reference(row) for row in regions.to_dict("records")],
            "time": [_time(time, "s") for time in regions["time_s"]],
            score: regions["score"],
            "95 % interval": [_interval(a, b) for a, b in zip(regions["lower"], regions["upper"], strict=True)],
            "p_corrected": regions["p_corrected"],
            FOR_OTHERS: [_for_others(row) for row in regions.to_dict("records")],
            "of the ceiling": [_bar(share) for share in regions["share_of_ceiling"]],
            "next best": [
                "" if not name else f"{name} {written_score(value)}"
                for name, value in zip(regions["next_best"], regions["next_score"], strict=True)
            ],
        }
    )
    return _without_empty(table)


def courses_table(courses: pd.DataFrame, score: str) -> pd.DataFrame:
    """Make a table of the best layer of each model over time for people."""
    rows = courses.to_dict("records")
    return _without_empty(
        pd.DataFrame(
            {
                "best fit": [_reference(row) for row in rows],
                "onset": [_with_interval(row, "onset") for row in rows],
                "peak": [_with_interval(row, "peak") for row in rows],
                score: courses["score"],
                "p_corrected": courses["p_corrected"],
            }
        )
    )


def planted_table(planted: pd.DataFrame, explorer: Callable[[Any], str]) -> pd.DataFrame:
    """Make a table of what was planted where, beside what was found."""
    rows = []
    for row in planted.to_dict("records"):
        said, shown = _where(row), explorer(row)
        rows.append(
            {
                "planted in": row["place"],
                "middle": Link(said, shown, "in the brain explorer") if shown else said,
                "planted": _reference(row),
                "found": f"{row['found_model']} {row['found_layer']}".strip(),
                "same": _yes(row["is_found"]),
                "mean score": row["mean_score"],
                "nearest peak (mm)": row["peak_distance_mm"],
                "fused peak": _time(row["fused_s"]),
            }
        )
    return _without_empty(pd.DataFrame(rows))


def planted_times_table(planted: pd.DataFrame) -> pd.DataFrame:
    """Make a table of what was planted when, beside what was found."""
    rows = planted.to_dict("records")
    return pd.DataFrame(
        {
            "response": planted["response"],
            "planted": [_reference(row) for row in rows],
            "planted peak": [_time(row["planted_s"]) for row in rows],
            "found peak": [_with_interval(row, "peak") for row in rows],
            "found onset": [_time(row["onset_s"]) for row in rows],
        }
    )


def telling_picture(folder: Path) -> Path | None:
    """Choose the picture of the first page: the group's map of the best layer, or what comes nearest to it."""
    found = [path for pattern in PICTURES for path in sorted((folder / "figures").glob(pattern))]
    return found[0] if found else None


def found_html(said: Sequence[tuple[str, bool]]) -> str:
    """Write the sentences."""
    kinds = {True: "", False: ' class="nothing"'}
    return f'<ul class="found">{"".join(f"<li{kinds[counts]}>{escape(text)}</li>" for text, counts in said)}</ul>'


# ----------------------------------------------------------------------------------------------- words


def written_score(value: float) -> str:
    """Write a score with two decimals, as papers do.

    Examples
    --------
    >>> written_score(0.7747), written_score(1.5)
    ('.77', '1.50')
    """
    if pd.isna(value):
        return "\N{EN DASH}"
    text = f"{abs(value):.2f}"
    sign = MINUS if value < 0 and float(text) else ""
    return sign + (text.removeprefix("0") if abs(value) < 0.995 else text)


def too_narrow(few: float) -> str:
    """Say beside an interval for other pictures that few conditions carry the reference; nothing for NaN.

    Examples
    --------
    >>> too_narrow(2.1), too_narrow(float("nan"))
    (' (may be too narrow: 2 conditions carry it)', '')
    """
    return "" if pd.isna(few) else f" (may be too narrow: {_counted(round(few), 'condition')} carry it)"


def _p(value: float) -> str:
    return f"{value:g}".removeprefix("0")


def _is_p(value: float) -> str:
    """Write a p in a sentence."""
    if pd.isna(value):
        return "not tested"
    written = "<\N{NO-BREAK SPACE}.001" if value < 0.001 else f"=\N{NO-BREAK SPACE}{value:.3f}".replace("0.", ".")
    return f"p\N{NO-BREAK SPACE}{written}"


def _reference(row: Any) -> str:
    return f"{row['model']} {row['layer']}".strip()


def _where(row: Any) -> str:
    """Write a place: its region if it has a name, and its coordinates."""
    axes = ("x_mm", "y_mm", "z_mm")
    at = ",\N{NO-BREAK SPACE}".join(f"{round(row[axis])}".replace("-", MINUS) for axis in axes)
    return " ".join(filter(None, [str(row.get("region") or ""), f"({at})\N{NO-BREAK SPACE}mm"]))


def _share(row: Any) -> str:
    share = row["share_of_ceiling"]
    return "" if pd.isna(share) else f" ({_percent(share)} of the noise ceiling)"


def _percent(share: float) -> str:
    return f"{100 * share:.0f}\N{NO-BREAK SPACE}%".replace("-", MINUS)


def _time(time_s: float, unit: str = "ms") -> str:
    return "" if pd.isna(time_s) else written_times([time_s], unit=unit)[0]


def _times(first_s: float, last_s: float) -> str:
    first, last = written_times([first_s, last_s], unit="ms")
    return f"{first.removesuffix(' ms')} to {last}"


def _with_interval(row: Any, what: str) -> str:
    return f"{_time(row[f'{what}_s'])}{_interval_s(row.get(f'{what}_lower_s'), row.get(f'{what}_upper_s'))}"


def _interval_s(lower: float | None, upper: float | None) -> str:
    if lower is None or upper is None or pd.isna(lower) or pd.isna(upper):
        return ""
    return f" ({_times(lower, upper)})"


def _interval(lower: float, upper: float) -> str:
    return "" if pd.isna(lower) or pd.isna(upper) else f"{written_score(lower)} to {written_score(upper)}"


def _for_others(row: Any) -> str:
    """Write the interval over subjects and conditions, and its corrected p; "" where it is not known."""
    interval = _interval(row["both_lower"], row["both_upper"])
    return f"{interval}{_and_p(row['p_both_corrected'])}{too_narrow(row['few_conditions'])}" if interval else ""


def _span(low: float, high: float) -> str:
    first, last = f"{low:.0f}", f"{high:.0f}"
    return first if first == last else f"{first} to {last}"


def _named(rows: pd.DataFrame) -> str:
    return "; ".join(
        f"{row['region']}: {_reference(row)}, {written_score(row['score'])}{_and_p(row['p_corrected'])}"
        for row in rows.to_dict("records")
    )


def _and_p(value: float) -> str:
    return "" if pd.isna(value) else f", {_is_p(value)}"


def _bar(share: float) -> Any:
    """Draw a share of the noise ceiling as a bar with its number."""
    if pd.isna(share):
        return ""
    width = f"{100 * float(np.clip(share, 0, 1)):.0f}"
    return Markup(
        f'<span class="bar" aria-hidden="true"><i style="width:{width}%"></i></span>{_percent(share)}', float(share)
    )


def _yes(is_so: bool) -> Markup:
    return Markup('<span class="yes">yes</span>' if is_so else '<span class="no">no</span>', float(is_so))


def _without_empty(table: pd.DataFrame) -> pd.DataFrame:
    """Leave out columns that say nothing of any row."""
    empty = [
        name
        for name in table
        if all(cell == "" if isinstance(cell, str) else _is_missing(cell) for cell in table[name])
    ]
    return table.drop(columns=empty)


def _is_missing(cell: Any) -> bool:
    return not isinstance(cell, Link | Markup) and bool(pd.isna(cell))


def _counted(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'s' * (n != 1)}"


def _joined(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]])) if names else listed([])
