"""What a layer says of the pictures: their nearest neighbours, and maps of them in two dimensions."""

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from rsa.core import Array, RDMs
from rsa.errors import UserError, listed
from rsa.labels import as_label
from rsa.models import Model
from rsa.models.source import LayersOrNone, usable_layers
from rsa.progress import progress
from rsa.units.choosing import no_such_layer
from rsa.units.found import Found, Table
from rsa.units.settings import Codes, UnitSettings
from rsa.units.watched import Watched

__all__ = [
    "EMBEDDINGS",
    "Coded",
    "coded",
    "embeddings",
    "layers_of_codes",
    "neighbours",
    "problems_of_codes",
    "problems_of_layers",
    "require_categories",
    "stress",
    "with_own_layers",
]

log = logging.getLogger(__name__)

N_STARTS = 4
"""MDS begins so often at random places, besides once at those of classical scaling; the least stress wins."""

FEWEST, MOST = 4, 2000
"""Of fewer conditions, or of more, no map in two dimensions is made: it would take hours, and no one would see a
picture on it."""

NEIGHBOURS = {
    "layer": "Layer of the network",
    "condition": "Condition whose neighbours these are",
    "rank": "Rank of the neighbour: 1 is the nearest; of equal distances the earlier condition comes first",
    "neighbour": "Condition that is near",
    "distance": "Dissimilarity of the two in the RDM of the layer",
}
"""The columns of the table of neighbours."""

SAME_CATEGORY = {
    "layer": "Layer of the network",
    "share": "Share of the nearest neighbours that have the category of their condition, mean over conditions",
    "chance": "The same, if all other conditions were as likely to be neighbours",
    "most": "The same, if all others of the category came first; below 1 where a category has too few",
    "n_neighbours": "How many nearest neighbours of each condition count",
    "n_conditions": "Number of conditions with a category",
}
"""The columns of the table of neighbours of the same category."""

EMBEDDINGS = {
    "layer": "Layer of the network",
    "condition": "Condition",
    "method": "mds: metric multidimensional scaling; tsne: t-distributed stochastic neighbour embedding",
    "x": "Place on the map, across; of MDS in the units of the distance",
    "y": "Place on the map, up",
    "misfit": "How wrong the map is, one number for all conditions: of MDS Kruskal's stress-1 (0 where all distances "
    "are as in the RDM), of t-SNE the Kullback-Leibler divergence",
}
"""The columns of the table of places in two dimensions."""


# ------------------------------------------------------------------------------------------- conditions


@dataclass(frozen=True)
class Coded:
    """The conditions of the pictures.

    Parameters
    ----------
    conditions : sequence of str
        In the order of the RDMs.
    pictures : array of int, shape (n_conditions,)
        The number of the first picture of each, which stands for it.
    categories : array of str, shape (n_conditions,), optional
        "" where a condition has none; None where there is no such column.
    """

    conditions: Sequence[str]
    pictures: Array
    categories: Array | None

    def arrays(self) -> dict[str, Array]:
        """Return what figures need."""
        told = {} if self.categories is None else {"categories": self.categories}
        return {"conditions": np.array(self.conditions, dtype=str), "pictures": self.pictures, **told}


def require_categories(settings: Codes, stimuli: pd.DataFrame) -> None:
    """Raise a `UserError` if a column of categories is named that is not there, or a condition has several."""
    if problems := problems_of_codes(settings, stimuli):
        raise UserError(" ".join(problems))


def coded(watched: Watched, stimuli: pd.DataFrame, settings: Codes) -> Coded:
    """Return the conditions with their pictures and categories.

    Raises
    ------
    UserError
        As `require_categories`.
    """
    require_categories(settings, stimuli)
    conditions = list(watched.pictures.conditions)
    first = np.unique(watched.pictures.places, return_index=True)[1]
    if settings.categories not in stimuli:
        return Coded(conditions, first, None)
    of_each = dict(_categories(stimuli, settings.categories))
    return Coded(conditions, first, np.array([of_each.get(name, "") for name in conditions], dtype=str))


def problems_of_layers(wanted: LayersOrNone, models: Sequence[Model]) -> list[str]:
    """Return what is wrong with the layers whose codes are looked at, a line for each name that no network has."""
    if wanted == "default" or not models:
        return []
    return [
        f"`units.layers`: {no_such_layer([glob], models)}"
        for glob in wanted
        if not any(layers_of_codes((glob,), model) for model in models)
    ]


def with_own_layers(settings: UnitSettings, model: Model) -> UnitSettings:
    """Return what is asked of a network without the layers that others alone have."""
    if settings.layers == "default":
        return settings
    own = tuple(glob for glob in settings.layers if layers_of_codes((glob,), model))
    return settings.model_copy(update={"layers": own})


def problems_of_codes(settings: Codes, stimuli: pd.DataFrame) -> list[str]:
    """Return what is wrong with the categories of a stimulus table, a line each.

    The column of the default may be missing: nothing is read out then.
    """
    column = settings.categories
    if column not in stimuli:
        if column == Codes().categories:
            return []
        has = [str(name) for name in stimuli if name not in ("condition", "file")]
        return [
            f"`units.codes.categories` is {column!r}, and the stimuli have no such column; beside conditions and files "
            f"they have {listed(has) or 'none'}."
        ]
    n_of_each = Counter(name for name, _ in _categories(stimuli, column))
    several = [name for name, n in n_of_each.items() if n > 1]
    if not several:
        return []
    return [
        f"A condition has one category, and {listed(several)} have several in the column "
        f"{column!r} of the stimuli; name another column by `units.codes.categories`."
    ]


def _categories(stimuli: pd.DataFrame, column: str) -> list[tuple[str, str]]:
    """Return each condition with each of its categories; those without one are left out."""
    known = stimuli[stimuli[column].notna()]
    pairs = zip(known["condition"].astype(str), (as_label(one) for one in known[column]), strict=True)
    return [pair for pair in dict.fromkeys(pairs) if pair[1]]


def layers_of_codes(wanted: LayersOrNone, model: Model) -> list[str]:
    """Return the layers of a network whose codes are looked at, in forward order; none where it has none of them."""
    if wanted == "default":
        return model.layer_names()
    return usable_layers(model.describe(), wanted)


# --------------------------------------------------------------------------------------------- neighbours


def neighbours(rdms: RDMs, who: Coded, settings: Codes) -> Found:
    """List the nearest neighbours of each condition in each layer.

    Returns
    -------
    Found
        The tables `neighbours` and, if there are categories, `neighbours_categories`; in the arrays the numbers of
        pictures and the categories of the conditions.
    """
    n, k = len(who.conditions), min(settings.n_neighbours, len(who.conditions) - 1)
    if k < settings.n_neighbours:
        log.info("%d conditions have %d neighbours, fewer than the %d asked for.", n, k, settings.n_neighbours)
    names = np.array(who.conditions, dtype=object)
    tables, shares = [], []
    for layer, square in _squares(rdms):
        nearest = _nearest(square, k)  # (n_conditions, k)
        own = {"condition": np.repeat(names, k), "rank": np.tile(np.arange(1, k + 1), n)}
        distances = np.take_along_axis(square, nearest, axis=1)
        tables.append(
            pd.DataFrame({"layer": layer, **own, "neighbour": names[nearest.ravel()], "distance": distances.ravel()})
        )
        if who.categories is not None and (who.categories != "").any():
            shares.append({"layer": layer, **_same_category(nearest, who.categories)})
    listed_ones = pd.concat(tables) if tables else pd.DataFrame(columns=list(NEIGHBOURS))
    found = {"neighbours": Table(listed_ones, NEIGHBOURS)}
    if shares:
        found["neighbours_categories"] = Table(pd.DataFrame(shares), SAME_CATEGORY)
    return Found(found, who.arrays())


def _squares(rdms: RDMs) -> Iterator[tuple[str, Array]]:
    """Yield the layers whose distances are all defined, with their RDMs, (n_conditions, n_conditions), one by one."""
    from scipy.spatial.distance import squareform

    for layer, values in zip(rdms.table["layer"], rdms.values, strict=True):
        if np.isfinite(values).all():
            yield str(layer), squareform(np.asarray(values))
        else:
            log.warning("Layer %r: some distances are undefined, so it has no neighbours and no map.", layer)


def _nearest(square: Array, k: int) -> Array:
    """Return the numbers of the k nearest others, the nearest first, (n_conditions, k)."""
    others = square + np.diag(np.full(len(square), np.inf))
    return np.argsort(others, axis=1, kind="stable")[:, :k]


def _same_category(nearest: Array, categories: Array) -> dict[str, float]:
    """Return the share of neighbours of the same category, and what it is by chance."""
    has = categories != ""
    same = (categories[nearest] == categories[:, None])[has]
    sizes = (categories[has][:, None] == categories[has]).sum(axis=1)
    chance = (sizes - 1) / (len(categories) - 1)
    most = np.minimum(sizes - 1, nearest.shape[1]) / nearest.shape[1]
    return {
        "share": float(same.mean()),
        "chance": float(chance.mean()),
        "most": float(most.mean()),
        "n_neighbours": nearest.shape[1],
        "n_conditions": int(has.sum()),
    }


# --------------------------------------------------------------------------------------- two dimensions


def embeddings(rdms: RDMs, who: Coded, settings: Codes) -> Found | None:
    """Lay the conditions out in two dimensions, for each layer, by MDS [1]_ and t-SNE [2]_.

    MDS begins at the places of classical scaling, and several times at random ones; t-SNE begins at those of MDS [3]_,
    so no random number enters it. A map may be turned and mirrored: that of the first layer lies along its principal
    axes, each next one is turned to be most like the one before.

    Parameters
    ----------
    rdms : RDMs
        Of layers. One whose distances are not all defined is left out, and so is one whose distances are all 0.

    Returns
    -------
    Found, optional
        The table `embeddings`; None of fewer than 4 conditions, or of more than 2,000.

    References
    ----------
    .. [1] Kruskal JB (1964). Multidimensional scaling by optimizing goodness of fit to a nonmetric hypothesis.
       Psychometrika 29:1-27.
    .. [2] van der Maaten L, Hinton G (2008). Visualizing data using t-SNE. J Mach Learn Res 9:2579-2605.
    .. [3] Kobak D, Linderman GC (2021). Initialization is critical for preserving global data structure in both t-SNE
       and UMAP. Nat Biotechnol 39:156-157.
    """
    n = len(who.conditions)
    if not FEWEST <= n <= MOST:
        log.info("A map of the pictures needs %d to %d conditions, and there are %d: none is made.", FEWEST, MOST, n)
        return None
    perplexity = min(settings.perplexity, (n - 1) / 3)
    if perplexity < settings.perplexity:
        log.info("The perplexity of t-SNE is %.3g, a third of the other conditions.", perplexity)
    tables: list[pd.DataFrame] = []
    before: Array | None = None
    with progress(len(rdms), "layers", "pictures in two dimensions") as advance:
        for layer, square in _squares(rdms):
            if square.max() > 0:
                places = _mds(square, settings.seed)
                before = places = _along_axes(places) if before is None else _turned(places, before)
                beside, divergence = _tsne(square, perplexity, places)
                tables.append(_table(layer, "mds", who.conditions, places, stress(square, places)))
                tables.append(_table(layer, "tsne", who.conditions, beside, divergence))
            advance(1)
    rows = pd.concat(tables) if tables else pd.DataFrame(columns=list(EMBEDDINGS))
    return Found({"embeddings": Table(rows, EMBEDDINGS)}, who.arrays())


def _table(layer: str, method: str, conditions: Sequence[str], places: Array, misfit: float) -> pd.DataFrame:
    labels = {"layer": layer, "condition": list(conditions), "method": method}
    return pd.DataFrame({**labels, "x": places[:, 0], "y": places[:, 1], "misfit": misfit})


def stress(square: Array, places: Array) -> float:
    """Return Kruskal's stress-1: the root of the summed squared errors of the distances on a map over their squares."""
    from scipy.spatial.distance import pdist, squareform

    on_map = pdist(places)
    return float(np.sqrt(((squareform(square) - on_map) ** 2).sum() / (on_map**2).sum()))


def _mds(square: Array, seed: int) -> Array:
    """Return the places, (n_conditions, 2), of least stress."""
    from sklearn.manifold import smacof

    rng = np.random.RandomState(seed)
    starts = [_classical(square), *(rng.uniform(size=(len(square), 2)) * square.mean() for _ in range(N_STARTS))]
    made = [smacof(square, init=start, n_init=1, normalized_stress=False) for start in starts]
    places: Array = min(made, key=lambda one: float(one[1]))[0]
    return places


def _classical(square: Array) -> Array:
    """Return the first two dimensions of classical scaling."""
    squares = square**2
    means = squares.mean(axis=0)
    values, vectors = np.linalg.eigh((means[:, None] + means - squares - means.mean()) / 2)
    places: Array = vectors[:, :-3:-1] * np.sqrt(np.maximum(values[:-3:-1], 0))
    return places


def _tsne(square: Array, perplexity: float, start: Array) -> tuple[Array, float]:
    """Return the places, (n_conditions, 2), turned to those where it began, and the divergence."""
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    begin = 1e-4 * start / start.std(axis=0).max()
    made = TSNE(perplexity=perplexity, metric="precomputed", init=begin, random_state=0, n_jobs=1)
    with threadpool_limits(1, user_api="openmp"):  # threads wait for each other 1000 times: for seconds on busy cores
        places = made.fit_transform(square).astype(float)
    return _turned(places, start), float(made.kl_divergence_)


def _along_axes(places: Array) -> Array:
    """Turn places so that they spread most across, then up; of each axis the farthest place is on its positive side."""
    centred = places - places.mean(axis=0)
    turned = centred @ np.linalg.svd(centred, full_matrices=False)[2].T
    farthest = turned[np.abs(turned).argmax(axis=0), np.arange(2)]
    signed: Array = turned * np.where(farthest < 0, -1, 1)
    return signed


def _turned(places: Array, like: Array) -> Array:
    """Turn and mirror places to lie most like others (Procrustes); their distances stay."""
    from scipy.linalg import orthogonal_procrustes

    centred = places - places.mean(axis=0)
    turned: Array = centred @ orthogonal_procrustes(centred, like)[0]
    return turned
