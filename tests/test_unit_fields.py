"""Empirical receptive fields are those of networks built so that they are known, and small on real weights."""

import re

import field_networks
import numpy as np
import oracles
import pandas as pd
import pytest
import torch
from figure_faults import faults
from PIL import Image

from rsa.errors import UserError
from rsa.models.python import Python
from rsa.models.torchvision import Torchvision
from rsa.report.style import caption_of, save_figure
from rsa.report.units import fields
from rsa.report.units.folder import UnitsFolder
from rsa.units.choosing import Unit
from rsa.units.fields import problems_of_fields, receptive, require_occluders, shape_of
from rsa.units.found import save_found
from rsa.units.look import Beside, Look, looked_at
from rsa.units.occlusion import Occluders, random_pixels
from rsa.units.settings import Chosen, Fields, UnitSettings
from rsa.units.watched import Watched

SIDE = field_networks.SIDE


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Three pictures of noise."""
    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    files = [folder / f"{name}.png" for name in "abc"]
    for file in files:
        Image.fromarray(rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)).save(file)
    return pd.DataFrame({"condition": list("abc"), "file": list(map(str, files))})


def watch(images, function="network", **arguments):
    model = Python(function=f"field_networks:{function}", arguments=arguments, name="own")
    return Watched.of(model, images, "cpu")


def of_last(watched, settings, units=(0, 1)):
    """Return what is found of units of the last layer, its name, and the highest responses."""
    layer = list(watched.described["layer"])[-1]
    peaks = watched.peaks([layer])
    return receptive(watched, [Unit(layer, unit, "") for unit in units], peaks, settings), layer, peaks[layer]


@pytest.mark.parametrize("kind", field_networks.KNOWN)
@pytest.mark.parametrize(("patch", "stride"), [(1, 1), (3, 1), (5, 2)])
def test_extent_is_the_theoretical_field(images, kind, patch, stride):
    watched = watch(images, kind=kind)
    found, layer, _ = of_last(watched, Fields(n_pictures=3, patch_px=patch, stride_px=stride))
    table, side = found.tables["fields"].rows, field_networks.KNOWN[kind][0]
    assert set(table["field_px"]) == {side} == {watched.map_of(layer).field_px}
    if stride == 1:
        assert set(table["extent_px"]) == {side}
    else:
        assert table["extent_px"].between(max(1, side - 2 * (stride - 1)), side).all()
    assert found.arrays["mean_0"].shape == (side, side)


@pytest.mark.parametrize(("kind", "patch", "stride"), [("two with strides", 1, 1), ("uneven", 3, 1), ("dilated", 3, 2)])
def test_maps_are_those_of_pixels_covered_one_by_one(images, kind, patch, stride):
    watched = watch(images, kind=kind)
    found, _, peaks = of_last(watched, Fields(n_pictures=2, patch_px=patch, stride_px=stride))
    module = watched.network.module
    for unit in (0, 1):
        picture, top, left, bottom, right = found.arrays[f"best_{unit}"]
        place = peaks.places[picture, unit]

        def respond(one, unit=unit, place=place):
            with torch.inference_mode():
                return float(module(one[None])[0, unit].flatten()[place])

        cover = random_pixels(watched, int(picture), 0)
        changes, seen = oracles.covered_one_by_one(respond, watched.input_of(int(picture)), cover, patch, stride)
        own = found.arrays[f"map_{unit}"]
        inside = np.zeros(changes.shape, dtype=bool)
        inside[top:bottom, left:right] = True
        assert np.isnan(own[~inside]).all()
        rounding = 1e-6 * abs(respond(watched.input_of(int(picture))))  # of the responses that are subtracted
        np.testing.assert_allclose(own[inside], changes[inside], rtol=1e-4, atol=rounding)
        if stride == 1:
            rows, columns = np.nonzero(seen)
            assert (rows.min(), columns.min(), rows.max() + 1, columns.max() + 1) == (top, left, bottom, right)


def test_units_of_one_pass_answer_as_if_each_were_alone(images):
    watched = watch(images, kind="odd")
    settings = Fields(n_pictures=3, patch_px=2, stride_px=1)
    together = of_last(watched, settings)[0]
    for unit in (0, 1):
        alone = of_last(watched, settings, (unit,))[0]
        np.testing.assert_allclose(together.arrays[f"mean_{unit}"], alone.arrays["mean_0"], rtol=1e-5)


def test_patches_share_inputs_where_no_field_can_touch_two(rng):
    occluders = Occluders((40, 30), 3, 2)
    fields = [(int(top), int(left), int(top) + 7, int(left) + 5) for top, left in rng.integers(0, 20, (9, 2))]
    inputs = occluders.together(fields)
    for field in fields:
        touching = occluders.touching(field)
        assert max(sum(touching[place] for place in places) for places in inputs) == 1
        assert sum(touching[place] for places in inputs for place in places) == touching.sum()
    n_each = -(-(7 + 3 - 1) // 2) * -(-(5 + 3 - 1) // 2)
    assert len(inputs) <= n_each < sum(map(len, inputs))


def test_shape_of_the_field_is_that_of_the_weights(images):
    """A bar of 1 x 5 pixels, one right of the middle of a window of 7, covered pixel by pixel."""
    watched = watch(images, "lopsided")
    found, *_ = of_last(watched, Fields(n_pictures=3, patch_px=1), units=(0,))
    row = found.tables["fields"].rows.iloc[0]
    mean = found.arrays["mean_0"]
    bar = np.zeros((7, 7), dtype=bool)
    bar[1:6, 4] = True
    assert (mean[bar] > 0).all()
    np.testing.assert_allclose(mean[~bar], 0, atol=1e-6)
    assert row["right_px"] == 1
    assert row["width_px"] == 1
    assert row["angle_deg"] == 90
    assert row["extent_px"] == 5
    assert row["field_px"] == 7


def test_shape_follows_a_turned_bar():
    rows, columns = np.mgrid[-40:41, -40:41]
    angle = np.radians(30)
    along, across = columns * np.cos(angle) - rows * np.sin(angle), columns * np.sin(angle) + rows * np.cos(angle)
    shape = shape_of(((np.abs(along) <= 30) & (np.abs(across) <= 10)).astype(float))
    assert shape.angle_deg == pytest.approx(30, abs=1)
    assert shape.elongation == pytest.approx(3, rel=0.03)
    assert shape.size_px == pytest.approx(np.sqrt(60 * 20), rel=0.03)
    assert np.isnan(shape_of(np.zeros((5, 5))).size_px)


@pytest.fixture(scope="module")
def squeezenet(data):
    """Watch SqueezeNet with its weights, and two photographs."""
    files = [data / "photos_labelled" / name for name in ("cat.jpg", "hot_dog.jpg")]
    model = Torchvision(
        architecture="squeezenet1_1", weights=str(data / "weights" / "squeezenet1_1.pth"), preprocess_as="IMAGENET1K_V1"
    )
    return Watched.of(model, pd.DataFrame({"condition": ["cat", "hot dog"], "file": list(map(str, files))}))


def test_fields_of_real_weights_are_small_beside_the_theoretical_ones(squeezenet):
    """Sizes grow with depth, and their share of the theoretical field falls (Zhou et al., 2015)."""
    layers = {"features.3": Fields(n_pictures=2), "features.7": Fields(n_pictures=2, patch_px=12, stride_px=12)}
    layers["features.12"] = Fields(n_pictures=2, patch_px=24, stride_px=24)
    peaks, found = squeezenet.peaks(list(layers)), {}
    for layer, settings in layers.items():
        spread = peaks[layer].values.std(axis=0)
        units = [Unit(layer, int(unit), "") for unit in np.argsort(-spread)[:4]]
        found[layer] = receptive(squeezenet, units, peaks, settings).tables["fields"].rows
    means = pd.concat(found.values()).groupby("layer", sort=False)[["field_px", "size_px", "share"]].mean()
    assert list(means["field_px"]) == [15, 63, 207]
    assert means["size_px"].is_monotonic_increasing
    assert means["share"].is_monotonic_decreasing
    assert means["share"].between(0, 1).all()
    for table in found.values():
        assert (table["extent_px"] <= table["field_px"]).all()
        assert (table["extent_px"] > table["field_px"] / 4).all()


# ------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (Fields(patch_px=33), "units.fields: `patch_px: 33` is larger than the network's input, 32 x 32 pixels"),
        (Fields(patch_px=3, stride_px=4), "units.fields: `stride_px: 4` is larger than the patch, 3 pixels"),
    ],
)
def test_an_occluder_that_cannot_be_is_one_line(images, settings, expected):
    with pytest.raises(UserError, match=re.escape(expected)):
        require_occluders(watch(images, kind="odd"), ["0"], settings)


def test_checks_know_strides_and_layers_without_space(images):
    model = watch(images, "spaceless").model
    wide = UnitSettings(fields=Fields(patch_px=3, stride_px=4))
    (stride,) = problems_of_fields(wide, [watch(images, kind="odd").model])
    assert "`stride_px: 4` is larger than the patch" in stride
    (space,) = problems_of_fields(UnitSettings(chosen=(Chosen(layers=("1",)),), fields=Fields()), [model])
    assert space == (
        "units.fields: receptive fields are of units at places of the picture, and no layer of `chosen` has space; "
        "choose others, or leave `fields` out."
    )
    assert problems_of_fields(UnitSettings(chosen=(Chosen(layers=("1",)),)), [model]) == []


def test_layers_without_space_are_left_out(images):
    assert of_last(watch(images, "spaceless"), Fields())[0] is None


def test_a_unit_that_no_patch_changes_has_no_field(images, caplog):
    """Unit 1 responds to where the picture ends alone: it has a place, and a map of zeros."""
    with caplog.at_level("WARNING"):
        found, *_ = of_last(watch(images, "deaf"), Fields(patch_px=2), units=(0, 1))
    sizes = found.tables["fields"].rows[["size_px", "extent_px"]].to_numpy()
    assert np.isfinite(sizes[0]).all()
    assert np.isnan(sizes[1]).all()
    assert "No patch changes the response of '1 unit 1'" in caplog.text


# --------------------------------------------------------------------------------------------- figures


def test_fields_are_drawn_for_each_layer_and_all_together(images, tmp_path, monkeypatch):
    drawn = {}

    def kept(path, figure, *rest):
        drawn[path.stem] = figure
        return save_figure(path, figure, *rest)

    monkeypatch.setattr(fields, "save_figure", kept)
    settings = UnitSettings.model_validate(
        {"chosen": [{"layers": ["0", "1"], "units": [1, 0]}], "preferred": None, "filters": False, "codes": None}
        | {"channels": None, "fields": {"n_pictures": 2}}
    )
    look = Look(watch(images, kind="two with strides"), settings, Beside(images))
    for part, found in looked_at(look):
        save_found(tmp_path, part, found)
    paths = fields.field_figures(UnitsFolder(tmp_path), tmp_path)
    assert [path.stem for path in paths] == ["fields_00_0", "fields_01_1", "fields"]
    assert [faults(figure) for figure in drawn.values()] == [[], [], []]
    assert caption_of(paths[1]).startswith("Receptive fields of 1.")
    assert [len(figure.axes[0].images) for figure in drawn.values()] == [8, 8, 0]
