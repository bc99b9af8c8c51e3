"""Few of many studies without an effect are significant, through the searchlight; a small part of the benchmark."""

import importlib
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binom

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"

N_STUDIES = 60
MOST = int(binom.ppf(0.99999, N_STUDIES, 0.05))
"""More errors than these has a test at .05 in one of 100,000 such sets of studies."""

NULLS = {
    "flips": lambda studies: partial(studies.flips_of_noise, n_subjects=6, families=["voxels"], statistics=["t"]),
    "flips, layers": lambda studies: partial(
        studies.flips_of_noise, n_subjects=5, families=["voxels, layers"], statistics=["wilcoxon", "pseudo_t"]
    ),
    "orders": lambda studies: partial(studies.orders_of_noise, n_subjects=1, families=["voxels, times, layers"]),
    "Stelzer": lambda studies: partial(
        studies.orders_of_noise, n_subjects=2, families=["voxels, times"], kinds=["tfce"], combine="stelzer"
    ),
    "groups": lambda studies: partial(studies.groups, adjusted=False, sizes=(3, 4), kinds=["tfce"]),
    "fusion": lambda studies: partial(studies.fusion, shared=True, n_subjects=3, n_times=4, flipped=False),
}
"""Studies in which the null hypothesis is true, of the module of the benchmark."""


@pytest.fixture
def studies(monkeypatch):
    """Import the benchmark."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("null_studies")


def counts(found):
    """Return how many studies found something, by statistic, correction and family."""
    return {key: sum(one[key] for one in found) for key in found[0]}


@pytest.mark.parametrize("name", NULLS)
def test_few_null_studies_are_significant(studies, name):
    found = counts([NULLS[name](studies)(seed) for seed in range(N_STUDIES)])
    assert len(found) > 1
    assert max(found.values()) <= MOST, found


def test_a_planted_region_is_found_and_little_else(studies):
    found = [studies.planted(seed, n_subjects=12) for seed in range(8)]
    for name in ("tfce", "maximum of t", "fdr: bh"):
        assert np.mean([one[name, "share of the region found", "voxels"] for one in found]) > 0.5
    false = sum(one["maximum of t", "studies with anything false", "voxels"] for one in found)
    assert false <= binom.ppf(0.99999, 8, 0.05)


def test_intervals_are_exact_and_a_table_has_a_row_for_each_statistic(studies):
    assert studies.interval([0.0] * 10) == (0, 0, pytest.approx(1 - 0.025 ** (1 / 10)))
    share, low, high = studies.interval([0.5, 0.7])
    assert (share, low, high) == pytest.approx((0.6, 0.4, 0.8))
    table = studies.measured("partials-1", 2)
    lines = list(studies.markdown(table))
    assert len(lines) == 2 + table["statistic"].nunique()
    assert "1 subject is like a nuisance alone" in lines[2]
