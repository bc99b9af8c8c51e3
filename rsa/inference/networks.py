"""Comparisons of networks with each other: trained and untrained, before and after training, and along it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import pandas as pd
from pydantic import Field

from rsa.comparisons import COMPARISONS, score_rows
from rsa.core import RDMs
from rsa.errors import UserError, did_you_mean, listed
from rsa.inference.ranking import mean_interval
from rsa.registry import pick
from rsa.settings import Label, Names, Section

__all__ = [
    "BEFORE_AFTER_COLUMNS",
    "TRAINING_COLUMNS",
    "VARIANTS_COLUMNS",
    "BeforeAfter",
    "NetworkComparison",
    "Training",
    "Variants",
    "before_after",
    "problems_of_names",
    "rdm_distances",
    "training",
    "variants",
]

OF_FITS = {
    "region": "Region of interest",
    "layer": "Layer of the networks",
    "n_subjects": "Number of subjects",
    "lower": "Confidence interval of this mean over subjects by Student's t, lower bound",
    "upper": "Confidence interval of this mean over subjects by Student's t, upper bound",
}

VARIANTS_COLUMNS = {
    "region": OF_FITS["region"],
    "model": "Model, with all of its networks",
    "less": "Model whose score is subtracted; without one, the row is of a score",
    "layer": OF_FITS["layer"],
    "n_networks": "Number of networks (seeds or checkpoints) of the model, or of pairs of them",
    "mean": "Mean over subjects and networks of the score, or of the difference of scores",
    "lower": OF_FITS["lower"],
    "upper": OF_FITS["upper"],
    "spread": "Standard deviation over networks, or pairs of them, of their means over subjects",
    "lowest": "Lowest mean over subjects of a network, or pair",
    "highest": "Highest mean over subjects of a network, or pair",
    "n_subjects": OF_FITS["n_subjects"],
}
"""The columns of a comparison of models with all of their seeds."""

BEFORE_AFTER_COLUMNS = {
    "region": OF_FITS["region"],
    "layer": OF_FITS["layer"],
    "rdm_distance": "How far the RDM of the layer moved: 1 minus the similarity of the RDMs before and after",
    "before": "Mean over subjects of the score before",
    "after": "Mean over subjects of the score after",
    "difference": "Mean over subjects of the score after minus the score before",
    "lower": OF_FITS["lower"],
    "upper": OF_FITS["upper"],
    "n_subjects": OF_FITS["n_subjects"],
}
"""The columns of a comparison of a network before and after; without regions, the layer and the distance alone."""

TRAINING_COLUMNS = {
    "region": OF_FITS["region"],
    "layer": OF_FITS["layer"],
    "step": "Number in the name of the checkpoint",
    "network": "Label of the checkpoint",
    "mean": "Mean over subjects of the score",
    "lower": OF_FITS["lower"],
    "upper": OF_FITS["upper"],
    "rdm_distance_to_last": "1 minus the similarity of the RDMs of the layer at this checkpoint and at the last",
    "n_subjects": OF_FITS["n_subjects"],
}
"""The columns of a comparison of checkpoints; without regions, those of fits are left out."""


# --------------------------------------------------------------------------------------------- settings


class _Comparison(Section):
    """A comparison of networks; what has the label `name` goes to networks/<name>.tsv."""

    name: Label

    needs_regions: ClassVar[bool] = False
    """Whether there is nothing to compare without fits in regions."""

    def wanted(self) -> tuple[str, ...]:
        """Return the names of all models that are compared."""
        raise NotImplementedError

    def followed(self, named: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
        """Return the networks whose units can be followed from one to the next, in order; none of other comparisons.

        Parameters
        ----------
        named : mapping
            The networks that names stand for; what is not among them is no network.
        """
        return ()

    def problems(self, named: Mapping[str, Sequence[str]], layers: Mapping[str, Sequence[str]]) -> Iterator[str]:
        """Yield what is wrong, among models that are there.

        Parameters
        ----------
        named : mapping
            The networks that names stand for.
        layers : mapping
            The layers of each network, in forward order.
        """
        return iter(())


class Variants(_Comparison):
    """Models beside each other, with mean and spread over their seeds: trained and untrained, or on several tasks."""

    kind: Literal["variants"]
    """Compare models, with mean and spread over their seeds."""
    needs_regions: ClassVar[bool] = True
    name: Label = "variants"
    """Name of the table and figure: networks/<name>.tsv."""
    models: Names = Field(min_length=1)
    """Labels of models, each with all of its seeds or checkpoints; each other model is subtracted from the first."""

    def wanted(self) -> tuple[str, ...]:
        """Return the models."""
        return self.models

    def problems(self, named: Mapping[str, Sequence[str]], layers: Mapping[str, Sequence[str]]) -> Iterator[str]:
        """Yield what is wrong: one network by itself."""
        if sum(len(named[name]) for name in self.models) < 2:
            yield (
                f"the comparison {self.name!r} is of one network, {self.models[0]!r}: name another model, or set "
                "`seeds` of an untrained one."
            )

    def about(self, has_fits: bool = True) -> str:
        """Say in a sentence what was compared."""
        return f"The models {', '.join(self.models)} were compared layer by layer, each with all of its networks."


class BeforeAfter(_Comparison):
    """A network before and after something: fine-tuning, pruning, another task."""

    kind: Literal["before_after"]
    """Compare a network before and after something, such as fine-tuning."""
    name: Label = "beforeafter"
    """Name of the table, figure and maps: networks/<name>.tsv."""
    before: str
    """Label of the network before."""
    after: str
    """Label of the network after, of the same layers."""

    def wanted(self) -> tuple[str, ...]:
        """Return both networks."""
        return self.before, self.after

    def followed(self, named: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
        """Return both networks."""
        return tuple(one for name in self.wanted() for one in named.get(name, ()))

    def problems(self, named: Mapping[str, Sequence[str]], layers: Mapping[str, Sequence[str]]) -> Iterator[str]:
        """Yield what is wrong: several networks, twice the same, or other layers."""
        several = [name for name in self.wanted() if len(named[name]) != 1]
        for name in several:
            yield (
                f"the comparison {self.name!r} is of one network before and one after, and {name!r} stands for "
                f"{len(named[name])}; name one of {listed(list(named[name]), 4)}."
            )
        if several:
            return
        before, after = (named[name][0] for name in self.wanted())
        if before == after:
            yield f"the comparison {self.name!r} is of {before!r} before and after; name two networks."
        elif list(layers.get(before, ())) != list(layers.get(after, ())):
            apart = set(layers.get(before, ())) ^ set(layers.get(after, ()))
            yield (
                f"the comparison {self.name!r} needs the same layers of {before!r} and {after!r}, and only one of them "
                f"has {listed(sorted(apart), 4)}; set `layers` of both."
            )

    def about(self, has_fits: bool = True) -> str:
        """Say in a sentence what was compared, with fits in regions or without."""
        fits = f", and the score of {self.before} was subtracted from that of {self.after} in each subject"
        return (
            f"For each layer, the RDMs of {self.before} and {self.after} were compared with each "
            f"other{fits * has_fits}."
        )


class Training(_Comparison):
    """Checkpoints of a training: how the fit, and the distance to the last checkpoint, change from step to step."""

    kind: Literal["training"]
    """Follow the checkpoints of a training."""
    name: Label = "training"
    """Name of the table and figure: networks/<name>.tsv."""
    model: str
    """Label of a model whose `weights` are a glob of checkpoints."""

    def wanted(self) -> tuple[str, ...]:
        """Return the model."""
        return (self.model,)

    def followed(self, named: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
        """Return the checkpoints."""
        return tuple(named.get(self.model, ()))

    def problems(self, named: Mapping[str, Sequence[str]], layers: Mapping[str, Sequence[str]]) -> Iterator[str]:
        """Yield what is wrong: fewer than two checkpoints."""
        n_checkpoints = len(named[self.model])
        if n_checkpoints < 2:
            yield (
                f"the comparison {self.name!r} needs 2 checkpoints or more of {self.model!r}, and there is "
                f"{n_checkpoints}: let its `weights` be a glob, such as runs/epoch_*.pth."
            )

    def about(self, has_fits: bool = True) -> str:
        """Say in a sentence what was compared."""
        return f"The layers of {self.model} were followed over the checkpoints of its training."


NetworkComparison = Annotated[Variants | BeforeAfter | Training, Field(discriminator="kind")]
"""Any comparison of networks."""


def problems_of_names(
    comparisons: Sequence[Variants | BeforeAfter | Training],
    named: Mapping[str, Sequence[str]],
    layers: Mapping[str, Sequence[str]],
) -> Iterator[str]:
    """Yield what is wrong with comparisons, a line each.

    Parameters
    ----------
    comparisons : sequence of NetworkComparison
        All of a study.
    named, layers : mapping
        As in their `problems`.
    """
    for number, one in enumerate(comparisons):
        if one.name.casefold() in [other.name.casefold() for other in comparisons[:number]]:
            yield f"two comparisons of networks are called {one.name!r}; set the `name` of one."
        unknown = [name for name in one.wanted() if name not in named]
        for name in unknown:
            yield f"the comparison {one.name!r} is of {name!r}, and no model is called so.{did_you_mean(name, named)}"
        if not unknown:
            yield from one.problems(named, layers)


# ---------------------------------------------------------------------------------------------- numbers


def rdm_distances(references: RDMs, a: str, b: str, comparison: str = "spearman") -> pd.Series:
    """Return how far the RDMs of two networks are apart, layer by layer: 1 less their similarity.

    Parameters
    ----------
    references : RDMs
        The table has `model` and `layer`.
    a, b : str
        Two models; layers that one does not have are left out.
    comparison : str
        A key of `COMPARISONS`.

    Returns
    -------
    Series
        By layer, in the order of `a`; 0 where nothing moved, NaN where an RDM is constant or has gaps.
    """
    compared, table = pick(COMPARISONS, comparison, "comparison"), references.table
    rows = {name: _by_layer(table, name) for name in (a, b)}
    shared = [layer for layer in rows[a] if layer in rows[b]]
    first, other = (compared.prepare(references.values[[rows[name][layer] for layer in shared]]) for name in (a, b))
    return pd.Series(1 - score_rows(first, other, compared) if shared else np.zeros(0), shared, dtype=float)


def _by_layer(table: pd.DataFrame, model: str) -> dict[str, int]:
    """Return the row of each layer of a model."""
    rows = np.flatnonzero(table["model"] == model)
    return {str(table["layer"].iloc[row]): int(row) for row in rows}


def variants(fits: pd.DataFrame, models: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """Average models over their networks, layer by layer, and subtract the others from the first.

    Parameters
    ----------
    fits : DataFrame
        Columns `subject`, `region`, `model`, `layer`, `score`.
    models : mapping
        The networks of each model, which have the same layers.

    Returns
    -------
    DataFrame
        Columns `VARIANTS_COLUMNS`: of each region first the scores, then the differences of the layers that both models
        have. The spread is NaN of one network.

    Raises
    ------
    UserError
        If a network has no scores.
    """
    cubes = {label: _scores_of(fits, networks) for label, networks in models.items()}
    first = next(iter(cubes))
    rows: list[dict[str, Any]] = []
    for region in dict.fromkeys(fits["region"]):
        for label, scores in cubes.items():
            of_region = scores.loc[scores.index.get_level_values("region") == region]
            for layer, own in of_region.groupby(level="layer", sort=False):
                rows.append({"region": region, "model": label, "less": "", "layer": layer, **_summary(own)})
        for label in [name for name in cubes if name != first]:
            for layer, apart in _differences(cubes[first], cubes[label], region):
                rows.append({"region": region, "model": first, "less": label, "layer": layer, **_summary(apart)})
    return pd.DataFrame(rows, columns=list(VARIANTS_COLUMNS))


def _scores_of(fits: pd.DataFrame, networks: Sequence[str]) -> pd.DataFrame:
    """Return scores by region, layer and network (rows) and subject (columns)."""
    missing = [name for name in networks if name not in set(fits["model"])]
    if missing:
        raise UserError(f"There are no scores of {listed(missing)}; run the study again.")
    own = fits[fits["model"].isin(networks)].assign(layer=lambda table: table["layer"].fillna("").astype(str))
    order = list(dict.fromkeys(zip(own["region"], own["layer"], own["model"], strict=True)))
    cube = own.pivot(index=["region", "layer", "model"], columns="subject", values="score")
    return cube.loc[order]


def _differences(first: pd.DataFrame, other: pd.DataFrame, region: str) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield, for each layer that two models share, each network of the first less each of the other."""
    theirs = dict(iter(other.groupby(level=["region", "layer"], sort=False)))
    for (place, layer), own in first.groupby(level=["region", "layer"], sort=False):
        if place == region and (place, layer) in theirs:
            apart = own.to_numpy()[:, None, :] - theirs[(place, layer)][own.columns].to_numpy()[None]
            yield str(layer), pd.DataFrame(apart.reshape(-1, apart.shape[2]), columns=own.columns)


def _summary(scores: pd.DataFrame) -> dict[str, Any]:
    """Summarise scores of networks (rows) and subjects (columns)."""
    of_networks = scores.mean(axis=1, skipna=False)
    return _over_subjects(scores.mean(axis=0, skipna=False)) | {
        "n_networks": len(scores),
        "spread": float(of_networks.std(ddof=1)) if len(scores) > 1 else np.nan,
        "lowest": float(of_networks.min()),
        "highest": float(of_networks.max()),
    }


def _over_subjects(scores: pd.Series) -> dict[str, Any]:
    """Return the mean over subjects with its interval; NaN where a subject has no score."""
    lower, upper = mean_interval(scores.to_numpy(), 0.95)
    return {"mean": float(scores.mean(skipna=False)), "lower": lower, "upper": upper, "n_subjects": len(scores)}


def before_after(
    fits: pd.DataFrame | None, references: RDMs, before: str, after: str, comparison: str = "spearman"
) -> pd.DataFrame:
    """Say, for each layer, how far its RDM moved, and by how much its fit did in each region.

    Parameters
    ----------
    fits : DataFrame, optional
        Columns `subject`, `region`, `model`, `layer`, `score`; None in a study without regions.
    references : RDMs
        Those of both networks.
    before, after : str
        Two networks.
    comparison : str
        A key of `COMPARISONS`, by which RDMs of layers are compared with each other.

    Returns
    -------
    DataFrame
        Columns `BEFORE_AFTER_COLUMNS`, a row per region and layer; without fits `layer` and `rdm_distance`, a row per
        layer.

    Raises
    ------
    UserError
        If a network has no scores.
    """
    moved = rdm_distances(references, before, after, comparison)
    if fits is None:
        return pd.DataFrame({"layer": list(moved.index), "rdm_distance": moved.to_numpy()})
    sides = [_scores_of(fits, [name]).droplevel("model") for name in (before, after)]
    rows = []
    for region, layer in sides[0].index:
        if (region, layer) not in sides[1].index:
            continue
        own, new = (side.loc[(region, layer)] for side in sides)
        place = {"region": region, "layer": layer, "rdm_distance": moved.get(layer, np.nan)}
        means = {"before": own.mean(skipna=False), "after": new.mean(skipna=False)}
        apart = _over_subjects(new - own)
        rows.append({**place, **means, **apart, "difference": apart["mean"]})
    return pd.DataFrame(rows, columns=list(BEFORE_AFTER_COLUMNS))


def training(
    fits: pd.DataFrame | None, references: RDMs, checkpoints: Mapping[str, int], comparison: str = "spearman"
) -> pd.DataFrame:
    """Follow the fit of each layer, and the distance of its RDM to that of the last checkpoint, along a training.

    Parameters
    ----------
    fits : DataFrame, optional
        Columns `subject`, `region`, `model`, `layer`, `score`; None in a study without regions.
    references : RDMs
        Those of all checkpoints.
    checkpoints : mapping
        The step of each network, in order.
    comparison : str
        A key of `COMPARISONS`, by which RDMs of layers are compared with each other.

    Returns
    -------
    DataFrame
        Columns `TRAINING_COLUMNS`, a row per region, layer and checkpoint; without fits `layer`, `step`, `network` and
        `rdm_distance_to_last`, a row per layer and checkpoint.

    Raises
    ------
    UserError
        If a network has no scores.
    """
    names = list(checkpoints)
    moved = {name: rdm_distances(references, name, names[-1], comparison) for name in names}
    if fits is None:
        return pd.DataFrame(
            {"layer": layer, "step": checkpoints[name], "network": name, "rdm_distance_to_last": moved[name][layer]}
            for layer in moved[names[-1]].index
            for name in names
        )
    scores = _scores_of(fits, names)
    rows = []
    for (region, layer), own in scores.groupby(level=["region", "layer"], sort=False):
        for name in names:
            place = {"region": region, "layer": layer, "step": checkpoints[name], "network": name}
            apart = {"rdm_distance_to_last": moved[name].get(layer, np.nan)}
            rows.append({**place, **_over_subjects(own.loc[(region, layer, name)]), **apart})
    return pd.DataFrame(rows, columns=list(TRAINING_COLUMNS))
