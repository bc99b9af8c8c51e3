"""One conformance test for each table: every entry, whatever it measures, keeps the promises of its table."""

from dataclasses import fields

import numpy as np
import pandas as pd
import pytest

from rsa.comparisons import COMPARISONS, compare_vectors
from rsa.core import RDMs
from rsa.distances import DISTANCES, rdm_vectors
from rsa.inference.group import GROUP_TESTS
from rsa.maps import MAPS

NAN_ROW = 2
TABLES = {"DISTANCES": DISTANCES, "COMPARISONS": COMPARISONS, "MAPS": MAPS, "GROUP_TESTS": GROUP_TESTS}


def relabelled(values: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Put the conditions of condensed RDMs into another order."""
    names = [str(n) for n in range(len(order))]
    stack = RDMs(values, names, pd.DataFrame(index=range(len(np.atleast_2d(values)))))
    return stack.reordered([names[n] for n in order]).values


def one_line(text: str) -> bool:
    return len(text) > 10 and "\n" not in text


@pytest.mark.parametrize(("table", "name"), [(table, name) for table, entries in TABLES.items() for name in entries])
def test_every_entry_is_a_word_and_tells_in_one_line_what_it_is(table, name):
    entry = TABLES[table][name]
    assert name.isidentifier()
    assert name == name.lower()
    described = {field.name for field in fields(entry)}
    assert one_line(entry.summary if "summary" in described else entry.unit)


@pytest.mark.parametrize("name", DISTANCES)
def test_distances(name, rng):
    """(n_conditions, n_features) -> (n_pairs,); NaN stays with its pattern; conditions may be relabelled."""
    distance = DISTANCES[name]
    patterns = rng.standard_normal((7, 30)) + 1
    rdm = rdm_vectors(patterns, distance)
    assert rdm.shape == (21,)
    assert rdm.dtype == np.float64
    assert np.isfinite(rdm).all()
    assert distance.origin in ("pattern", "feature", "zero")

    order = rng.permutation(7)
    np.testing.assert_allclose(rdm_vectors(patterns[order], distance), relabelled(rdm, order)[0], atol=1e-12)
    features = rng.permutation(30)
    np.testing.assert_allclose(rdm_vectors(patterns[:, features], distance), rdm, atol=1e-12)

    patterns[NAN_ROW, 4] = np.nan
    holed = rdm_vectors(patterns, distance)
    rows, columns = np.triu_indices(7, 1)
    touched = (rows == NAN_ROW) | (columns == NAN_ROW)
    assert np.isnan(holed[touched]).all()
    np.testing.assert_allclose(holed[~touched], rdm[~touched], atol=1e-12)


@pytest.mark.parametrize("name", COMPARISONS)
def test_comparisons(name, rng):
    """(n_a, n_pairs) x (n_b, n_pairs) -> (n_a, n_b); NaN and constant RDMs are NaN and leave the others alone."""
    comparison = COMPARISONS[name]
    a, b = rng.integers(0, 9, (5, 21)).astype(float), rng.random((3, 21))
    scores = compare_vectors(a, b, comparison)
    assert scores.shape == (5, 3)
    assert np.abs(scores).max() <= 1
    np.testing.assert_allclose(compare_vectors(b, a, comparison), scores.T, atol=1e-14)
    assert comparison.prepare(a).shape == comparison.standardise(a).shape == a.shape

    order = rng.permutation(7)
    np.testing.assert_allclose(
        compare_vectors(relabelled(a, order), relabelled(b, order), comparison), scores, atol=1e-14
    )
    each = [compare_vectors(row, b, comparison)[0] for row in a]
    np.testing.assert_allclose(scores, each, atol=1e-14)

    holed = a.copy()
    holed[NAN_ROW, 4] = np.nan
    holed[NAN_ROW + 1] = 0
    after = compare_vectors(holed, b, comparison)
    undefined = np.isin(np.arange(5), [NAN_ROW, NAN_ROW + 1])
    assert np.isnan(after[undefined]).all()
    np.testing.assert_allclose(after[~undefined], scores[~undefined], atol=1e-14)
    assert np.isnan(compare_vectors(b, holed, comparison)[:, undefined]).all()


@pytest.mark.parametrize("name", MAPS)
def test_maps(name, rng):
    """(n_rows, n_voxels) -> (n_voxels,), each voxel by itself; a voxel without scores has no value.

    What a baseline is worth, though, is told by many voxels together.
    """
    times_s = np.array([*np.arange(-12, 0) / 10, 2.5, 4.0])
    over = {"layers": (), "times": (times_s,), "layers and times": (times_s.round(),), "times and baseline": (times_s,)}
    rows = over[MAPS[name].over]

    def make(scores: np.ndarray) -> np.ndarray:
        return MAPS[name].from_scores(scores, *rows)

    scores = rng.uniform(-0.9, 0.9, (14, 12))
    scores[12:] += 99  # far above the baseline
    made = make(scores)
    assert made.shape == (12,)
    assert np.isfinite(made).all()
    n_together = 6 if MAPS[name].over == "times and baseline" else 1
    alone = [make(part) for part in np.split(scores, 12 // n_together, axis=1)]
    np.testing.assert_allclose(made, np.concatenate(alone), atol=1e-12)
    holed = scores.copy()
    holed[:, NAN_ROW] = np.nan
    after = make(holed)
    assert np.isnan(after[NAN_ROW])
    np.testing.assert_array_equal(np.delete(after, NAN_ROW), np.delete(made, NAN_ROW))


@pytest.mark.parametrize("name", GROUP_TESTS)
def test_group_tests(name, rng):
    """(n_subjects, n_maps, n_voxels) -> (n_maps, n_voxels), subjects in any order; NaN of a subject is NaN, not 0."""
    test = GROUP_TESTS[name].compute
    scores = rng.uniform(-0.5, 0.9, (6, 2, 8))
    result = test(scores)
    assert result.shape == (2, 8)
    assert np.isfinite(result).all()
    np.testing.assert_allclose(test(scores[rng.permutation(6)]), result, atol=1e-12)
    np.testing.assert_allclose(test(-scores), -result, atol=1e-12)
    holed = scores.copy()
    holed[3, 1, NAN_ROW] = np.nan
    after = test(holed)
    assert np.isnan(after[1, NAN_ROW])
    after[1, NAN_ROW] = result[1, NAN_ROW]
    np.testing.assert_array_equal(after, result)
