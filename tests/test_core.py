"""The five types say no to what does not fit, and labels, not places, decide what meets what."""

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import squareform
from strategies import affines, label_orders, quick, rdm_stacks, volumes

from rsa.core import (
    REASONS,
    Epochs,
    Neighbourhood,
    Patterns,
    RDMs,
    ScoreMap,
    Volume,
    align,
    concatenate,
    n_conditions_of,
    select,
    shared_volume,
)
from rsa.errors import UserError

# --------------------------------------------------------------------------------------------- volume


@quick
@given(volumes())
def test_millimetres_are_those_of_nibabel(volume):
    expected = nib.affines.apply_affine(volume.affine, np.argwhere(volume.mask))
    np.testing.assert_allclose(volume.voxel_to_mm(volume.indices), expected, atol=1e-9)
    np.testing.assert_allclose(volume.mm_to_voxel(expected), volume.indices, atol=1e-6)
    assert volume.n_voxels == len(volume.indices) == volume.mask.sum()


@quick
@given(volume=volumes(), codes=st.tuples(st.integers(1, 4), st.integers(0, 4)))
def test_image_keeps_the_space_and_is_nan_outside_the_mask(volume, codes):
    volume = Volume(volume.mask, volume.affine, *codes)
    values = np.arange(2 * volume.n_voxels, dtype=np.float32).reshape(2, -1)
    image = volume.to_image(values)
    again = nib.Nifti1Image.from_bytes(image.to_bytes())
    assert again.shape == (*volume.shape, 2)
    assert (int(again.header["sform_code"]), int(again.header["qform_code"])) == codes
    assert again.header.get_xyzt_units() == ("mm", "sec")
    assert again.get_data_dtype() == np.float32
    np.testing.assert_allclose(again.affine, volume.affine, atol=1e-4)
    grid = again.get_fdata(dtype=np.float32)
    np.testing.assert_array_equal(grid[volume.mask].T, values)
    assert np.isnan(grid[~volume.mask]).all()
    np.testing.assert_array_equal(volume.to_image(values[1]).get_fdata(dtype=np.float32), grid[..., 1])


@quick
@given(affines(), st.sampled_from([(40, 40, 40)]))
def test_rounding_noise_of_a_header_is_the_same_grid_and_a_shift_is_not(affine, shape):
    volume = Volume(np.ones(shape), affine)
    assert volume.same_grid((*shape, 12), affine.astype(np.float32))
    assert volume.same_grid(shape, affine + np.array([[0, 0, 0, 9e-5]] * 3 + [[0] * 4]))
    assert not volume.same_grid(shape, affine + np.array([[0, 0, 0, 1e-3]] * 3 + [[0] * 4]))
    assert not volume.same_grid((40, 40, 39), affine)


def test_a_small_turn_shows_at_the_far_corner():
    volume = Volume(np.ones((100, 2, 2)), np.eye(4))
    turned = np.eye(4)
    turned[1, 0] = 1e-5  # 1e-3 mm after 99 voxels
    assert not volume.same_grid(volume.shape, turned)


def test_grids_that_differ_are_both_printed():
    volume = Volume(np.ones((2, 2, 2)), np.diag([2.0, 2, 2, 1]))
    message = (
        r"The atlas and the mask lie on different grids: shape \(2, 2, 3\) with affine \[\[3.0.*"
        r"against shape \(2, 2, 2\) with affine \[\[2.0"
    )
    with pytest.raises(UserError, match=message):
        volume.require_grid((2, 2, 3), np.diag([3.0, 3, 3, 1]), "The atlas")
    volume.require_grid((2, 2, 2), np.diag([2.0, 2, 2, 1]) + np.diag([5e-5] * 3, 1), "The atlas")


def test_nan_and_negative_values_of_a_mask_are_outside():
    volume = Volume(np.array([[[np.nan, -1.0, 0.0, 0.5, 2.0]]]), np.eye(4))
    assert volume.mask.ravel().tolist() == [False, False, False, True, True]
    with pytest.raises(UserError, match="is empty: no voxel is above 0"):
        Volume(np.full((2, 2, 2), np.nan), np.eye(4))


@pytest.mark.parametrize(
    ("mask", "affine", "message"),
    [
        (np.ones((2, 2)), np.eye(4), r"A mask has 3 dimensions \(x, y, z\), not the 2 of shape \(2, 2\)"),
        (np.zeros((2, 2, 2)), np.eye(4), r"The mask of shape \(2, 2, 2\) is empty"),
        (np.ones((2, 2, 2)), np.diag([1.0, 1, 0, 1]), r"An affine is an invertible \(4, 4\) matrix in mm, not"),
        (np.ones((2, 2, 2)), np.eye(3), r"An affine is an invertible \(4, 4\) matrix in mm, not"),
        (np.ones((2, 2, 2)), np.full((4, 4), np.nan), r"An affine is an invertible \(4, 4\) matrix in mm, not"),
    ],
)
def test_volumes_that_cannot_be(mask, affine, message):
    with pytest.raises(UserError, match=message):
        Volume(mask, affine)


# ------------------------------------------------------------------------------------------- patterns


def conditions(*names, **columns):
    return pd.DataFrame({"condition": names, **columns})


def test_voxels_without_data_are_not_usable():
    values = np.array([[1.0, 5, np.nan, 1, np.inf], [2, 5, 1, 1, 0], [1, 5, 1, 2, 0]])
    assert Patterns(values, conditions(*"abc")).usable.tolist() == [True, False, False, True, False]


def test_runs_are_averaged_by_label(rng):
    values = rng.standard_normal((6, 4)).astype(np.float32)
    values[1, 2] = np.nan
    patterns = Patterns(values, conditions("b", "a", "c", "a", "c", "b", run=["1", "1", "1", "2", "2", "2"]))
    means = patterns.mean_over_runs()
    assert means.conditions == list(means.table["condition"]) == ["b", "a", "c"]
    expected = np.stack([values[[0, 5]].mean(axis=0), values[[1, 3]].mean(axis=0), values[[2, 4]].mean(axis=0)])
    np.testing.assert_allclose(means.values, expected, rtol=1e-6)
    assert means.usable.tolist() == [True, True, False, True]
    assert means.mean_over_runs() is means


def test_conditions_are_text():
    assert Patterns(np.eye(3), pd.DataFrame({"condition": [1, 2, 10]})).conditions == ["1", "2", "10"]


@pytest.mark.parametrize(
    ("values", "table", "extra", "message"),
    [
        (np.eye(3), conditions("a", "b"), {}, r"Patterns of shape \(3, 3\) need a table of 3 rows, not 2"),
        (np.ones(3), conditions(*"abc"), {}, r"Patterns of shape \(3,\) need a table"),
        (np.eye(2), pd.DataFrame({"name": ["a", "b"]}), {}, "has no column 'condition', only 'name'"),
        (np.eye(2), conditions("a", None), {}, "Row 2 of the patterns has no condition; give all of them one."),
        (
            np.eye(3),
            conditions(*"aab").assign(run=["1", None, "2"]),
            {},
            "Row 2 of the patterns has no run; give all of them one, or leave the column out.",
        ),
        (np.eye(2), conditions(*"ab").assign(delay_s=[2.0, np.nan]), {}, "Row 2 of the patterns has no delay_s; give"),
        (
            np.eye(2),
            conditions("a", "a"),
            {},
            "comes twice in the table of patterns; tell the two apart by a column `run`",
        ),
        (np.ones((3, 2)), conditions(*"abc"), {}, "No voxel is usable: each is NaN in some row or the same in all"),
        (
            np.eye(3),
            conditions(*"abc"),
            {"usable": np.ones(2, dtype=bool)},
            r"`usable` says yes or no of 3 features; it has shape \(2,\)",
        ),
        (
            np.eye(3),
            conditions(*"abc"),
            {"space": Volume(np.ones((2, 2, 1)), np.eye(4))},
            "Patterns have 3 columns and their space has 4",
        ),
    ],
)
def test_patterns_that_cannot_be(values, table, extra, message):
    with pytest.raises(UserError, match=message):
        Patterns(values, table, **extra)


# ----------------------------------------------------------------------------------------------- RDMs


@quick
@given(data=st.data(), n=st.integers(2, 12))
def test_reordering_moves_rows_and_columns_together(data, n):
    names = data.draw(label_orders(n))
    stack = data.draw(rdm_stacks(names))
    order = data.draw(st.permutations(names))
    moved = stack.reordered(order)
    place = [stack.conditions.index(name) for name in order]
    for before, after in zip(stack.values, moved.values, strict=True):
        np.testing.assert_array_equal(squareform(after), squareform(before)[np.ix_(place, place)])
    np.testing.assert_array_equal(moved.reordered(stack.conditions).values, stack.values)
    np.testing.assert_array_equal(stack.squares, [squareform(row) for row in stack.values])
    np.testing.assert_array_equal(align(order, stack).values, moved.values)


def test_subset_of_rows_and_of_conditions():
    stack = RDMs(np.arange(12.0).reshape(2, 6), list("abcd"), pd.DataFrame({"layer": ["x", "y"]}))
    for chosen in ([1], np.array([False, True])):
        assert stack.subset(chosen).table["layer"].tolist() == ["y"]
        np.testing.assert_array_equal(stack.subset(chosen).values, stack.values[1:])
    np.testing.assert_array_equal(stack.reordered(["d", "a"]).values, [[2.0], [8.0]])


@pytest.mark.parametrize(
    ("values", "names", "rows", "message"),
    [
        (
            np.ones((1, 5)),
            "abcd",
            1,
            r"RDMs of 4 conditions have 6 pairs, so a shape of \(n_rdms, 6\); these have shape \(1, 5\)",
        ),
        (np.ones((1, 2, 3)), "abcd", 1, r"these have shape \(1, 2, 3\)"),
        (np.ones((1, 6)), "abca", 1, "RDMs name the same condition twice: 'a'"),
        (np.ones((2, 6)), "abcd", 1, "2 RDMs need a table of as many rows, not 1"),
    ],
)
def test_rdms_that_cannot_be(values, names, rows, message):
    with pytest.raises(UserError, match=message):
        RDMs(values, list(names), pd.DataFrame({"layer": range(rows)}))


@pytest.mark.parametrize(("n_pairs", "n"), [(1, 2), (3, 3), (4186, 92), (499500, 1000)])
def test_number_of_conditions(n_pairs, n):
    assert n_conditions_of(n_pairs) == n


@pytest.mark.parametrize("n_pairs", [0, 2, 4187])
def test_not_a_number_of_pairs(n_pairs):
    with pytest.raises(UserError, match=f"{n_pairs} is not the number of pairs"):
        n_conditions_of(n_pairs)


def test_conditions_that_do_not_match_are_named_on_both_sides():
    stack = RDMs(np.ones((1, 3)), ["img1", "img2", "img10"], pd.DataFrame({"layer": ["x"]}))
    message = (
        "patterns and reference RDMs share 2 of 4 conditions; missing in reference RDMs: 'img3'; "
        "missing in patterns: 'img2'. Give both the same labels."
    )
    with pytest.raises(UserError, match=message):
        align(["img10", "img3", "img1"], stack)


def test_stacks_are_put_together_in_the_order_of_the_first():
    a = RDMs([[1.0, 2, 3]], list("abc"), pd.DataFrame({"model": ["net"], "layer": ["x"]}), "correlation")
    b = RDMs([[1.0, 2, 3]], list("cba"), pd.DataFrame({"time_s": [0.1]}), "euclidean")
    both = concatenate([a, b])
    np.testing.assert_array_equal(both.values, [[1, 2, 3], [3, 2, 1]])
    assert both.conditions == ("a", "b", "c")
    assert both.distance == "correlation|euclidean"
    assert both.table[["model", "layer"]].to_numpy().tolist() == [["net", "x"], ["", ""]]
    assert np.isnan(both.table["time_s"][0])
    assert concatenate([a, a]).distance == "correlation"
    with pytest.raises(UserError, match="There are no RDMs to put together"):
        concatenate([])
    with pytest.raises(
        UserError, match="the first RDMs and the others share 2 of 3 conditions; missing in the others: 'c'"
    ):
        concatenate([a, a.reordered(["a", "b"])])


# -------------------------------------------------------------------------------------- neighbourhood


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"indptr": [0, 1], "indices": [0]}, "either centres .* or regions"),
        (
            {"indptr": [0, 1], "indices": [0], "centres": [0], "regions": pd.DataFrame({"region": ["V1"]})},
            "either centres .* or regions",
        ),
        ({"indptr": [0, 1], "indices": [0], "centres": [0, 1]}, "The index pointer of a neighbourhood does not fit"),
        ({"indptr": [0, 2], "indices": [0], "centres": [0]}, "The index pointer of a neighbourhood does not fit"),
        ({"indptr": [0, 1], "indices": [8], "centres": [0]}, "has members outside the 8 features of its space"),
        ({"indptr": [0, 1], "indices": [-1], "centres": [0]}, "has members outside the 8 features of its space"),
        ({"indptr": [0, 1, 1], "indices": [0], "centres": [0, 1]}, "has centres without members: '1'"),
        ({"indptr": [0, 1, 3], "indices": [0, 5, 4], "centres": [0, 1]}, "in ascending order, and each once"),
        ({"indptr": [0, 1, 3], "indices": [6, 5, 5], "centres": [0, 1]}, "in ascending order, and each once"),
        (
            {"indptr": [0, 0], "indices": [], "regions": pd.DataFrame({"region": ["V1"]})},
            "has centres without members: .*V1",
        ),
    ],
)
def test_neighbourhoods_that_cannot_be(arguments, message):
    arrays = {name: np.array(value) if isinstance(value, list) else value for name, value in arguments.items()}
    with pytest.raises(UserError, match=message):
        Neighbourhood(space=Volume(np.ones((2, 2, 2)), np.eye(4)), **arrays)


# ------------------------------------------------------------------------------------------ score map


@pytest.fixture
def scores():
    volume = Volume(np.array([[[True, False, True]]]), np.diag([2.0, 2, 2, 1]))
    table = pd.DataFrame({"model": ["a", "a", "b"], "layer": ["x", "y", "y"], "rank in paper": [1, 2, 3]})
    return ScoreMap(np.arange(6.0).reshape(3, 2), table, volume)


def test_maps_are_chosen_by_label(scores):
    assert select(scores, model="a").table["layer"].tolist() == ["x", "y"]
    np.testing.assert_array_equal(select(scores, model="a", layer="y").values, [[2, 3]])
    assert scores.to_nifti(layer="y").shape == (1, 1, 3, 2)
    np.testing.assert_array_equal(scores.to_nifti(model="b").get_fdata().ravel(), [4, np.nan, 5])


def test_frame_has_a_row_per_voxel_and_map(scores):
    frame = scores.to_frame()
    assert list(frame) == ["x_mm", "y_mm", "z_mm", "model", "layer", "rank in paper", "score"]
    assert frame["z_mm"].tolist() == [0, 4] * 3
    assert frame["score"].tolist() == [0, 1, 2, 3, 4, 5]
    assert frame["rank in paper"].tolist() == [1, 1, 2, 2, 3, 3]


def test_frame_of_regions():
    regions = pd.DataFrame({"region": ["V1", "IT"], "n_voxels": [3, 4]})
    scores = ScoreMap([[0.1, 0.2]], pd.DataFrame({"layer": ["x"]}), regions=regions)
    assert scores.to_frame()[["region", "layer"]].to_numpy().tolist() == [["V1", "x"], ["IT", "x"]]
    with pytest.raises(UserError, match=r"Scores of regions have no image; use to_frame\(\)"):
        scores.to_nifti()


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"subject": "01"}, "There is no column 'subject' to select by; the table has 'model', 'layer'"),
        ({"layer": "z"}, "No layer is 'z'; there are 'x', 'y'"),
        ({"model": "b", "layer": "x"}, "No row has model 'b' and layer 'x' at once"),
    ],
)
def test_labels_that_no_map_carries(scores, labels, message):
    with pytest.raises(UserError, match=message):
        scores.to_nifti(**labels)


@pytest.mark.parametrize(
    ("values", "n_rows", "columns", "message"),
    [
        (np.ones((1, 2)), 1, {}, "either those of a space, such as a volume, or regions"),
        (
            np.ones((1, 3)),
            1,
            {"regions": pd.DataFrame({"region": ["V1", "IT"]})},
            r"of shape \(1, 3\) does not fit the 2 columns",
        ),
        (
            np.ones((2, 2)),
            1,
            {"regions": pd.DataFrame({"region": ["V1", "IT"]})},
            "2 maps need a table of as many rows, not 1",
        ),
    ],
)
def test_score_maps_that_cannot_be(values, n_rows, columns, message):
    with pytest.raises(UserError, match=message):
        ScoreMap(values, pd.DataFrame({"layer": range(n_rows)}), **columns)


def test_reasons_are_numbered_from_defined():
    assert list(REASONS) == list(range(6))
    assert REASONS[0] == "defined"


# ------------------------------------------------------------------------------------- runs, delays, order


def timed_patterns(rng):
    """Three conditions in two runs at two delays, in any order."""
    rows = [(name, run, delay) for delay in (6.0, 3.0) for run in "12" for name in ("b", "a", "c")]
    table = pd.DataFrame(rows, columns=["condition", "run", "delay_s"]).sample(frac=1, random_state=3)
    return Patterns(rng.standard_normal((len(table), 4)), table.reset_index(drop=True))


def test_runs_are_averaged_at_each_delay(rng):
    patterns = timed_patterns(rng)
    assert patterns.delays_s == [3.0, 6.0]
    mean = patterns.mean_over_runs()
    assert len(mean.table) == 6
    for row, (name, delay_s) in enumerate(zip(mean.table["condition"], mean.table["delay_s"], strict=True)):
        same = ((patterns.table["condition"] == name) & (patterns.table["delay_s"] == delay_s)).to_numpy()
        np.testing.assert_allclose(mean.values[row], patterns.values[same].mean(axis=0), rtol=1e-6)
    one = patterns.at_delay(3.0)
    assert list(one.table) == ["condition", "run"]
    np.testing.assert_array_equal(one.values, patterns.values[(patterns.table["delay_s"] == 3.0).to_numpy()])
    assert one.mean_over_runs().delays_s == []


def test_the_mean_over_conditions_is_taken_out_of_each_run_and_delay(rng):
    patterns = timed_patterns(rng)
    centred = patterns.without_mean()
    for _, rows in patterns.table.groupby(["run", "delay_s"]).indices.items():
        np.testing.assert_allclose(centred.values[rows].mean(axis=0), 0, atol=1e-7)
        expected = patterns.values[rows] - patterns.values[rows].mean(axis=0)
        np.testing.assert_allclose(centred.values[rows], expected, atol=1e-6)
    single = Patterns(patterns.values[:3], pd.DataFrame({"condition": list("abc")}))
    np.testing.assert_allclose(single.without_mean().values.mean(axis=0), 0, atol=1e-7)


def test_conditions_in_another_order(rng):
    patterns = timed_patterns(rng)
    ordered = patterns.in_order(["c", "a"])
    assert ordered.conditions == ["c", "a"]
    assert len(ordered.table) == 8
    for row, (_, labels) in enumerate(ordered.table.iterrows()):
        (same,) = np.nonzero((patterns.table == labels).all(axis=1))
        np.testing.assert_array_equal(ordered.values[row], patterns.values[same[0]])


def test_what_all_masks_share():
    first, second = np.ones((2, 2, 2), bool), np.ones((2, 2, 2), bool)
    first[0], second[:, 1] = False, False
    shared = shared_volume([Volume(first, np.eye(4), 4, 2), Volume(second, np.eye(4))])
    np.testing.assert_array_equal(shared.mask, first & second)
    assert (shared.sform_code, shared.qform_code) == (4, 2)
    with pytest.raises(UserError, match="share no voxel"):
        shared_volume([Volume(first, np.eye(4)), Volume(~first, np.eye(4))])
    with pytest.raises(UserError, match="different grids"):
        shared_volume([Volume(first, np.eye(4)), Volume(second, np.diag([2.0, 1, 1, 1]))])


# ------------------------------------------------------------------------------- data in every run


def in_runs(values, runs, **columns):
    table = pd.DataFrame({"condition": [f"c{row}" for row in range(len(values))], "run": list(runs), **columns})
    return Patterns(np.asarray(values, dtype=float), table)


def test_a_feature_that_is_the_same_in_all_rows_of_a_run_has_no_data():
    values = [[1, 1, 7, 1, np.nan], [2, 2, 7, 2, 2], [3, 0, 7, 5, 3], [4, 0, 7, 5, 4]]
    patterns = in_runs(values, "aabb")
    assert patterns.usable.tolist() == [True, False, False, False, False]
    assert patterns.n_in_some_runs == 2
    assert patterns.mean_over_runs().usable.tolist() == patterns.usable.tolist()


def test_runs_of_one_row_say_nothing():
    assert in_runs([[1, 0], [2, 3], [4, 4]], "abc").usable.tolist() == [True, True]
    assert in_runs([[1, 0], [2, 0]], "ab").usable.tolist() == [True, False]


def test_with_delays_conditions_have_to_differ_at_one_of_them():
    """At 0 s all is 0 by construction; the second feature has a course but no data, the third no data in a run."""
    at_0, at_5 = [[0, 0, 0]] * 2, [[1, 8, 1], [2, 8, 2]]
    conditions = {"condition": list("xyxy") * 2, "delay_s": [0, 0, 5, 5] * 2}
    values = [*at_0, *at_5, *at_0, [3, 8, 0], [4, 9, 0]]
    patterns = in_runs(values, "aaaabbbb", **conditions)
    assert patterns.usable.tolist() == [True, False, False]
    single = in_runs([[0, 0], [1, 0], [0, 1], [2, 3]], "aabb", condition=list("xxyy"), delay_s=[0, 5, 0, 5])
    assert single.usable.tolist() == [True, False]


@pytest.mark.parametrize("nothing", [0, 3.5, np.nan, np.inf])
def test_a_run_without_data_is_refused(nothing):
    values = np.arange(12.0).reshape(4, 3)
    values[2:] = nothing
    with pytest.raises(UserError, match="Run 'b' has no data: each voxel is the same in all of its 2 images, or not"):
        in_runs(values, "aabb")


def test_rdms_and_channels_are_chosen_by_a_mask_or_by_positions(rng):
    rdms = RDMs(rng.random((3, 3)), list("abc"), pd.DataFrame({"layer": list("xyz")}))
    for chosen in ([True, False, True], np.array([0, 2])):
        assert rdms.subset(chosen).table["layer"].tolist() == ["x", "z"]
    for wrong in ([True, False], [3], [0.0], [[0]]):
        with pytest.raises(UserError, match="3 RDMs are chosen by a mask of 3 booleans or by positions from 0 to 2"):
            rdms.subset(wrong)
    channels = pd.DataFrame({"name": list("pqr"), "type": "eeg"})
    epochs = Epochs(rng.random((2, 3, 4)), pd.DataFrame({"condition": list("ab")}), np.arange(4) / 10, channels)
    for chosen in ([False, True, True], [1, 2]):
        assert epochs.of_channels(chosen).channels["name"].tolist() == ["q", "r"]
    with pytest.raises(UserError, match="3 channels are chosen by a mask of 3 booleans"):
        epochs.of_channels([True, False])
