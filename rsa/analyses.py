"""Analyses: the plain comparison, and what layers explain that others do not, together with others, or weighted.

Each says what is measured of brain RDMs; searchlights, regions, M/EEG over time, group maps and pictures take any of
them. Every study has the plain comparison; the others are sections of its configuration, with a folder of results each.
"""

from collections.abc import Callable, Collection, Sequence
from fnmatch import fnmatchcase
from functools import partial
from itertools import combinations
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
import pandas as pd
from pydantic import Field, model_validator

from rsa.comparisons import COMPARISONS
from rsa.core import RDMs, align, concatenate
from rsa.errors import UserError, did_you_mean, listed
from rsa.measures import Measure, comparison_measure, one_after_the_other
from rsa.names import require_distinct_labels
from rsa.partition import CORRELATIONS, MOST_PREDICTORS, commonality_measure, partial_measure, partition_measure
from rsa.rdm import MEEG
from rsa.settings import Label, Names, Section
from rsa.weighted import weighted_measure

__all__ = [
    "ANALYSES",
    "PLAIN",
    "Analysis",
    "Commonality",
    "Partial",
    "Partition",
    "PlainComparison",
    "Weighted",
    "chosen",
]


class _Analysis(Section):
    """What all analyses have in common."""

    tested: ClassVar[bool] = True
    """Whether scores are 0 by chance, so that t and p mean something."""
    needs_fusion: ClassVar[bool] = False
    """Whether it cannot do without M/EEG RDMs among the references."""
    takes_meeg: ClassVar[bool] = False
    """Whether settings may name the M/EEG RDMs like any reference."""
    paper: ClassVar[str] = ""
    """The paper to cite, a key of `rsa.papers.PAPERS`; empty if the analysis needs none."""
    comparisons: ClassVar[Collection[str]] = CORRELATIONS
    """On whose scale it can measure."""
    is_main: ClassVar[bool] = False
    """Whether it is what a study measures first: noise ceilings, reliability, generalisation over time, sensors and
    pictures of every subject belong to it."""

    @property
    def across_subjects(self) -> bool:
        """Whether the data of all subjects are needed for each."""
        return False

    @property
    def of_times(self) -> bool:
        """Whether M/EEG RDMs over time can be measured, and are not among the references."""
        return not self.needs_fusion

    @property
    def of_sensors(self) -> bool:
        """Whether RDMs of single sensors and their neighbours can be measured: within subjects, at each time."""
        return self.of_times and not self.across_subjects

    @property
    def scores_meeg(self) -> bool:
        """Whether M/EEG RDMs over time have scores of their own, if there are some among the references."""
        return False

    @property
    def scores_meeg_alone(self) -> bool:
        """Whether no other reference has."""
        return False

    def measure(self, references: RDMs, comparison: str) -> Measure:
        """Return what is measured, with references that may have times."""
        raise NotImplementedError

    def measure_of(self, conditions: Sequence[str], comparison: str) -> Callable[[RDMs], Measure]:
        """Return what makes a measure of references, for data with these conditions."""
        return partial(self.measure, comparison=comparison)

    def about(self, comparison: str) -> str:
        """Say what a number is."""
        raise NotImplementedError

    def provenance(self, comparison: str) -> dict[str, Any]:
        """Return what the provenance of scores says of the analysis."""
        return {"analysis": self.model_dump(), "measure": self.about(comparison)}

    def patterns(self) -> list[str]:
        """Return the names of references that the settings give."""
        return []

    def problems(self, labels: Sequence[tuple[str, str]], comparison: str) -> list[str]:
        """Return what is wrong, as lines.

        Parameters
        ----------
        labels : sequence of (model, layer)
            All references.
        comparison : str
            The comparison of the study.
        """
        found = []
        if comparison not in self.comparisons:
            scales = listed(list(self.comparisons))
            found.append(f"variance is explained on the scale of {scales}, not of {comparison!r}.")
        table = pd.DataFrame(list(labels), columns=["model", "layer"])
        for pattern in self.patterns():
            if not chosen(table, [pattern]).any():
                names = [*dict.fromkeys(table["model"]), *(" ".join(label) for label in labels if label[1])]
                found.append(f"no reference is called {pattern!r}.{did_you_mean(pattern, names)}")
        return found


class PlainComparison(_Analysis):
    """The comparison with each reference by itself: what every study measures. It has no settings."""

    comparisons: ClassVar[Collection[str]] = COMPARISONS
    is_main: ClassVar[bool] = True

    @property
    def scores_meeg(self) -> bool:
        """Whether M/EEG RDMs over time have scores of their own."""
        return True

    def measure(self, references: RDMs, comparison: str) -> Measure:
        """Return what is measured, with references that may have times."""
        return comparison_measure(references, comparison)

    def measure_of(self, conditions: Sequence[str], comparison: str) -> Callable[[RDMs], Measure]:
        """Return what makes a measure of references, for data with these conditions: in their order."""
        return lambda references: comparison_measure(align(conditions, references), comparison)

    def about(self, comparison: str) -> str:
        """Say what a number is."""
        return f"{comparison} of the brain RDM and the reference"

    def provenance(self, comparison: str) -> dict[str, Any]:
        """Return what the provenance of scores says of the analysis: nothing beyond the comparison."""
        return {}


PLAIN = PlainComparison()


class Partial(_Analysis):
    """Partial correlations: how similar the brain and each reference are beyond others."""

    takes_meeg: ClassVar[bool] = True

    kind: Literal["partial"] = "partial"
    """The correlation of what a nuisance leaves of brain RDMs with what it leaves of each reference."""
    name: Label = "partial"
    """What the analysis is called: the folder of its results, and desc- in file names."""
    nuisance: Names = ()
    """What is controlled for, all at once: references by name (category; a model with all its layers), or by model and
    layer, with wildcards: "alexnet classifier.*". Without it, each reference is controlled for all others."""
    of: Names = ()
    """Which references are correlated, named in the same way; by default all others, M/EEG at each time among them if
    there are `fusion` and a nuisance."""
    semi: bool = False
    """Leave brain RDMs as they are (semipartial correlation): the square is the share of their variance."""

    @property
    def of_times(self) -> bool:
        """Whether M/EEG RDMs over time can be measured, and are not among the references."""
        return not self.scores_meeg_alone

    @property
    def scores_meeg(self) -> bool:
        """Whether M/EEG RDMs over time have scores of their own: if they are named, or all but a nuisance are."""
        return MEEG in self.of or (not self.of and bool(self.nuisance) and MEEG not in self.nuisance)

    @property
    def scores_meeg_alone(self) -> bool:
        """Whether no other reference has."""
        return set(self.of) == {MEEG}

    def patterns(self) -> list[str]:
        """Return the names of references that the settings give."""
        return [*self.nuisance, *self.of]

    def problems(self, labels: Sequence[tuple[str, str]], comparison: str) -> list[str]:
        """Return what is wrong, as lines; see the settings."""
        if found := super().problems(labels, comparison):
            return found
        rows = self._rows(pd.DataFrame(list(labels), columns=["model", "layer"]))
        if not rows.any():
            return ["every reference is controlled for, and none is left to correlate; change `nuisance` or `of`."]
        if not self.nuisance and rows.sum() < 2:
            return ["there is nothing to control for: set `nuisance`, or have 2 references or more."]
        return []

    def measure(self, references: RDMs, comparison: str) -> Measure:
        """Return what is measured, with references that may have times."""
        rows = references.subset(np.flatnonzero(self._rows(references.table)))
        kind = "semipartial" if self.semi else "partial"
        return partial_measure(rows, _nuisance(references, self.nuisance), kind=kind, comparison=comparison)

    def _rows(self, table: pd.DataFrame) -> pd.Series:
        rows = chosen(table, self.of) if self.of else pd.Series(True, table.index)
        return rows & (~chosen(table, self.nuisance) if self.nuisance else table["model"] != MEEG)

    def about(self, comparison: str) -> str:
        """Say what a number is."""
        given = listed(list(self.nuisance)) if self.nuisance else "all other references"
        return f"{'semipartial' if self.semi else 'partial'} correlation ({comparison}), given {given}"


class Partition(_Analysis):
    """Variance partitioning: what 2 to 4 predictors explain of the brain, each alone and together."""

    tested: ClassVar[bool] = False
    paper: ClassVar[str] = "Nimon & Oswald, 2013"

    kind: Literal["partition"] = "partition"
    """Shares of the variance of brain RDMs, unique to each predictor and shared by each group of predictors."""
    name: Label = "partition"
    """What the analysis is called: the folder of its results, and desc- in file names."""
    predictors: dict[Label, Names]
    """2 to 4 predictors by name, each a list of references that explain together: {early: ["alexnet features.*"],
    category: [category]}."""
    nuisance: Names = ()
    """References whose part is not counted."""

    @model_validator(mode="after")
    def _can_be_divided(self) -> Self:
        if not 2 <= len(self.predictors) <= MOST_PREDICTORS:
            raise ValueError(f"predictors are 2 to {MOST_PREDICTORS}, not {len(self.predictors)}")
        if empty := [name for name, patterns in self.predictors.items() if not patterns]:
            raise ValueError(f"the predictor {empty[0]!r} has no reference; list some, or leave it out")
        sizes = range(2, len(self.predictors) + 1)
        parts = ["+".join(some) for size in sizes for some in combinations(self.predictors, size)]
        try:
            require_distinct_labels(self.predictors, "predictors")
            require_distinct_labels(parts, "shared parts")
        except UserError as error:
            raise ValueError(str(error)) from error
        return self

    def patterns(self) -> list[str]:
        """Return the names of references that the settings give."""
        return [*(pattern for patterns in self.predictors.values() for pattern in patterns), *self.nuisance]

    def measure(self, references: RDMs, comparison: str) -> Measure:
        """Return what is measured, with references that may have times."""
        untimed = _without_meeg(references)
        rows = {name: _subset(untimed, patterns) for name, patterns in self.predictors.items()}
        return partition_measure(rows, _nuisance(untimed, self.nuisance), comparison=comparison)

    def about(self, comparison: str) -> str:
        """Say what a number is."""
        return f"share of the variance of the brain RDM ({comparison}) that predictors explain{_beyond(self.nuisance)}"


class Commonality(_Analysis):
    """Model-based fusion: the variance that fMRI, M/EEG at each time, and a layer share."""

    tested: ClassVar[bool] = False
    needs_fusion: ClassVar[bool] = True
    paper: ClassVar[str] = "Hebart et al., 2018"

    kind: Literal["commonality"] = "commonality"
    """What two RDMs explain together of the variance of a third (Hebart et al. 2018), for each reference and time."""
    name: Label = "commonality"
    """What the analysis is called: the folder of its results, and desc- in file names."""
    of: Names = ()
    """Which references, named as in `nuisance` of partial correlations; by default all layers and references."""
    nuisance: Names = ()
    """References whose part is not counted."""
    beyond_others: bool = False
    """Nor is, for each reference, the part of all other references in `of`. With `explained: meeg` it is what Hebart et
    al. (2018) computed for their two models."""
    explained: Literal["fmri", "meeg"] = "fmri"
    """Whose variance is explained: shares of that of fMRI can be compared between times at a voxel, shares of that of
    M/EEG between voxels at a time."""

    def patterns(self) -> list[str]:
        """Return the names of references that the settings give."""
        return [*self.of, *self.nuisance]

    def problems(self, labels: Sequence[tuple[str, str]], comparison: str) -> list[str]:
        """Return what is wrong, as lines; see the settings."""
        if found := super().problems(labels, comparison):
            return found
        n_left = self._rows(pd.DataFrame(list(labels), columns=["model", "layer"])).sum()
        if not n_left:
            return ["every reference is a nuisance, and none is left; change `nuisance` or `of`."]
        if self.beyond_others and n_left < 2:
            return ["there are no others to go beyond: name 2 or more in `of`, or leave `beyond_others` out."]
        return []

    def measure(self, references: RDMs, comparison: str) -> Measure:
        """Return what is measured, with references of which those of M/EEG have times."""
        untimed, movie = _without_meeg(references), references.subset(np.flatnonzero(references.table["model"] == MEEG))
        own = untimed.subset(np.flatnonzero(self._rows(untimed.table)))
        nuisance, how = _nuisance(untimed, self.nuisance), {"explained": self.explained, "comparison": comparison}
        if not self.beyond_others:
            return commonality_measure(own, movie, nuisance, **how)
        each = []
        for row in range(len(own)):
            others = own.subset(np.delete(np.arange(len(own)), row))
            given = others if nuisance is None else concatenate([others, nuisance])
            each.append(commonality_measure(own.subset([row]), movie, given, **how))
        return one_after_the_other(each)

    def _rows(self, table: pd.DataFrame) -> pd.Series:
        return chosen(table, self.of) if self.of else ~chosen(table, self.nuisance)

    def about(self, comparison: str) -> str:
        """Say what a number is."""
        pair = "M/EEG RDM and the reference" if self.explained == "fmri" else "fMRI RDM and the reference"
        whose = {"fmri": "fMRI", "meeg": "M/EEG"}[self.explained]
        share = f"share of the variance of the {whose} RDM ({comparison}) that the {pair} explain together"
        return share + _beyond(self.nuisance, self.beyond_others)


class Weighted(_Analysis):
    """Weighted models: how well a weighted sum of the layers of a network predicts conditions left out."""

    comparisons: ClassVar[Collection[str]] = COMPARISONS
    paper: ClassVar[str] = "Storrs et al., 2021"

    kind: Literal["weighted"] = "weighted"
    """The score of a weighted sum of layer RDMs, fitted to some conditions and tested on others, and of each layer by
    itself in the same folds (Storrs et al. 2021)."""
    name: Label = "weighted"
    """What the analysis is called: the folder of its results, and desc- in file names."""
    of: Names = ()
    """Which references are summed, named as in `nuisance` of partial correlations, and those of one model together; by
    default all models with 2 layers or more."""
    fit: Literal["nnls", "ridge"] = "nnls"
    """Weights of at least 0, or weights with a penalty on their squares."""
    fitted_to: Literal["subject", "others"] = "subject"
    """Weights are fitted to the RDM of the subject itself, or to the mean of the other subjects (on one grid)."""
    n_folds: int = Field(4, ge=2)
    """Parts into which conditions are split by chance, each of 3 or more; each is left out once."""
    penalty: float = Field(0.01, ge=0)
    """Of ridge: 0 is least squares, 1 counts as much as the variance of a layer."""
    seed: int = Field(0, ge=0)
    """Of the folds."""

    @property
    def across_subjects(self) -> bool:
        """Whether the data of all subjects are needed for each."""
        return self.fitted_to == "others"

    def patterns(self) -> list[str]:
        """Return the names of references that the settings give."""
        return list(self.of)

    def problems(self, labels: Sequence[tuple[str, str]], comparison: str) -> list[str]:
        """Return what is wrong, as lines; see the settings."""
        if found := super().problems(labels, comparison):
            return found
        table = pd.DataFrame(list(labels), columns=["model", "layer"])
        n_layers = table[self._rows(table)].groupby("model", sort=False).size()
        if not len(n_layers):
            return ["a weighted sum is of 2 layers or more, and no model has them."]
        few = [str(model) for model, n in n_layers.items() if n < 2]
        return [f"a weighted sum is of 2 RDMs or more, and {listed(few)} has one; leave it out of `of`."] if few else []

    def measure(self, references: RDMs, comparison: str) -> Measure:
        """Return what is measured, with references that may have times."""
        rows = references.subset(np.flatnonzero(self._rows(references.table)))
        models = {str(model): rows.subset(of) for model, of in rows.table.groupby("model", sort=False).indices.items()}
        how = self.model_dump(include={"fit", "n_folds", "penalty", "seed"})
        return weighted_measure(models, across_subjects=self.across_subjects, comparison=comparison, **how)

    def _rows(self, table: pd.DataFrame) -> pd.Series:
        untimed = table["model"] != MEEG
        if self.of:
            return chosen(table, self.of) & untimed
        return untimed & (table["layer"] != "") & (table.groupby("model")["layer"].transform("nunique") > 1)

    def about(self, comparison: str) -> str:
        """Say what a number is."""
        whose = "the subject" if self.fitted_to == "subject" else "the mean of the other subjects"
        words = {"nnls": "non-negative least squares", "ridge": "ridge regression"}[self.fit]
        return f"{comparison} score on conditions left out, of layers weighted by {words} to {whose}, or alone"


ANALYSES: dict[str, type[Partial] | type[Partition] | type[Commonality] | type[Weighted]] = {
    "partial": Partial,
    "partition": Partition,
    "commonality": Commonality,
    "weighted": Weighted,
}
"""The kinds of analyses, by the word in `kind`."""

Analysis = Annotated[Partial | Partition | Commonality | Weighted, Field(discriminator="kind")]
"""The settings of any analysis, told apart by `kind`."""


def chosen(table: pd.DataFrame, patterns: Sequence[str]) -> pd.Series:
    """Say which rows of a table of references are named: by `model`, or by model and layer with wildcards.

    Examples
    --------
    >>> table = pd.DataFrame({"model": ["net", "net", "gist"], "layer": ["conv1", "fc", ""]})
    >>> chosen(table, ["net conv*", "gist"]).tolist()
    [True, False, True]
    """
    names = zip(table["model"], table["layer"], strict=True)
    found = [
        any(pattern == model or fnmatchcase(f"{model} {layer}".strip(), pattern) for pattern in patterns)
        for model, layer in names
    ]
    return pd.Series(found, table.index, dtype=bool)


def _subset(references: RDMs, patterns: Sequence[str]) -> RDMs:
    return references.subset(np.flatnonzero(chosen(references.table, patterns)))


def _nuisance(references: RDMs, patterns: Sequence[str]) -> RDMs | None:
    """Return the references that are controlled for; None where none is named."""
    return _subset(references, patterns) if patterns else None


def _beyond(nuisance: Sequence[str], others: bool = False) -> str:
    """Say that what a nuisance explains is not counted, or what all other references do; nothing without either."""
    words = [*([listed(list(nuisance))] if nuisance else []), *(["all other references"] if others else [])]
    return f" beyond {' and '.join(words)}" if words else ""


def _without_meeg(references: RDMs) -> RDMs:
    """Leave out the M/EEG RDMs, and the column of times that only they need."""
    rows = references.subset(np.flatnonzero(references.table["model"] != MEEG))
    return RDMs(rows.values, rows.conditions, rows.table.drop(columns="time_s", errors="ignore"), rows.distance)
