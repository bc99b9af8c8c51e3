"""Which scores are significant: the corrected p of tests, brought to the rows of the scores that they test."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from rsa.core import TEST, Array, ScoreMap

__all__ = [
    "PRIMARY",
    "ROUNDING",
    "Significance",
    "keys_of",
    "primary",
    "primary_name",
    "significance_of",
    "significant_or_all",
    "without_tests",
]

PRIMARY = {
    "logp_max_tfce": "TFCE",
    "logp_max_mass": "cluster mass",
    "logp_max_size": "cluster size",
    "logp_max_stat": "maximum statistic",
}
"""Statistics of tests that are -log10 of a corrected p, with the words of captions: the first there is counts."""

ROUNDING = 1e-6
"""Room for -log10 p in single precision: less than two p near alpha differ by in a million permutations."""

NO_TIME = -np.inf
DEFAULT_ALPHA = 0.05


def primary_name(statistics: Iterable[str]) -> str | None:
    """Return which of some statistics is the corrected p by which maps are thresholded; None where there is none."""
    there = set(statistics)
    return next((name for name in PRIMARY if name in there), None)


def without_tests(scores: ScoreMap) -> ScoreMap:
    """Return the rows of scores that are no results of tests."""
    chosen = (scores.table["role"] != TEST).to_numpy()
    return scores if chosen.all() else replace(scores, values=scores.values[chosen], table=scores.table[chosen])


def keys_of(table: pd.DataFrame) -> list[tuple[str, str, float]]:
    """Return the model, layer and time of each row, which a score and its tests share."""
    times = table["time_s"].fillna(NO_TIME) if "time_s" in table else [NO_TIME] * len(table)
    layers = table["layer"].fillna("").astype(str) if "layer" in table else [""] * len(table)
    return list(zip(table["model"].astype(str), layers, times, strict=True))


def primary(scores: ScoreMap) -> ScoreMap | None:
    """Return the corrected p, as -log10, of each row of scores that is no result of a test, in their order.

    Parameters
    ----------
    scores : ScoreMap
        Scores and, below them, the results of tests (role `rsa.core.TEST`).

    Returns
    -------
    ScoreMap or None
        As many rows as `without_tests(scores)`; NaN where a row was not tested. `statistic` is the first of `PRIMARY`
        that there is. None if there is none.
    """
    is_test = (scores.table["role"] == TEST).to_numpy()
    name = primary_name(scores.table["statistic"][is_test]) if is_test.any() else None
    if name is None:
        return None
    rows = np.flatnonzero(is_test & (scores.table["statistic"] == name).to_numpy())
    place = dict(zip(keys_of(scores.table.iloc[rows]), rows.tolist(), strict=True))
    own = scores.table[~is_test]
    values = _rows_at(scores.values, [place.get(key, -1) for key in keys_of(own)])
    return replace(scores, values=values, table=own.assign(statistic=name, role=TEST))


@dataclass(frozen=True, eq=False)
class Significance:
    """The corrected p of scores, and from which on they are significant.

    Parameters
    ----------
    corrected : ScoreMap
        From `primary`.
    settings : mapping
        Those of the inference (the section `inference` of the configuration), as far as they are known.
    """

    corrected: ScoreMap
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def alpha(self) -> float:
        """The highest corrected p that is significant."""
        return float(self.settings.get("alpha", DEFAULT_ALPHA))

    @property
    def written_alpha(self) -> str:
        """That p as text: .05."""
        return f"{self.alpha:g}".removeprefix("0")

    @property
    def words(self) -> str:
        """How p was corrected, in a few words: TFCE, family-wise over voxels; and what was tested, if not the score."""
        how, table = PRIMARY[str(self.corrected.table["statistic"].iloc[0])], self.corrected.table
        has_times = "time_s" in table and table["time_s"].nunique() > 1
        family = [word for word in self.settings.get("family") or ["voxels"] if word != "times" or has_times]
        groups = self.settings.get("groups")
        of = f", of the difference between the groups in {groups}" if groups else ""
        return f"{how}, family-wise over {' and '.join(filter(None, [', '.join(family[:-1]), family[-1]]))}{of}"

    @property
    def of_clusters(self) -> bool:
        """Whether p is that of a cluster as a whole, not of each of its voxels."""
        return bool(self.corrected.table["statistic"].isin(("logp_max_mass", "logp_max_size")).any())

    def covers(self, what: str) -> bool:
        """Say whether the family holds "layers" or "times" as well."""
        return what in (self.settings.get("family") or ())

    def of(self, scores: ScoreMap) -> Array:
        """Say of each score whether it is significant: 1 where it is, 0 where it is not, NaN where it was not tested.

        Parameters
        ----------
        scores : ScoreMap
            Any rows of the scores over the same columns, in any order.

        Returns
        -------
        array, shape (n_rows, n_columns)
        """
        logp = self.logp_of(scores)
        return np.where(np.isnan(logp), np.nan, logp >= -np.log10(self.alpha) - ROUNDING)

    def logp_of(self, scores: ScoreMap) -> Array:
        """Return the corrected p of each score, as -log10: (n_rows, n_columns), NaN where it was not tested."""
        place = {key: row for row, key in enumerate(keys_of(self.corrected.table))}
        return _rows_at(self.corrected.values, [place.get(key, -1) for key in keys_of(scores.table)])

    def insignificant(self, scores: ScoreMap) -> list[str]:
        """Name what was tested without any significant score: a model, or the layers of a model of which others have.

        In the order of the rows; a row counts at all of its times.
        """
        names: list[str] = []
        for model, found in self._by("model", scores):
            layers = [f"{model} {layer}" for layer, own in self._by("layer", scores, model) if _is_empty(own)]
            names += [model] if _is_empty(found) else layers
        return names

    def untested(self, scores: ScoreMap) -> list[str]:
        """Return the models of which no score was tested, in the order of the rows."""
        return [name for name, found in self._by("model", scores) if np.isnan(found).all()]

    def _by(self, column: str, scores: ScoreMap, model: str | None = None) -> list[tuple[str, Array]]:
        """Return for each label of a column (of one model) which scores are significant: (n_rows, n_columns)."""
        found = self.of(scores)
        labels = scores.table[column].fillna("").astype(str).to_numpy()
        chosen = np.ones(len(labels), bool) if model is None else (scores.table["model"] == model).to_numpy()
        return [(name, found[chosen & (labels == name)]) for name in dict.fromkeys(labels[chosen])]


def significance_of(scores: ScoreMap, settings: Mapping[str, Any] | None = None) -> Significance | None:
    """Return what is significant of a stack of scores and tests; None if it holds no corrected p.

    Parameters
    ----------
    scores : ScoreMap
        Scores and, below them, the results of tests.
    settings : mapping, optional
        Of the provenance of these tests; `inference` in it says how they were made.
    """
    corrected = primary(scores)
    return None if corrected is None else Significance(corrected, dict((settings or {}).get("inference") or {}))


def significant_or_all(values: Array, significant: Array) -> Array:
    """Return the significant values (`Significance.of`) and NaN elsewhere; all values where none is significant.

    Examples
    --------
    >>> significant_or_all(np.array([3.0, 2.0, 1.0]), np.array([0, 1, np.nan]))
    array([nan,  2., nan])
    """
    chosen = (significant == 1) & np.isfinite(values)
    return np.where(chosen, values, np.nan) if chosen.any() else values


def _is_empty(found: Array) -> bool:
    """Say whether something was tested, and nothing found."""
    return bool((found == 0).any() and not (found == 1).any())


def _rows_at(values: Array, places: Sequence[int]) -> Array:
    """Return rows by their places, NaN for the place -1."""
    found = np.array(places, dtype=int)
    return np.where((found >= 0)[:, None], values[found], np.float32(np.nan))
