"""Rounding of scores moves no result by much: what it would move far is not defined.

Scores are perturbed as rounding perturbs them (`rsa.core.SAME_SCORE`), and what is made of them is made again.
"""

import numpy as np
import pandas as pd
import pytest

from rsa.core import SAME_SCORE, Patterns, RDMs, ScoreMap, Volume
from rsa.distances import DISTANCES, rdm_vectors
from rsa.inference.designs import Design
from rsa.inference.flips import fisher_z
from rsa.inference.group import combine
from rsa.inference.subjects import subject_test
from rsa.maps import derive
from rsa.meeg.latencies import hierarchy, latencies
from rsa.neighbourhood import spheres
from rsa.searchlight import compare

N_VOXELS = 2000
TIMES_S = np.round(np.arange(-0.1, 0.41, 0.01), 2)


def rounded(scores, rng):
    """Move scores by what rounding may move them: cosines of angles that are known to half of `SAME_SCORE`."""
    off_by = rng.choice([-1, 1], scores.shape) * SAME_SCORE / 2
    return np.clip(scores + off_by * np.sqrt(np.maximum(0, 1 - scores**2)), -1, 1)


def volume_of(n_voxels=N_VOXELS):
    return Volume(np.ones((n_voxels, 1, 1), dtype=bool), np.eye(4))


def maps_of(values, table):
    return [ScoreMap(one, table.assign(subject=f"{n:02d}"), volume_of()) for n, one in enumerate(values, start=1)]


def table_of(n_rows, **columns):
    return pd.DataFrame({"model": ["net"] * n_rows, "layer": [f"l{n}" for n in range(n_rows)]} | columns).assign(
        statistic="spearman", role="reference"
    )


def nearly_equal_scores(rng, n_subjects=4):
    """Draw scores of subjects that differ by 1e-7 to .1, about a mean that goes from 0 to nearly 1."""
    means, spreads = np.linspace(0, 0.9999, N_VOXELS), 10.0 ** rng.uniform(-7, -1, N_VOXELS)
    return np.clip(means + spreads * rng.standard_normal((n_subjects, 1, N_VOXELS)), -1, 1)


def require_same(found, again, share, most):
    """Require that numbers that are defined twice are the same but for a share and a size."""
    both = np.isfinite(found) & np.isfinite(again)
    assert both.any()
    assert (np.abs(again - found)[both] <= share * np.abs(found[both]) + most).all()


def test_rounding_of_patterns_moves_scores_by_no_more_than_is_said(rng):
    """Each value goes to its neighbour in single precision."""
    volume = Volume(np.ones((8, 8, 4), dtype=bool), np.diag([3.0, 3.0, 3.0, 1.0]))
    names = [f"c{n}" for n in range(48)]
    responses = [rng.standard_normal((48, 200)) for _ in range(3)]
    values = rng.standard_normal((48, volume.n_voxels)).astype(np.float32)
    values[:, :200] += responses[0].astype(np.float32)
    scores = []
    for towards in (None, rng.choice([-np.inf, np.inf], values.shape).astype(np.float32)):
        brain = values if towards is None else np.nextafter(values, towards)
        layers = [rdm_vectors(one, DISTANCES["correlation"]) for one in responses]
        if towards is not None:
            layers = [one * (1 + rng.uniform(-1, 1, one.shape) * 2.0**-23) for one in layers]
        patterns = Patterns(brain, pd.DataFrame({"condition": names}), volume)
        references = RDMs(np.stack(layers), names, table_of(3)[["model", "layer"]])
        scores.append(compare(patterns, spheres(volume, 7), references).values)
    assert 0 < np.nanmax(np.abs(scores[1] - scores[0])) <= SAME_SCORE / 2


def test_t_of_a_group_moves_by_an_eighth_or_is_not_defined(rng):
    scores, table = nearly_equal_scores(rng), table_of(1)
    found, again = (combine(maps_of(one, table), "t").values[0] for one in (scores, rounded(scores, rng)))
    require_same(found, again, 0.131, 0.24)
    z = fisher_z(scores)[:, 0]
    spread = z.std(axis=0, ddof=1) / np.sqrt((np.cosh(z) ** 2).mean(axis=0))
    np.testing.assert_array_equal(np.isfinite(found), spread >= 5 * SAME_SCORE)
    assert np.isfinite(found).mean() > 0.3
    plain = [
        one.mean(axis=0) / np.maximum(one.std(axis=0), 1e-300) for one in (z, fisher_z(rounded(scores, rng))[:, 0])
    ]
    beyond = np.abs(plain[1] - plain[0]) > 0.9 * np.abs(plain[0])
    assert np.isnan(found[beyond]).all()
    assert beyond.sum() > 100, "without the rule they would jump"


@pytest.mark.parametrize("statistic", ["t", "pseudo_t"])
@pytest.mark.parametrize("design", ["mean", "groups", "covariate"])
def test_tests_over_subjects_move_little_or_are_not_defined(statistic, design, rng):
    scores = nearly_equal_scores(rng, 8)
    designs = {
        "mean": Design(8),
        "groups": Design(8, in_first=np.arange(8) < 4),
        "covariate": Design(8, covariates=pd.DataFrame({"age": rng.standard_normal(8)})),
    }
    found, again = (
        subject_test(fisher_z(one), statistic=statistic, n_permutations=10, design=designs[design])
        for one in (scores, rounded(scores, rng))
    )
    require_same(found.observed, again.observed, 0.15, 0.4)
    if statistic == "t":
        assert np.isnan(found.observed).mean() > 0.3
        assert np.isnan(found.identity[np.isnan(found.observed)]).all()
    flat = subject_test(fisher_z(scores * 1e-7), statistic=statistic, n_permutations=10, design=designs[design])
    assert np.isnan(flat.observed).all(), "scores that are rounding alone have no statistic"


def test_ordinary_scores_have_every_statistic(rng):
    scores = np.tanh(0.2 + 0.03 * rng.standard_normal((4, 1, 200_000)))
    for statistic in ("t", "pseudo_t"):
        assert np.isfinite(subject_test(fisher_z(scores), statistic=statistic, n_permutations=10).observed).all()


def test_the_best_layer_is_the_same_or_none(rng):
    scores = 0.1 + np.concatenate(
        [
            0.1 * rng.standard_normal((5, N_VOXELS // 2)),
            rng.uniform(0, 2 * SAME_SCORE, (5, N_VOXELS // 2)),
        ],
        axis=1,
    )
    found, again = (
        derive(maps_of([one], table_of(5))[0], "best_layer").values[0] for one in (scores, rounded(scores, rng))
    )
    require_same(found, again, 0, 0)
    assert np.isfinite(found[: N_VOXELS // 2]).mean() > 0.99
    first = scores.argmax(axis=0) != rounded(scores, rng).argmax(axis=0)
    assert first.sum() > 100, "without the rule they would jump"


def test_the_same_layer_twice_is_the_first_of_the_two(rng):
    layer = 0.1 + 0.01 * rng.random(N_VOXELS)
    scores = maps_of([np.stack([layer - 0.1, layer, layer, layer - 0.05])], table_of(4))[0]
    np.testing.assert_array_equal(derive(scores, "best_layer").values[0], 2)


@pytest.mark.parametrize("name", ["peak_time", "time_of_best_layer"])
def test_times_of_highest_scores_move_to_a_neighbour_or_are_none(name, rng):
    """Smooth peaks, whose highest two times are neighbours; noise; courses that are flat but for rounding."""
    centres, third = rng.uniform(0, 0.3, N_VOXELS), N_VOXELS // 3
    scores = 0.3 * np.exp(-(((TIMES_S[:, None] - centres) / 0.05) ** 2))
    scores[:, third : 2 * third] = 0.1 * rng.standard_normal((len(TIMES_S), third))
    scores[:, 2 * third :] = 0.2 + rng.uniform(0, SAME_SCORE / 2, (len(TIMES_S), N_VOXELS - 2 * third))
    table = pd.concat(
        [table_of(1, time_s=[time]).assign(layer=layer) for layer in "ab" for time in TIMES_S], ignore_index=True
    )
    each = [np.concatenate([one, one / 2]) for one in (scores, rounded(scores, rng))]
    found, again = (derive(maps_of([one], table)[0], name).values[0] for one in each)
    require_same(found, again, 0, 0.0101)
    assert np.isfinite(found[:third]).all()
    assert np.isfinite(found[third : 2 * third]).mean() > 0.99
    assert np.isnan(found[2 * third :]).all()


def test_onsets_move_to_a_neighbour_or_are_none(rng):
    scores = 0.02 * rng.standard_normal((len(TIMES_S), N_VOXELS))
    scores[TIMES_S > 0.1] += 0.2
    bound = 0.02 * rng.uniform(2, 6, N_VOXELS)
    scores[TIMES_S > 0.1] = np.where(rng.random(N_VOXELS) < 0.5, scores[TIMES_S > 0.1], bound)
    table = pd.concat([table_of(1, time_s=[time]) for time in TIMES_S], ignore_index=True)
    found, again = (derive(maps_of([one], table)[0], "onset_time").values[0] for one in (scores, rounded(scores, rng)))
    require_same(found, again, 0, 0.0101)
    assert np.isfinite(found).mean() > 0.5


def courses(rng, n_subjects=6):
    """Draw scores of three layers, one after the other, and of a reference that has the same score at all times."""
    rows = []
    for name, centre in (("a", 0.1), ("b", 0.15), ("c", 0.2), ("", None)):
        mean = 0.1 + (0.3 * np.exp(-(((TIMES_S - centre) / 0.05) ** 2)) if centre else 0 * TIMES_S)
        noise = 0.02 if centre else SAME_SCORE / 8
        for subject in range(n_subjects):
            score = mean + noise * rng.standard_normal(len(TIMES_S))
            model = "net" if centre else "flat"
            rows.append(
                pd.DataFrame(
                    {"subject": f"{subject}", "model": model, "layer": name, "time_s": TIMES_S, "score": score}
                )
            )
    return pd.concat(rows, ignore_index=True).assign(statistic="spearman", role="reference")


def test_latencies_move_to_a_neighbour_or_are_none(rng):
    table = courses(rng)
    again = table.assign(score=rounded(table["score"].to_numpy(), rng))
    how = {"n_permutations": 200, "n_bootstrap": 50}
    found = [latencies(one, **how).set_index("layer")["peak_s"] for one in (table, again)]
    require_same(found[0].to_numpy(), found[1].to_numpy(), 0, 0.0101)
    assert np.isnan(found[0][""])
    assert np.isfinite(found[0][["a", "b", "c"]]).all()
    assert hierarchy(table, n_bootstrap=50)["rho"].tolist() == [1.0]
