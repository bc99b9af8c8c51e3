"""Measure intervals for other subjects and other conditions: how often they hold the truth, how often p errs.

Each study draws subjects and conditions anew. What a region and models see of a condition are some of 6 numbers; each
subject mixes its own into 12 measured ones, with noise. It prints the tables of docs/inference.md.
"""

import argparse
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import numpy as np
import pandas as pd
from scipy.spatial.distance import pdist, squareform
from shares import exact_interval

from rsa.comparisons import COMPARISONS
from rsa.core import RDMs
from rsa.inference.bootstrap import bootstrapped_regions, carried_by
from rsa.inference.contrasts import Contrast
from rsa.inference.regions import region_group
from rsa.inference.tally import Correction
from rsa.rdm import region_fits

STUDIES = [(6, 24), (15, 24), (6, 48), (15, 48), (30, 48), (15, 92)]
"""Subjects and conditions."""
N_SAMPLES, N_TRUTH = 300, 2000
"""Samples of the conditions of each study, and studies whose mean is the truth."""
OWN = 0.35
"""Standard deviation of what each subject mixes in of its own, which is of all 6 numbers."""
MODELS = {
    "first half": np.array([1, 1, 0, 0, 0, 0]),
    "second half": np.array([0, 0, 1, 1, 0, 0]),
    "right": np.sqrt(np.array([1, 1, 1, 1, 0, 0]) + 12 * OWN**2),
}
"""How much each model has of the numbers; the right one has what subjects have in the mean, "unrelated" has others."""
TRUE = {"unrelated": "unrelated", "first half": "half", "difference": "difference"}
"""Scores that intervals are to hold: of a model that has nothing to do with the region, of one that has half of what
the region has, and the difference between two such models, of two halves. The head of each is its column."""
CATEGORIES = (2, 3, 4, 6, 12)
"""Conditions of the categories of references that have nothing to do with the region: a table of its own."""
PARTITIONED = (15, 48)
"""Subjects and conditions of the table of other categorical references."""
SMALL = [
    ("p_both", "unrelated", "unrelated"),
    ("p_both", "difference", "difference"),
    ("p_below_ceiling", "right", "right"),
    ("p_both", "first half", "half"),
    ("p_below_ceiling", "first half", "half"),
]
"""P of which models are counted; the first three are errors where they are small."""


def drawn(n_subjects: int, n_conditions: int, seed: int) -> tuple[RDMs, RDMs]:
    """Draw a study: the RDMs of subjects in a region, and those of models."""
    rng = np.random.default_rng((seed, n_subjects, n_conditions))
    seen = rng.standard_normal((n_conditions, 6))
    names = [f"c{number:02d}" for number in range(n_conditions)]
    shared = np.eye(6, 12) * (np.arange(6) < 4)[:, None]
    brain = [
        pdist(seen @ (shared + OWN * rng.standard_normal((6, 12))) + rng.standard_normal((n_conditions, 12)))
        for _ in range(n_subjects)
    ]
    subjects = pd.DataFrame({"subject": [f"{number:02d}" for number in range(n_subjects)], "region": "IT"})
    models = {name: pdist(seen * much) for name, much in MODELS.items()}
    models["unrelated"] = pdist(rng.standard_normal((n_conditions, 3)))
    table = pd.DataFrame({"model": list(models), "layer": ""})
    return RDMs(np.array(brain), names, subjects), RDMs(np.array(list(models.values())), names, table)


def scores(n_subjects: int, n_conditions: int, seed: int) -> pd.Series:
    """Return the mean scores of a study."""
    fits = region_fits(*drawn(n_subjects, n_conditions, 10**6 + seed), "spearman")
    means = fits.groupby("model")["score"].mean()
    z = fits.assign(z=np.arctanh(fits["score"])).groupby("model")["z"].mean()
    means["difference"] = z["first half"] - z["second half"]
    return means


def study(n_subjects: int, n_conditions: int, seed: int) -> pd.DataFrame:
    """Return the intervals and p of a study."""
    brain, models = drawn(n_subjects, n_conditions, seed)
    contrasts = [Contrast(name="difference", a="first half", b="second half")]
    fits = region_fits(brain, models, "spearman")
    of_subjects = region_group(fits, contrasts=contrasts, n_permutations=1).set_index("model")[["lower", "upper"]]
    how = {"contrasts": contrasts, "n_samples": N_SAMPLES, "seed": seed}
    both = bootstrapped_regions(brain, models, "spearman", Correction("two-sided"), **how)
    return both.set_index("model").join(of_subjects)


def one_category(n_conditions: int) -> dict[str, np.ndarray]:
    """Return the RDMs of one category of some conditions against all others."""
    members = (np.arange(n_conditions) < np.array(CATEGORIES)[:, None]).astype(float)
    return {f"of {size}": pdist(one[:, None]) for size, one in zip(CATEGORIES, members, strict=True)}


def partitioned(n_conditions: int) -> dict[str, np.ndarray]:
    """Return RDMs of categories of few conditions among others, and of one whose own pairs alone are nearer."""
    half, rest = divmod(n_conditions - 2, 2)
    sizes = {
        "2 against all others": [2, n_conditions - 2],
        "4 against all others": [4, n_conditions - 4],
        "categories of 4": [4] * (n_conditions // 4),
        "2 and two halves": [2, half, half + rest],
    }
    numbers = {name: np.repeat(np.arange(len(some)), some)[:, None] for name, some in sizes.items()}
    near = np.ones((n_conditions, n_conditions))
    near[:4, :4] = 0
    own = {"pairs within 4 against all others": squareform(near, checks=False)}
    return {name: pdist(of, "hamming") for name, of in numbers.items()} | own


def holds_0(
    rdms_of: Callable[[int], dict[str, np.ndarray]], n_subjects: int, n_conditions: int, seed: int
) -> pd.Series:
    """Say of references that have nothing to do with a region whether the intervals of a study hold the truth, 0."""
    brain, _ = drawn(n_subjects, n_conditions, seed)
    rdms = rdms_of(n_conditions)
    models = RDMs(np.array([*rdms.values()]), brain.conditions, pd.DataFrame({"model": [*rdms], "layer": ""}))
    how = {"n_samples": N_SAMPLES, "seed": seed}
    both = bootstrapped_regions(brain, models, "spearman", Correction("two-sided"), **how).set_index("model")
    return (both["both_lower"] <= 0) & (both["both_upper"] >= 0)


def shares(found: list[pd.DataFrame], truth: pd.Series) -> dict[str, float]:
    """Return how often intervals hold the truth, and how often p are .05 or less."""
    row = {}
    for prefix, over in {"": "subjects", "both_": "both"}.items():
        for name, what in TRUE.items():
            rows = pd.DataFrame([one.loc[name, [f"{prefix}lower", f"{prefix}upper"]] for one in found])
            held = (rows.iloc[:, 0] <= truth[name]) & (truth[name] <= rows.iloc[:, 1])
            row[f"over {over}: {what}"] = float(held.mean())
    for column, name, what in SMALL:
        row[f"{column}: {what}"] = float(np.mean([one.loc[name, column] <= 0.05 for one in found]))
    return row


def written(table: pd.DataFrame) -> str:
    """Write a table of shares as Markdown."""
    lines = [["subjects, conditions", *table.columns], ["---"] * (table.shape[1] + 1)]
    lines += [
        [name, *("1" if value == 1 else f"{value:.3f}".removeprefix("0") for value in row)]
        for name, *row in table.itertuples()
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def exact(n_studies: int) -> str:
    """Say how sure shares are."""
    said = []
    for part in (0, 0.05, 0.5, 0.95):
        low, high = exact_interval(round(part * n_studies), n_studies)
        said.append(f"of {part:g} {low:.3f} to {high:.3f}")
    return f"Exact 95 % intervals of shares of {n_studies} studies: {', '.join(said)}."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=400)
    parser.add_argument("--cores", type=int, default=1)
    asked = parser.parse_args()
    rows, of_categories = {}, {}
    with ProcessPoolExecutor(asked.cores) as pool:
        for sizes in STUDIES:
            truth = pd.DataFrame(pool.map(partial(scores, *sizes), range(N_TRUTH), chunksize=50)).mean()
            truth[["unrelated", "difference"]] = 0.0  # by symmetry
            found = list(pool.map(partial(study, *sizes), range(asked.studies), chunksize=10))
            name = f"{sizes[0]}, {sizes[1]}"
            rows[name] = shares(found, truth)
            held_0 = list(pool.map(partial(holds_0, one_category, *sizes), range(asked.studies), chunksize=10))
            of_categories[name] = pd.DataFrame(held_0).mean()
            print(
                f"{sizes[0]} subjects, {sizes[1]} conditions: the truth of half is {truth['first half']:.3f}",
                flush=True,
            )
        found = pool.map(partial(holds_0, partitioned, *PARTITIONED), range(asked.studies), chunksize=10)
        held_0 = pd.DataFrame(found).mean()
    carried = [carried_by(one[None], COMPARISONS["spearman"]).item() for one in partitioned(PARTITIONED[1]).values()]
    few = pd.DataFrame({"conditions that carry it": carried, "held": held_0})
    table = pd.DataFrame(rows).T
    held = table.columns.str.startswith("over ")
    tables = [table.loc[:, held], table.loc[:, ~held], pd.DataFrame(of_categories).T, few]
    print(*map(written, tables), exact(asked.studies), sep="\n\n")


if __name__ == "__main__":
    main()
