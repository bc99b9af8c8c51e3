"""What drives a unit: preferred pictures, filters of planted orientation and colour, pictures made for a unit."""

from typing import ClassVar

import numpy as np
import oracles
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn

from rsa.errors import UserError
from rsa.models.exported import Exported
from rsa.models.onnx import Onnx
from rsa.models.python import Python
from rsa.models.torchvision import Torchvision
from rsa.report.units.draw import unit_figures
from rsa.report.units.filters import filter_groups
from rsa.report.units.preferred import glow
from rsa.report.units.tiles import BEYOND, cut_out
from rsa.units.choosing import Unit, problems_of_units
from rsa.units.filters import colour_share, filters, first_filters, grating_amplitudes, grating_tuning
from rsa.units.found import save_found
from rsa.units.look import Beside, Look, looked_at
from rsa.units.maximised import ascended, maximised
from rsa.units.preferred import preferred
from rsa.units.settings import Maximised, Preferred, UnitSettings
from rsa.units.tuning import category_tuning, lifetime_sparseness, share_above_half
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
    found = first_filters(network.eval(), (16, 16))
    if expected is None:
        assert found is None
    else:
        expected_weights = network.get_submodule(expected).weight.detach()
        np.testing.assert_allclose(
            found.weights, expected_weights, rtol=1e-5 * (expected == "1")
        )  # a norm divides by 1 + 1e-5


def test_filters_are_those_that_the_picture_meets():
    conv = Standardised(3, 4, 4, stride=4)
    found = first_filters(nn.Sequential(conv), (16, 16))
    np.testing.assert_allclose(found.weights.mean(axis=(1, 2, 3)), 0, atol=1e-7)


def test_filters_of_a_dilated_convolution_lie_on_the_pixels_that_they_meet():
    """A Gabor of which every second pixel is taken: its frequency is per pixel, not per weight."""
    wanted = gabor(9, 30, 0.15, GREY, 2)
    conv = nn.Conv2d(3, 1, (5, 5), dilation=2)
    conv.weight.data = torch.tensor(wanted[None, :, ::2, ::2], dtype=torch.float32)
    found = first_filters(nn.Sequential(conv).eval(), (32, 32))
    weights, dilation = found.weights, found.dilation
    assert weights.shape == (1, 3, 9, 9)
    np.testing.assert_allclose(weights[0, :, ::2, ::2], wanted[:, ::2, ::2], rtol=1e-6)
    assert np.count_nonzero(weights) == np.count_nonzero(weights[..., ::2, ::2])
    (orientation,), _, (frequency,) = grating_tuning(weights, dilation)
    assert abs(frequency - 0.15) < 0.02
    assert abs(orientation - 30) < 6


class Within(nn.Module):
    """A network that normalises colours itself, and sees blue first."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 3)

    def forward(self, x):
        return self.conv(x.flip(1) * torch.tensor([10.0, 1, 0.5])[:, None, None] - 3)


def test_what_becomes_of_colours_before_the_first_convolution_is_part_of_its_filters():
    network = Within().eval()
    black, white = torch.tensor([0.0, 1, 2])[:, None, None], torch.tensor([2.0, 5, 3])[:, None, None]
    found = first_filters(network, (12, 20), black, white)
    of_channels = network.conv.weight.detach() * torch.tensor([10.0, 1, 0.5])[:, None, None]
    np.testing.assert_allclose(found.weights, of_channels.flip(1) * (white - black), rtol=1e-5)


def blue_first():
    conv = nn.Conv2d(3, 1, 7)
    conv.weight.data = torch.zeros(1, 3, 7, 7)
    conv.weight.data[0, 0] = 1
    return nn.Sequential(conv), lambda picture: of_pixels(picture).flip(0)


def test_a_network_that_sees_blue_first_has_its_filters_and_pictures_in_the_right_colours(images):
    watched = watch(images, "blue_first")
    assert watched.colours == [2, 1, 0]
    assert [np.any(filters(watched).arrays["weights"][..., colour]) for colour in range(3)] == [False, False, True]
    shown = watched.pixels(watched.input_of(2))
    np.testing.assert_array_equal(shown, np.asarray(Image.open(images["file"][2])))


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


# ---------------------------------------------------------------------------------- preferred pictures


def with_steps():
    """A unit that answers with the red of the middle of each third pixel, and scores."""
    conv = nn.Conv2d(3, 2, 3, stride=3, bias=False)
    conv.weight.data.zero_()
    conv.weight.data[0, 0, 1, 1] = 1
    conv.weight.data[1, 0, 1, 1] = 0.5
    network = nn.Sequential(conv, nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(2 * 10 * 10, 3))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        nn.init.normal_(network[3].weight)
    return network, lambda picture: of_pixels(picture) - LOW


@pytest.fixture(scope="module")
def spots(tmp_path_factory):
    """Six black pictures with a red pixel each, ever brighter, in the middle of a cell of 3 x 3 pixels."""
    folder = tmp_path_factory.mktemp("spots")
    files = [str(folder / f"{name}.png") for name in "abcdef"]
    for i, file in enumerate(files):
        pixels = np.zeros((32, 32, 3), dtype=np.uint8)
        pixels[3 * i + 1, 3 * (9 - i) + 1, 0] = 40 * (i + 1)
        Image.fromarray(pixels).save(file)
    return pd.DataFrame({"condition": list("abcdef"), "file": files, "category": list("xxyyzz")})


def test_maps_and_fields_lie_where_the_picture_drives_the_unit(spots):
    watched = watch(spots, "with_steps")
    peaks = watched.peaks(["1", "3"])
    units = [Unit("1", 0, ""), Unit("3", 2, "")]
    found = preferred(watched, units, peaks, Preferred(n_pictures=4), list(spots["category"]))
    rows = found.tables["preferred"].rows
    assert list(rows["condition"][:4]) == list("fedc")
    np.testing.assert_allclose(rows["response"][:4], (HIGH - LOW) * np.array([240, 200, 160, 120]) / 255, rtol=1e-5)
    assert list(rows["row_px"][:4]) == [16, 13, 10, 7]
    assert list(rows["column_px"][:4]) == [13, 16, 19, 22]
    assert found.arrays["fields_0"][0].tolist() == [15, 12, 18, 15]
    assert found.arrays["edges"][0].tolist() == [0, 0, 30, 30]
    assert np.isnan(found.arrays["edges"][1]).all()
    assert found.arrays["fields_1"][0].tolist() == [0, 0, 32, 32]
    for rank, own in enumerate(found.arrays["maps_0"]):
        row, column = np.unravel_index(own.argmax(), own.shape)
        top, left, *_ = found.arrays["fields_0"][rank]
        assert (3 * row, 3 * column) == (top, left)
    assert found.arrays["limits"][0].tolist() == [0, pytest.approx((HIGH - LOW) * 240 / 255)]
    tuning = found.tables["tuning"].rows
    assert tuning["category"][0] == "z"
    assert tuning["class_selectivity"][0] == pytest.approx((5.5 - 2.5) / (5.5 + 2.5))
    assert tuning["share_above_half"][0] == 0.5
    assert tuning["d_prime"][0] == pytest.approx((5.5 - 2.5) / np.sqrt((0.5 + 5 / 3) / 2))


def test_selectivity_is_not_told_where_it_has_no_meaning():
    assert np.isnan(lifetime_sparseness(np.array([-1.0, 2.0])))
    assert np.isnan(lifetime_sparseness(np.zeros(3)))
    assert np.isnan(share_above_half(np.array([-3.0, -1.0])))
    found = category_tuning(np.array([-1.0, 2.0, 9.0]), ["a", "b", None])
    assert found["category"] == "b"
    assert np.isnan(found["class_selectivity"])
    assert np.isnan(found["d_prime"])
    assert np.isnan(category_tuning(np.array([1.0, 2.0]), ["a", "a"])["category"])


def test_sparseness_is_that_of_the_papers(rng):
    responses = rng.exponential(size=50)
    a = (sum(responses) / 50) ** 2 / (sum(r * r for r in responses) / 50)
    assert lifetime_sparseness(responses) == pytest.approx((1 - a) / (1 - 1 / 50))


def test_a_look_that_was_stopped_is_not_drawn(images, tmp_path):
    watched = watch(images, "with_filters")
    for part, found in looked_at(Look(watched, UnitSettings(), Beside(images))):
        save_found(tmp_path, part, found)
        if part == "preferred":
            break
    with pytest.raises(
        UserError, match=r"has no pictures\.npz, which is written last: `python -m rsa units` was stopped"
    ):
        unit_figures(tmp_path, tmp_path / "figures")


def test_squares_are_grey_where_the_picture_ends():
    picture = np.arange(16, dtype=np.uint8).reshape(4, 4)[..., None].repeat(3, axis=2)
    assert cut_out(picture, (0, 1, 2, 4))[..., 0].tolist() == [[BEYOND] * 3, [1, 2, 3], [5, 6, 7]]
    assert cut_out(picture, (1, 3, 4, 4))[..., 0].tolist() == [
        [7, BEYOND, BEYOND],
        [11, BEYOND, BEYOND],
        [15, BEYOND, BEYOND],
    ]
    assert cut_out(picture, (1, 1, 3, 3))[..., 0].tolist() == [[5, 6], [9, 10]]
    wide = np.arange(8, dtype=np.uint8).reshape(2, 4)[..., None].repeat(3, axis=2)  # twice as wide as high
    assert cut_out(wide, (0, 1, 1, 2))[..., 0].tolist() == [[1, BEYOND]]


def test_what_does_not_respond_has_no_colour():
    coloured = glow(np.array([[-1.0, 0.0, 1.0, 4.0]]), 0.0, 4.0)
    assert coloured[0, :, 3].tolist() == [0, 0, 0.5, 1]
    assert coloured[0, 3, 0] > coloured[0, 3, 1] + 0.5


# ---------------------------------------------------------------------------------------- made pictures


PLAIN = Maximised(n_steps=40, step=0.2, jitter_px=0, blur_px=0)


def linear():
    """A linear layer of filters, whose outputs for grey are far below 0, and what overwrites it."""
    conv = nn.Conv2d(3, 2, 5, padding=2)
    signs = np.random.default_rng(1).choice([-1, 1], (2, 3, 5, 5))
    sizes = np.random.default_rng(2).uniform(0.3, 1, (2, 3, 5, 5))
    conv.weight.data, conv.bias.data = torch.tensor(signs * sizes, dtype=torch.float32), torch.tensor([-500.0, 0.0])
    return nn.Sequential(conv, nn.ReLU(inplace=True)), of_pixels


@pytest.fixture(scope="module")
def linear_units(images):
    return watch(images, "linear")


def made_for(watched, units, settings):
    layers = list(dict.fromkeys(one.layer for one in units))
    return maximised(watched, units, watched.peaks(layers), settings)


def test_a_linear_unit_gets_white_where_weights_are_above_0_and_black_below(linear_units):
    found = made_for(linear_units, [Unit("0", 0, ""), Unit("0", 1, "")], PLAIN)
    weights, bias = (one.detach().numpy() for one in linear_units.module[0].parameters())
    assert found.arrays["fields"].tolist() == [[14, 14, 19, 19]] * 2
    for unit, made in enumerate(found.arrays["made"]):
        expected = np.moveaxis(np.where(weights[unit] > 0, 255, 0), 0, -1)
        np.testing.assert_array_equal(made[14:19, 14:19], expected)
        outside = made.astype(float)
        outside[14:19, 14:19] = 127.5
        assert np.abs(outside - 127.5).max() < 30  # the noise of the beginning is left alone
        highest = (weights[unit] * np.where(weights[unit] > 0, HIGH, LOW)).sum() + bias[unit]
        row = found.tables["maximised"].rows.loc[unit]
        assert row["made"] == pytest.approx(highest, rel=1e-4)
        assert row["start"] < row["best"] < row["made"]


def test_units_that_are_off_for_grey_get_a_gradient(linear_units):
    weights, bias = (one.detach().numpy() for one in linear_units.module[0].parameters())
    linear_units.module[0].bias.data[0] = -0.9 * (np.where(weights[0] > 0, HIGH, LOW) * weights[0]).sum()
    try:
        found = made_for(linear_units, [Unit("1", 0, "")], PLAIN)
    finally:
        linear_units.module[0].bias.data[0] = float(bias[0])
    row = found.tables["maximised"].rows.loc[0]
    assert row["start"] == row["best"] == 0
    assert row["made"] > 0
    assert np.isnan(row["ratio"])


def test_made_pictures_are_the_same_each_time_and_of_each_unit_alone(linear_units):
    settings = Maximised(n_steps=6, jitter_px=4, blur_px=0.5)
    units = [Unit("1", 0, ""), Unit("1", 1, "")]
    made_for(linear_units, units, settings)  # the network is loaded, and its random weights are drawn
    state = torch.get_rng_state()
    first, again = (made_for(linear_units, units, settings).arrays["made"] for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert torch.equal(state, torch.get_rng_state())
    alone = made_for(linear_units, units[1:], settings).arrays["made"]
    assert np.abs(first[1].astype(int) - alone[0]).max() <= 1
    other = made_for(linear_units, units, Maximised(n_steps=6, jitter_px=4, blur_px=0.5, seed=1)).arrays["made"]
    assert (first != other).mean() > 0.5


def test_pictures_are_made_as_many_at_a_time_as_fit_into_memory(linear_units, monkeypatch):
    units, settings, asked = [Unit("1", 0, ""), Unit("1", 1, "")], Maximised(n_steps=2), []

    def too_large(watched, layer, units, *more):
        asked.append(len(units))
        if len(units) > 1:
            raise RuntimeError("MPS backend out of memory")
        return ascended(watched, layer, units, *more)

    expected = made_for(linear_units, units, settings).arrays["made"].astype(int)
    monkeypatch.setattr("rsa.units.maximised.ascended", too_large)
    made = made_for(linear_units, units, settings).arrays["made"]
    assert asked == [2, 1, 1]
    assert np.abs(made - expected).max() <= 1


def test_a_texture_raises_the_whole_map(linear_units):
    settings = Maximised(objective="channel", n_steps=30, step=0.2, jitter_px=8, blur_px=0)
    found = made_for(linear_units, [Unit("0", 1, "")], settings)
    assert found.arrays["fields"].tolist() == [[0, 0, 32, 32]]
    made = found.arrays["made"][0].astype(int)
    sums = linear_units.module[0].weight.detach().numpy()[1].sum(axis=(1, 2))
    inner = made[4:-4, 4:-4]  # where each pixel has all weights
    for colour, total in enumerate(sums):
        assert (inner[..., colour] == (255 if total > 0 else 0)).all()


def with_root():
    """The slope of a root at 0 has no end."""

    class Root(nn.Module):
        def forward(self, x):
            return torch.relu(x - 1e6).sqrt()

    return nn.Sequential(nn.Conv2d(3, 2, 3), Root()), of_pixels


def test_a_gradient_that_is_not_finite_is_one_line(images):
    watched = watch(images, "with_root")
    with pytest.raises(UserError, match="The gradient of unit 1 of layer '1' of own is NaN or infinite; check"):
        ascended(watched, "1", [1], PLAIN)


class Without(Python):
    """A network without gradients."""

    has_gradients: ClassVar[bool] = False


def test_networks_without_gradients_are_told_before_work_starts(images, monkeypatch):
    assert not Onnx.has_gradients
    assert not Exported.has_gradients
    function = f"{__file__}:linear"
    one, other = Without(function=function, name="one"), Python(function=function, name="other")

    def problems(maximised, *models):
        return problems_of_units(UnitSettings(maximised=maximised), models, None)

    assert problems(Maximised(), other) == problems(Maximised(), one, other) == []
    assert problems(Maximised(models=("other",)), one, other) == problems(None, one) == []
    (line,) = problems(Maximised(), one)
    assert line.startswith("`maximised` needs gradients, and 'linear' has none: it is for networks that torch computes")
    (line,) = problems(Maximised(models=("one",)), one, other)
    assert line.endswith("take them out of `maximised.models`.")
    (line,) = problems(Maximised(models=("two",)), one, other)
    assert line == "`maximised.models`: there is no network 'two'; there are 'one', 'other'."
    monkeypatch.setattr(Watched, "module", None)
    with pytest.raises(UserError, match="Pictures are made for a unit by gradients, and linear has none"):
        maximised(watch(images, "linear"), [], {}, Maximised())


def test_real_units_respond_more_to_what_is_made_for_them(data, squeezenet):
    units = [Unit("features.6", 205, ""), Unit("features.12", 510, ""), Unit("classifier", 281, "")]
    peaks = squeezenet.peaks(["features.6", "features.12", "classifier"])
    rows = maximised(squeezenet, units, peaks, Maximised(n_steps=15)).tables["maximised"].rows
    assert (rows["made"] > rows["best"]).all()
    assert rows["start"][1] == 0  # the unit is off for grey, and its gradient goes through what is clipped
    assert list(rows["condition"][1:]) == ["cat_test_0.jpg"] * 2
    labels = pd.read_csv(data / "photos_labelled" / "labels.tsv", sep="\t")["label"]
    tuned = [category_tuning(peaks["classifier"].values[:, unit], list(labels)) for unit in (281, 934)]
    assert [one["category"] for one in tuned] == ["cat", "hotdog"]
    assert min(one["d_prime"] for one in tuned) > 2


# ---------------------------------------------------------------------------------------------- all of it


def test_all_that_drives_units_is_drawn(spots, tmp_path):
    settings = UnitSettings.model_validate(
        {"chosen": [{"layers": ["1"], "units": [0, 1]}, {"layers": ["3"], "n": 2}], "fields": None, "codes": None}
        | {"channels": None, "maximised": {"n_steps": 2}}
    )
    for part, found in looked_at(Look(watch(spots, "with_steps"), settings, Beside(spots))):
        save_found(tmp_path / "tables", part, found)
    names = ["preferred_00_1.png", "preferred_01_3.png", "filters.png", "maximised.png"]
    assert [path.name for path in unit_figures(tmp_path / "tables", tmp_path)] == names
