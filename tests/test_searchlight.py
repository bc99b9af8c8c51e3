"""The streaming searchlight equals scipy, one sphere and one reference at a time, whatever the data and the chunks."""

from dataclasses import replace

import nibabel as nib
import numpy as np
import oracles
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import quick, seeds, studies

from rsa import core, neighbourhood, searchlight
from rsa.comparisons import COMPARISONS
from rsa.core import QUALITY, Patterns, RDMs, Residuals, Volume
from rsa.distances import CROSS_VALIDATED, DISTANCES
from rsa.errors import UserError
from rsa.measures import Measure, comparison_measure
from rsa.neighbourhood import from_masks, spheres
from rsa.noise import SHRINKAGES
from rsa.searchlight import RdmSettings, RunSettings
from rsa.spheres import Spheres, cut, prepare_spheres

RADIUS_MM = 3.0
WIDE_MM = 5.0
"""Reaches a neighbour on every grid of `strategies.affines`."""


def study(n_conditions=8, shape=(5, 6, 5), n_rdms=3, seed=0):
    """Random patterns over a mask with holes, and references whose conditions come in another order."""
    rng = np.random.default_rng(seed)
    volume = Volume(rng.random(shape) < 0.8, np.diag([1.5, 2.0, 1.0, 1.0]))
    names = [f"img{number}" for number in rng.permutation(n_conditions) + 1]
    patterns = Patterns(
        rng.standard_normal((n_conditions, volume.n_voxels)), pd.DataFrame({"condition": names}), volume
    )
    values = rng.random((n_rdms, n_conditions * (n_conditions - 1) // 2))
    table = pd.DataFrame({"model": "net", "layer": [f"layer{n}" for n in range(n_rdms)]})
    return patterns, RDMs(values, rng.permutation(names), table)


def expected_of(patterns, references, **how):
    """Score as the oracle does, references brought into the order of the patterns by hand."""
    return oracles.searchlight_of_usable(
        patterns.values, patterns.volume.mask, patterns.volume.affine, by_hand(references, patterns.conditions), **how
    )


def by_hand(references, names):
    """Look up every pair of conditions by its two names."""
    places = [(names[i], names[j]) for i in range(len(names)) for j in range(i + 1, len(names))]
    lookup = []
    for row in references.values:
        pairs = iter(row)
        table = {
            frozenset((a, b)): next(pairs)
            for i, a in enumerate(references.conditions)
            for b in references.conditions[i + 1 :]
        }
        lookup.append(np.array([table[frozenset(place)] for place in places]))
    return lookup


# ----------------------------------------------------------------------------------- against the oracle


STEPS = [("correlation", name) for name in COMPARISONS] + [(name, "spearman") for name in DISTANCES]
STEPS += [("euclidean", "kendall_tau_a")]  # a root makes large differences of small ones, and each pair counts alone


@pytest.mark.parametrize(("distance", "comparison"), sorted(set(STEPS)))
@settings(quick, max_examples=12)
@given(study=studies(n_conditions=5))
def test_equals_scipy_on_any_data(distance, comparison, study):
    patterns, references = study
    how = {"distance": distance, "comparison": comparison}
    around, made = spheres(patterns.volume, WIDE_MM), RdmSettings(distance)
    scores = searchlight.compare(patterns, around, references, comparison=comparison, rdm=made)
    expected = expected_of(patterns, references, radius_mm=WIDE_MM, **how)
    np.testing.assert_allclose(scores.values, expected, atol=1e-6)
    undefined = np.isnan(scores.values).all(axis=0)
    np.testing.assert_array_equal(undefined, scores.reason > 0)
    left = oracles.reduced_mask(patterns.values, patterns.volume.mask)[2]
    np.testing.assert_array_equal(scores.reason == 2, ~left)


@pytest.fixture(scope="module")
def whole_brain(data):
    folder = data / "god_sub01_run01"
    mask = nib.load(folder / "mask.nii.gz")
    volume = Volume(mask.get_fdata() > 0, mask.affine)
    betas = np.asanyarray(nib.load(folder / "betas.nii.gz").dataobj)[volume.mask].T
    names = pd.read_csv(folder / "stimuli.tsv", sep="\t")["stimulus_name"].tolist()
    return Patterns(betas, pd.DataFrame({"condition": names}), volume)


@pytest.mark.slow
@pytest.mark.parametrize(("distance", "comparison"), [("correlation", "spearman"), ("euclidean", "pearson")])
def test_equals_scipy_in_a_whole_brain(whole_brain, rng, distance, comparison):
    centres = np.sort(rng.choice(whole_brain.n_features, 200, replace=False))
    some = neighbourhood.spheres(whole_brain.volume, 9.0)
    chosen = core.Neighbourhood(
        np.concatenate([[0], np.cumsum(some.n_members[centres])]),
        np.concatenate([some.members(centre) for centre in centres]),
        whole_brain.volume,
        centres=centres,
        radius_mm=9.0,
    )
    animal = np.arange(50) < 15
    rows, columns = np.triu_indices(50, 1)
    values = np.stack([(animal[rows] != animal[columns]).astype(float), rng.random(1225)])
    references = RDMs(values, whole_brain.conditions, pd.DataFrame({"model": "m", "layer": ["animacy", "random"]}))
    scores = searchlight.compare(
        whole_brain, chosen, references, comparison=comparison, rdm=RdmSettings(distance=distance)
    )
    expected = oracles.searchlight(
        whole_brain.values,
        whole_brain.volume.mask,
        whole_brain.volume.affine,
        values,
        9.0,
        distance,
        comparison,
        centres,
    )
    assert np.isfinite(expected).all()
    np.testing.assert_allclose(scores.values[:, centres], expected, atol=1e-6)
    assert np.isnan(np.delete(scores.values, centres, axis=1)).all()


@pytest.mark.parametrize("distance", DISTANCES)
def test_equals_scipy_in_a_slice_with_runs(data, rng, distance):
    """96 maps of 12 runs x 8 categories are averaged; the grid is flipped and anisotropic."""
    folder = data / "haxby2001_slice"
    image, mask = nib.load(folder / "betas_run.nii.gz"), nib.load(folder / "mask.nii.gz")
    volume = Volume(mask.get_fdata() > 0, mask.affine)
    betas = image.get_fdata()[volume.mask].T
    table = pd.read_csv(folder / "conditions.tsv", sep="\t", dtype={"run": str})[["run", "condition"]]
    patterns = Patterns(betas, table, volume)
    references = RDMs(rng.random((2, 28)), patterns.conditions, pd.DataFrame({"layer": ["a", "b"]}))
    scores = searchlight.compare(patterns, spheres(volume, 8.0), references, rdm=RdmSettings(distance=distance))
    means = betas.reshape(12, 8, -1).astype(np.float32).mean(axis=0, dtype=np.float64).astype(np.float32)
    expected = oracles.searchlight(
        means, volume.mask, volume.affine, references.values, 8.0, distance, "spearman", range(volume.n_voxels)
    )
    np.testing.assert_allclose(scores.values, expected, atol=1e-6)


@pytest.mark.parametrize("distance", DISTANCES)
@settings(quick, max_examples=3)
@given(seed=seeds)
def test_duplicated_patterns_tie_in_every_sphere(distance, seed):
    """Fifteen pairs of equal patterns tie at 0, although a root turns noise of 1e-16 into one of 1e-8."""
    patterns, references = study(n_conditions=30, seed=seed)
    values = patterns.values * 100
    values[15:] = values[:15]
    doubled = Patterns(values, patterns.table, patterns.volume)
    scores = searchlight.compare(
        doubled, spheres(doubled.volume, RADIUS_MM), references, rdm=RdmSettings(distance=distance)
    )
    expected = expected_of(doubled, references, radius_mm=RADIUS_MM, distance=distance, comparison="spearman")
    np.testing.assert_allclose(scores.values, expected, atol=1e-6)


def test_offset_of_ten_thousand_in_float32_costs_nothing():
    patterns, references = study()
    values = (patterns.values + np.float32(1e4)).astype(np.float32)
    lifted = Patterns(values, patterns.table, patterns.volume)
    around = spheres(patterns.volume, RADIUS_MM)
    for distance in DISTANCES:
        scores = searchlight.compare(
            lifted, around, references, comparison="pearson", rdm=RdmSettings(distance=distance)
        )
        expected = expected_of(lifted, references, radius_mm=RADIUS_MM, distance=distance, comparison="pearson")
        np.testing.assert_allclose(scores.values, expected, atol=2e-5 if distance == "cosine" else 1e-6)


# ------------------------------------------------------------------------------------------ undefined


def test_nan_in_one_voxel_changes_nothing_where_it_is_not_a_member():
    patterns, references = study()
    around = spheres(patterns.volume, RADIUS_MM)
    values = patterns.values.copy()
    values[3, 40] = np.nan
    before = searchlight.compare(patterns, around, references)
    after = searchlight.compare(Patterns(values, patterns.table, patterns.volume), around, references)
    touched = np.array([40 in around.members(centre) for centre in range(len(around))])
    np.testing.assert_array_equal(after.values[:, ~touched], before.values[:, ~touched])
    assert not np.array_equal(after.values[:, touched], before.values[:, touched])
    assert after.reason.tolist().count(2) == 1
    assert after.reason[40] == 2
    assert np.isnan(after.values[:, 40]).all()
    assert np.isfinite(np.delete(after.values, 40, axis=1)).all()
    np.testing.assert_array_equal(
        after.n_members[touched], np.where(np.flatnonzero(touched) == 40, 0, before.n_members[touched] - 1)
    )


@pytest.mark.parametrize(("distance", "reason"), [("correlation", 4), ("cosine", 0), ("euclidean", 0)])
def test_pattern_that_is_constant_in_a_sphere(distance, reason):
    patterns, references = study()
    around = spheres(patterns.volume, RADIUS_MM)
    values = patterns.values + 5
    values[2, around.members(30)] = 0.1  # constant for one condition only, so no voxel is without data
    scores = searchlight.compare(
        Patterns(values, patterns.table, patterns.volume), around, references, rdm=RdmSettings(distance=distance)
    )
    assert scores.reason[30] == reason
    assert np.isnan(scores.values[:, 30]).all() == (reason > 0)
    far = np.array([not np.isin(around.members(c), around.members(30)).any() for c in range(len(around))])
    clean = Patterns(patterns.values + 5, patterns.table, patterns.volume)
    expected = searchlight.compare(clean, around, references, rdm=RdmSettings(distance=distance))
    np.testing.assert_array_equal(scores.values[:, far], expected.values[:, far])


def test_zero_pattern_has_no_cosine():
    patterns, references = study()
    around = spheres(patterns.volume, RADIUS_MM)
    values = patterns.values.copy()
    values[2, around.members(30)] = 0
    scores = searchlight.compare(
        Patterns(values, patterns.table, patterns.volume), around, references, rdm=RdmSettings(distance="cosine")
    )
    assert scores.reason[30] == 4


def test_brain_rdm_without_differences_is_undefined():
    volume = Volume(np.ones((3, 1, 1)), np.eye(4))
    patterns = Patterns(np.eye(3), pd.DataFrame({"condition": list("abc")}), volume)
    references = RDMs([[1.0, 2, 3]], list("abc"), pd.DataFrame({"layer": ["x"]}))
    for comparison in ("spearman", "pearson", "kendall_tau_a", "rho_a"):
        scores = searchlight.compare(
            patterns, spheres(volume, 5), references, comparison=comparison, rdm=RdmSettings(distance="euclidean")
        )
        assert scores.reason.tolist() == [5, 5, 5]
        assert np.isnan(scores.values).all()


def test_constant_reference_is_undefined_and_the_others_are_not():
    patterns, references = study()
    values = references.values.copy()
    values[1] = 0.3
    scores = searchlight.compare(
        patterns, spheres(patterns.volume, RADIUS_MM), RDMs(values, references.conditions, references.table)
    )
    assert np.isnan(scores.values[1]).all()
    assert np.isfinite(scores.values[[0, 2]]).all()
    assert not scores.reason.any()


def test_small_spheres_are_undefined_and_counted():
    patterns, references = study()
    around = spheres(patterns.volume, 2.0)
    smallest = int(np.median(around.n_members))
    scores = searchlight.compare(patterns, around, references, rdm=RdmSettings(min_voxels=smallest))
    np.testing.assert_array_equal(scores.reason, np.where(around.n_members < smallest, 3, 0))
    np.testing.assert_array_equal(np.isnan(scores.values[0]), around.n_members < smallest)
    np.testing.assert_array_equal(scores.n_members, around.n_members)


def test_stride_leaves_the_others_undefined():
    patterns, references = study()
    every = searchlight.compare(patterns, spheres(patterns.volume, RADIUS_MM), references)
    some = searchlight.compare(patterns, spheres(patterns.volume, RADIUS_MM, stride=2), references)
    centres = (patterns.volume.indices % 2 == 0).all(axis=1)
    np.testing.assert_array_equal(some.reason, np.where(centres, 0, 1))
    np.testing.assert_array_equal(some.values, np.where(centres, every.values, np.nan))


@pytest.mark.slow
@pytest.mark.parametrize("distance", DISTANCES)
def test_equals_scipy_on_raw_bold_with_every_defect(distance):
    """Units of 10^4 that vary over space, quiet voxels, equal patterns, voxels without data, a mask full of holes."""
    rng = np.random.default_rng(7)
    volume = Volume(rng.random((12, 10, 24)) < 0.9, np.diag([3.0, 3.0, 3.0, 1.0]))
    n_conditions, n_voxels = 30, volume.n_voxels
    noise = rng.standard_normal((n_conditions, n_voxels))
    noise[15:20] = noise[:5]
    anatomy = 1e4 + 2000 * np.sin(volume.indices @ [0.11, 0.07, 0.05]) + 300 * rng.standard_normal(n_voxels)
    values = (0 if distance == "cosine" else anatomy) + 30 * noise
    quiet = rng.random(n_voxels) < 0.05
    values[:, quiet] = 1e4 + 1e-2 * noise[:, quiet]
    values[3, rng.random(n_voxels) < 0.01] = np.nan
    values[:, rng.random(n_voxels) < 0.01] = 0
    names = [f"img{n}" for n in range(n_conditions)]
    patterns = Patterns(values, pd.DataFrame({"condition": names}), volume)
    n_pairs = n_conditions * (n_conditions - 1) // 2
    rdms = np.vstack([rng.random((3, n_pairs)), rng.integers(0, 2, (1, n_pairs))])
    around = spheres(volume, 9)
    found = searchlight.compare(
        patterns, around, RDMs(rdms, names, pd.DataFrame({"layer": list("abcd")})), rdm=RdmSettings(distance=distance)
    )
    for centre in rng.choice(np.flatnonzero(patterns.usable), 150, replace=False):
        members = around.members(centre)
        brain = oracles.rdm(patterns.values[:, members[patterns.usable[members]]], distance)
        expected = [oracles.compare(brain, rdm, "spearman") for rdm in rdms]
        np.testing.assert_allclose(found.values[:, centre], expected, rtol=0, atol=1e-6)


# ---------------------------------------------------------------------------------- how it runs, no matter


@pytest.mark.parametrize("comparison", COMPARISONS)
def test_chunks_and_threads_change_nothing(comparison):
    """Bitwise for ranks, whose products are exact; for the others one bit of the map's single precision."""
    patterns, references = study(n_conditions=7, shape=(6, 6, 5))
    around = spheres(patterns.volume, RADIUS_MM)
    tolerance = 1e-7 if comparison in ("pearson", "cosine") else 0
    first = searchlight.compare(patterns, around, references, comparison=comparison)
    for chunk_size, n_threads in [(1, 1), (7, 2), (128, 3), (10**6, 1), (7, 3)]:
        other = searchlight.compare(
            patterns,
            around,
            references,
            comparison=comparison,
            run=RunSettings(n_threads=n_threads, chunk_size=chunk_size),
        )
        np.testing.assert_allclose(other.values, first.values, rtol=0, atol=tolerance)
        np.testing.assert_array_equal(other.reason, first.reason)


def test_order_of_centres_changes_nothing(rng):
    patterns, references = study()
    around = spheres(patterns.volume, RADIUS_MM)
    order = rng.permutation(len(around))
    shuffled = core.Neighbourhood(
        np.concatenate([[0], np.cumsum(around.n_members[order])]),
        np.concatenate([around.members(centre) for centre in order]),
        patterns.volume,
        centres=order,
    )
    expected = searchlight.compare(patterns, around, references)
    np.testing.assert_array_equal(searchlight.compare(patterns, shuffled, references).values, expected.values)


def test_order_of_voxels_changes_nothing(rng):
    """The same brain stored with its axes permuted and flipped gives the same map, turned likewise."""
    patterns, references = study()
    volume = patterns.volume
    turned_affine = volume.affine.copy()
    turned_affine[:3, :3] = (volume.affine[:3, :3] @ np.diag([-1, 1, 1]))[:, [2, 0, 1]]
    turned_affine[:3, 3] = volume.voxel_to_mm([volume.shape[0] - 1, 0, 0])
    turned = Volume(np.moveaxis(volume.mask[::-1], (2, 0, 1), (0, 1, 2)), turned_affine)
    grid = np.moveaxis(volume.unmask(patterns.values)[:, ::-1], (3, 1, 2), (1, 2, 3))
    again = Patterns(grid[:, turned.mask], patterns.table, turned)
    scores = searchlight.compare(patterns, spheres(volume, RADIUS_MM), references)
    turned_scores = searchlight.compare(again, spheres(turned, RADIUS_MM), references)
    back = np.moveaxis(turned.unmask(turned_scores.values), (1, 2, 3), (3, 1, 2))[:, ::-1]
    np.testing.assert_array_equal(back, volume.unmask(scores.values))


def test_progress_counts_every_centre():
    patterns, references = study()
    around, done = spheres(patterns.volume, RADIUS_MM), []
    searchlight.compare(patterns, around, references, run=RunSettings(chunk_size=1, progress=done.append))
    assert sum(done) == len(around)
    assert set(done[:-1]) == {64}


# ---------------------------------------------------------------------------------------- by label


@pytest.mark.parametrize("distance", DISTANCES)
@settings(quick, max_examples=8)
@given(seed=seeds)
def test_relabelling_conditions_changes_no_score(distance, seed):
    """Shuffled rows, with ties: img1, img2 and img10 meet by name, not by place or by alphabet."""
    patterns, references = study(n_conditions=11, seed=seed)
    rounded = np.round(patterns.values * 2)
    rounded[:, 0] = np.arange(11)
    patterns = Patterns(rounded, patterns.table, patterns.volume)
    around = spheres(patterns.volume, RADIUS_MM)
    order = np.random.default_rng(seed).permutation(11)
    shuffled = Patterns(patterns.values[order], patterns.table.iloc[order], patterns.volume)
    ordered = references.reordered(sorted(references.conditions))
    expected = searchlight.compare(patterns, around, references, rdm=RdmSettings(distance=distance))
    np.testing.assert_array_equal(
        searchlight.compare(shuffled, around, ordered, rdm=RdmSettings(distance=distance)).values, expected.values
    )


def test_missing_and_extra_conditions_are_named():
    patterns, references = study()
    around = spheres(patterns.volume, RADIUS_MM)
    names = [name for name in references.conditions if name != "img3"]
    with pytest.raises(UserError, match="share 7 of 8 conditions; missing in reference RDMs: 'img3'"):
        searchlight.compare(patterns, around, references.reordered(names))
    fewer = patterns.table["condition"] != "img5"
    some = Patterns(patterns.values[fewer], patterns.table[fewer], patterns.volume)
    with pytest.raises(UserError, match="share 7 of 8 conditions; missing in patterns: 'img5'"):
        searchlight.compare(some, around, references)


@settings(quick, max_examples=10)
@given(study=studies(n_conditions=6))
def test_a_sphere_scores_exactly_1_with_its_own_rdm(study):
    patterns, _ = study
    around = spheres(patterns.volume, WIDE_MM)
    own = searchlight.region_rdms(patterns, around)
    scores = searchlight.compare(patterns, around, own)
    itself = np.diag(scores.values)
    defined = scores.reason == 0
    assert (itself[defined] == 1.0).all()
    assert np.isnan(scores.values[:, ~defined]).all()


def test_a_stack_of_many_references_is_scored_row_by_row():
    """Up to 249 of them in double precision, as if each were alone."""
    patterns, references = study(n_rdms=249)
    around = spheres(patterns.volume, RADIUS_MM)
    together = searchlight.compare(patterns, around, references, comparison="pearson")
    assert together.values.shape == (249, patterns.n_features)
    assert together.table["layer"].tolist() == references.table["layer"].tolist()
    assert set(together.table["statistic"]) == {"pearson"}
    for row in (0, 31, 100, 248):
        alone = searchlight.compare(patterns, around, references.subset([row]), comparison="pearson")
        np.testing.assert_array_equal(alone.values[0], together.values[row])


@pytest.mark.parametrize("comparison", COMPARISONS)
def test_very_many_references_are_scored_in_single_precision(comparison):
    patterns, references = study(n_conditions=12, n_rdms=300)
    around = spheres(patterns.volume, RADIUS_MM)
    together = searchlight.compare(patterns, around, references, comparison=comparison)
    some = searchlight.compare(patterns, around, references.subset(range(0, 300, 30)), comparison=comparison)
    np.testing.assert_allclose(together.values[::30], some.values, rtol=0, atol=5e-7)
    np.testing.assert_array_equal(together.reason, some.reason)
    other = searchlight.compare(patterns, around, references, comparison=comparison, run=RunSettings(n_threads=3))
    np.testing.assert_array_equal(other.values, together.values)


# ------------------------------------------------------------------------------------------- regions


def test_a_region_that_is_a_sphere_scores_as_the_sphere():
    patterns, references = study()
    around = spheres(patterns.volume, RADIUS_MM)
    members = {f"around{c}": np.isin(np.arange(patterns.n_features), around.members(c)) for c in (0, 33, 80)}
    areas = from_masks(patterns.volume, members)
    by_region = searchlight.compare(patterns, areas, references)
    by_sphere = searchlight.compare(patterns, around, references)
    assert by_region.volume is None
    assert by_region.regions["region"].tolist() == list(members)
    np.testing.assert_array_equal(by_region.values, by_sphere.values[:, [0, 33, 80]])
    np.testing.assert_array_equal(by_region.n_members, around.n_members[[0, 33, 80]])


@pytest.mark.parametrize("distance", DISTANCES)
def test_region_rdms_are_those_that_compare_scores(distance):
    patterns, references = study()
    values = patterns.values.copy()
    values[1, 3] = np.nan
    holed = Patterns(values, patterns.table, patterns.volume)
    voxels = np.arange(holed.n_features)
    areas = from_masks(holed.volume, {"small": voxels == 3, "early": voxels < 30, "late": voxels >= 30})
    rdms = searchlight.region_rdms(holed, areas, rdm=RdmSettings(distance=distance))
    assert rdms.conditions == tuple(patterns.conditions)
    assert rdms.distance == distance
    assert rdms.table.to_dict("list") == {
        "region": ["small", "early", "late"],
        "n_voxels": [0, 29, holed.n_features - 30],
    }
    assert np.isnan(rdms.values[0]).all()
    early = [voxel for voxel in range(30) if voxel != 3]
    np.testing.assert_allclose(rdms.values[1], oracles.rdm(values[:, early], distance), atol=1e-12)
    scores = searchlight.compare(holed, areas, references, rdm=RdmSettings(distance=distance))
    for column in (1, 2):
        expected = [
            oracles.compare(rdms.values[column], row, "spearman") for row in by_hand(references, patterns.conditions)
        ]
        np.testing.assert_allclose(scores.values[:, column], expected, atol=1e-6)
    assert scores.reason.tolist() == [3, 0, 0]


def test_rdms_of_spheres_name_their_centres():
    patterns, _ = study()
    rdms = searchlight.region_rdms(patterns, spheres(patterns.volume, RADIUS_MM, stride=3))
    assert (patterns.volume.indices[rdms.table["centre"]] % 3 == 0).all()


# -------------------------------------------------------------------------------- a notebook's few lines


def test_the_library_below_the_pipeline_in_a_notebook(rng):
    mask, affine = np.ones((5, 5, 5)), np.diag([3.0, 3, 3, 1])
    names = [f"image{n}" for n in range(6)]
    X, R = rng.standard_normal((6, 125)), rng.random((2, 15))
    df, layers = pd.DataFrame({"condition": names}), pd.DataFrame({"model": "net", "layer": ["conv1", "conv2"]})

    vol = core.Volume(mask=mask, affine=affine)
    pat = core.Patterns(values=X, table=df, space=vol)
    ref = core.RDMs(values=R, conditions=names, table=layers, distance="correlation")
    spheres = neighbourhood.spheres(vol, radius_mm=10)
    scores = searchlight.compare(pat, spheres, ref, comparison="spearman", rdm=RdmSettings(distance="correlation"))
    scores.values  # (n_rdms, n_voxels)  # noqa: B018
    image = scores.to_nifti(layer="conv2")

    assert scores.values.shape == (2, 125)
    assert image.shape == (5, 5, 5)
    np.testing.assert_array_equal(image.get_fdata(dtype=np.float32).ravel(), scores.values[1])
    np.testing.assert_array_equal(image.affine, affine)


# -------------------------------------------------------------------------------------------- errors


def test_min_voxels_is_two_at_least():
    patterns, references = study()
    around = spheres(patterns.volume, RADIUS_MM)
    with pytest.raises(UserError, match=r"min_voxels is at least 2 .*, not 1\."):
        searchlight.compare(patterns, around, references, rdm=RdmSettings(min_voxels=1))
    with pytest.raises(UserError, match=r"min_voxels is at least 2 .*, not 1\."):
        searchlight.region_rdms(patterns, around, rdm=RdmSettings(min_voxels=1))


def test_two_conditions_are_too_few():
    volume = Volume(np.ones((3, 1, 1)), np.eye(4))
    patterns = Patterns([[1, 2, 3], [3, 1, 2]], pd.DataFrame({"condition": ["a", "b"]}), volume)
    references = RDMs([[1.0]], ["a", "b"], pd.DataFrame({"layer": ["x"]}))
    with pytest.raises(UserError, match="needs 3 conditions or more, and the patterns have 2"):
        searchlight.compare(patterns, spheres(volume, 2), references)


def test_all_spheres_too_small():
    patterns, references = study()
    with pytest.raises(UserError, match=r"No searchlight has the 9 voxels that min_voxels asks for; the largest has 1"):
        searchlight.compare(patterns, spheres(patterns.volume, 0.5), references, rdm=RdmSettings(min_voxels=9))


def test_neighbourhood_of_another_volume():
    patterns, references = study()
    other = Volume(np.ones((2, 2, 2)), np.eye(4))
    with pytest.raises(UserError, match="are over different masks"):
        searchlight.compare(patterns, spheres(other, 2), references)
    without = Patterns(patterns.values, patterns.table)
    with pytest.raises(UserError, match="are over different masks"):
        searchlight.compare(without, spheres(patterns.volume, 2), references)
    moved = Volume(patterns.volume.mask, patterns.volume.affine * 2)
    with pytest.raises(UserError, match="The neighbourhood and the patterns lie on different grids"):
        searchlight.compare(patterns, spheres(moved, 4), references)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"distance": "corelation"}, "Unknown distance 'corelation'. Did you mean 'correlation'"),
        ({"comparison": "kendall"}, "Unknown comparison 'kendall'. Did you mean 'kendall_tau_a'"),
    ],
)
def test_unknown_names(how, message):
    patterns, references = study()
    distance, around = how.pop("distance", "correlation"), spheres(patterns.volume, 2)
    with pytest.raises(UserError, match=message):
        searchlight.compare(patterns, around, references, **how, rdm=RdmSettings(distance))


def test_order_of_chunks_is_kept_when_the_first_takes_longest():
    """Results come back in the order of the centres although the threads finish in another."""
    import time

    def slow_first(centres):
        time.sleep(0.05 if centres.start == 0 else 0)
        return np.array([centres.start]), np.zeros(1)

    found = [chunk[0].item() for _, chunk in searchlight.in_threads(slow_first, cut(range(10), 4), 3)]
    assert found == [0, 4, 8]


@quick
@given(st.integers(1, 300), st.integers(1, 200), st.integers(3, 300))
def test_chunks_cover_every_centre_once_and_begin_with_a_run(n_centres, chunk_size, n_conditions):
    where = np.arange(n_centres + 1), np.zeros(n_centres, np.int32)
    responses, counts = np.zeros((1, 1, n_conditions)), np.ones((1, n_conditions))
    around = Spheres(responses, counts, *where, DISTANCES["correlation"], 2, np.ones(n_centres, bool))
    chunks = around.chunks(chunk_size)
    assert [centre for centres in chunks for centre in centres] == list(range(n_centres))
    assert all(centres.start % around.run == 0 for centres in chunks)
    assert all(chunk_size <= len(centres) < chunk_size + around.run for centres in chunks[:-1])


# ----------------------------------------------------------------------------------------- between runs


def runs_of(n_runs=3, n_conditions=7, seed=0):
    """Noise in several runs, rows shuffled, around a signal that is the same in all of them."""
    rng = np.random.default_rng(seed)
    volume = Volume(np.ones((5, 5, 4)), np.eye(4))
    signal = rng.standard_normal((n_conditions, volume.n_voxels))
    values = signal + rng.standard_normal((n_runs, n_conditions, volume.n_voxels)) + rng.normal(size=(n_runs, 1, 1))
    names = [f"img{n}" for n in range(n_conditions)]
    table = pd.DataFrame(
        {"condition": names * n_runs, "run": np.repeat([f"r{n}" for n in range(n_runs)], n_conditions)}
    )
    order = rng.permutation(len(table))
    rdms = RDMs(rng.random((2, n_conditions * (n_conditions - 1) // 2)), names, pd.DataFrame({"layer": ["a", "b"]}))
    return Patterns(values.reshape(len(table), -1)[order], table.iloc[order], volume), values, rdms


@pytest.mark.parametrize("n_runs", [2, 3, 8])
def test_crossnobis_is_the_mean_over_folds(n_runs):
    """Training mean of the other runs times the run that is left out, per voxel, as the definition says."""
    patterns, values, references = runs_of(n_runs)
    around = spheres(patterns.volume, 2)
    rdms = searchlight.region_rdms(patterns, around, rdm=RdmSettings(distance="crossnobis"))
    names = [f"img{n}" for n in range(7)]
    by_name = rdms.reordered(names).values
    for centre in (0, 31, 63, 64, 99):
        x = values[:, :, around.members(centre)].astype(np.float32).astype(np.float64)
        expected = []
        for i, j in zip(*np.triu_indices(7, 1), strict=True):
            differences = x[:, i] - x[:, j]
            others = (differences.sum(axis=0) - differences) / (n_runs - 1)
            expected.append((others * differences).sum(axis=1).mean() / x.shape[2])
        np.testing.assert_allclose(by_name[centre], expected, atol=1e-10)
    scores = searchlight.compare(patterns, around, references, rdm=RdmSettings(distance="crossnobis"))
    expected = [oracles.compare(by_name[31], row, "spearman") for row in references.values]
    np.testing.assert_allclose(scores.values[:, 31], expected, atol=1e-6)


def test_crossnobis_is_unbiased_and_keeps_negatives():
    """Without a signal: mean 0 within 4 standard errors over independent brains."""
    means = []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        volume = Volume(np.ones((4, 4, 4)), np.eye(4))
        table = pd.DataFrame({"condition": list("abcde") * 4, "run": np.repeat(range(4), 5)})
        patterns = Patterns(rng.standard_normal((20, 64)), table, volume)
        whole = from_masks(volume, {"all": np.ones(64, bool)})
        rdm = searchlight.region_rdms(patterns, whole, rdm=RdmSettings(distance="crossnobis")).values[0]
        means.append(rdm.mean())
        assert (rdm < 0).any()
    assert abs(np.mean(means)) < 4 * np.std(means) / np.sqrt(30)


def test_a_distance_between_runs_needs_them():
    patterns, _ = study()
    around = spheres(patterns.volume, 2)
    with pytest.raises(UserError, match="needs patterns of 2 runs or more, told apart by a column `run`"):
        searchlight.region_rdms(patterns, around, rdm=RdmSettings(distance="crossnobis"))
    runs, _, _ = runs_of()
    once = (runs.table["condition"] == "img2") & (runs.table["run"] != "r1")
    some = Patterns(runs.values[~once], runs.table[~once], runs.volume)
    with pytest.raises(UserError, match="patterns of different runs, and 'img2' is in one run only; leave such"):
        searchlight.region_rdms(some, spheres(runs.volume, 2), rdm=RdmSettings(distance="crossnobis"))


def unbalanced(n_runs=4, n_conditions=6, seed=0, offset=0.0):
    """Conditions that are missing in some runs, and one that is shown twice in a run; residuals of the same voxels."""
    rng = np.random.default_rng(seed)
    volume = Volume(rng.random((5, 4, 5)) < 0.85, np.diag([1.5, 2.0, 1.0, 1.0]))
    names = [f"img{n}" for n in range(n_conditions)]
    table = pd.DataFrame(
        {"condition": names * n_runs, "run": np.repeat([f"r{n}" for n in range(n_runs)], n_conditions)}
    )
    signal = rng.standard_normal((n_conditions, volume.n_voxels))
    table = pd.concat([table.drop(index=[1, 8, n_conditions * 2]), table.iloc[[3]]]).assign(trial=0)
    table.iloc[-1, -1] = 1
    table = table.sample(frac=1, random_state=seed).reset_index(drop=True)
    values = signal[[names.index(name) for name in table["condition"]]]
    values = values + 1.5 * rng.standard_normal(values.shape) + offset
    mixing = np.eye(volume.n_voxels) + 0.5 * np.eye(volume.n_voxels, k=1)
    residuals = Residuals(rng.standard_normal((50, volume.n_voxels)) @ mixing, 44)
    return Patterns(values, table, volume, residuals=residuals)


@pytest.mark.parametrize("shrinkage", [None, *SHRINKAGES])
@pytest.mark.parametrize("distance", CROSS_VALIDATED)
@pytest.mark.parametrize("balanced", [True, False])
def test_distances_between_runs_are_means_over_all_pairs(distance, shrinkage, balanced):
    """Balanced or not, whitened or not, large offsets or none."""
    patterns = unbalanced(offset=100.0)
    if balanced:
        rows, _, _ = runs_of(n_runs=3)
        residuals = np.random.default_rng(5).standard_normal((40, rows.n_features))
        patterns = replace(rows, residuals=Residuals(residuals, 35))
    around = spheres(patterns.volume, 2)
    found = searchlight.region_rdms(
        patterns, around, rdm=RdmSettings(distance=distance, shrinkage=shrinkage, min_voxels=3)
    )
    conditions, runs = patterns.table["condition"].tolist(), patterns.table["run"].tolist()
    for centre in (0, 17, 40, 63, 64, 70):
        members = around.members(centre)
        rows = patterns.values[:, members].astype(np.float64)
        if distance == "crossnobis" and not balanced:
            rows = rows - rows.mean(axis=0)
        if shrinkage is not None:
            samples, dof = (
                patterns.residuals.values[:, members].astype(np.float64),
                patterns.residuals.degrees_of_freedom,
            )
            rows = oracles.whitened(rows, samples, dof, shrinkage)
        expected = oracles.between_runs(rows, conditions, runs, distance)
        tolerance = 1e-7 if balanced else 1e-5  # voxels of single precision, 50 times as large as what differs
        np.testing.assert_allclose(found.values[centre], expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("shrinkage", SHRINKAGES)
@pytest.mark.parametrize("distance", DISTANCES)
def test_any_distance_can_be_of_whitened_patterns(distance, shrinkage):
    patterns = unbalanced()
    around = spheres(patterns.volume, 2)
    found = searchlight.region_rdms(
        patterns, around, rdm=RdmSettings(distance=distance, shrinkage=shrinkage, min_voxels=3)
    )
    means = patterns.mean_over_runs().values
    for centre in (0, 17, 40, 63, 64, 70):
        members = around.members(centre)
        samples = patterns.residuals.values[:, members].astype(np.float64)
        white = oracles.whitened(means[:, members], samples, 44, shrinkage)
        np.testing.assert_allclose(found.values[centre], oracles.rdm(white, distance), rtol=1e-6, atol=1e-8)


def test_whitening_needs_residuals_and_leaves_out_voxels_without_noise():
    patterns = unbalanced()
    residuals = patterns.residuals.values.copy()
    residuals[:, 11] = 0
    quiet = replace(patterns, residuals=Residuals(residuals, 44))
    around = spheres(patterns.volume, 2)
    references = RDMs(
        np.random.default_rng(0).random((1, 15)), [f"img{n}" for n in range(6)], pd.DataFrame({"layer": ["a"]})
    )
    scores = searchlight.compare(quiet, around, references, rdm=RdmSettings(shrinkage="ledoit_wolf"))
    assert scores.reason[11] == core.NO_DATA
    assert (scores.n_members < around.n_members).any()
    bare = replace(patterns, residuals=None)
    with pytest.raises(UserError, match="needs residuals, and the patterns have none"):
        searchlight.compare(bare, around, references, rdm=RdmSettings(shrinkage="ledoit_wolf"))
    with pytest.raises(UserError, match="Whitening can't be computed on 'cuda'; set device to cpu"):
        searchlight.compare(
            patterns, around, references, rdm=RdmSettings(shrinkage="ledoit_wolf"), run=RunSettings(device="cuda")
        )


@pytest.mark.slow
@pytest.mark.parametrize("distance", CROSS_VALIDATED)
def test_unbalanced_distances_are_unbiased_under_the_null(distance):
    """No condition differs from another: crossnobis is 0 and the correlation of patterns with a common part is 1."""
    means = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        table = pd.DataFrame({"condition": list("abcde") * 4, "run": np.repeat(range(4), 5)}).drop(index=[1, 7, 13])
        common = 3 * np.random.default_rng(999).standard_normal(64)
        patterns = Patterns(common + rng.standard_normal((17, 64)), table, Volume(np.ones((4, 4, 4)), np.eye(4)))
        whole = from_masks(patterns.volume, {"all": np.ones(64, bool)})
        rdm = searchlight.region_rdms(patterns, whole, rdm=RdmSettings(distance=distance)).values[0]
        means.append(rdm.mean())
    assert 0.3 < np.mean(np.array(means) < 0) < 0.7
    assert abs(np.mean(means)) < 3 * np.std(means) / np.sqrt(200) + (2e-3 if distance == "cv_correlation" else 0)


# ------------------------------------------------------------------------------------------ reliability


@pytest.mark.parametrize(("distance", "comparison"), [("correlation", "spearman"), ("crossnobis", "kendall_tau_a")])
def test_reliability_is_the_score_of_odd_with_even_runs(distance, comparison):
    patterns, _, references = runs_of(n_runs=5)
    around = spheres(patterns.volume, 2)
    how = {"comparison": comparison, "rdm": RdmSettings(distance)}
    found = searchlight.compare(
        patterns, around, references, reliability=True, **how, run=RunSettings(n_threads=2, chunk_size=1)
    )
    plain = searchlight.compare(patterns, around, references, **how)
    np.testing.assert_array_equal(found.values[:-1], plain.values)
    np.testing.assert_array_equal(found.reason, plain.reason)
    assert found.table.iloc[-1].to_dict() == {
        "layer": "", "statistic": comparison, "model": "reliability", "role": QUALITY,
    }  # fmt: skip
    order = list(dict.fromkeys(patterns.table["run"]))
    odd = patterns.table["run"].isin(order[::2]).to_numpy()
    each = []
    for rows in (odd, ~odd):
        half = Patterns(patterns.values[rows], patterns.table[rows], patterns.volume)
        each.append(
            searchlight.region_rdms(half, around, rdm=RdmSettings(distance=distance))
            .reordered(patterns.conditions)
            .values
        )
    expected = [oracles.compare(a, b, comparison) for a, b in zip(*each, strict=True)]
    np.testing.assert_allclose(found.values[-1], expected, atol=1e-6)


def test_reliability_needs_every_condition_in_both_halves():
    patterns, _, references = runs_of(n_runs=3)
    order = list(dict.fromkeys(patterns.table["run"]))
    gone = (patterns.table["run"] == order[1]) & (patterns.table["condition"] == "img3")
    some = Patterns(patterns.values[~gone], patterns.table[~gone], patterns.volume)
    around = spheres(patterns.volume, 2)
    done = []
    with pytest.raises(UserError, match="in both halves; no even run has 'img3'"):
        searchlight.compare(some, around, references, reliability=True, progress=done.append)
    assert not done, "told before any work"
    with pytest.raises(UserError, match="reliability needs patterns of 2 runs or more"):
        searchlight.compare(patterns.mean_over_runs(), around, references, reliability=True)


# ------------------------------------------------------------------------------------------------ time


def test_each_delay_is_compared_by_itself():
    patterns, _, references = runs_of(n_runs=2)
    early, late = replace(patterns, values=patterns.values[::-1]), patterns
    table = pd.concat([early.table.assign(delay_s=3.0), late.table.assign(delay_s=1.5)])
    both = Patterns(np.concatenate([early.values, late.values]), table, patterns.volume)
    around = spheres(patterns.volume, 2)
    found = searchlight.compare(both, around, references, reliability=True)
    assert found.table["time_s"].tolist() == [1.5, 3.0] * 3
    assert found.table["layer"].tolist() == ["a", "a", "b", "b", "", ""]
    for time_s, one in ((1.5, late), (3.0, early)):
        expected = searchlight.compare(one, around, references, reliability=True)
        np.testing.assert_array_equal(found.values[found.table["time_s"] == time_s], expected.values)
    rdms = searchlight.region_rdms(both, around)
    assert rdms.table["time_s"].tolist() == [1.5] * len(around) + [3.0] * len(around)
    expected = searchlight.region_rdms(early, around).reordered(rdms.conditions)
    np.testing.assert_array_equal(rdms.values[len(around) :], expected.values)
    timed = replace(references, table=references.table.assign(time_s=[0.1, 0.2]))
    with pytest.raises(UserError, match="References over time need patterns of one response per condition"):
        searchlight.compare(both, around, timed)
    with pytest.raises(UserError, match=r"choose one by patterns.at_delay\(delay_s\)"):
        prepare_spheres(both, around, RdmSettings())


def test_maps_over_time_are_undefined_where_they_are_at_every_delay():
    volume, table = Volume(np.ones((4, 1, 1)), np.eye(4)), pd.DataFrame({"model": ["a"]})
    scores = np.array([[0.1, 0.2, np.nan, np.nan]])
    early = core.ScoreMap(scores, table, volume, n_members=[5, 3, 2, 0], reason=[0, 0, 4, 2])
    late = core.ScoreMap(scores[:, [0, 2, 1, 3]], table, volume, n_members=[4, 3, 3, 0], reason=[0, 4, 0, 3])
    both = searchlight.over_time([early, late], [1.0, 2.0])
    assert both.reason.tolist() == [0, 0, 0, 2]
    assert both.n_members.tolist() == [4, 3, 2, 0]
    np.testing.assert_array_equal(both.values, np.vstack([early.values, late.values]))


# ----------------------------------------------------------------------------------------- one walk


def test_an_exception_names_the_centre():
    """What goes wrong at one centre says which voxel it is; other centres of its chunk are not blamed."""
    patterns, references = study()
    around, volume = spheres(patterns.volume, 2), patterns.volume
    wanted = searchlight.region_rdms(patterns, around).reordered(references.conditions).values[17]

    def score(brain, _):
        if np.isclose(brain, wanted, rtol=1e-6).all(axis=1).any():
            raise ZeroDivisionError("at one of them")
        return np.zeros((1, len(brain)))

    measure = Measure(references.conditions, pd.DataFrame({"model": ["none"], "statistic": ["none"]}), score)
    with pytest.raises(ZeroDivisionError, match="at one of them") as caught:
        searchlight.scan(patterns, around, measure, run=RunSettings(n_threads=2))
    index = tuple(volume.indices[17].tolist())
    place = tuple(volume.voxel_to_mm(volume.indices[17]).round(2).tolist())
    assert caught.value.__notes__ == [f"This happened at voxel {index}, {place} mm."]


def test_a_last_step_sees_all_centres_in_order():
    patterns, references = study()
    around, seen = spheres(patterns.volume, 2, stride=2), []
    measure = comparison_measure(references, "pearson")

    def score(brain, second):
        scores = measure.score(brain, second)
        return searchlight.Scored(scores, np.nanmax(scores, axis=1))

    with_maxima = replace(Measure(measure.conditions, measure.table, score))
    keep = lambda columns, found: seen.append((columns, found))  # noqa: E731
    run = RunSettings(n_threads=3, chunk_size=1)
    scores = searchlight.scan(patterns, around, with_maxima, run=run, last_step=keep)
    np.testing.assert_array_equal(np.concatenate([columns for columns, _ in seen]), around.centres)
    np.testing.assert_allclose(
        np.max([found for _, found in seen], axis=0), np.nanmax(scores.values, axis=1), atol=1e-6
    )
    plain = searchlight.compare(patterns, around, references, comparison="pearson")
    np.testing.assert_array_equal(scores.values, plain.values)


def test_any_measure_says_what_a_comparison_says():
    """A comparison in `scan`, whatever the order of the conditions, is `compare`."""
    patterns, references = study()
    around = spheres(patterns.volume, 2)
    turned = references.reordered(list(references.conditions)[::-1])
    found = searchlight.scan(patterns, around, comparison_measure(turned, "spearman"))
    np.testing.assert_array_equal(found.values, searchlight.compare(patterns, around, references).values)


def test_fields_of_settings_are_keywords_too():
    patterns, references = study()
    around = spheres(patterns.volume, 2)
    made, run = RdmSettings("euclidean", min_voxels=5), RunSettings(n_threads=2)
    expected = searchlight.compare(patterns, around, references, rdm=made, run=run)
    found = searchlight.compare(patterns, around, references, distance="euclidean", min_voxels=5, n_threads=2)
    np.testing.assert_array_equal(found.values, expected.values)
    both = searchlight.compare(patterns, around, references, rdm=RdmSettings("euclidean"), min_voxels=5)
    np.testing.assert_array_equal(both.values, expected.values)
    with pytest.raises(TypeError, match="unexpected keyword argument 'min_voxel'"):
        searchlight.compare(patterns, around, references, min_voxel=5)
