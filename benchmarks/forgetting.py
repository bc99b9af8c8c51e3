"""Measure how often categories count as forgotten in noise, and how often those that were lost do.

A network has several layers, each of categories with means of their own, and of noise that differs before and after.
Each line is of many simulated networks: the share of pairs of categories with p of .05 or less, that of networks with
any corrected p of .05 or less, each with an exact binomial interval (Clopper and Pearson, 1934; that of pairs as if
they were independent), and how much larger the variance of the difference is than that of independent read-outs. Of
networks that lose a pair of categories, these are of the pairs of other categories.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import fisher_exact
from shares import print_table, share

from rsa.distances import cross_products
from rsa.units.learning import category_changes
from rsa.units.readout import SINGLES, Design, PairReadouts, design_of, readout
from rsa.units.settings import Codes

__all__ = ["STUDIES", "Forgetting"]

KEYS = ["layer", "category_a", "category_b"]

LEVEL = 0.05


@dataclass(frozen=True)
class Forgetting:
    """Networks before and after, in which all stays as it was but for noise, or one pair of categories is lost.

    Parameters
    ----------
    sizes : tuple of int
        Conditions of each category.
    effect : float
        Standard deviation of the means of categories, as a share of that of the noise that differs before and after.
    shared : float
        The same of what conditions have by themselves, before and after.
    lost : bool
        Whether the first two categories have one mean after.
    n_layers, n_units : int
        Layers, each with that many units.
    """

    sizes: tuple[int, ...]
    effect: float = 0.0
    shared: float = 0.0
    lost: bool = False
    n_layers: int = 3
    n_units: int = 100

    @property
    def numbers(self) -> np.ndarray:
        """The number of the category of each condition."""
        return np.repeat(np.arange(len(self.sizes)), self.sizes)

    def changes(self, seed: int) -> pd.DataFrame:
        """Compare a network before and after; a row for each pair of categories of each layer."""
        rng, numbers = np.random.default_rng(seed), self.numbers
        design = design_of(np.array([f"kind {k}" for k in numbers]), 5, seed)
        assert design is not None
        shape = self.n_layers, len(numbers), self.n_units
        means = self.effect * rng.standard_normal((self.n_layers, len(self.sizes), self.n_units))
        merged = means.copy()
        merged[:, :2] = means[:, :2].mean(axis=1, keepdims=True)
        own = self.shared * rng.standard_normal(shape)
        before = means[:, numbers] + own + rng.standard_normal(shape)
        after = (merged if self.lost else means)[:, numbers] + own + rng.standard_normal(shape)
        both = [read_out(layers, design) for layers in (before, after)]
        return category_changes(*both).merge(fisher(*both), on=KEYS)

    def row(self, n: int) -> dict[str, Any]:
        """Return what was found in so many networks, as a row of a table."""
        each = [self.changes(seed) for seed in range(n)]
        found = pd.concat(dict(enumerate(each)), names=["network", "row"])
        of_lost = found[["category_a", "category_b"]].isin(["kind 0", "kind 1"])
        is_lost, rest = of_lost.all(axis=1), found[~of_lost.any(axis=1) | (not self.lost)]
        planted = share(found["p_corrected"][is_lost] <= LEVEL) if self.lost else ""
        return {
            "conditions of categories": ", ".join(str(size) for size in self.sizes),
            "means": self.effect,
            "of conditions": self.shared,
            "accuracy": f"{found['accuracy_before'].mean():.2f}",
            "variance": f"{over_dispersion(rest):.2f}",
            "pairs with p of .05 or less": share(rest["p"] <= LEVEL),
            "by Fisher's test": share(rest["p_of_fisher"] <= LEVEL),
            "networks with any, corrected": share((rest["p_corrected"] <= LEVEL).groupby("network").any()),
            "lost pairs, corrected": planted,
        }


def read_out(layers: np.ndarray, design: Design) -> PairReadouts:
    """Read categories out of layers, (n_layers, n_conditions, n_units), without permutations."""
    products = [(f"layer {i}", cross_products([one], "feature")) for i, one in enumerate(layers)]
    found = readout(products, len(layers), design, Codes(permutations=0))
    rows = found.tables["readout_pairs"].rows
    parts = {name: np.split(found.arrays[name], rows["n"].cumsum().to_numpy()[:-1]) for name in SINGLES}
    singles = [{name: part[i] for name, part in parts.items()} for i in range(len(rows))]
    return PairReadouts(rows, singles, design.n_folds)


def over_dispersion(rows: pd.DataFrame) -> float:
    """Return the variance of conditions gained less lost, over that of independent ones, which is their number."""
    discordant = rows["n_gained"] + rows["n_lost"]
    return float(((rows["n_gained"] - rows["n_lost"]) ** 2).sum() / discordant.sum())


def fisher(before: PairReadouts, after: PairReadouts) -> pd.DataFrame:
    """Compare the numbers of right conditions by Fisher's exact test, as if they were of other conditions."""
    both = before.rows.merge(after.rows, on=[*KEYS, "n"], suffixes=("_before", "_after"))
    counts = both[["n_right_before", "n_right_after", "n"]].astype(int).itertuples(index=False, name=None)
    return both[KEYS].assign(p_of_fisher=[fisher_exact([[b, n - b], [a, n - a]]).pvalue for b, a, n in counts])


STUDIES = (
    Forgetting((6, 6, 6)),
    Forgetting((12, 12, 12)),
    Forgetting((44, 24, 24)),
    Forgetting((6, 6, 6), effect=0.2),
    Forgetting((12, 12, 12), effect=0.2),
    Forgetting((12, 12, 12), effect=0.2, shared=1.0),
    Forgetting((44, 24, 24), effect=0.2),
    Forgetting((6, 6, 6, 6), effect=0.4, lost=True),
    Forgetting((12, 12, 12, 12), effect=0.4, lost=True),
    Forgetting((24, 24, 24, 24), effect=0.4, lost=True),
    Forgetting((24, 24, 24, 24), effect=0.2, lost=True),
    Forgetting((48, 48, 48, 48), effect=0.2, lost=True),
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", type=int, default=1000, help="networks of each line")
    n = parser.parse_args(arguments).networks
    print_table(studies.row(n) for studies in STUDIES)


if __name__ == "__main__":
    main()
