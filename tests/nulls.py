"""What is measured of pure noise, for every distance, whitening and balance of runs.

``python tests/nulls.py`` prints the rows of the table in docs/conventions.md, from more brains than the tests take.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, count, groupby, islice, product

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from rsa import noise, searchlight
from rsa.core import Neighbourhood, Patterns, RDMs, Residuals, Volume
from rsa.distances import CROSS_VALIDATED, DISTANCES
from rsa.neighbourhood import from_masks

N_VOXELS, N_REGIONS = 40, 25
"""Of each region, and regions of each brain, whose noise is independent."""

WHITENINGS: dict[str, dict[str, str] | None] = {
    "none": None,
    "univariate": {"normalisation": "univariate"},
    "ledoit_wolf": {"normalisation": "multivariate", "shrinkage": "ledoit_wolf"},
    "schaefer_strimmer": {"normalisation": "multivariate", "shrinkage": "schaefer_strimmer"},
    "brain": {"normalisation": "multivariate", "scope": "brain"},
}

MEASURES = ("mean distance", "fit of rare conditions", "reliability")
"""What should be 0."""


@dataclass(frozen=True)
class Null:
    """A study of noise alone.

    Parameters
    ----------
    distance : str
        Between patterns.
    whitening : str
        A key of `WHITENINGS`.
    source : {"runs", "residuals"}
        Where the noise is seen.
    n_runs : int
        Of each brain, with 10 conditions.
    uneven : bool
        Whether every third condition is missing in two runs, one odd and one even.
    mean_removed : bool
        Whether the mean over conditions is taken out of each run.
    """

    distance: str
    whitening: str
    source: str = "runs"
    n_runs: int = 4
    uneven: bool = False
    mean_removed: bool = False

    @property
    def kind(self) -> tuple[str, str, str]:
        """Distance, whitening and source."""
        return self.distance, self.whitening, self.source

    @property
    def n_least(self) -> int:
        """Number of runs that RDMs need."""
        by_runs = self.source == "runs" and self.whitening != "none"
        return (3 if by_runs else 2) if self.distance in CROSS_VALIDATED else (2 if by_runs else 1)

    @property
    def is_possible(self) -> bool:
        """Whether there are runs enough to measure anything."""
        if self.distance in CROSS_VALIDATED:
            return self.n_runs >= self.n_least + 2 * self.uneven
        return self.n_runs >= 2 * (self.n_least + self.uneven)  # of these, reliability alone should be 0

    def measures(self, seeds: Iterable[int]) -> dict[str, np.ndarray]:
        """Return what should be 0 (`MEASURES`), of each region of the brain of each seed."""
        each = [self._of_brain(seed) for seed in seeds]
        return {name: np.concatenate([one[name] for one in each]) for name in each[0]}

    def _of_brain(self, seed: int) -> dict[str, np.ndarray]:
        patterns, around = self.brain(seed)
        shrinkage = None
        if (how := WHITENINGS[self.whitening]) is not None or self.mean_removed:
            patterns = noise.prepared(patterns, remove_mean=self.mean_removed, source=self.source, **(how or {}))
            shrinkage = (how or {}).get("shrinkage") if self.source == "residuals" else None
        made = searchlight.RdmSettings(self.distance, shrinkage)
        rdms, found = searchlight.region_rdms(patterns, around, made), {}
        if self.distance == "crossnobis":
            found["mean distance"] = rdms.values.mean(axis=1)
        rare = [self._is_rare(a) + self._is_rare(b) for a, b in combinations(patterns.conditions, 2)]
        if self.uneven and self.distance in CROSS_VALIDATED:
            found["fit of rare conditions"] = spearmanr(np.vstack([rare, rdms.values]), axis=1).statistic[0, 1:]
        if self.n_runs >= 2 * (self.n_least + self.uneven):
            any_rdm = RDMs([np.arange(len(rare))], patterns.conditions, pd.DataFrame({"model": ["any"]}))
            scores = searchlight.compare(patterns, around, any_rdm, reliability=True, rdm=made)
            found["reliability"] = scores.values[-1].astype(float)
        return found

    def brain(self, seed: int) -> tuple[Patterns, Neighbourhood]:
        """Draw one brain: noise that neighbouring voxels share; for crossnobis, around a mean of all."""
        rng = np.random.default_rng(seed)
        n_voxels = N_VOXELS * N_REGIONS
        rows = [(f"c{c}", f"r{run}") for run in range(self.n_runs) for c in range(10)]
        if self.uneven:
            rows = [(name, run) for name, run in rows if not (self._is_rare(name) and run in ("r0", "r1"))]
        residuals = None
        if self.source == "residuals":
            residuals = Residuals(self._noise(rng, 60), 60)
        values = self._noise(rng, len(rows))
        if self.distance == "crossnobis":
            values += 3 * rng.standard_normal(n_voxels)
        volume = Volume(np.ones((n_voxels, 1, 1)), np.eye(4))
        patterns = Patterns(values, pd.DataFrame(rows, columns=["condition", "run"]), volume, residuals=residuals)
        numbers = np.arange(n_voxels) // N_VOXELS
        return patterns, from_masks(volume, {str(n): numbers == n for n in range(N_REGIONS)})

    @staticmethod
    def _noise(rng: np.random.Generator, n: int) -> np.ndarray:
        white = rng.standard_normal((n, N_REGIONS, N_VOXELS))
        return (white @ (np.eye(N_VOXELS) + 0.6 * np.eye(N_VOXELS, k=1))).reshape(n, -1)

    @staticmethod
    def _is_rare(name: str) -> int:
        return int(int(name[1:]) % 3 == 0)


def studies(n_runs: Sequence[int]) -> Iterator[Null]:
    """Go through all combinations that measure something.

    Where runs are uneven, distances within their mean are larger for what was measured less often, noise or not: only
    `correlation` and `cosine` of patterns around 0 are free of that, if the mean of each run is not taken out.
    """
    for distance in (*DISTANCES, *CROSS_VALIDATED):
        for whitening in WHITENINGS:
            for source in ("runs", "residuals") if whitening != "none" else ("residuals",):
                for n, uneven, mean_removed in product(n_runs, (False, True), (False, True)):
                    null = Null(distance, whitening, source, n, uneven, mean_removed)
                    biased = uneven and (mean_removed or distance in ("euclidean", "sqeuclidean"))
                    if mean_removed and n == min(n_runs):
                        continue
                    if null.is_possible and (distance in CROSS_VALIDATED or not biased):
                        yield null


def _print_table(n_brains: int = 8) -> None:
    """Print a row for each distance, whitening and source: the means of what should be 0, over all other settings."""
    seeds = count(1000)  # other brains for each setting
    for (distance, whitening, source), group in groupby(studies((3, 4, 6, 8)), lambda null: null.kind):
        measures = [null.measures(islice(seeds, n_brains)) for null in group]
        cells = []
        for name in MEASURES:
            each = [one[name] for one in measures if name in one]
            errors = [values.std(ddof=1) / np.sqrt(len(values)) for values in each]
            ratios = [abs(values.mean() / error) for values, error in zip(each, errors, strict=True)]
            mean = np.mean([values.mean() for values in each]) if each else np.nan
            error = np.sqrt(np.sum(np.square(errors))) / max(1, len(errors))
            cells.append(f"{mean:.4f} ± {error:.4f} ({max(ratios):.1f})" if each else "")
        print(f"| `{distance}` | {whitening} | {source} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    _print_table()
