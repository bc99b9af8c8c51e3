"""What learning changes: units that answer to other pictures, and categories that a layer no longer tells apart."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rsa.comparisons import COMPARISONS, score_rows
from rsa.core import Array
from rsa.errors import UserError
from rsa.inference.networks import NetworkComparison
from rsa.models import Model
from rsa.units.choosing import layers_of_units
from rsa.units.found import load_arrays
from rsa.units.readout import PairReadouts
from rsa.units.settings import UnitSettings
from rsa.units.watched import layer_maps

__all__ = [
    "CATEGORY_COLUMNS",
    "CURVE_COLUMNS",
    "LAYER_COLUMNS",
    "UNIT_COLUMNS",
    "Discordant",
    "Responses",
    "category_changes",
    "corrected_p",
    "layer_changes",
    "learning_curve",
    "n_top",
    "problems_of_changes",
    "top_overlap",
    "top_pictures_of",
    "tuning_similarity",
    "unit_changes",
]

MOST_TOP, TOP_SHARE = 9, 4
"""So many of the highest pictures of a unit are compared, and of few pictures one in so many."""

UNIT_COLUMNS = {
    "layer": "Layer of the networks",
    "unit": "Number of the unit in its layer, from 0",
    "tuning_similarity": "Spearman's correlation, over pictures, of the highest responses of the unit to each before "
    "and after; n/a where it has one and the same to all before or after",
    "overlap": "Share of its pictures with the highest responses that are the same before and after",
    "chance": "The same share for two units that have nothing to do with each other: number of these pictures over "
    "number of all",
    "preferred_before": "Condition of the picture with the highest response before",
    "preferred_after": "Condition of the picture with the highest response after",
    "spread_before": "Standard deviation over pictures of the highest responses before",
    "spread_after": "Standard deviation over pictures of the highest responses after",
    "constant": "Where it has one and the same highest response to all pictures: before, after, both; empty where "
    "nowhere",
}
"""The columns of the table of units before and after."""

LAYER_COLUMNS = {
    "layer": "Layer of the networks",
    "n_units": "Number of units",
    "n_constant": "Number of units with one and the same highest response to all pictures before or after, which have "
    "no similarity",
    "tuning_similarity": "Mean of the tuning similarity of the others",
    "lowest": "Lowest of these",
    "n_same": "Number of units whose pictures have exactly the same order before and after",
    "overlap": "Mean share of pictures with the highest responses that are the same before and after",
    "chance": "This share for units that have nothing to do with each other",
}
"""The columns of the table of layers before and after."""

CATEGORY_COLUMNS = {
    "layer": "Layer of the networks",
    "category_a": "First category",
    "category_b": "Second category",
    "accuracy_before": "Balanced accuracy of telling the two apart before; .5 by chance",
    "accuracy_after": "The same after",
    "difference": "After minus before",
    "n": "Number of conditions of the two",
    "n_lost": "Number of these whose category is read out before and not after",
    "n_gained": "Number of these whose category is read out after and not before",
    "p": "p value, two-sided, of the difference, by these conditions (McNemar's test of paired read-outs, both "
    "categories with the same weight), with a variance for read-outs that share what they learned from",
    "p_corrected": "The same, corrected for all rows (Holm), rows that could have no p as low left out",
}
"""The columns of the table of pairs of categories before and after."""

CURVE_COLUMNS = {
    "layer": "Layer of the networks",
    "step": "Number in the name of the checkpoint",
    "network": "Label of the checkpoint",
    "tuning_similarity": "Mean over units of Spearman's correlation, over pictures, of their highest responses at this "
    "checkpoint and at the last",
    "overlap": "Mean over units of the share of their pictures with the highest responses that are the same at this "
    "checkpoint and at the last",
    "n_units": "Number of units of which these are means: those that do not answer alike to all pictures",
    "accuracy": "Balanced accuracy of reading out the category at this checkpoint; n/a where nothing is read out",
    "chance": "1 / number of categories",
}
"""The columns of the table of units along a training."""


@dataclass(frozen=True)
class Responses:
    """The highest responses of units to pictures, as the look at a network keeps them.

    Parameters
    ----------
    network : str
        Its label.
    conditions : array of str, shape (n_pictures,)
        The condition of each picture.
    peaks : mapping
        Layer -> highest response of each unit to each picture, (n_pictures, n_units).
    """

    network: str
    conditions: Array
    peaks: Mapping[str, Array]

    @classmethod
    def of(cls, folder: Path, network: str) -> "Responses":
        """Read them from the folder of a network's units."""
        arrays = load_arrays(folder, "responses")
        if not arrays:
            raise UserError(f"{folder} has no responses of units; run the study again.")
        peaks = {str(layer): arrays[f"peaks_{k}"] for k, layer in enumerate(arrays["layers"])}
        return cls(network, arrays["conditions"], peaks)

    def shared(self, other: "Responses") -> list[str]:
        """Return the layers that another network has as well.

        Raises
        ------
        UserError
            If the pictures, or the numbers of units of a layer, are not the same.
        """
        if list(self.conditions) != list(other.conditions):
            raise UserError(
                f"The units of {self.network} answer to {len(self.conditions)} pictures, and those of {other.network} "
                f"to {len(other.conditions)} or to others; both need the same, so run the study again."
            )
        layers = [layer for layer in self.peaks if layer in other.peaks]
        for layer in layers:
            n_units, n_others = self.peaks[layer].shape[1], other.peaks[layer].shape[1]
            if n_units != n_others:
                raise UserError(
                    f"Layer {layer!r} has {n_units} units in {self.network} and {n_others} in {other.network}; units "
                    "are compared within one architecture."
                )
        return layers


# ------------------------------------------------------------------------------------------------ units


def n_top(n_pictures: int) -> int:
    """Return how many of the highest pictures of a unit are compared: 9, or of fewer than 36 a quarter."""
    return max(1, min(MOST_TOP, n_pictures // TOP_SHARE))


def top_pictures_of(responses: Array, n: int) -> Array:
    """Return whether a picture is among the `n` with the highest responses of a unit: (n_pictures, n_units), the same.

    Pictures with equal responses of which only some fit are left out, so there may be fewer, and of a constant unit
    there are none: no order is made of ties.
    """
    ordered = -np.sort(-responses, axis=0)
    cut = ordered[n] if n < len(ordered) else np.full(responses.shape[1], -np.inf)
    return np.asarray(responses > cut)


def top_overlap(before: Array, after: Array, n: int) -> Array:
    """Return the share of the highest pictures of each unit that are the same: (n_pictures, n_units) -> (n_units,).

    It is of the larger of the two sets of pictures (see `top_pictures_of`); NaN where one is empty. For two units that
    have nothing to do with each other it is n / n_pictures on average, less where there are ties.
    """
    first, second = top_pictures_of(before, n), top_pictures_of(after, n)
    larger = np.maximum(first.sum(axis=0), second.sum(axis=0))
    is_empty = (first.sum(axis=0) == 0) | (second.sum(axis=0) == 0)
    share = (first & second).sum(axis=0) / np.maximum(larger, 1)
    return np.where(is_empty, np.nan, share)


def tuning_similarity(before: Array, after: Array) -> Array:
    """Return Spearman's correlation over pictures of each unit with itself: (n_pictures, n_units) -> (n_units,).

    It is exactly 1 where all pictures have the same order, and NaN where responses are constant.
    """
    spearman = COMPARISONS["spearman"]
    first, second = (spearman.prepare(np.asarray(one, dtype=np.float64).T) for one in (before, after))
    return np.asarray(score_rows(first, second, spearman))


def unit_changes(before: Responses, after: Responses) -> pd.DataFrame:
    """Compare the units of a network before and after with themselves.

    Returns
    -------
    DataFrame
        Columns `UNIT_COLUMNS`, a row for each unit of each layer that both have.
    """
    layers = before.shared(after)
    parts = [_of_layer(layer, before.peaks[layer], after.peaks[layer], before.conditions) for layer in layers]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(UNIT_COLUMNS))


def _of_layer(layer: str, before: Array, after: Array, conditions: Array) -> pd.DataFrame:
    n = n_top(len(conditions))
    is_constant = [np.ptp(one, axis=0) == 0 for one in (before, after)]
    words = np.select([is_constant[0] & is_constant[1], *is_constant], ["both", "before", "after"], "")
    preferred = [conditions[one.argmax(axis=0)].astype(object) for one in (before, after)]
    return pd.DataFrame(
        {
            "layer": layer,
            "unit": np.arange(before.shape[1]),
            "tuning_similarity": tuning_similarity(before, after),
            "overlap": top_overlap(before, after, n),
            "chance": n / len(conditions),
            "preferred_before": np.where(is_constant[0], "", preferred[0]),
            "preferred_after": np.where(is_constant[1], "", preferred[1]),
            "spread_before": before.std(axis=0, dtype=float),
            "spread_after": after.std(axis=0, dtype=float),
            "constant": words,
        }
    )


def layer_changes(units: pd.DataFrame) -> pd.DataFrame:
    """Summarise units before and after (`UNIT_COLUMNS`) layer by layer: `LAYER_COLUMNS`."""
    rows = [
        {
            "layer": layer,
            "n_units": len(own),
            "n_constant": int(own["tuning_similarity"].isna().sum()),
            "tuning_similarity": own["tuning_similarity"].mean(),
            "lowest": own["tuning_similarity"].min(),
            "n_same": int((own["tuning_similarity"] == 1).sum()),
            "overlap": own["overlap"].mean(),
            "chance": own["chance"].iloc[0],
        }
        for layer, own in units.groupby("layer", sort=False)
    ]
    return pd.DataFrame(rows, columns=list(LAYER_COLUMNS))


# ------------------------------------------------------------------------------------------- categories


def category_changes(before: PairReadouts, after: PairReadouts) -> pd.DataFrame:
    """Compare how well pairs of categories are told apart before and after, the largest loss first.

    Returns
    -------
    DataFrame
        Columns `CATEGORY_COLUMNS`.

    Raises
    ------
    UserError
        If the read-outs are of other conditions, or in other folds.
    """
    keys = ["layer", "category_a", "category_b", "n"]
    first, second = (one.rows.assign(row=np.arange(len(one.rows))) for one in (before, after))
    both = first.merge(second, on=keys, suffixes=("_before", "_after"))
    rows = both[["row_before", "row_after"]].itertuples(index=False, name=None)
    pairs = [Discordant.of(before.singles[i], after.singles[j]) for i, j in rows]
    if before.n_folds != after.n_folds:
        raise UserError("The read-outs before and after have different folds; run the study again.")
    both["difference"] = both["accuracy_after"] - both["accuracy_before"]
    both["n_lost"], both["n_gained"] = [sum(one.lost) for one in pairs], [sum(one.gained) for one in pairs]
    both["p"] = [one.p(before.n_folds) for one in pairs]
    both["p_corrected"] = corrected_p(both["p"].to_numpy(float), [one.possible(before.n_folds) for one in pairs])
    return both.sort_values("difference", kind="stable", ignore_index=True)[list(CATEGORY_COLUMNS)]


@dataclass(frozen=True)
class Discordant:
    """The conditions of two categories that are read out before or after, and not both times.

    Parameters
    ----------
    sizes : tuple of int
        Conditions of each category.
    lost, gained : tuple of int
        Of these, read out before and not after, and after and not before.
    """

    sizes: tuple[int, int]
    lost: tuple[int, int]
    gained: tuple[int, int]

    @classmethod
    def of(cls, before: Mapping[str, Array], after: Mapping[str, Array]) -> "Discordant":
        """Count them in read-outs of single conditions (see `PairReadouts`)."""
        if list(before["place"]) != list(after["place"]):
            raise UserError("The read-outs before and after are of other conditions; run the study again.")
        which, was, is_right = before["is_second"].astype(int), before["is_right"], after["is_right"]
        sizes, lost, gained = (
            np.bincount(which[some], minlength=2) for some in (np.s_[:], was & ~is_right, is_right & ~was)
        )
        return cls((int(sizes[0]), int(sizes[1])), (int(lost[0]), int(lost[1])), (int(gained[0]), int(gained[1])))

    def p(self, n_folds: int) -> float:
        """Test whether the balanced accuracies before and after differ (two-sided).

        As in McNemar's test [1]_, each discordant condition is as likely lost as gained where nothing changed. The
        read-outs of conditions are not independent, as they share most of what they learn from; the variance is
        that of independent ones times 1 + n_folds / (n_folds - 1) [2]_.

        References
        ----------
        .. [1] McNemar Q (1947). Note on the sampling error of the difference between correlated proportions or
           percentages. Psychometrika 12:153-157.
        .. [2] Nadeau C, Bengio Y (2003). Inference for the generalization error. Mach Learn 52:239-281.

        Examples
        --------
        >>> round(Discordant((12, 12), (8, 7), (0, 1)).p(n_folds=5), 4)
        0.0196
        """
        difference = [gained - lost for gained, lost in zip(self.gained, self.lost, strict=True)]
        return float(_p_of(np.array(difference)[None], self, n_folds)[0])

    def possible(self, n_folds: int) -> Array:
        """Return the p values that so many discordant conditions of each category can have, ascending."""
        numbers = [np.arange(-n, n + 1, 2) for n in self.numbers]
        return np.unique(_p_of(np.stack(np.meshgrid(*numbers), axis=-1).reshape(-1, 2), self, n_folds))

    @property
    def numbers(self) -> tuple[int, int]:
        """Number of discordant conditions of each category."""
        return self.lost[0] + self.gained[0], self.lost[1] + self.gained[1]


def _p_of(differences: Array, one: Discordant, n_folds: int) -> Array:
    """Return p values of conditions gained less conditions lost, (n, 2) -> (n,): of the normal distribution."""
    from scipy.special import erfc

    sizes, numbers = np.array(one.sizes), np.array(one.numbers)
    variance = (1 + n_folds / (n_folds - 1)) * (numbers / sizes**2).sum()
    z = np.abs((differences / sizes).sum(axis=1)) / np.sqrt(max(variance, np.finfo(float).tiny))
    return np.asarray(erfc(np.round(z, 12) / np.sqrt(2)))


def corrected_p(p: Array, possible: Sequence[Array]) -> Array:
    """Correct p values for their number, as Holm does, with tests that can have few p values (family-wise error).

    Bonferroni's p is a sum over all tests of the chance that each has a p as low. Of a test that can have few p values
    this chance is at most the highest that is no higher, or 0 where there is none, and not p [1]_. Tests with a lower p
    are left out of the sum, step by step [2]_.

    Parameters
    ----------
    p : array, shape (n_tests,)
        p values.
    possible : sequence of array
        For each test all that it can have, ascending.

    Returns
    -------
    array, shape (n_tests,)
        Never lower than p, and never higher than Holm's.

    References
    ----------
    .. [1] Westfall PH, Wolfinger RD (1997). Multiple tests with discrete distributions. Am Stat 51:3-8.
    .. [2] Holm S (1979). A simple sequentially rejective multiple test procedure. Scand J Stat 6:65-70.

    Examples
    --------
    >>> corrected_p(np.array([0.01, 0.5, 1.0]), [np.array([0.01, 1.0]), np.array([0.1, 0.5, 1.0]), np.array([1.0])])
    array([0.01, 0.5 , 1.  ])
    """
    order = np.argsort(p, kind="stable")
    ascending, total = p[order], np.zeros(len(p))
    for kind, tests in _alike(possible, order):
        chance = np.concatenate([[0.0], kind])[np.searchsorted(kind, ascending * (1 + 1e-9), side="right")]
        total += chance * np.cumsum(tests[::-1])[::-1]
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(np.maximum.accumulate(total), 1)
    return corrected


def _alike(possible: Sequence[Array], order: Array) -> Iterator[tuple[Array, Array]]:
    """Yield each kind of test, by the p values that it can have, and which tests, in an order, are of that kind."""
    kinds, firsts = pd.factorize(np.array([one.tobytes().hex() for one in possible], dtype=object))
    for kind in range(len(firsts)):
        yield possible[int(np.argmax(kinds == kind))], kinds[order] == kind


# --------------------------------------------------------------------------------------------- training


def learning_curve(
    steps: Mapping[str, int], responses: Sequence[Responses], readouts: Sequence[pd.DataFrame | None]
) -> pd.DataFrame:
    """Follow units, and the read-out of categories, along a training.

    Parameters
    ----------
    steps : mapping
        The step of each network, in order.
    responses : sequence of Responses
        Those of each network.
    readouts : sequence of DataFrame, optional
        Of each network columns `layer`, `accuracy`, `chance`; None where nothing is read out.

    Returns
    -------
    DataFrame
        Columns `CURVE_COLUMNS`, a row for each layer and checkpoint.
    """
    last, rows = responses[-1], []
    for one, readout in zip(responses, readouts, strict=True):
        for layer in one.shared(last):
            rows.append({"network": one.network, "step": steps[one.network], **_along(layer, one, last, readout)})
    table = pd.DataFrame(rows, columns=list(CURVE_COLUMNS))
    order = {layer: i for i, layer in enumerate(last.peaks)}
    return table.sort_values("layer", key=lambda names: names.map(order), kind="stable", ignore_index=True)


def _along(layer: str, one: Responses, last: Responses, readout: pd.DataFrame | None) -> dict[str, Any]:
    similarity = tuning_similarity(one.peaks[layer], last.peaks[layer])
    overlap = top_overlap(one.peaks[layer], last.peaks[layer], n_top(len(one.conditions)))
    is_defined = ~np.isnan(similarity)
    read = None if readout is None else readout[readout["layer"] == layer]
    told = {
        name: np.nan if read is None or read.empty else float(read[name].iloc[0]) for name in ("accuracy", "chance")
    }
    return {
        "layer": layer,
        "tuning_similarity": similarity[is_defined].mean() if is_defined.any() else np.nan,
        "overlap": np.nanmean(overlap) if not np.isnan(overlap).all() else np.nan,
        "n_units": int(is_defined.sum()),
        **told,
    }


# ----------------------------------------------------------------------------------------------- checks


def problems_of_changes(
    settings: UnitSettings,
    comparisons: Sequence[NetworkComparison],
    named: Mapping[str, Sequence[str]],
    models: Sequence[Model],
) -> Iterator[str]:
    """Yield what is wrong with comparisons of units, of comparisons and networks without other problems.

    Parameters
    ----------
    settings : UnitSettings
        The section.
    comparisons : sequence of NetworkComparison
        All of the study.
    named : mapping
        The networks that names stand for.
    models : sequence of Source
        The networks whose units are looked at.
    """
    watched = {model.label: model for model in models}
    for one in comparisons:
        networks = one.followed(named)
        if len(networks) < 2 or not set(networks) <= set(watched):
            continue
        first, last = (_numbers_of_units(settings, watched[name]) for name in (networks[0], networks[-1]))
        shared = [layer for layer in first if layer in last]
        if not shared:
            yield (
                f"the comparison {one.name!r} is of units as well, and `units.chosen` has no layer of both "
                f"{networks[0]!r} and {networks[-1]!r}; choose layers of both."
            )
        for layer in [layer for layer in shared if first[layer] != last[layer]][:1]:
            yield (
                f"the comparison {one.name!r} is of units as well, and layer {layer!r} has {first[layer]} units in "
                f"{networks[0]!r} and {last[layer]} in {networks[-1]!r}; units are compared within one architecture."
            )


def _numbers_of_units(settings: UnitSettings, model: Model) -> dict[str, int]:
    described = model.describe()
    maps = layer_maps(model, described)
    return {layer: maps[layer].n_channels for layer in layers_of_units(settings, model, described)}
