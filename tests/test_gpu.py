"""The torch path scores as the CPU does: on torch's CPU everywhere, and on CUDA where there is a device."""

import numpy as np
import pandas as pd
import pytest
import torch

from rsa import searchlight
from rsa.comparisons import COMPARISONS
from rsa.core import Patterns, RDMs, Volume
from rsa.distances import CROSS_VALIDATED, DISTANCES
from rsa.errors import UserError
from rsa.neighbourhood import from_masks, spheres
from rsa.searchlight import RdmSettings, RunSettings

CUDA = pytest.param(
    "cuda",
    marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")],
)
DEVICES = ["cpu", CUDA]


@pytest.fixture
def on_torch(monkeypatch):
    """Let `compare` take the torch path on a device, also on torch's CPU."""

    def compare(*args, device, chunk_size=None, progress=None, **how):
        with monkeypatch.context() as patch:
            patch.setattr(searchlight, "choose_device", lambda _: torch.device(device).type + ":0")
            return searchlight.compare(*args, **how, run=RunSettings(1, chunk_size, device, progress))

    return compare


def study(seed=0, n_runs=1, n_conditions=10):
    """Patterns with an offset, duplicates, a constant pattern in a corner, and a voxel without data."""
    rng = np.random.default_rng(seed)
    volume = Volume(rng.random((7, 6, 5)) < 0.8, np.diag([2.0, 2.0, 1.5, 1.0]))
    names = [f"img{i}" for i in range(n_conditions)]
    values = rng.standard_normal((n_runs, n_conditions, volume.n_voxels)) + 100
    values[:, 4] = values[:, 5]
    values[:, 7, volume.indices[:, 0] < 4] = 3
    values[0, 2, 60] = np.nan
    table = pd.DataFrame({"condition": names * n_runs, "run": np.repeat(range(n_runs), n_conditions)})
    patterns = Patterns(values.reshape(-1, volume.n_voxels), table, volume)
    n_pairs = n_conditions * (n_conditions - 1) // 2
    rdms = np.vstack([rng.random((3, n_pairs)), rng.integers(0, 2, (1, n_pairs))])
    return patterns, RDMs(rdms, names, pd.DataFrame({"layer": list("abcd")}))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("comparison", [name for name, entry in COMPARISONS.items() if entry.on_gpu])
@pytest.mark.parametrize("distance", [name for name, entry in (DISTANCES | CROSS_VALIDATED).items() if entry.on_gpu])
def test_scores_as_the_cpu_does(on_torch, device, distance, comparison):
    patterns, references = study(n_runs=3 if distance == "crossnobis" else 1)
    around = spheres(patterns.volume, 4)
    how = {"comparison": comparison, "rdm": RdmSettings(distance, min_voxels=5)}
    expected = searchlight.compare(patterns, around, references, **how)
    found = on_torch(patterns, around, references, device=device, **how)
    np.testing.assert_array_equal(found.reason, expected.reason)
    np.testing.assert_array_equal(found.n_members, expected.n_members)
    np.testing.assert_allclose(found.values, expected.values, rtol=0, atol=1e-6)
    assert {0, 2, 4 if distance == "correlation" else 0} <= set(found.reason)


@pytest.mark.parametrize("device", DEVICES)
def test_chunks_change_nothing(on_torch, device):
    patterns, references = study()
    around = spheres(patterns.volume, 4)
    expected = on_torch(patterns, around, references, device=device)
    done = []
    found = on_torch(patterns, around, references, device=device, chunk_size=64, progress=done.append)
    assert sum(done) == len(around)
    np.testing.assert_array_equal(found.values, expected.values)


@pytest.mark.parametrize("device", DEVICES)
def test_regions(on_torch, device):
    patterns, references = study()
    voxels = np.arange(patterns.n_features)
    areas = from_masks(patterns.volume, {"small": voxels == 60, "early": voxels < 70, "late": voxels >= 50})
    expected = searchlight.compare(patterns, areas, references)
    found = on_torch(patterns, areas, references, device=device)
    np.testing.assert_allclose(found.values, expected.values, rtol=0, atol=1e-6)
    assert found.reason.tolist() == expected.reason.tolist()


def test_what_only_the_cpu_can(monkeypatch):
    """Asked for by name it is an error; chosen by itself, the GPU leaves it to the CPU."""
    patterns, references = study()
    around = spheres(patterns.volume, 4)
    monkeypatch.setattr(searchlight, "choose_device", lambda _: "cuda")
    with pytest.raises(UserError, match="'kendall_tau_a' can't be computed on 'cuda'; set device to cpu"):
        searchlight.compare(patterns, around, references, comparison="kendall_tau_a", run=RunSettings(device="cuda"))
    scores = searchlight.compare(
        patterns, around, references, comparison="kendall_tau_a", run=RunSettings(device="auto")
    )
    assert np.isfinite(scores.values).any()
    monkeypatch.setattr(searchlight, "choose_device", lambda _: "mps")
    with pytest.raises(UserError, match="needs double precision, which 'mps' has not"):
        searchlight.compare(patterns, around, references, run=RunSettings(device="mps"))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_auto_takes_cuda_and_fits_its_memory():
    patterns, references = study(n_conditions=40)
    around = spheres(patterns.volume, 6)
    torch.cuda.reset_peak_memory_stats()
    scores = searchlight.compare(patterns, around, references, run=RunSettings(device="auto"))
    assert torch.cuda.max_memory_allocated() > 0
    np.testing.assert_allclose(scores.values, searchlight.compare(patterns, around, references).values, atol=1e-6)
