"""Measure how often the best channels of a layer are like a region by chance, and how often truly.

Each line is of many simulated studies of one layer and one region: mean scores with 95 % intervals over studies, and
shares of studies with exact binomial intervals (Clopper and Pearson, 1934). Subjects share the geometry of the region,
and have noise of their own.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from shares import print_table, share, with_interval

from rsa.comparisons import COMPARISONS
from rsa.core import RDMs
from rsa.distances import DISTANCES, rdm_vectors
from rsa.inference.channels import Compared, best_channels, best_in_orders, best_rows, own_scores, scores_on_halves
from rsa.inference.ranking import halves_of

__all__ = ["STUDIES", "Studies"]

N_SPLITS, N_PERMUTATIONS = 20, 99
"""The level of a test by 99 orders is exactly .05."""


@dataclass(frozen=True)
class Studies:
    """Studies of a layer of noise, and of a region that some channels make, or that has nothing to do with the layer.

    Parameters
    ----------
    n_channels, n_best : int
        Channels of the layer, and how many are chosen.
    n_makers : int
        How many channels make the geometry of the region.
    share : float
        Their share of the variance of that geometry.
    n_conditions, n_subjects, n_places : int
    """

    n_channels: int
    n_best: int = 8
    n_makers: int = 0
    share: float = 0.0
    n_conditions: int = 40
    n_subjects: int = 6
    n_places: int = 9

    def row(self, n: int) -> dict[str, Any]:
        """Return what was found in so many studies, as a row of a table."""
        found = pd.DataFrame([self.study(seed) for seed in range(n)])
        return {
            "channels": f"{self.n_channels} (best {self.n_best})",
            "that make the region": f"{self.n_makers} ({self.share:g})" if self.n_makers else "none",
            "conditions": self.n_conditions,
            "best": interval(found["score_best"]),
            "same conditions": interval(found["score_best_not_cross_validated"]),
            "less layer": interval(found["less_layer"]),
            "less random": interval(found["less_random"]),
            "p of .05 or less": share(found["p"] <= 0.05),
            "interval of the best above 0": share(found["best_lower"] > 0),
            "less layer above 0": share(found["less_layer_lower"] > 0),
            "less layer below 0": share(found["less_layer_upper"] < 0),
            "less random above 0": share(found["less_random_lower"] > 0),
        }

    def study(self, seed: int) -> dict[str, Any]:
        """Simulate a study, and return its row of the table of the best channels."""
        rng, distance = np.random.default_rng(seed), DISTANCES["correlation"]
        shape = self.n_conditions, self.n_channels, self.n_places
        responses = np.maximum(rng.standard_normal(shape), 0).astype(np.float32)
        regions = self.regions(rng, responses)
        halves = halves_of(self.n_conditions, N_SPLITS, seed)
        compared = Compared(regions, COMPARISONS["spearman"], halves, N_PERMUTATIONS, seed)
        own = own_scores(responses, compared, distance)
        best = best_channels(responses, compared, "region", own, distance, self.n_best, seed)
        in_orders = best_in_orders(responses, compared, distance, self.n_best)
        on_halves = scores_on_halves(responses, compared, distance)
        scored = on_halves, on_halves, {"region": best}, in_orders
        return dict(best_rows("layer", compared, self.n_channels, *scored).iloc[0])

    def regions(self, rng: np.random.Generator, responses: np.ndarray) -> RDMs:
        """Draw the RDM of the region of each subject, with as much noise as geometry."""
        distance = DISTANCES["correlation"]
        geometry = z_scored(rdm_vectors(rng.standard_normal((self.n_conditions, 30)), distance))
        if self.n_makers:
            made = z_scored(rdm_vectors(responses[:, : self.n_makers].reshape(self.n_conditions, -1), distance))
            geometry = z_scored(np.sqrt(self.share) * made + np.sqrt(1 - self.share) * geometry)
        values = geometry + rng.standard_normal((self.n_subjects, len(geometry)))
        table = pd.DataFrame({"subject": [f"{i:02}" for i in range(self.n_subjects)], "region": "region"})
        return RDMs(values, [f"c{i}" for i in range(self.n_conditions)], table, "correlation")


def z_scored(rdm: np.ndarray) -> np.ndarray:
    """Scale an RDM to mean 0 and standard deviation 1."""
    return (rdm - rdm.mean()) / rdm.std()


def interval(values: pd.Series) -> str:
    """Return a mean with its 95 % interval over studies."""
    half = 1.96 * values.std() / np.sqrt(len(values))
    return with_interval(values.mean(), values.mean() - half, values.mean() + half)


STUDIES = (
    Studies(5, n_best=2),
    Studies(64),
    Studies(512),
    Studies(64, n_makers=8, share=0.05),
    Studies(64, n_makers=8, share=0.02, n_conditions=92),
    Studies(64, n_makers=64, share=0.2),
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=400, help="studies of each line")
    n = parser.parse_args(arguments).studies
    print_table(studies.row(n) for studies in STUDIES)


if __name__ == "__main__":
    main()
