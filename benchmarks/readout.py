"""Measure how often the read-out of categories finds something in noise, and how often what was planted.

Each line is of many simulated layers: the mean balanced accuracy, with two standard errors, and the share of layers
with p of .05 or less, with its exact binomial interval (Clopper and Pearson, 1934).
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from shares import print_table, share

from rsa.distances import CrossProducts, cross_products
from rsa.units.readout import design_of, readout
from rsa.units.settings import Codes

__all__ = ["STUDIES", "Studies"]

N_PERMUTATIONS = 99
"""The level of a test by 99 orders is exactly .05."""


@dataclass(frozen=True)
class Studies:
    """Layers whose units are noise, in which each category has a mean of its own, if any.

    Parameters
    ----------
    sizes : tuple of int
        Conditions of each category.
    n_units : int
        Of a layer.
    effect : float
        Standard deviation of the means of categories, as a share of that of the noise of a unit.
    """

    sizes: tuple[int, ...]
    n_units: int = 100
    effect: float = 0.0

    def layer(self, seed: int) -> CrossProducts:
        """Draw a layer, in an order of its conditions that is drawn too."""
        rng, numbers = np.random.default_rng(seed), self.numbers
        means = rng.standard_normal((len(self.sizes), self.n_units))
        return cross_products(
            [rng.standard_normal((len(numbers), self.n_units)) + self.effect * means[numbers]], "feature"
        )

    @property
    def numbers(self) -> np.ndarray:
        """The number of the category of each condition."""
        return np.repeat(np.arange(len(self.sizes)), self.sizes)

    def found(self, n: int, settings: Codes) -> pd.DataFrame:
        """Read categories out of so many layers, each with folds and orders of its own; a row for each."""
        rows = []
        for seed in range(n):
            own = settings.model_copy(update={"seed": seed})
            design = design_of(np.array([f"kind {k}" for k in self.numbers]), own.n_folds, seed)
            assert design is not None
            rows.append(readout([("layer", self.layer(seed))], 1, design, own).tables["readout"].rows)
        return pd.concat(rows, ignore_index=True)

    def row(self, n: int, settings: Codes) -> dict[str, Any]:
        """Return what was found, as a row of a table."""
        found = self.found(n, settings)
        error = 2 * found["accuracy"].std() / np.sqrt(n)
        return {
            "conditions of categories": ", ".join(str(size) for size in self.sizes),
            "units": self.n_units,
            "effect": self.effect,
            "folds": int(found["n_folds"].iloc[0]),
            "chance": f"{found['chance'].iloc[0]:.3f}",
            "mean accuracy": f"{found['accuracy'].mean():.3f} ± {error:.3f}",
            "p of .05 or less": share(found["p"] <= 0.05),
        }


STUDIES = (
    Studies((6, 6)),
    Studies((20, 20)),
    Studies((20, 20), n_units=5000),
    Studies((2, 2, 2)),
    Studies((12, 4, 3)),
    Studies((12, 12, 12, 12, 23, 21)),
    Studies((6, 6), effect=0.2),
    Studies((20, 20), effect=0.1),
    Studies((12, 4, 3), effect=0.2),
    Studies((12, 12, 12, 12, 23, 21), effect=0.05),
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=1000, help="layers of each line")
    n = parser.parse_args(arguments).studies
    settings = Codes(permutations=N_PERMUTATIONS)
    print_table(studies.row(n, settings) for studies in STUDIES)


if __name__ == "__main__":
    main()
