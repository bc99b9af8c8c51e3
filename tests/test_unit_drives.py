"""What drives a unit: filters of planted orientation and colour, tuning, and pictures that are made for a unit."""

import numpy as np
import oracles
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn

from rsa.models.python import Python
from rsa.models.torchvision import Torchvision
from rsa.report.units.draw import unit_figures
from rsa.report.units.filters import filter_groups
from rsa.units.filters import colour_share, filters, first_filters, grating_amplitudes, grating_tuning
from rsa.units.found import save_found
from rsa.units.watched import Watched

GREY, RED_GREEN, BLUE_YELLOW = (1, 1, 1), (1, -1, 0), (-0.5, -0.5, 1)
LOW, HIGH = -2.0, 6.0
"""What black and white are in the input of own networks."""


def of_pixels(picture):
    """Return pixels between `LOW` and `HIGH`."""
    values = np.asarray(picture.resize((32, 32)), dtype=np.float32).transpose(2, 0, 1)
    return torch.from_numpy(LOW + (HIGH - LOW) * values / 255)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    files = [str(folder / f"{name}.png") for name in "abcdef"]
    for file in files:
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(file)
    return pd.DataFrame({"condition": list("abcdef"), "file": files, "category": list("xxyyzz")})


def watch(images, function, **arguments):
    return Watched.of(Python(function=f"{__file__}:{function}", arguments=arguments, name="own"), images)


# ------------------------------------------------------------------------------------------- filters


def gabor(side, orientation_deg, frequency, colour, sd):
    """Return a filter (3, side, side) with stripes of an orientation: 0 horizontal, counter-clockwise."""
    rows, columns = np.mgrid[:side, :side] - (side - 1) / 2
    angle = np.deg2rad(orientation_deg)
    across = columns * np.sin(angle) + rows * np.cos(angle)
    wave = np.exp(-(rows**2 + columns**2) / (2 * sd**2)) * np.sin(2 * np.pi * frequency * across)
    return np.array(colour)[:, None, None] * wave


@pytest.mark.parametrize("colour", [GREY, RED_GREEN, BLUE_YELLOW])
@pytest.mark.parametrize(("side", "frequency"), [(7, 0.25), (11, 0.15), (11, 0.3)])
def test_planted_gabors_are_recovered(side, frequency, colour):
    angles = np.array([0, 20, 45, 70, 90, 120, 135, 160])
    bank = np.stack([gabor(side, angle, frequency, colour, side / 4) for angle in angles])
    orientation, selectivity, found = grating_tuning(bank)
    off = (orientation - angles + 90) % 180 - 90
    assert np.abs(off).max() <= 2
    assert selectivity.min() > 0.55
    np.testing.assert_allclose(found, frequency, atol=0.021)
    np.testing.assert_allclose(colour_share(bank), 0 if colour == GREY else 1, atol=1e-12)


def test_small_edges_are_oriented_and_spots_are_not():
    edge = np.array([[-1, 0, 1]] * 3)
    diagonal = np.array([[0, 1, 1], [-1, 0, 1], [-1, -1, 0]])  # dark below left, so the stripes go down to the right
    spot, even = np.array([[0, 0, 0], [0, 1, 0], [0, 0, 0]]), np.ones((3, 3))
    bank = np.stack([edge, edge.T, diagonal, diagonal[:, ::-1], spot, even])[:, None] * np.ones((1, 3, 1, 1))
    orientation, selectivity, frequency = grating_tuning(bank)
    assert orientation[:4].tolist() == [90, 0, 135, 45]
    np.testing.assert_allclose(selectivity[:4], [0.43, 0.43, 0.3, 0.3], atol=0.01)
    assert selectivity[4:].max() < 0.02
    assert np.isnan(frequency).all()


def test_amplitudes_are_those_of_gratings_that_are_shown(rng):
    bank = rng.standard_normal((2, 3, 4, 5))
    found = grating_amplitudes(bank, np.array([0.1, 0.37]), np.array([0.0, 30.0, 100.0]))
    for k, i, j in np.ndindex(found.shape):
        grating = (0.1, 0.37)[i], (0.0, 30.0, 100.0)[j]
        of_colours = [oracles.grating_response(one, *grating) for one in bank[k]]
        assert found[k, i, j] == pytest.approx(np.sqrt(np.square(of_colours).sum()), rel=3e-4)


def test_filters_of_zeros_and_of_one_pixel_have_no_orientation():
    for bank in (np.zeros((2, 3, 7, 7)), np.ones((2, 3, 1, 1))):
        assert all(np.isnan(found).all() for found in grating_tuning(bank))
    assert np.isnan(colour_share(np.zeros((1, 3, 3, 3)))).all()


class Standardised(nn.Conv2d):
    """Its filters are made of its weights when they are needed."""

    def forward(self, x):
        return nn.functional.conv2d(x, self.weight - self.weight.mean((1, 2, 3), keepdim=True), None, self.stride)


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        (nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3), nn.Conv2d(4, 3, 1), nn.Conv2d(3, 5, 3)), "1"),
        (nn.Sequential(nn.Conv2d(3, 3, 3, groups=3), nn.Conv2d(3, 5, 5)), "1"),
        (nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 2)), None),
        (nn.Sequential(nn.Conv2d(3, 3, 3, groups=3), nn.Conv2d(3, 6, 3, groups=3)), None),
    ],
    ids=["after a norm", "after a filter of each colour", "no convolution", "none over colours"],
)
def test_filters_are_those_of_the_first_convolution_over_colours(network, expected):
    found = first_filters(network.eval(), (3, 16, 16))
    if expected is None:
        assert found is None
    else:
        np.testing.assert_array_equal(found, network.get_submodule(expected).weight.detach())


def test_filters_are_those_that_the_picture_meets():
    conv = Standardised(3, 4, 4, stride=4)
    found = first_filters(nn.Sequential(conv), (3, 16, 16))
    np.testing.assert_allclose(found.mean(axis=(1, 2, 3)), 0, atol=1e-7)


def planted(bank):
    conv = nn.Conv2d(3, len(bank), 7, padding=3)
    conv.weight.data = torch.tensor(bank, dtype=torch.float32)
    return nn.Sequential(conv), of_pixels


def with_filters():
    oriented = [gabor(7, angle, 0.25, GREY, 2) for angle in (135, 45)]
    spot = np.zeros((3, 7, 7))
    spot[0, 3, 3] = 2
    return planted(np.stack([*oriented, spot, np.zeros((3, 7, 7)), gabor(7, 90, 0.2, RED_GREEN, 2)]))


def without_filters():
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 4)), of_pixels


def test_the_table_of_filters_is_per_step_from_black_to_white(images, tmp_path):
    watched = watch(images, "with_filters")
    found = filters(watched)
    rows = found.tables["filters"].rows
    assert rows["norm"][2] == pytest.approx(2 * (HIGH - LOW))
    assert rows["colour_share"][2] == pytest.approx(2 / 3)
    assert found.arrays["weights"].shape == (5, 7, 7, 3)
    groups = filter_groups(rows)
    assert groups == {"light and dark, oriented": [1, 0], "colour, oriented": [4], "colour, not oriented": [2]}
    save_found(tmp_path / "tables", "filters", found)
    assert [path.name for path in unit_figures(tmp_path / "tables", tmp_path)] == ["filters.png"]


def test_a_network_without_filters_has_none(images):
    assert filters(watch(images, "without_filters")) is None


def real(data, name):
    images = pd.read_csv(data / "photos_labelled" / "labels.tsv", sep="\t")
    files = [str(data / "photos_labelled" / file) for file in images["file"]]
    model = Torchvision(architecture=name, weights=str(data / "weights" / f"{name}.pth"), preprocess_as="IMAGENET1K_V1")
    return Watched.of(model, pd.DataFrame({"condition": images["file"], "file": files}))


@pytest.fixture(scope="module")
def squeezenet(data):
    return real(data, "squeezenet1_1")


def test_filters_of_real_networks_have_orientations_and_colours(data, squeezenet):
    rows = filters(squeezenet).tables["filters"].rows
    oriented = rows[(rows["orientation_selectivity"] >= 0.2) & (rows["colour_share"] < 0.5)]
    assert len(rows) == 64
    assert len(oriented) >= 25  # 29
    assert len({round(angle / 45) % 4 for angle in oriented["orientation_deg"]}) == 4
    assert (rows["colour_share"] > 0.9).sum() >= 14  # 17
    rows = filters(real(data, "mobilenet_v2")).tables["filters"].rows
    oriented = rows[rows["orientation_selectivity"] >= 0.4]
    assert {round(angle / 45) % 4 for angle in oriented["orientation_deg"]} == {0, 2}
    assert len(oriented) >= 8
    assert (rows["colour_share"] > 0.9).sum() >= 4
