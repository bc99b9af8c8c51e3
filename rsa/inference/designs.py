"""What is tested over subjects: a mean or a difference of two groups, and covariates; how subjects are permuted."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations, permutations
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from rsa.core import Array
from rsa.errors import Problems, UserError, listed
from rsa.files.io import load_table
from rsa.inference.flips import signs

__all__ = ["ALTERNATIVES", "Alternative", "Design", "load_design"]

Alternative = Literal["greater", "two-sided"]
ALTERNATIVES: dict[Alternative, str] = {
    "greater": "one-sided: above 0, or higher in the first group",
    "two-sided": "two-sided: above or below 0, or different between groups",
}

DEPENDENT = 1e-8
"""A covariate of which others leave less than this share (by its length) is a sum of the others."""


@dataclass(frozen=True, eq=False)
class Design:
    """What is tested over subjects: their mean, or the difference of two groups; and what is adjusted for.

    The mean is tested by flips of the signs of subjects, and the difference by other orders of the subjects. With
    covariates it is the method of Freedman and Lane [1]_, [2]_: what covariates (and, of a difference, the mean of all)
    explain is taken out of the scores, the residuals are flipped or ordered anew, and the whole model is fitted to
    them. Covariates are centred, so a mean is that of a subject with average covariates.

    Parameters
    ----------
    n_subjects : int
        How many subjects there are.
    in_first : array of bool, shape (n_subjects,), optional
        Who is in the first group; the difference is that of the first less the second. Without it, the mean is tested.
    covariates : DataFrame, n_subjects rows
        What is adjusted for: a column of numbers each.
    groups : pair of str
        What the two groups are called.

    Raises
    ------
    UserError
        If lengths differ, a group has fewer than 2 subjects, a covariate is not finite, or constant, or explained by
        the others (and the groups), or too few subjects are left for an estimate of noise.

    References
    ----------
    .. [1] Freedman D, Lane D (1983). A nonstochastic interpretation of reported significance levels. J Bus Econ Stat
           1:292-298.
    .. [2] Winkler AM, Ridgway GR, Webster MA, Smith SM, Nichols TE (2014). Permutation inference for the general linear
           model. NeuroImage 92:381-397.
    """

    n_subjects: int
    in_first: Array | None = None
    covariates: pd.DataFrame = field(default_factory=pd.DataFrame)
    groups: tuple[str, str] = ("first", "second")
    nuisance: Array = field(init=False)
    """An orthonormal basis of the centred covariates, shape (n_covariates, n_subjects)."""
    tested: Array = field(init=False)
    """What nuisance leaves of 1 (a mean) or of the centred groups, shape (n_subjects,); the largest is 1 or -1."""

    def __post_init__(self) -> None:
        if self.n_subjects < 2:
            raise UserError(
                f"A test over subjects needs 2 subjects or more, not {self.n_subjects}; test over conditions instead."
            )
        if self.in_first is not None:
            object.__setattr__(self, "in_first", np.asarray(self.in_first, dtype=bool))
        if len(self.covariates.columns) and len(self.covariates) != self.n_subjects:
            raise UserError(f"Covariates have {len(self.covariates)} rows for {self.n_subjects} subjects.")
        if problems := [*self._problems_of_groups(), *self._problems_of_covariates()]:
            raise Problems("The design over subjects", problems)
        if self.degrees_of_freedom < 1:
            n_parameters = self.n_subjects - self.degrees_of_freedom
            raise UserError(
                f"{self.n_subjects} subjects are too few for {len(self.covariates.columns)} covariates: the model has "
                f"{n_parameters} parameters, so {n_parameters + 1} subjects are needed at least. Leave covariates out."
            )
        object.__setattr__(self, "nuisance", self._basis())
        tested = np.ones(self.n_subjects)
        if self.in_first is not None:
            centred = self.in_first - np.mean(self.in_first)
            tested = centred - centred @ self.nuisance.T @ self.nuisance
        object.__setattr__(self, "tested", tested / np.abs(tested).max())

    @property
    def degrees_of_freedom(self) -> int:
        """Of t: the number of subjects less that of parameters."""
        return self.n_subjects - 1 - (self.in_first is not None) - len(self.covariates.columns)

    @property
    def is_plain(self) -> bool:
        """Whether it is the mean without covariates."""
        return self.in_first is None and not len(self.covariates.columns)

    @property
    def words(self) -> str:
        """What is tested, for the methods text: "mean over 12 subjects, adjusted for age"."""
        if self.in_first is None:
            what = f"mean over {self.n_subjects} subjects"
        else:
            n_first = int(np.sum(self.in_first))
            sizes = zip(self.groups, (n_first, self.n_subjects - n_first), strict=True)
            what = "difference " + " less ".join(f"{name} ({n} subjects)" for name, n in sizes)
        names = [str(name) for name in self.covariates.columns]
        return what + (f", adjusted for {', '.join(names)}" if names else "")

    def _problems_of_groups(self) -> list[str]:
        if self.in_first is None:
            return []
        if np.shape(self.in_first) != (self.n_subjects,):
            return [f"groups are told for {np.size(self.in_first)} of {self.n_subjects} subjects."]
        sizes = (np.sum(self.in_first), np.sum(~self.in_first))
        return [
            f"the group {name!r} has {n} subject{'' if n == 1 else 's'}; a difference needs 2 or more in each group."
            for name, n in zip(self.groups, sizes, strict=True)
            if n < 2
        ]

    def _problems_of_covariates(self) -> list[str]:
        """Say which covariates cannot be adjusted for; each is held against those before it."""
        found = []
        known = [np.ones(self.n_subjects), *([] if self.in_first is None else [np.asarray(self.in_first, dtype=float)])]
        for name in self.covariates.columns:
            values = self.covariates[name].to_numpy(dtype=float)
            if not np.isfinite(values).all():
                found.append(f"the covariate {name!r} is not a number for some subject; give one for each.")
            elif np.ptp(values) == 0:
                found.append(f"the covariate {name!r} is {values[0]:g} for all subjects; leave it out.")
            elif len(known) < self.n_subjects and _left(values, known) < DEPENDENT:
                found.append(
                    f"the covariate {name!r} is a sum of {'the groups and ' if self.in_first is not None else ''}"
                    "the covariates before it; leave one of them out."
                )
            else:
                known.append(values)
        return found

    def _basis(self) -> Array:
        values = self.covariates.to_numpy(dtype=float)
        if not values.size:
            return np.zeros((0, self.n_subjects))
        centred = values - values.mean(axis=0)
        return np.asarray(np.linalg.qr(centred / np.linalg.norm(centred, axis=0))[0].T)

    def residuals(self, values: Array) -> Array:
        """Take out what nuisance explains: (n_subjects, n_columns) -> the same."""
        if self.in_first is not None:
            values = values - values.mean(axis=0)
        for row in self.nuisance:
            values = values - row[:, None] * (row[:, None] * values).sum(axis=0)
        return np.asarray(values)

    def effect(self, values: Array) -> Array:
        """Return the mean over subjects, or the difference of the means of the groups: (n_subjects, ...) -> (...).

        It is of scores as they are, not adjusted for covariates.
        """
        if self.in_first is None:
            return np.asarray(values.mean(axis=0, dtype=np.float64))
        first, second = (values[rows].mean(axis=0, dtype=np.float64) for rows in (self.in_first, ~self.in_first))
        return np.asarray(first - second)

    def half_width(self, values: Array, level: float) -> Array:
        """Return half of the width of Student's confidence interval of `effect`: (n_subjects, ...) -> (...).

        Groups have one variance.
        """
        from scipy.special import stdtrit

        groups = [values] if self.in_first is None else [values[self.in_first], values[~self.in_first]]
        df = self.n_subjects - len(groups)
        variance = sum(((part - part.mean(axis=0)) ** 2).sum(axis=0) for part in groups) / df
        error = np.sqrt(variance * sum(1 / len(part) for part in groups))
        return np.asarray(stdtrit(df, (1 + level) / 2) * error)

    # ---------------------------------------------------------------------------------------- permutations

    def n_transforms(self, n_permutations: int) -> tuple[int, bool]:
        """Return how many ways to flip or order subjects are taken, the data as they are among them, and if all are."""
        n_all = self._n_all()
        return (n_all, True) if n_all <= n_permutations + 1 else (n_permutations + 1, False)

    def _n_all(self) -> int:
        if self.in_first is None:
            return 1 << self.n_subjects
        if len(self.covariates.columns):
            return math.factorial(self.n_subjects)
        return math.comb(self.n_subjects, int(np.sum(self.in_first)))

    def smallest_p(self, n_permutations: int, alternative: Alternative = "greater") -> float:
        """Return the smallest p that the test can give, uncorrected or corrected.

        Where all ways are taken, a two-sided p counts each with its mirror image: all signs, or two groups of one size
        without covariates, the other way round.

        With 4 subjects p is never below 1/16, so nothing is below .05; with 5 it can be 1/32, if every subject is
        positive wherever the flipped scores are highest.

        Examples
        --------
        >>> Design(4).smallest_p(10_000), Design(5).smallest_p(10_000), Design(20).smallest_p(999)
        (0.0625, 0.03125, 0.001)
        >>> Design(5).smallest_p(10_000, "two-sided")
        0.0625
        """
        n_transforms, is_exact = self.n_transforms(n_permutations)
        halves = self.in_first is not None and 2 * np.sum(self.in_first) == self.n_subjects
        mirrored = self.in_first is None or (halves and not len(self.covariates.columns))
        n_equal = 2 if is_exact and alternative == "two-sided" and mirrored else 1
        return n_equal / n_transforms

    def weights(self, n_permutations: int, seed: int) -> Array:
        """Return what scores are summed with, shape (n_transforms, 1 + n_nuisance, n_subjects); first as they are.

        The first row of each is what is tested, the others are nuisance, all of the length of what is tested.
        """
        rows = np.vstack([self.tested, self.nuisance * np.linalg.norm(self.tested)])
        if self.in_first is None:
            return np.asarray(rows * signs(self.n_subjects, n_permutations, seed)[:, None])
        return np.asarray(rows[:, self.orders(n_permutations, seed)].swapaxes(0, 1))

    def orders(self, n_permutations: int, seed: int) -> Array:
        """Return orders of subjects, shape (n_orders, n_subjects); the first is 0, 1, 2, ..."""
        assert self.in_first is not None
        own = np.arange(self.n_subjects)
        n_orders, is_exact = self.n_transforms(n_permutations)
        if not is_exact:
            rng = np.random.default_rng((seed, 2))
            return np.vstack([own, rng.permuted(np.tile(own, (n_orders - 1, 1)), axis=1)])
        if len(self.covariates.columns):
            return np.array(list(permutations(own)))
        first, second = np.flatnonzero(self.in_first), np.flatnonzero(~self.in_first)
        orders = [own]
        for chosen in combinations(own, len(first)):
            is_chosen = np.isin(own, chosen)
            if (is_chosen != self.in_first).any():
                order = np.empty_like(own)
                order[is_chosen], order[~is_chosen] = first, second
                orders.append(order)
        return np.array(orders)


def _left(values: Array, known: Sequence[Array]) -> float:
    """Return which share of the length of a centred covariate is left when others are taken out."""
    centred = values - values.mean()
    others = np.transpose(known)
    rest = centred - others @ np.linalg.lstsq(others, centred, rcond=None)[0]
    return float(np.linalg.norm(rest) / np.linalg.norm(centred))


# ---------------------------------------------------------------------------------- the table of participants


def load_design(
    path: str | Path,
    subjects: Sequence[str],
    *,
    covariates: Sequence[str] = (),
    groups: str | None = None,
    levels: tuple[str, str] | None = None,
) -> Design:
    """Read groups and covariates of subjects from a table of participants, as BIDS has it.

    Parameters
    ----------
    path : path
        The table (.csv: commas; anything else: tabs) with the column `participant_id`: "sub-01" or "01".
    subjects : sequence of str
        Labels of the study's subjects, "01"; the table may have others, which are left out.
    covariates : sequence of str
        Columns of numbers to adjust for.
    groups : str, optional
        A column of two values, whose difference is tested; without it, the mean.
    levels : pair of str, optional
        The two values: the first less the second. By default in the order of the alphabet.

    Raises
    ------
    UserError
        If the table cannot be read or has no such column; and, each in a line of its own, if a subject is missing,
        comes twice or has no value, a covariate is not a number, groups are not two, or as `Design`.
    """
    table = load_table(path, ["participant_id"], list(dict.fromkeys([*covariates, *([groups] if groups else [])])))
    labels = table["participant_id"].str.removeprefix("sub-")
    missing = [subject for subject in subjects if subject not in set(labels)]
    problems = [f"no row is of subject {name!r}; its participants are {listed(list(labels))}." for name in missing]
    twice = [subject for subject in subjects if (labels == subject).sum() > 1]
    problems += [f"subject {name!r} has more than one row; keep one." for name in twice]
    if problems:
        raise Problems(f"The table of participants {path}", problems)
    rows = table.set_axis(labels).loc[list(subjects)]
    for name in [*covariates, *([groups] if groups else [])]:
        empty = [subject for subject, value in rows[name].items() if _is_empty(value)]
        problems += [f"subject {one!r} has no value of {name!r}; give one, or leave the subject out." for one in empty]
    numbers = rows[list(covariates)].apply(pd.to_numeric, errors="coerce")
    for name in covariates:
        wrong = [s for s, value in numbers[name].items() if not np.isfinite(value) and not _is_empty(rows.loc[s, name])]
        if wrong:
            problems.append(
                f"{name!r} of subject {wrong[0]!r} is {rows.loc[wrong[0], name]!r}, and a covariate is a number; code "
                "it as numbers, or test two groups by `groups`."
            )
    if groups is not None:
        found = sorted({str(value) for value in rows[groups] if not _is_empty(value)})
        levels = levels or (tuple(found) if len(found) == 2 else None)  # type: ignore[assignment]
        if levels is None or set(found) - set(levels) or len(set(levels)) != 2:
            wanted = "two" if levels is None else listed(list(levels))
            problems.append(f"{groups!r} has the groups {listed(found)} in these subjects, not {wanted}.")
    if problems:
        raise Problems(f"The table of participants {path}", problems)
    numbers = numbers.reset_index(drop=True)
    if groups is None or levels is None:
        return Design(len(subjects), covariates=numbers)
    return Design(len(subjects), (rows[groups] == levels[0]).to_numpy(), numbers, levels)


def _is_empty(value: object) -> bool:
    """Say whether a cell has no value; BIDS writes n/a."""
    return pd.isna(value) or str(value).strip().lower() in ("", "n/a", "na", "nan")
