"""Does one reference fit better than another? Differences of scores within subjects, which are tested as scores are."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from rsa.analyses import chosen
from rsa.core import REFERENCE, SAME_S, Array
from rsa.errors import Problems, UserError, did_you_mean
from rsa.inference.designs import Design
from rsa.inference.flips import fisher_z
from rsa.settings import Label, Section

__all__ = ["DIFFERENCE", "Contrast", "contrast_problems", "contrast_rows", "known_contrasts", "with_contrasts"]

DIFFERENCE = "difference"
"""What stands in the column `statistic` of a difference of scores."""


class Contrast(Section):
    """A comparison of two references, or groups of them: a less b."""

    name: Label
    """What the contrast is called: it stands where models stand."""
    a: str
    """The reference that is expected to fit better, by name (category; a model with all its layers), or by model and
    layer, with wildcards: "alexnet classifier.*". Of several rows, the mean of Fisher's z."""
    b: str
    """The other, named in the same way."""


def contrast_problems(contrasts: Sequence[Contrast], labels: Sequence[tuple[str, str]]) -> list[str]:
    """Return what is wrong with contrasts, as lines.

    Parameters
    ----------
    contrasts : sequence of Contrast
        All of a study.
    labels : sequence of (model, layer)
        The references whose scores there are.
    """
    table = pd.DataFrame(list(labels), columns=["model", "layer"])
    names = [*dict.fromkeys(table["model"]), *(" ".join(label) for label in labels if label[1])]
    found = []
    for number, contrast in enumerate(contrasts):
        if contrast.name in [other.name for other in contrasts[:number]]:
            found.append(f"two contrasts are called {contrast.name!r}; give each a name of its own.")
        if contrast.name in set(table["model"]):
            found.append(f"the contrast {contrast.name!r} is called as a reference is; give it another name.")
        sides = {side: chosen(table, [side]) for side in (contrast.a, contrast.b)}
        for side, rows in sides.items():
            if not rows.any():
                hint = did_you_mean(side, names)
                found.append(f"the contrast {contrast.name!r} is of {side!r}, and no reference is called so.{hint}")
        if sides[contrast.a].any() and (sides[contrast.a] == sides[contrast.b]).all():
            found.append(f"both sides of the contrast {contrast.name!r} are the same; name two references.")
    return found


def known_contrasts(contrasts: Sequence[Contrast], table: pd.DataFrame) -> list[Contrast]:
    """Return the contrasts of which both sides have rows in a table: an analysis may measure some references alone.

    Parameters
    ----------
    contrasts : sequence of Contrast
        Of a study, without problems.
    table : DataFrame
        `model` and `layer` of the rows that there are.
    """
    labels = table[["model", "layer"]].fillna("").astype(str)
    sides = [[chosen(labels, [side]) for side in (one.a, one.b)] for one in contrasts]
    return [one for one, (a, b) in zip(contrasts, sides, strict=True) if a.any() and b.any() and not (a == b).all()]


def contrast_rows(values: Array, table: pd.DataFrame, contrasts: Sequence[Contrast]) -> tuple[Array, pd.DataFrame]:
    """Subtract Fisher's z of some scores from that of others, within each subject.

    Parameters
    ----------
    values : array, shape (n_subjects, n_rows, n_columns)
        Fisher's z of scores.
    table : DataFrame, n_rows rows
        `model`, `layer`, and `time_s` if there are times. Rows that are no references (`role`) are left alone.
    contrasts : sequence of Contrast
        Which differences.

    Returns
    -------
    values : array, shape (n_subjects, n_differences, n_columns)
        The mean over the rows of `a`, less that over the rows of `b`; NaN where one of them is NaN.
    table : DataFrame, n_differences rows
        `model` (the name of the contrast), `layer` (empty), `time_s` if the table has it, `statistic` and `role`: a row
        for each contrast and time.

    Raises
    ------
    UserError
        Each in a line of its own, if a side names nothing, both sides are the same, or a name is not its own; and if
        the two sides are of different times.
    """
    references = table.reset_index(drop=True)
    if "role" in references:
        references = references[references["role"].fillna(REFERENCE) == REFERENCE]
    labels = references[["model", "layer"]].fillna("").astype(str)
    if problems := contrast_problems(contrasts, list(labels.itertuples(index=False, name=None))):
        raise Problems("What is compared (contrasts)", problems)
    times_s = references["time_s"].astype(float) if "time_s" in references else pd.Series(np.nan, references.index)
    parts, rows = [], []
    for contrast in contrasts:
        a, b = (times_s[chosen(labels, [side])] for side in (contrast.a, contrast.b))
        for time_s in _shared_times(contrast, a, b):
            means = [values[:, _at(side, time_s)].mean(axis=1) for side in (a, b)]  # two of (n_subjects, n_columns)
            parts.append(means[0] - means[1])
            rows.append({"model": contrast.name, "layer": "", "time_s": time_s})
    differences = np.stack(parts, axis=1) if parts else values[:, :0]
    labelled = pd.DataFrame(rows, columns=["model", "layer", "time_s"]).assign(statistic=DIFFERENCE, role=REFERENCE)
    return differences, labelled if "time_s" in table else labelled.drop(columns="time_s")


def with_contrasts(
    values: Array, table: pd.DataFrame, contrasts: Sequence[Contrast], design: Design
) -> tuple[Array, Array, pd.DataFrame]:
    """Put contrasts below scores, for a test over subjects.

    Parameters
    ----------
    values : array, shape (n_subjects, n_rows, n_columns)
        Scores.
    table, contrasts
        As in `contrast_rows`.
    design : Design
        What is tested.

    Returns
    -------
    z : array, shape (n_subjects, n_rows + n_differences, n_columns)
        Fisher's z of scores, and differences of it.
    effect : array, shape (n_rows + n_differences, n_columns)
        What is tested of them (`Design.effect`): means of scores, not of z, or the difference of groups.
    table : DataFrame, n_rows + n_differences rows

    Raises
    ------
    UserError
        As `contrast_rows`.
    """
    z, effect = fisher_z(values), design.effect(values)
    if not contrasts:
        return z, effect, table
    differences, named = contrast_rows(z, table, contrasts)
    rows = pd.concat([table, named[[name for name in named if name in table]]], ignore_index=True)
    return np.concatenate([z, differences], axis=1), np.concatenate([effect, design.effect(differences)]), rows


def _shared_times(contrast: Contrast, a: pd.Series, b: pd.Series) -> Array:
    """Return the times of both sides, NaN for scores without time."""
    first, second = (_each_once(side) for side in (a, b))
    if len(first) != len(second) or not np.allclose(first, second, rtol=0, atol=SAME_S, equal_nan=True):
        raise UserError(
            f"The contrast {contrast.name!r} is of {contrast.a!r} and {contrast.b!r}, which are not at the same times; "
            "compare scores of the same times, or scores without time."
        )
    return first


def _each_once(times_s: pd.Series) -> Array:
    times = np.unique(times_s)  # NaN counts as one time
    return np.asarray(times[np.append(True, ~(np.diff(times) < SAME_S))])


def _at(times_s: pd.Series, time_s: float) -> Array:
    """Return the rows that are at a time, or have none."""
    same = times_s.isna() if np.isnan(time_s) else (times_s - time_s).abs() < SAME_S
    return np.asarray(times_s.index[same])
