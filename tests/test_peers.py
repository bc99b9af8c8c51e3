"""Other toolboxes give the same numbers, once their conventions are translated into ours."""

import warnings

import nibabel as nib
import numpy as np
import oracles
import pandas as pd
import pytest
from scipy.spatial.distance import pdist
from scipy.stats import t as t_distribution

from rsa import rdm, searchlight
from rsa.comparisons import COMPARISONS, compare_vectors
from rsa.core import Patterns, RDMs, Residuals, Volume
from rsa.distances import DISTANCES, rdm_vectors
from rsa.inference.bootstrap import bootstrapped_regions
from rsa.inference.tally import Correction
from rsa.neighbourhood import from_masks, spheres
from rsa.searchlight import RdmSettings


def imported(name):
    """Import a peer, or skip; what its imports warn of is its own affair."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", FutureWarning)
        return pytest.importorskip(name)


@pytest.fixture(scope="module")
def rsatoolbox():
    return imported("rsatoolbox")


@pytest.fixture(scope="module")
def mne_rsa():
    return imported("mne_rsa")


# ----------------------------------------------------------------------------------------- rsatoolbox


@pytest.mark.parametrize(
    ("ours", "theirs", "scale"), [("correlation", "correlation", 1), ("sqeuclidean", "euclidean", 1 / 40)]
)
def test_rsatoolbox_measures_the_same_rdms(rsatoolbox, rng, ours, theirs, scale):
    """Its 'euclidean' is squared and divided by the number of features."""
    patterns = rng.standard_normal((9, 40)) + 2
    peer = rsatoolbox.rdm.calc_rdm(rsatoolbox.data.Dataset(patterns), method=theirs)
    np.testing.assert_allclose(rdm_vectors(patterns, DISTANCES[ours]) * scale, peer.dissimilarities[0], atol=1e-12)


@pytest.mark.filterwarnings("ignore:invalid value encountered in cast:RuntimeWarning")
@pytest.mark.parametrize("n_runs", [2, 5])
def test_rsatoolbox_measures_the_same_crossnobis(rsatoolbox, rng, n_runs):
    values = rng.standard_normal((n_runs, 7, 40)).astype(np.float32)
    names = [f"img{n}" for n in range(7)]
    table = pd.DataFrame({"condition": names * n_runs, "run": np.repeat(range(n_runs), 7)})
    patterns = Patterns(values.reshape(-1, 40), table, Volume(np.ones((10, 4, 1)), np.eye(4)))
    whole = from_masks(patterns.volume, {"all": np.ones(40, bool)})
    found = searchlight.region_rdms(patterns, whole, rdm=RdmSettings(distance="crossnobis")).values[0]
    dataset = rsatoolbox.data.Dataset(values.reshape(-1, 40).astype(float), obs_descriptors=table.to_dict("list"))
    peer = rsatoolbox.rdm.calc_rdm(dataset, method="crossnobis", descriptor="condition", cv_descriptor="run")
    np.testing.assert_allclose(found, peer.dissimilarities[0], atol=1e-12)


@pytest.mark.filterwarnings("ignore:invalid value encountered in cast:RuntimeWarning")
@pytest.mark.parametrize("shrinkage", [None, "ledoit_wolf"])
def test_rsatoolbox_measures_the_same_crossnobis_of_unbalanced_runs(rsatoolbox, rng, shrinkage):
    """Conditions missing in some runs, one shown twice in a run; whitened by residuals of fewer degrees of freedom.

    The mean of all rows is taken out of what it gets: ours does that by itself.
    """
    table = pd.DataFrame({"condition": list("abcdef") * 4, "run": np.repeat(list("1234"), 6)}).drop(index=[1, 8, 15])
    table = pd.concat([table, table.iloc[[2]]]).assign(trial=0)
    table.iloc[-1, -1] = 1
    values = rng.standard_normal((len(table), 40)).astype(np.float32) + 3
    residuals = rng.standard_normal((90, 40)) @ (np.eye(40) + 0.5 * np.eye(40, k=1))
    residuals = (residuals - residuals.mean(axis=0)).astype(np.float32)
    volume = Volume(np.ones((10, 4, 1)), np.eye(4))
    patterns = Patterns(values, table, volume, residuals=Residuals(residuals, 77))
    whole = from_masks(volume, {"all": np.ones(40, bool)})
    found = searchlight.region_rdms(patterns, whole, rdm=RdmSettings(distance="crossnobis", shrinkage=shrinkage))
    precision = None
    if shrinkage:
        precision = rsatoolbox.data.noise.prec_from_residuals(residuals.astype(float), dof=77, method="shrinkage_eye")
    rows = values.astype(float) - values.astype(float).mean(axis=0)
    dataset = rsatoolbox.data.Dataset(rows, obs_descriptors=table.to_dict("list"))
    peer = rsatoolbox.rdm.calc_rdm_unbalanced(
        dataset, method="crossnobis", descriptor="condition", cv_descriptor="run", noise=precision
    )
    order = [str(name) for name in peer.pattern_descriptors["condition"]]
    np.testing.assert_allclose(found.reordered(order).values[0], peer.dissimilarities[0], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("spearman", "spearman"),
        ("rho_a", "rho-a"),
        ("kendall_tau_a", "tau-a"),
        ("cosine", "cosine"),
        ("pearson", "corr"),
    ],
)
def test_rsatoolbox_compares_the_same(rsatoolbox, rng, ours, theirs):
    a, b = rng.random((3, 28)), rng.integers(0, 4, (4, 28)).astype(float)
    peer = rsatoolbox.rdm.compare(rsatoolbox.rdm.RDMs(a), rsatoolbox.rdm.RDMs(b), method=theirs)
    np.testing.assert_allclose(compare_vectors(a, b, COMPARISONS[ours]), peer, atol=1e-9)


@pytest.mark.parametrize(
    ("ours", "theirs"), [("spearman", "spearman"), ("rho_a", "rho-a"), ("cosine", "cosine"), ("pearson", "corr")]
)
def test_rsatoolbox_has_the_same_noise_ceiling(rsatoolbox, rng, ours, theirs):
    values = rng.random(28) + 0.4 * rng.random((5, 28))
    subjects = RDMs(values, [f"c{n}" for n in range(8)], pd.DataFrame({"subject": range(5)}))
    peer = rsatoolbox.inference.boot_noise_ceiling(rsatoolbox.rdm.RDMs(values), method=theirs)
    np.testing.assert_allclose(rdm.noise_ceiling(subjects, ours), peer, atol=1e-9)


def test_rsatoolbox_has_the_same_variance_over_subjects_and_conditions(rsatoolbox, rng):
    """Both by 150 samples; their random numbers differ, so standard errors do by up to a quarter."""
    names, table = [f"c{n:02d}" for n in range(12)], pd.DataFrame({"subject": list("abcdef"), "region": "IT"})
    seen = rng.standard_normal((12, 4))
    brain = [pdist(seen + 0.5 * rng.standard_normal((12, 4))) for _ in range(6)]
    models = np.array([pdist(seen[:, :2]), pdist(seen), pdist(rng.standard_normal((12, 4)))])
    references = RDMs(models, names, pd.DataFrame({"model": ["half", "whole", "none"], "layer": ""}))
    own = RDMs(np.array(brain), names, table)
    found = bootstrapped_regions(own, references, "pearson", Correction(), n_samples=150)
    half = (found["both_upper"] - found["both_lower"]) / 2
    peer_models = [rsatoolbox.model.ModelFixed(str(n), rsatoolbox.rdm.RDMs(one[None])) for n, one in enumerate(models)]
    np.random.seed(0)  # noqa: NPY002  it draws from these
    peer = rsatoolbox.inference.eval_dual_bootstrap(peer_models, rsatoolbox.rdm.RDMs(own.values), method="corr", N=150)
    assert peer.dof == 5
    np.testing.assert_allclose(half, t_distribution(5).ppf(0.975) * np.sqrt(peer.model_var), rtol=0.25)


# -------------------------------------------------------------------------------------------- mne-rsa


@pytest.mark.parametrize("distance", oracles.DISTANCES)
def test_mne_rsa_measures_the_same_rdms(mne_rsa, rng, distance):
    patterns = rng.standard_normal((9, 40)) + 2
    peer = mne_rsa.compute_rdm(patterns, metric=distance)
    np.testing.assert_allclose(rdm_vectors(patterns, DISTANCES[distance]), peer, atol=1e-12)


@pytest.mark.parametrize(
    ("ours", "theirs"), [("spearman", "spearman"), ("pearson", "pearson"), ("kendall_tau_a", "kendall-tau-a")]
)
def test_mne_rsa_compares_the_same(mne_rsa, rng, ours, theirs):
    a, b = rng.random(28), rng.integers(0, 4, 28).astype(float)
    peer = mne_rsa.rsa(a, b, metric=theirs)
    assert compare_vectors(a, b, COMPARISONS[ours])[0, 0] == pytest.approx(peer, abs=1e-9)


def test_mne_rsa_draws_the_same_map(mne_rsa, rng):
    """On a straight isotropic grid, with a radius (its unit is the metre) that no distance equals: it means `<`."""
    mask = rng.random((5, 6, 4)) < 0.85
    volume = Volume(mask, np.diag([2.0, 2, 2, 1]))
    names = [f"c{n}" for n in range(7)]
    patterns = Patterns(rng.standard_normal((7, volume.n_voxels)), pd.DataFrame({"condition": names}), volume)
    references = RDMs(rng.random((2, 21)), names, pd.DataFrame({"layer": ["a", "b"]}))
    ours = searchlight.compare(patterns, spheres(volume, 3.1), references)
    image = nib.Nifti1Image(np.moveaxis(np.nan_to_num(volume.unmask(patterns.values)), 0, -1), volume.affine)
    theirs = mne_rsa.rsa_nifti(
        image,
        list(references.values),
        spatial_radius=0.0031,
        brain_mask=nib.Nifti1Image(mask.astype(np.uint8), volume.affine),
    )
    peer = np.stack([one.get_fdata()[mask] for one in theirs])
    np.testing.assert_allclose(ours.values, peer, atol=1e-6)


PYMVPA_PATTERNS = """
.22366105 .51562476 .62623543 .28081652 .56513533   .22077129 .63013374 .19641318 .38466208 .60788347
.64273055 .60455658 .71368501 .36652763 .51720253   .40148338 .34188668 .09174233 .33906488 .17804584
.60728718 .6110304  .84817742 .33830628 .7123945    .32113428 .16916899 .53471886 .93321617 .22531679
"""
"""Six patterns of five features, on which PyMVPA (Hanke et al. 2009, Neuroinformatics 7:37) publishes these values."""


@pytest.mark.parametrize(
    ("distance", "comparison", "published"),
    [
        ("correlation", "pearson", 0.30956920104253227),
        ("euclidean", "pearson", 0.5388271075196246),
        ("correlation", "spearman", 0.33571428571428563),
    ],
)
def test_published_values_of_pymvpa(distance, comparison, published):
    patterns = np.array(PYMVPA_PATTERNS.split(), dtype=float).reshape(6, 5)
    brain = rdm_vectors(patterns, DISTANCES[distance])
    found = compare_vectors(brain, np.arange(15.0), COMPARISONS[comparison])
    assert found.item() == pytest.approx(published, abs=1e-9)
