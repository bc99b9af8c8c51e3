"""Group maps: over the voxels that all subjects have, NaN never a 0, grids the same to 1e-4 mm."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ttest_1samp

from rsa.core import QUALITY, REFERENCE, TEST, ScoreMap, Volume
from rsa.errors import UserError
from rsa.inference.group import CEILINGS, GROUP_TESTS, above_tests, combine, share_of_ceiling, with_ceiling
from rsa.maps import DATA_QUALITY, stack

SHAPE = (3, 2, 2)


def subject(number, rng, mask=None, affine=None, **columns):
    volume = Volume(
        np.ones(SHAPE) if mask is None else mask, np.diag([2.0, 2, 2, 1]) if affine is None else affine, 4, 1
    )
    table = {"subject": f"{number:02d}", "model": "net", "layer": ["a", "b"], "statistic": "spearman", **columns}
    return ScoreMap(rng.uniform(-0.2, 0.9, (2, volume.n_voxels)), pd.DataFrame(table), volume)


def test_t_equals_scipy_on_fisher_z(rng):
    subjects = [subject(n, rng) for n in range(5)]
    result = combine(subjects, "t")
    z = np.arctanh([one.values.astype(float) for one in subjects])
    for voxel in (0, 7):
        for row in (0, 1):
            expected = ttest_1samp(z[:, row, voxel], 0).statistic
            assert result.values[row, voxel] == pytest.approx(expected, rel=1e-5)
    assert list(result.labels) == ["model", "layer", "statistic"]
    assert set(result.table["statistic"]) == {"t"}
    assert (result.volume.sform_code, result.volume.qform_code) == (4, 1)


def test_cosines_have_a_t_only_where_unrelated_rdms_score_0(rng):
    subjects = [subject(n, rng, statistic="cosine") for n in range(3)]
    for distance in ("unknown", "correlation", "cv_correlation", "decoding_lda"):
        with pytest.raises(UserError, match=f"group test t reads scores against 0.*distance {distance}"):
            combine(subjects, "t", distance=distance)
    with pytest.raises(UserError, match="group test t reads scores against 0"):
        combine(subjects, "t")
    assert np.isfinite(combine(subjects, "t", distance="crossnobis").values).all()
    assert np.isfinite(combine(subjects, "mean").values).all()


def test_t_is_defined_for_perfect_scores_and_not_for_equal_ones():
    scores = np.array([[1.0, 0.5, 0.0], [0.9, 0.5, 0.0], [1.0, 0.5, 0.0]])
    result = GROUP_TESTS["t"].compute(scores)
    assert np.isfinite(result[0])
    assert np.isnan(result[1:]).all()


def test_masks_that_differ_leave_what_they_share(rng):
    first, second = np.ones(SHAPE), np.ones(SHAPE)
    first[0], second[2] = 0, 0
    a, b = subject(1, rng, first), subject(2, rng, second)
    result = combine([a, b], "mean")
    assert result.volume.mask.sum() == 4
    assert result.volume.mask[1].all()
    expected = (a.volume.unmask(a.values) + b.volume.unmask(b.values)) / 2
    np.testing.assert_allclose(result.values, expected[:, result.volume.mask], rtol=1e-6)
    image = result.to_nifti(layer="b").get_fdata()
    assert np.isnan(image[[0, 2]]).all()
    assert np.isfinite(image[1]).all()


@pytest.mark.parametrize("test", GROUP_TESTS)
def test_nan_of_a_subject_never_becomes_0(test, rng):
    subjects = [subject(n, rng) for n in range(4)]
    values = subjects[2].values.copy()
    values[0, 5], values[:, 8] = np.nan, np.nan
    holed = [*subjects[:2], ScoreMap(values, subjects[2].table, subjects[2].volume), subjects[3]]
    before, after = combine(subjects, test), combine(holed, test)
    assert np.isnan(after.values[0, 5])
    assert np.isnan(after.values[:, 8]).all()
    touched = np.isnan(after.values)
    assert touched.sum() == 3
    np.testing.assert_array_equal(after.values[~touched], before.values[~touched])
    assert after.n_members.tolist() == [4, 4, 4, 4, 4, 3, 4, 4, 3, 4, 4, 4]


def test_rounding_noise_of_affines_is_no_mismatch(rng):
    shifted = np.diag([2.0, 2, 2, 1])
    shifted[:3, 3] = 9e-5
    assert combine([subject(1, rng), subject(2, rng, affine=shifted)], "mean").volume.n_voxels == 12


@pytest.mark.parametrize("test", GROUP_TESTS)
def test_how_many_rows_are_combined_at_once_changes_nothing(test, rng, monkeypatch):
    subjects = [subject(n, rng) for n in range(3)]
    subjects[1].values[1, 4] = np.nan
    together = combine(subjects, test)
    assert together.n_members.tolist() == [3] * 4 + [2] + [3] * 7
    monkeypatch.setattr("rsa.inference.group.COMBINED_SCORES", 1)
    one_by_one = combine(subjects, test)
    np.testing.assert_array_equal(one_by_one.values, together.values)
    np.testing.assert_array_equal(one_by_one.n_members, together.n_members)


def test_grids_that_differ_are_both_printed(rng):
    message = (
        r"The map of a subject and that of the first subject lie on different grids: "
        r"shape \(3, 2, 2\) with affine \[\[3.0.*with affine \[\[2.0"
    )
    with pytest.raises(UserError, match=message):
        combine([subject(1, rng), subject(2, rng, affine=np.diag([3.0, 2, 2, 1]))], "mean")


@pytest.mark.parametrize(
    "columns",
    [{"layer": ["b", "a"]}, {"model": "other"}, {"time_s": [0.1, 0.2]}, {"statistic": "pearson"}],
)
def test_maps_of_different_things_are_not_averaged(columns, rng):
    with pytest.raises(UserError, match="The subjects' maps are not of the same models, layers, times and statistic"):
        combine([subject(1, rng), subject(2, rng, **columns)], "mean")


def test_maps_over_time_are_averaged_time_by_time(rng):
    a, b = subject(1, rng, time_s=[0.1, np.nan]), subject(2, rng, time_s=[0.1, np.nan])
    np.testing.assert_allclose(combine([a, b], "mean").values, (a.values + b.values) / 2, rtol=1e-6)


def test_too_few_subjects(rng):
    with pytest.raises(UserError, match="A group map needs 2 subjects or more, not 1"):
        combine([subject(1, rng)], "mean")


def test_maps_of_regions(rng):
    one = subject(1, rng)
    regions = ScoreMap([[0.1], [0.2]], one.table, regions=pd.DataFrame({"region": ["V1"]}))
    with pytest.raises(UserError, match="Group maps are made of maps over voxels; some of these are over regions"):
        combine([one, regions], "mean")


def test_masks_that_share_nothing(rng):
    first, second = np.zeros(SHAPE), np.zeros(SHAPE)
    first[0], second[2] = 1, 1
    with pytest.raises(UserError, match="The masks of the subjects share no voxel; are the subjects in one space"):
        combine([subject(1, rng, first), subject(2, rng, second)], "mean")


def test_unknown_test(rng):
    with pytest.raises(UserError, match=r"Unknown group test 'median'.*Choose one of: mean, t"):
        combine([subject(1, rng), subject(2, rng)], "median")


def test_what_tests_found_stands_below_and_t_is_that_of_the_test(rng):
    subjects = [subject(n, rng) for n in range(3)]
    scores = stack([combine(subjects, test) for test in ("mean", "t")])
    labels = scores.table[:2].drop(columns="role")
    tests = replace(
        scores,
        values=np.arange(48).reshape(4, 12),
        table=pd.concat([labels.assign(statistic=name, role=TEST) for name in ("t", "logp")], ignore_index=True)[::-1],
    )
    found = above_tests(scores, tests)
    assert found.table["statistic"].tolist() == ["mean", "mean", "t", "t", "logp", "logp"]
    assert found.table["layer"].tolist() == ["a", "b", "a", "b", "b", "a"]
    assert found.table["role"].tolist() == [REFERENCE] * 4 + [TEST] * 2
    np.testing.assert_array_equal(found.values[:2], scores.values[:2])
    np.testing.assert_array_equal(found.values[2:], tests.values[[3, 2, 0, 1]])


# ---------------------------------------------------------------------------------- share of the ceiling


def mean_map(values, mask=None, **columns):
    volume = Volume(np.ones(SHAPE) if mask is None else mask, np.diag([2.0, 2, 2, 1]), 4, 1)
    table = pd.DataFrame({"layer": "", "statistic": "mean", **columns}, index=range(len(values)))
    table["role"] = np.where(table["model"].isin(DATA_QUALITY), QUALITY, REFERENCE)
    return ScoreMap(np.asarray(values)[:, : volume.n_voxels], table, volume, n_members=np.arange(volume.n_voxels))


def test_share_of_ceiling_by_hand():
    group = mean_map([[0.1, 0.2, -0.1, 0.3, 0.3, np.nan] * 2, [0.9] * 12], model=["net", "reliability"])
    bounds = [[0.2, 0.0, 0.1, -0.1, np.nan, 0.1] * 2, [0.4, 0.5, 0.2, 0.3, 0.5, 0.2] * 2]
    result = share_of_ceiling(group, mean_map(bounds, model=list(CEILINGS)))
    assert result.table.to_dict("list") == {
        "layer": [""], "statistic": ["share_of_ceiling"], "model": ["net"], "role": [REFERENCE],
    }  # fmt: skip
    # the second, fourth and fifth voxel have no lower bound above 0
    expected = [[0.25, np.nan, -0.5, np.nan, np.nan, np.nan] * 2]
    np.testing.assert_allclose(result.values, expected, rtol=1e-6)
    assert (result.volume.sform_code, result.volume.qform_code) == (4, 1)


def test_share_of_ceiling_goes_time_by_time():
    times = {"model": ["net", "net"], "time_s": [2.0, 0.5]}
    group = mean_map(np.full((2, 12), 0.3), **times)
    rows = {"model": ["ceilingupper", "ceilinglower", "ceilinglower", "ceilingupper"], "time_s": [0.5, 0.5, 2.0, 2.0]}
    ceilings = mean_map(np.repeat([[0.4], [0.1], [0.1], [0.6]], 12, axis=1), **rows)
    result = share_of_ceiling(group, ceilings)
    np.testing.assert_allclose(result.values[:, 0], [0.5, 0.75], rtol=1e-6)
    assert result.table["time_s"].tolist() == [2.0, 0.5]
    early = ScoreMap(ceilings.values[:2], ceilings.table[:2], ceilings.volume)
    with pytest.raises(
        UserError, match="There is no ceilinglower at 2 s among the noise ceilings, but there are scores"
    ):
        share_of_ceiling(group, early)


def test_share_of_ceiling_is_over_the_voxels_of_both(rng):
    first, second = np.ones(SHAPE), np.ones(SHAPE)
    first[0], second[2] = 0, 0
    group = mean_map(rng.random((1, 12)), first, model="net")
    ceilings = mean_map(rng.uniform(0.2, 0.9, (2, 12)), second, model=list(CEILINGS))
    result = share_of_ceiling(group, ceilings)
    assert (result.volume.mask == first.astype(bool) & second.astype(bool)).all()
    grid = group.volume.unmask(group.values[0]) / ceilings.volume.unmask(ceilings.values[1])
    np.testing.assert_allclose(result.values[0], grid[result.volume.mask], rtol=1e-6)
    np.testing.assert_array_equal(result.n_members, np.arange(8)[:4])


def test_share_of_ceiling_says_what_is_missing(rng):
    group, ceilings = mean_map(rng.random((1, 12)), model="net"), mean_map(rng.random((2, 12)), model=list(CEILINGS))
    regions = ScoreMap([[0.1]], pd.DataFrame({"model": ["net"]}), regions=pd.DataFrame({"region": ["V1"]}))
    with pytest.raises(UserError, match="Shares of the noise ceiling are made of maps over voxels"):
        share_of_ceiling(regions, ceilings)
    t = ScoreMap(group.values, group.table.assign(statistic="t"), group.volume)
    with pytest.raises(UserError, match=r"made of mean scores of models; the group has none\. Add `mean`"):
        share_of_ceiling(t, ceilings)
    first, second = np.zeros(SHAPE), np.zeros(SHAPE)
    first[0], second[2] = 1, 1
    with pytest.raises(UserError, match="The group map and the noise ceiling share no voxel"):
        share_of_ceiling(
            mean_map([[0.1] * 12], first, model="net"), mean_map([[0.1] * 12] * 2, second, model=list(CEILINGS))
        )
    moved = ScoreMap(ceilings.values, ceilings.table, Volume(np.ones(SHAPE), np.eye(4)))
    with pytest.raises(UserError, match="The noise ceiling and the group map lie on different grids"):
        share_of_ceiling(group, moved)
    with pytest.raises(UserError, match="There is no ceilingupper among the noise ceilings"):
        share_of_ceiling(group, ScoreMap(ceilings.values[:1], ceilings.table[:1], ceilings.volume))


def test_ceiling_and_shares_stand_below_the_maps_of_the_group(rng):
    """Over the voxels that both have, each row with its own numbers."""
    mask = np.ones(SHAPE)
    mask[0] = 0
    subjects = [subject(n, rng) for n in range(3)]
    affine = np.diag([2.0, 2, 2, 1])
    group = combine(subjects, "mean")
    bounds = np.stack([np.full(8, 0.25), np.full(8, 0.5)])
    table = pd.DataFrame({"model": CEILINGS, "layer": "", "statistic": "mean", "role": QUALITY})
    result = with_ceiling(group, ScoreMap(bounds, table, Volume(mask, affine)))
    np.testing.assert_array_equal(result.volume.mask, mask > 0)
    assert result.table["model"].tolist() == ["net", "net", *CEILINGS, "net", "net"]
    assert result.table["role"].tolist() == [REFERENCE] * 2 + [QUALITY] * 2 + [REFERENCE] * 2
    assert result.table["statistic"].tolist() == ["mean"] * 4 + ["share_of_ceiling"] * 2
    assert list(result.table) == list(group.table)
    means = group.values[:, (mask > 0)[group.volume.mask]]
    np.testing.assert_array_equal(result.values[:2], means)
    np.testing.assert_allclose(result.values[2:4], bounds)
    np.testing.assert_allclose(result.values[4:], means / 0.5, rtol=1e-6)
    assert result.n_members.tolist() == [3] * 8


def test_references_over_time_have_the_ceiling_of_data_without_time(rng):
    times = {"model": ["net", "meeg", "meeg"], "time_s": [np.nan, 0.1, 0.2]}
    group = mean_map(rng.random((3, 12)), **times)
    bounds = np.stack([np.full(12, 0.25), np.full(12, 0.5)])
    ceilings = mean_map(bounds, model=list(CEILINGS))
    shares = share_of_ceiling(group, ceilings)
    np.testing.assert_allclose(shares.values, group.values / 0.5, rtol=1e-6)
    np.testing.assert_array_equal(shares.table["time_s"], times["time_s"])
    result = with_ceiling(group, ceilings)
    assert result.table["model"].tolist() == ["net", "meeg", "meeg", *CEILINGS, "net", "meeg", "meeg"]
    np.testing.assert_array_equal(result.table["time_s"], [np.nan, 0.1, 0.2, np.nan, np.nan, np.nan, 0.1, 0.2])
    np.testing.assert_allclose(result.values[3:5], bounds)
