"""Measure errors and power of inference: simulated studies through the searchlight, and how many of them find what.

A study is small: smooth noise over 294 voxels, spheres of up to 33 voxels, 12 conditions. Each line of the result is a
share of studies with any corrected p of .05 or less at a place (and time) where the null hypothesis is true, with its
exact binomial interval (Clopper and Pearson, 1934); lines of power and of false discoveries are means.
"""

import argparse
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from time import process_time
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd
from scipy.ndimage import gaussian_filter, gaussian_filter1d
from scipy.spatial.distance import pdist
from scipy.stats import false_discovery_control
from shares import exact_interval, with_interval

from rsa.core import Array, Neighbourhood, Patterns, RDMs, Volume, align
from rsa.inference.contrasts import Contrast, contrast_rows
from rsa.inference.designs import Alternative, Design
from rsa.inference.flips import fisher_z
from rsa.inference.graph import Graph, voxel_graph
from rsa.inference.permutation import Combine, ConditionTest, Places
from rsa.inference.subjects import SUBJECT_STATISTICS, over_subjects
from rsa.inference.tally import Correction, Tested
from rsa.measures import Measure, comparison_measure
from rsa.neighbourhood import spheres
from rsa.partition import partial_measure
from rsa.searchlight import RdmSettings, scan

SHAPE, VOXEL_MM, RADIUS_MM = (7, 7, 6), 3.0, 6.0
"""Of the brain, and of its spheres."""

SMOOTHNESS = 1.0
"""Standard deviation of the smoothing of noise, in voxels."""

N_CONDITIONS, N_FEATURES = 12, 6
"""Of each study, and of what references are made of."""

N_PERMUTATIONS = 99
"""Flips, or orders of conditions; where there are fewer, all. The level of a test by 99 is exactly .05."""

ALPHA, CLUSTER_P = 0.05, 0.01
"""Level, and uncorrected p at which clusters are formed (in larger brains .001)."""

KINDS = ("tfce", "cluster_mass", "cluster_size")
FEWER = KINDS[:2]
"""What is tried; and what in families of more than voxels. Other statistics than t are enhanced by TFCE alone."""

FAMILIES: dict[str, pd.DataFrame] = {
    "voxels": pd.DataFrame({"model": ["net"], "layer": ["a"]}),
    "voxels, layers": pd.DataFrame({"model": "net", "layer": list("abcd")}),
    "voxels, times": pd.DataFrame({"model": "net", "layer": "a", "time_s": [0.0, 0.1, 0.2, 0.3]}),
    "voxels, times, layers": pd.DataFrame({"model": "net", "layer": list("aabb"), "time_s": [0.0, 0.1, 0.0, 0.1]}),
}
"""What the 4 references of a study are taken for."""

Found = dict[tuple[str, str, str], float]
"""By statistic, correction and family: 1 if a study finds what it should not, or a share."""

NAMES = [f"c{number:02d}" for number in range(N_CONDITIONS)]


# ------------------------------------------------------------------------------------------- simulation


@cache
def brain() -> tuple[Volume, Neighbourhood, Graph]:
    """Return the voxels, their spheres and their neighbours."""
    volume = Volume(np.ones(SHAPE, bool), np.diag([VOXEL_MM, VOXEL_MM, VOXEL_MM, 1]))
    return volume, spheres(volume, RADIUS_MM), voxel_graph(volume)


def noise(rng: np.random.Generator, n: int) -> Array:
    """Draw smooth noise of variance 1, shape (n, n_voxels)."""
    values = gaussian_filter(rng.standard_normal((n, *SHAPE)), (0, *[SMOOTHNESS] * 3), mode="wrap")
    return np.asarray((values / values.std()).reshape(n, -1))


def features(rng: np.random.Generator) -> Array:
    """Draw what conditions are like, shape (n_conditions, n_features)."""
    return rng.standard_normal((N_CONDITIONS, N_FEATURES))


def layers(rng: np.random.Generator, n: int = 4) -> Array:
    """Draw references of which neighbours are alike, as layers are, and times: shape (n, n_pairs)."""
    drawn = [features(rng)]
    for _ in range(n - 1):
        drawn.append(0.8 * drawn[-1] + 0.6 * features(rng))
    return np.stack([pdist(one, "cosine") for one in drawn])


def movie(rng: np.random.Generator, n_times: int, signal: Array | None = None, at: int = 0) -> Array:
    """Draw M/EEG RDMs over time, (n_times, n_pairs): of 20 sensors' smooth noise, and of a signal at one time."""
    values = gaussian_filter1d(rng.standard_normal((n_times, N_CONDITIONS, 20)), 1.0, axis=0)
    values /= values.std()
    if signal is not None:
        values[at] += signal @ rng.standard_normal((signal.shape[1], 20))
    return np.stack([pdist(one, "correlation") for one in values])


def subject(rng: np.random.Generator, signal: Array | None = None, strength: float = 0.0, at: Any = 1.0) -> Patterns:
    """Draw the patterns of a subject: noise, and features by random smooth weights, at some voxels."""
    values = noise(rng, N_CONDITIONS)
    if signal is not None:
        weights = noise(rng, signal.shape[1]) / np.sqrt(signal.shape[1])
        values = values + strength * at * (signal @ weights)
    return Patterns(values.astype(np.float32), pd.DataFrame({"condition": NAMES}), brain()[0])


def subjects(rng: np.random.Generator, n: int, *signal: Any) -> list[Patterns]:
    """Draw some subjects."""
    return [subject(rng, *signal) for _ in range(n)]


def measure(rows: Array, table: pd.DataFrame) -> Measure:
    """Compare with references, (n, n_pairs), of which as many are taken as the table has rows."""
    return comparison_measure(align(NAMES, RDMs(rows[: len(table)], NAMES, table)), "spearman")


# -------------------------------------------------------------------------------------------- testing


def z_of(each: Sequence[Patterns], compared: Measure) -> Array:
    """Return Fisher's z of the searchlight of each subject, shape (n_subjects, n_rows, n_voxels)."""
    return fisher_z(np.stack([scan(one, brain()[1], compared).values for one in each]).astype(np.float64))


def correction_of(family: str, kind: str | None, alternative: Alternative = "greater") -> Correction:
    """Say how p values are corrected."""
    graph = None if kind is None else brain()[2]
    return Correction(alternative, family.split(", "), kind, graph, ALPHA)


def flip(
    z: Array, table: pd.DataFrame, family: str, kind: str | None, statistic: str = "t", seed: int = 0, **how: Any
) -> Tested:
    """Test z over subjects."""
    alternative = how.pop("alternative", "greater")
    keywords = {"n_permutations": N_PERMUTATIONS, "cluster_p": CLUSTER_P, "seed": seed, **how}
    return over_subjects(z, table, correction_of(family, kind, alternative), statistic=statistic, **keywords)[1]


def permute(
    each: Sequence[Patterns],
    compared: Measure,
    family: str,
    kind: str | None,
    *,
    seed: int = 0,
    combine: Combine = "same_order",
    alternative: Alternative = "greater",
) -> Tested:
    """Test the mean score of some subjects over conditions."""
    places = Places.of_patterns([(one, brain()[1]) for one in each], compared.conditions, RdmSettings())
    how: dict[str, Any] = {"n_permutations": N_PERMUTATIONS, "cluster_p": CLUSTER_P, "seed": seed, "combine": combine}
    return ConditionTest(
        places, [compared] * len(each), correction_of(family, kind, alternative), n_each=50, **how
    ).result()[1]


def errors(tested: Tested, statistic: str, family: str, rows: Any = slice(None)) -> Found:
    """Say whether anything is significant in some rows, by the maximum and, if there is one, by the enhancement."""
    found = {(statistic, "max", family): float((tested.p_max[rows] <= ALPHA + 1e-12).any())}
    if tested.p_enhanced is not None and tested.correction.enhance is not None:
        name = (statistic, tested.correction.enhance, family)
        found[name] = float((tested.p_enhanced[rows] <= ALPHA + 1e-12).any())
    return found


# ---------------------------------------------------------------------------------------------- nulls


def flips_of_noise(seed: int, n_subjects: int, families: Sequence[str] = tuple(FAMILIES), **how: Any) -> Found:
    """Subjects' noise, fixed references: every statistic, correction and family."""
    rng = np.random.default_rng((seed, 10, n_subjects))
    rows = how.pop("references", layers)(rng)
    z = z_of(subjects(rng, n_subjects), measure(rows, FAMILIES["voxels, layers"]))
    found: Found = {}
    for family in families:
        table = FAMILIES[family]
        for statistic in how.get("statistics", SUBJECT_STATISTICS):
            for kind in KINDS if family == "voxels" and statistic == "t" else FEWER if statistic == "t" else FEWER[:1]:
                sides = {"alternative": how.get("alternative", "greater"), "seed": seed}
                tested = flip(z[:, : len(table)], table, family, kind, statistic, **sides)
                found |= errors(tested, statistic, family)
    return found


def categories(rng: np.random.Generator, n: int = 4) -> Array:
    """Draw references of two categories, of which one has 4 conditions: few values, and a skewed distribution."""
    return np.stack([pdist((rng.permutation(N_CONDITIONS) < 4)[:, None], "hamming") for _ in range(n)])


def orders_of_noise(
    seed: int,
    n_subjects: int,
    combine: Combine = "same_order",
    families: Sequence[str] = tuple(FAMILIES),
    alternative: Alternative = "greater",
    kinds: Sequence[str] = (),
) -> Found:
    """Subjects' noise and references, of which conditions are permuted."""
    rng = np.random.default_rng((seed, 11, n_subjects))
    rows, each = layers(rng), subjects(rng, n_subjects)
    found: Found = {}
    for family in families:
        for kind in kinds or (KINDS if family == "voxels" else FEWER):
            how: dict[str, Any] = {"seed": seed, "combine": combine, "alternative": alternative}
            found |= errors(permute(each, measure(rows, FAMILIES[family]), family, kind, **how), "score", family)
    return found


def fusion(seed: int, shared: bool, n_subjects: int = 6, n_times: int = 8, flipped: bool = True) -> Found:
    """One noisy M/EEG RDM at each time that all subjects share; the brain is noise, or all share an unrelated RDM."""
    rng = np.random.default_rng((seed, 12, shared))
    each = subjects(rng, n_subjects, features(rng), 1.0) if shared else subjects(rng, n_subjects)
    compared = measure(movie(rng, n_times), _times(n_times))
    return _both_ways(each, compared, seed, slice(None), flipped=flipped)


def one_time(seed: int, n_subjects: int = 6, n_times: int = 10) -> Found:
    """M/EEG signal at one time alone, shared by the brain: is a time significant that is far from it?"""
    rng = np.random.default_rng((seed, 13))
    signal = features(rng)
    each = subjects(rng, n_subjects, signal, 1.0)
    compared = measure(movie(rng, n_times, signal, at=2), _times(n_times))
    return _both_ways(each, compared, seed, slice(6, None), at=2)


def _times(n_times: int) -> pd.DataFrame:
    return pd.DataFrame({"model": "meeg", "layer": "", "time_s": np.arange(n_times) / 10})


def _both_ways(
    each: Sequence[Patterns], compared: Measure, seed: int, rows: slice, at: int | None = None, flipped: bool = True
) -> Found:
    """Test fusion over conditions, as it is done, and by flips, as it is not; `at` is the time of a signal."""
    family, found = "voxels, times", {}
    for kind in ("tfce", "cluster_mass"):
        tested = permute(each, compared, family, kind, seed=seed)
        found |= errors(tested, "score", family, rows)
        if at is not None:
            found |= errors(tested, "score, at the time of the signal (power)", family, slice(at, at + 1))
    if not flipped:
        return found
    z, table = z_of(each, compared), compared.table
    return found | errors(flip(z, table, family, "tfce", seed=seed), "t by flips, which are refused", family, rows)


def groups(seed: int, adjusted: bool, sizes: tuple[int, int] = (6, 6), kinds: Sequence[str] = KINDS) -> Found:
    """Two groups in whom a reference fits alike; if adjusted, by a covariate that differs between them."""
    rng = np.random.default_rng((seed, 14, adjusted, *sizes))
    n_subjects, signal = sum(sizes), features(rng)
    in_first = np.arange(n_subjects) < sizes[0]
    age = rng.standard_normal(n_subjects) + (in_first if adjusted else 0)
    strengths = np.sqrt(np.clip(0.5 + 0.25 * age, 0, None)) if adjusted else np.full(n_subjects, 0.7)
    each = [subject(rng, signal, float(strength)) for strength in strengths]
    covariates = pd.DataFrame({"age": age}) if adjusted else pd.DataFrame()
    design = Design(n_subjects, in_first, covariates)
    found = _designed(each, pdist(signal, "cosine"), design, seed, kinds)
    if adjusted:
        z, table = z_of(each, measure(pdist(signal, "cosine")[None], FAMILIES["voxels"])), FAMILIES["voxels"]
        tested = flip(z, table, "voxels", None, seed=seed, design=Design(n_subjects, in_first))
        found |= errors(tested, "t, not adjusted", "voxels")
    return found


def covariates(seed: int, n_subjects: int = 10) -> Found:
    """Test the mean over subjects, adjusted for two covariates that have nothing to do with scores."""
    rng = np.random.default_rng((seed, 15))
    design = Design(n_subjects, covariates=pd.DataFrame(rng.standard_normal((n_subjects, 2)), columns=["a", "b"]))
    return _designed(subjects(rng, n_subjects), layers(rng)[0], design, seed)


def _designed(each: Sequence[Patterns], row: Array, design: Design, seed: int, kinds: Sequence[str] = KINDS) -> Found:
    table, found = FAMILIES["voxels"], {}
    z = z_of(each, measure(row[None], table))
    for kind in kinds:
        found |= errors(flip(z, table, "voxels", kind, seed=seed, design=design), "t", "voxels")
    return found | errors(flip(z, table, "voxels", None, "pseudo_t", seed=seed, design=design), "pseudo_t", "voxels")


def contrasts(seed: int, n_subjects: int) -> Found:
    """Two references that fit the brain equally well: one is the other with conditions exchanged, as is the brain."""
    rng = np.random.default_rng((seed, 16, n_subjects))
    first = features(rng)
    second = first[np.arange(N_CONDITIONS) ^ 1]  # neighbours change places, and once more is as before
    each = subjects(rng, n_subjects, np.hstack([first, second]), 1.0)
    table = pd.DataFrame({"model": ["a", "b"], "layer": ""})
    z = z_of(each, measure(np.stack([pdist(one, "cosine") for one in (first, second)]), table))
    z, table = contrast_rows(z, table, [Contrast(name="difference", a="a", b="b")])
    found: Found = {}
    for kind in KINDS:
        found |= errors(flip(z, table, "voxels", kind, seed=seed), "t", "voxels")
    for statistic in ("pseudo_t", "wilcoxon"):
        found |= errors(flip(z, table, "voxels", None, statistic, seed=seed), statistic, "voxels")
    return found


def partials(seed: int, n_subjects: int) -> Found:
    """Correlate a brain that is like a nuisance alone with a reference that is like the nuisance, given that."""
    rng = np.random.default_rng((seed, 17, n_subjects))
    nuisance = features(rng)
    reference = np.sqrt(0.5) * (nuisance + features(rng))
    each = subjects(rng, n_subjects, nuisance, 1.0)
    table = FAMILIES["voxels"]
    rows = [RDMs(pdist(one, "cosine")[None], NAMES, table) for one in (reference, nuisance)]
    compared, found = partial_measure(*rows), Found()
    found |= errors(permute(each, compared, "voxels", "tfce", seed=seed), "partial correlation", "voxels")
    plain = permute(each, measure(rows[0].values, table), "voxels", None, seed=seed)
    found |= errors(plain, "score without control", "voxels")
    if n_subjects > 4:
        tested = flip(z_of(each, compared), table, "voxels", "tfce", seed=seed)
        found |= errors(tested, "t of partial correlation", "voxels")
    return found


# ------------------------------------------------------------------------------ power and false discovery


def planted(seed: int, n_subjects: int, strength: float = 0.9, peers: bool = False) -> Found:
    """Plant a region that is like a reference: what is found of it, and what where no sphere reaches it."""
    rng = np.random.default_rng((seed, 18, n_subjects))
    volume, around, _ = brain()
    signal, middle = features(rng), np.array([1, 3, 2])
    places = np.argwhere(volume.mask)
    at = (np.linalg.norm(places - middle, axis=1) <= 1.5).astype(float)
    each = subjects(rng, n_subjects, signal, strength, at)
    touched = np.maximum.reduceat(at[around.indices], around.indptr[:-1]) > 0
    table = FAMILIES["voxels"]
    z = z_of(each, measure(pdist(signal, "cosine")[None], table))
    found: Found = {}

    def add(name: str, significant: Array) -> None:
        inside, outside = significant.ravel()[at > 0], significant.ravel()[~touched]
        n_found = int(significant.sum())
        found[name, "share of the region found", "voxels"] = float(inside.mean())
        found[name, "studies with anything false", "voxels"] = float(outside.any())
        found[name, "share of what is found that is false", "voxels"] = float(outside.sum() / max(1, n_found))

    how: dict[str, Any] = {"seed": seed, "n_permutations": 999 if not peers else 199}
    for kind in KINDS:
        tested = flip(z, table, "voxels", kind, **how)
        add(f"{kind}", tested.is_significant)
    tested = flip(z, table, "voxels", None, **how)
    add("maximum of t", tested.is_significant)
    add("maximum of pseudo t", flip(z, table, "voxels", None, "pseudo_t", **how).is_significant)
    if not peers:
        add("fdr: bh", tested.q <= ALPHA)
        add("fdr: by", false_discovery_control(tested.p, method="by", axis=1) <= ALPHA)
        return found
    for name, significant in _by_peers(z[:, 0], seed).items():
        add(name, significant)
    return found


def _by_peers(z: Array, seed: int) -> dict[str, Array]:
    """Return what nilearn and rsatoolbox find in z, (n_subjects, n_voxels), one-sided."""
    from nibabel import Nifti1Image
    from nilearn.maskers import NiftiMasker
    from nilearn.mass_univariate import permuted_ols
    from rsatoolbox.util.inference_util import t_test_0

    volume, n_subjects = brain()[0], len(z)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        masker = NiftiMasker(Nifti1Image(volume.mask.astype(np.uint8), volume.affine)).fit()
        logp = permuted_ols(
            np.ones((n_subjects, 1)),
            z,
            model_intercept=False,
            n_perm=199,
            two_sided_test=False,
            random_state=seed,
            masker=masker,
            tfce=True,
            threshold=CLUSTER_P,
        )
    least = -np.log10(ALPHA) - 1e-9
    found = {f"nilearn, {name}": logp[f"logp_max_{name}"] >= least for name in ("t", "tfce", "mass", "size")}
    variances = z.var(axis=0, ddof=1) / n_subjects
    p = t_test_0(z.T[None], variances, n_subjects - 1)  # one-sided
    found["rsatoolbox, t test, Bonferroni"] = p <= ALPHA / len(p)
    found["rsatoolbox, t test, FDR (BH)"] = false_discovery_control(p) <= ALPHA
    return found


# ------------------------------------------------------------------------------------------- the table


@dataclass(frozen=True)
class Scenario:
    """A kind of study.

    Parameters
    ----------
    words : str
        What is true in it, for the table.
    study : callable
        From a seed to what a study found.
    n_studies : int
        How many.
    """

    words: str
    study: Callable[..., Found]
    how: Mapping[str, Any] = field(default_factory=dict)
    n_studies: int = 500

    def __call__(self, seed: int) -> Found:
        """Draw and test one study.

        That BLAS has one thread is told once, and not at every walk, which would take longer than the walk.
        """
        with warnings.catch_warnings(), patch("rsa.searchlight.threadpool_limits", lambda *_: nullcontext()):
            warnings.simplefilter("ignore")
            return self.study(seed, **self.how)


FEW: dict[str, Any] = {"families": ("voxels", "voxels, times")}

SCENARIOS: dict[str, Scenario] = {
    "flips-5": Scenario("noise of 5 subjects", flips_of_noise, {"n_subjects": 5, **FEW}),
    "flips-6": Scenario("noise of 6 subjects", flips_of_noise, {"n_subjects": 6}),
    "flips-8": Scenario("noise of 8 subjects", flips_of_noise, {"n_subjects": 8, **FEW}),
    "flips-15": Scenario("noise of 15 subjects", flips_of_noise, {"n_subjects": 15, **FEW}),
    "flips-two-sided": Scenario(
        "noise of 8 subjects, two-sided",
        flips_of_noise,
        {"n_subjects": 8, "alternative": "two-sided", "statistics": ("t",), **FEW},
    ),
    "flips-categories": Scenario(
        "noise of 8 subjects; references are two categories",
        flips_of_noise,
        {"n_subjects": 8, "references": categories, **FEW, "families": ("voxels",)},
    ),
    "groups": Scenario("two groups of 6, alike", groups, {"adjusted": False}),
    "groups-uneven": Scenario("groups of 4 and 9, alike", groups, {"adjusted": False, "sizes": (4, 9)}),
    "groups-adjusted": Scenario("two groups of 6, alike but for a covariate", groups, {"adjusted": True}),
    "covariates": Scenario("noise of 10 subjects, 2 covariates", covariates),
    "contrasts": Scenario("two references that fit 8 subjects alike", contrasts, {"n_subjects": 8}),
    "orders-1": Scenario("noise of 1 subject", orders_of_noise, {"n_subjects": 1}),
    "orders-1-two-sided": Scenario(
        "noise of 1 subject, two-sided", orders_of_noise, {"n_subjects": 1, "alternative": "two-sided", **FEW}
    ),
    "orders-6": Scenario("noise of 6 subjects", orders_of_noise, {"n_subjects": 6, "families": ("voxels, times",)}),
    "stelzer-6": Scenario(
        "noise of 6 subjects, Stelzer's combination",
        orders_of_noise,
        {"n_subjects": 6, "combine": "stelzer", "families": ("voxels, times",)},
    ),
    "fusion-noise": Scenario("fusion; noise of 6 subjects", fusion, {"shared": False}),
    "fusion-shared": Scenario("fusion; 6 subjects share an unrelated RDM", fusion, {"shared": True}),
    "one-time": Scenario("fusion; signal at one time, errors 4 to 7 times later", one_time),
    "partials-1": Scenario("1 subject is like a nuisance alone", partials, {"n_subjects": 1}),
    "partials-6": Scenario("6 subjects are like a nuisance alone", partials, {"n_subjects": 6}),
    "planted": Scenario("a region of 15 subjects", planted, {"n_subjects": 15}, 200),
    "peers": Scenario("a region of 12 subjects, beside peers", planted, {"n_subjects": 12, "peers": True}, 100),
}
"""All that is simulated, by name."""

COLUMNS = ["scenario", "null", "statistic", "correction", "family", "n_studies", "share", "low", "high"]


def measured(name: str, n_studies: int, first: int = 0, n_processes: int = 1) -> pd.DataFrame:
    """Draw and test studies of a scenario, and return its lines of the table."""
    scenario = SCENARIOS[name]
    seeds = range(first, first + n_studies)
    if n_processes == 1:
        studies = [scenario(seed) for seed in seeds]
    else:
        with ProcessPoolExecutor(n_processes) as pool:
            studies = list(pool.map(partial(_study, name), seeds, chunksize=10))
    keys = dict.fromkeys(key for study in studies for key in study)
    rows = [[name, scenario.words, *key, n_studies, *interval([study[key] for study in studies])] for key in keys]
    return pd.DataFrame(rows, columns=COLUMNS)


def _study(name: str, seed: int) -> Found:
    return SCENARIOS[name](seed)


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Return a share and its exact 95 % interval; of values that are shares themselves, their mean and two errors."""
    mean = float(np.mean(values))
    if set(values) <= {0.0, 1.0}:
        return mean, *exact_interval(int(sum(values)), len(values))
    error = float(np.std(values, ddof=1) / np.sqrt(len(values)))
    return mean, mean - 2 * error, mean + 2 * error


def markdown(table: pd.DataFrame) -> Iterator[str]:
    """Write lines of a table: a row for each null, statistic and family, a column for each correction."""
    columns = list(dict.fromkeys(table["correction"]))
    yield f"| what is true | n | statistic | family | {' | '.join(columns)} |"
    yield "|---" * (len(columns) + 4) + "|"
    keys = ["scenario", "null", "n_studies", "statistic", "family"]
    for (_, null, n, statistic, family), rows in table.groupby(keys, sort=False):
        cells = {row.correction: with_interval(row.share, row.low, row.high) for row in rows.itertuples()}
        yield f"| {null} | {n} | {statistic} | {family} | {' | '.join(cells.get(name, '') for name in columns)} |"


def arguments() -> argparse.ArgumentParser:
    """Say which options there are."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--scenarios", nargs="+", choices=SCENARIOS, default=list(SCENARIOS), help="what is simulated; by default all")
    add("--studies", type=int, help="of each; by default 500, and fewer of power")
    add("--processes", type=int, default=2, help="at once (%(default)s)")
    add("--output", type=Path, help="table (.tsv); lines are added as they are known, known scenarios are left out")
    return parser


def main() -> None:
    """Simulate what is not in the table yet, add it, and print all as markdown."""
    options, columns = arguments().parse_args(), COLUMNS
    path = options.output
    known = pd.read_csv(path, sep="\t") if path is not None and path.exists() else pd.DataFrame(columns=columns)
    for name in options.scenarios:
        if name in set(known["scenario"]):
            continue
        started = process_time()
        table = measured(name, options.studies or SCENARIOS[name].n_studies, n_processes=options.processes)
        print(f"{name}: {process_time() - started:.0f} s of the first process", flush=True)
        known = table if known.empty else pd.concat([known, table], ignore_index=True)
        if path is not None:
            known.to_csv(path, sep="\t", index=False, float_format="%.5g")
    for scenario in options.scenarios:
        print("\n".join(markdown(known[known["scenario"] == scenario])), end="\n\n")


if __name__ == "__main__":
    main()
