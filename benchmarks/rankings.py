"""Measure whether a ranking is fair: simulated studies of noise and of a known truth, through `rsa.inference.ranking`.

A study is small: subjects with one region and 24 conditions, RDMs of random patterns of 20 features. It prints a table
for docs/inference.md.
"""

import argparse

import numpy as np
import pandas as pd
from scipy.spatial.distance import pdist
from shares import share

from rsa.core import Array, RDMs
from rsa.inference.ranking import compared_pairs, ranked

N_CONDITIONS, N_FEATURES, N_SPLITS, N_BOOTSTRAP = 24, 20, 20, 200
NAMES = [f"c{number:02d}" for number in range(N_CONDITIONS)]
SIZES = (1, 5, 40)
"""Layers of the models."""


def rdms(rng: np.random.Generator, n: int) -> Array:
    return np.array([pdist(one) for one in rng.standard_normal((n, N_CONDITIONS, N_FEATURES))])


def brain(values: Array) -> RDMs:
    subjects = [f"{number:02d}" for number in range(len(values))]
    return RDMs(values, NAMES, pd.DataFrame({"subject": subjects, "region": "IT"}))


def models(values: dict[str, Array]) -> RDMs:
    rows = [{"model": name, "layer": f"l{i}"} for name, own in values.items() for i in range(len(own))]
    return RDMs(np.concatenate(list(values.values())), NAMES, pd.DataFrame(rows))


def of_noise(n_subjects: int, seed: int) -> dict[str, float]:
    """Rank models of 1, 5 and 40 layers that have nothing to do with the brain."""
    rng = np.random.default_rng((seed, n_subjects))
    found = ranked(
        brain(rdms(rng, n_subjects)),
        models({str(n): rdms(rng, n) for n in SIZES}),
        n_splits=N_SPLITS,
        seed=seed,
        n_bootstrap=N_BOOTSTRAP,
    )
    table = found.table.set_index("model")
    pairs = compared_pairs(found, n_permutations=999)
    told = {"any pair": float((pairs["p_corrected"] <= 0.05).any())}
    for n in SIZES:
        row = table.loc[str(n)]
        told |= {f"score {n}": row["score"], f"same data {n}": row["score_not_cross_validated"]}
        told |= {f"holds 0 {n}": float(row["lower"] <= 0 <= row["upper"])}
    return told


def of_truth(n_subjects: int, seed: int, shared: Array, layers: Array) -> tuple[float, float, float]:
    """Rank a model whose second layer is like what subjects share: score, and the ends of its interval."""
    rng = np.random.default_rng((seed, n_subjects, 1))
    own = brain(rdms(rng, n_subjects) + 0.7 * shared)
    row = ranked(own, models({"net": layers}), n_splits=N_SPLITS, n_bootstrap=N_BOOTSTRAP).table.iloc[0]
    return row["score"], row["lower"], row["upper"]


def mean(of: Array) -> str:
    return f"{np.mean(of):.4f} ± {np.std(of, ddof=1) / np.sqrt(len(of)):.4f}"


def rows(n_studies: int) -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = []
    for n_subjects in (5, 15):
        told = pd.DataFrame([of_noise(n_subjects, seed) for seed in range(n_studies)])
        for n in SIZES:
            cells = (mean(told[f"score {n}"]), mean(told[f"same data {n}"]), share(told[f"holds 0 {n}"]))
            found.append((f"noise of {n_subjects} subjects, {n} layer{'s' * (n > 1)}", *cells))
        found.append((f"noise of {n_subjects} subjects: any pair at corrected .05", "", "", share(told.iloc[:, 0])))
    rng = np.random.default_rng(0)
    shared, layers = rdms(rng, 1), rdms(rng, 5)
    layers[1] += 0.5 * shared[0]
    for n_subjects in (5, 15):
        drawn = np.array([of_truth(n_subjects, seed, shared, layers) for seed in range(2 * n_studies)])
        truth = drawn[:n_studies, 0].mean()
        low, high = drawn[n_studies:, 1:].T
        held = share((low <= truth) & (truth <= high))
        found.append((f"{n_subjects} subjects share something with a layer of 5", mean(drawn[n_studies:, 0]), "", held))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=500)
    print("| what is true | score | chosen and scored on the same data | share |\n|---|---|---|---|")
    for row in rows(parser.parse_args().studies):
        print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
