"""Anything with places in mm is a space: patterns, searchlights, scores, files and peaks ask no more of it."""

from dataclasses import dataclass, replace

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import pdist
from scipy.stats import spearmanr

from rsa.core import Neighbourhood, Patterns, RDMs, ScoreMap, select
from rsa.errors import UserError
from rsa.files import io
from rsa.maps import peaks
from rsa.searchlight import compare


@dataclass(frozen=True, eq=False)
class Electrodes:
    """Places along a line, every 5 mm."""

    n_features: int
    first_mm: float = 0.0

    @property
    def centres_mm(self):
        return np.outer(self.first_mm + 5.0 * np.arange(self.n_features), [1, 0, 0])

    def require_same(self, other, what, whose):
        if self != other and (self.n_features, self.first_mm) != (other.n_features, other.first_mm):
            raise UserError(f"{what} and {whose} are of other electrodes.")

    def name_of(self, feature):
        return f"electrode {feature}"

    def to_image(self, values):
        return nib.Nifti1Image(np.atleast_2d(np.float32(values)).T[:, None, None], np.diag([5.0, 1, 1, 1]))


@pytest.fixture
def electrodes(monkeypatch):
    def save(file, name, space):
        file.create_dataset(name, data=[space.n_features, space.first_mm])

    def load(file, name):
        n_features, first_mm = file[name][:]
        return Electrodes(int(n_features), float(first_mm))

    monkeypatch.setitem(io.SPACES, "electrodes", io.StoredSpace(Electrodes, save, load))
    return Electrodes(12, first_mm=-20.0)


@pytest.fixture
def patterns(electrodes, rng):
    return Patterns(rng.standard_normal((6, 12)), pd.DataFrame({"condition": list("abcdef")}), electrodes)


def triples(space):
    """Each electrode but the ends with those beside it."""
    centres = np.arange(1, space.n_features - 1)
    return Neighbourhood(np.arange(11) * 3, (centres[:, None] + [-1, 0, 1]).ravel(), space, centres=centres)


def test_a_searchlight_takes_any_space(patterns, rng):
    references = RDMs(rng.random((2, 15)), list("abcdef"), pd.DataFrame({"model": "net", "layer": ["a", "b"]}))
    scores = compare(patterns, triples(patterns.space), references)
    expected = spearmanr(pdist(patterns.values[:, 3:6], "correlation"), references.values[1]).statistic
    assert scores.values[1, 4] == pytest.approx(expected, abs=1e-6)
    assert np.isnan(scores.values[:, [0, 11]]).all()
    assert scores.space is patterns.space
    assert scores.volume is None
    with pytest.raises(UserError, match="The neighbourhood and the patterns are of other electrodes"):
        compare(patterns, triples(replace(patterns.space, first_mm=5.0)), references)


def test_columns_have_to_fit_any_space(electrodes):
    table = pd.DataFrame({"condition": ["a", "b"]})
    with pytest.raises(UserError, match="Patterns have 3 columns and their space has 12"):
        Patterns(np.eye(3)[:2], table, electrodes)
    with pytest.raises(UserError, match="outside the 12 features of its space"):
        Neighbourhood(np.array([0, 1]), np.array([12]), electrodes, centres=np.array([0]))
    with pytest.raises(UserError, match="does not fit the 12 columns"):
        ScoreMap(np.ones((2, 3)), table, electrodes)


def test_files_hold_any_space_that_their_table_knows(tmp_path, patterns, monkeypatch):
    io.save(tmp_path / "patterns.h5", patterns)
    found = io.load_patterns(tmp_path / "patterns.h5")
    np.testing.assert_array_equal(found.values, patterns.values)
    assert (found.space.n_features, found.space.first_mm) == (12, -20.0)
    io.save(tmp_path / "scores.h5", ScoreMap(np.ones((1, 12)), pd.DataFrame({"model": ["net"]}), patterns.space))
    assert isinstance(io.load_scores(tmp_path / "scores.h5").space, Electrodes)
    monkeypatch.delitem(io.SPACES, "electrodes")
    with pytest.raises(UserError, match="Electrodes cannot be stored; there are 'Volume'"):
        io.save(tmp_path / "none.h5", patterns)


def test_peaks_images_and_tables_have_the_places_of_any_space(electrodes):
    table = pd.DataFrame({"model": ["net", "net"], "layer": ["a", "b"]})
    scores = ScoreMap(np.stack([np.arange(12) == 3, np.arange(12)]), table, electrodes)
    found = peaks(select(scores, layer="b"), n_peaks=2, separation_mm=11)
    assert found[["x_mm", "y_mm", "score"]].to_numpy().tolist() == [[35, 0, 11], [20, 0, 8]]
    assert scores.to_nifti(layer="b").get_fdata().ravel().tolist() == list(range(12))
    assert scores.to_frame().query("score == 1")["x_mm"].tolist() == [-5, -15]
