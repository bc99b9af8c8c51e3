"""Units of networks of every kind: attention, memory, volumes, grey; what comes out is that of a plain computation."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import oracles
import pandas as pd
import pytest
import torch
from networks import exported_file, onnx_file
from odd_units import N_EACH, N_HEADS, PATCH, SIDE, Attention
from PIL import Image

from rsa.core import RDMs
from rsa.errors import Problems, UserError
from rsa.models.exported import Exported
from rsa.models.layer_rdms import model_rdms
from rsa.models.modules import recording
from rsa.models.onnx import Onnx
from rsa.models.passing import exactly
from rsa.models.python import Python
from rsa.pipeline.stages.looks import require_units
from rsa.report.units.draw import unit_figures
from rsa.report.units.fields import _sizes
from rsa.units.choosing import Unit, problems_of_units
from rsa.units.codes import with_own_layers
from rsa.units.found import Found, save_found
from rsa.units.heat_maps import heat_maps
from rsa.units.look import Beside, Look, looked_at
from rsa.units.maximised import ascended, maximised
from rsa.units.occlusion import grey
from rsa.units.settings import Maximised, UnitSettings
from rsa.units.watched import Peaks, Watched, layer_maps

N = 4

N_TOKENS = (SIDE // PATCH) ** 2

LAYERS = {
    "attention": ["patch", "qkv", "query", "weights", "end", "head"],
    "memory": ["map", "memory", "head"],
    "volume": ["map", "volume", "end"],
    "colours": ["0", "2", "4"],
}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(3)
    files = [str(folder / f"{i}.png") for i in range(N)]
    for file in files:
        Image.fromarray(rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)).save(file)
    return pd.DataFrame({"condition": [f"c{i}" for i in range(N)], "file": files})


def model(function: str, **settings: Any) -> Python:
    return Python.model_validate({"function": f"{Path(__file__).with_name('odd_units.py')}:{function}", **settings})


@pytest.fixture(scope="module")
def watched(pictures: pd.DataFrame) -> Mapping[str, Watched]:
    return {kind: Watched.of(model(kind), pictures) for kind in LAYERS}


@pytest.fixture(scope="module")
def outputs(watched: Mapping[str, Watched]) -> Mapping[str, dict[str, torch.Tensor]]:
    """The outputs of all layers to all pictures."""
    found = {}
    for kind, one in watched.items():
        with torch.no_grad(), recording(one.network.module, LAYERS[kind]) as seen:
            one.network.module(torch.stack([one.input_of(i) for i in range(N)]))
            found[kind] = dict(seen)
    return found


@pytest.fixture(scope="module")
def peaks(watched: Mapping[str, Watched]) -> Mapping[str, dict[str, Peaks]]:
    return {kind: one.peaks(LAYERS[kind]) for kind, one in watched.items()}


# ------------------------------------------------------------------------------- channels and places


def of_tokens(output: torch.Tensor) -> np.ndarray:
    """Return (n_pictures, n_channels, n_places) of tokens and channels, of which one stands before those of space."""
    return output[:, 1:].transpose(1, 2).numpy()


def of_heads(output: torch.Tensor) -> np.ndarray:
    """Return the same of heads, tokens, and channels of each head: each of these is a channel."""
    channels = [output[:, head, 1:, k] for head in range(output.shape[1]) for k in range(output.shape[3])]
    return torch.stack(channels, dim=1).numpy()


CHANNELS: dict[tuple[str, str], Callable[[torch.Tensor], np.ndarray]] = {
    ("attention", "qkv"): of_tokens,
    ("attention", "query"): of_heads,
    ("attention", "weights"): of_heads,
    ("attention", "end"): of_tokens,
    ("memory", "memory"): lambda output: output.transpose(1, 2).numpy(),
    ("volume", "volume"): lambda output: output.flatten(1)[:, :, None].numpy(),
    ("volume", "end"): lambda output: output.flatten(2).numpy(),
    ("colours", "2"): lambda output: output.flatten(2).numpy(),
}


@pytest.mark.parametrize(("kind", "layer"), CHANNELS)
def test_peaks_are_those_of_channels_over_their_places(kind, layer, watched, outputs, peaks):
    expected = CHANNELS[kind, layer](outputs[kind][layer])
    where, found = watched[kind].map_of(layer), peaks[kind][layer]
    assert where.n_channels == expected.shape[1]
    assert np.prod(where.grid) == expected.shape[2]
    np.testing.assert_allclose(found.values, expected.max(axis=2), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found.lowest, expected.min(axis=2), rtol=1e-4, atol=1e-6)
    at_places = np.take_along_axis(expected, found.places[:, :, None], axis=2)[:, :, 0]
    np.testing.assert_allclose(at_places, expected.max(axis=2), rtol=1e-4, atol=1e-6)


def test_units_of_attention_are_where_their_tokens_are(watched):
    one = watched["attention"]
    assert one.map_of("query").n_channels == N_HEADS * N_EACH
    assert one.map_of("weights").n_channels == N_HEADS * (1 + N_TOKENS)
    for layer in ("qkv", "query"):
        assert one.map_of(layer).grid == (3, 3)
        assert one.map_of(layer).field_px == PATCH
        assert one.map_of(layer).field_of(2, 1) == (16, 8, 24, 16)
    assert np.isinf(one.map_of("end").field_px)
    assert not one.map_of("head").has_space
    assert not watched["volume"].map_of("volume").has_space


@pytest.mark.parametrize(("kind", "layer"), [(kind, layer) for kind, layers in LAYERS.items() for layer in layers])
def test_no_pixel_outside_of_a_field_changes_its_unit(kind, layer, watched):
    one = watched[kind]
    where, picture = one.map_of(layer), one.input_of(0)[None].clone().requires_grad_()
    seen: dict[str, torch.Tensor] = {}
    with torch.enable_grad():
        one.network.answer(picture, [layer], lambda name, output: seen.update({name: output.clone()}))
        maps = where.maps(seen[layer])[0]
        for row, column in {(0, 0), (where.grid[0] - 1, where.grid[1] // 2), (where.grid[0] // 2, 0)}:
            (gradient,) = torch.autograd.grad(maps[:, row, column].sum(), picture, retain_graph=True)
            top, left, bottom, right = where.field_of(row, column)
            gradient[0, :, top:bottom, left:right] = 0
            assert not gradient.any(), (row, column, where.field_of(row, column))


def test_units_with_memory_lie_evenly_as_they_see_more_the_later_they_come(watched):
    """Their fields begin at the first place: no two are the same, so none is told by a size and a step."""
    where = watched["memory"].map_of("memory")
    assert where.field_px == SIDE
    assert not where.is_regular
    assert np.isclose(where.centre_of(1, 3), (8.5, 20.5)).all()


@pytest.mark.parametrize("units", ["mean", "max", "cls", "centre"])
def test_what_counts_of_attention_are_tokens_of_space_or_the_first(units, outputs, pictures):
    given = outputs["attention"]["query"]  # (n_pictures, n_heads, n_tokens, n_each)
    of_space = given[:, :, 1:]
    expected = {"mean": of_space.mean(2), "max": of_space.amax(2), "cls": given[:, :, 0], "centre": of_space[:, :, 4:5]}
    one = model("attention", units=units, layers="query")
    made = model_rdms(one, pictures, "euclidean", device="cpu").rdms
    np.testing.assert_allclose(made.values[0], oracles.rdm(expected[units].flatten(1).numpy(), "euclidean"), rtol=1e-4)


def test_files_of_networks_tell_their_class_token_by_its_name(tmp_path):
    torch.manual_seed(0)
    network = Attention().eval()
    exported = exported_file(tmp_path / "net.pt2", network, (2, 3, SIDE, SIDE), dynamic={})
    onnx = onnx_file(tmp_path / "net.onnx", network, (2, 3, SIDE, SIDE))
    for one in (Exported(file=str(exported), preprocess="imagenet"), Onnx(file=str(onnx), preprocess="imagenet")):
        maps = layer_maps(one, one.describe(), (SIDE, SIDE))
        of_tokens = [where for where in maps.values() if where.shape == (1 + N_TOKENS, N_HEADS * N_EACH)]
        assert {where.grid for where in of_tokens} == {(3, 3)}, one.source


# -------------------------------------------------------------------------------------- all that is asked


@pytest.fixture(scope="module")
def looks(watched: Mapping[str, Watched], tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, dict[str, Found]]:
    found = {}
    for kind, one in watched.items():
        asked = UnitSettings.model_validate(
            {"chosen": [{"layers": LAYERS[kind], "n": 1}], "layers": [], "maximised": {"n_steps": 30, "jitter_px": 0}}
            | {"fields": {"n_pictures": 1, "patch_px": PATCH, "stride_px": PATCH}}
            | {"heat_maps": [{"unit": 1, "layer": LAYERS[kind][-1], "patch_px": 8, "stride_px": 8, "pictures": ["c1"]}]}
        )
        if kind == "volume":
            asked.heat_maps[0].__dict__["measure"] = "response"
        none = RDMs(np.zeros((0, N * (N - 1) // 2)), one.pictures.conditions, pd.DataFrame({"layer": []}))
        found[kind] = dict(looked_at(Look(one, asked, Beside(one.pictures.images, none))))
    return found


@pytest.mark.parametrize("kind", LAYERS)
def test_each_kind_of_network_is_looked_at(kind, looks, watched):
    found = looks[kind]
    has_space = {layer for layer in LAYERS[kind] if watched[kind].map_of(layer).has_space}
    assert set(found["units"].tables["units"].rows["layer"]) == set(LAYERS[kind])
    assert set(found["fields"].tables["fields"].rows["layer"]) == has_space
    assert ("filters" in found) == (kind != "colours"), "filters are of colours"
    assert found["maximised"].arrays["made"].shape == (len(LAYERS[kind]), SIDE, SIDE, 3)
    rows = found["maximised"].tables["maximised"].rows
    assert (rows["made"] > rows["start"]).all()
    first = found["pictures"].arrays["numbers"][0]
    picture = np.asarray(Image.open(watched[kind].pictures.files[first]).convert("RGB"))
    expected = picture if kind != "colours" else np.repeat(picture.mean(axis=2, keepdims=True).round(), 3, axis=2)
    np.testing.assert_allclose(found["pictures"].arrays["whole"][0], expected, atol=1)


def test_units_of_attention_and_of_grey_are_drawn(looks, tmp_path):
    for kind in ("attention", "colours"):
        for part in ("responses", "units", "preferred", "fields", "pictures"):
            save_found(tmp_path / kind, part, looks[kind][part])
        drawn = {path.stem.split("_")[0] for path in unit_figures(tmp_path / kind, tmp_path / kind)}
        assert drawn == {"preferred", "fields"}


def test_sizes_of_fields_of_one_layer_have_a_number_on_each_axis():
    figure = _sizes(pd.DataFrame({"layer": ["patch"] * 2, "field_px": [16.0] * 2, "size_px": [15.0, 16.0]}))
    figure.canvas.draw()
    (axes,) = figure.axes
    assert [[label.get_text() for label in axis.get_ticklabels()] for axis in (axes.xaxis, axes.yaxis)] == [["16"]] * 2


def test_pictures_that_are_made_are_measured_in_the_order_of_colours_that_a_network_sees(pictures):
    one, settings = Watched.of(model("blue_first"), pictures), Maximised(n_steps=5, jitter_px=0)
    assert one.colours == [2, 1, 0]
    units = [Unit("4", unit, "asked for") for unit in range(3)]
    found = maximised(one, units, one.peaks(["4"]), settings).tables["maximised"].rows["made"]
    with exactly(), torch.inference_mode(False):
        made = one.black.clone() + (one.white - one.black).clone() * ascended(one, "4", [0, 1, 2], settings)
        with torch.no_grad():
            expected = one.network.module(made).diagonal()
    np.testing.assert_allclose(found, expected.numpy(), atol=5e-3)


@pytest.mark.parametrize("kind", ["attention", "memory", "colours"])
def test_heat_maps_are_those_of_places_covered_one_by_one(kind, looks, watched):
    one = watched[kind]
    module = one.network.module

    def probability(picture):
        with torch.inference_mode():
            return float(torch.softmax(module(picture[None])[0], dim=0)[1])

    expected = oracles.mean_falls(probability, one.input_of(1), grey(one), 8, 8)
    np.testing.assert_allclose(looks[kind]["heat_maps"].arrays["map_0"], expected, atol=1e-6)


# --------------------------------------------------------------------------------------------- the door


def test_inputs_of_other_colours_are_no_pictures(pictures):
    two = model("colours", arguments={"n": 2})
    assert len(model_rdms(two, pictures, "euclidean", device="cpu").rdms.values) == 5
    (problem,) = problems_of_units(UnitSettings(), [two], None)
    assert problem == (
        "inputs of colours have 2 colours, and are shown as pictures in `units`: of grey, or of red, green and blue; "
        "leave it out of `units.models`."
    )


@pytest.mark.parametrize("kind", ["dropout", "batch"])
def test_answers_that_change_with_the_pass_or_the_batch_are_told_before_any_other_picture_passes(kind, pictures):
    one = Watched.of(model("amiss", arguments={"kind": kind}), pictures)
    asked = UnitSettings.model_validate({"chosen": [{"layers": "1"}]})
    with pytest.raises(UserError, match=r"layer '1' of amiss for .*0\.png is another one in the next pass"):
        Look(one, asked, Beside(pictures)).require()
    with pytest.raises(UserError, match=r"layer '0' of amiss for .*0\.png is another one in the next pass"):
        model_rdms(model("amiss", arguments={"kind": kind}), pictures, "euclidean", device="cpu")


def test_a_covered_picture_that_gives_no_number_is_named(pictures):
    one = Watched.of(model("amiss", arguments={"kind": "grey"}), pictures)
    asked = UnitSettings.model_validate({"heat_maps": [{"pictures": ["c1"], "measure": "response"}]})
    with pytest.raises(UserError, match=r"layer '3' of amiss is NaN or infinite for .*1\.png where a part of it is"):
        heat_maps(one, asked)


def test_a_network_without_any_layer_of_chosen_is_told_before_its_job(pictures):
    asked = UnitSettings.model_validate({"chosen": [{"layers": "memory"}]})
    (problem,) = problems_of_units(asked, [model("memory"), model("volume")], None)
    assert problem.startswith("volume has a layer of no entry of `chosen`: add one for it, name in `models`")
    named = UnitSettings.model_validate({"chosen": [{"layers": "memory", "models": ["memory"]}]})
    assert problems_of_units(named, [model("memory"), model("volume")], None) == []


def test_layers_that_others_have_are_not_asked_of_a_network_and_unknown_ones_are_a_mistake(pictures):
    asked = UnitSettings.model_validate({"layers": ["memory", "end"]})
    assert with_own_layers(asked, model("memory")).layers == ("memory",)
    assert with_own_layers(asked, model("colours")).layers == ()
    assert with_own_layers(UnitSettings(), model("colours")).layers == "default"
    require_units(model("memory"), pictures, with_own_layers(asked, model("memory")))
    require_units(model("colours"), pictures, with_own_layers(asked, model("colours")))
    with pytest.raises(Problems, match=re.escape("`units.layers`: no layer of 'memory' is called 'end'")):
        require_units(model("memory"), pictures, asked)


def test_categories_that_stimuli_lack_are_one_line_of_the_stage_as_well(pictures):
    asked = UnitSettings.model_validate({"codes": {"categories": "kind"}})
    with pytest.raises(Problems, match=r"`units\.codes\.categories` is 'kind', and the stimuli have no such column"):
        require_units(model("memory"), pictures, asked)


def test_a_transform_that_keeps_the_size_of_pictures_is_one_line():
    (problem,) = model("unscaled").problems()
    assert problem.endswith(
        "odd_units.py:unscaled makes inputs of different sizes: (3, 240, 320) of a picture of 320 x 240 pixels, and "
        "(3, 200, 180) of one of 180 x 200; scale or crop all to one size in it, as by Resize((224, 224))."
    )


def test_pictures_that_become_inputs_of_different_sizes_are_named(tmp_path):
    sizes = {"a.png": (30, 30), "b.png": (30, 20), "c.png": (40, 40)}
    for name, size in sizes.items():
        Image.new("RGB", size, "red").save(tmp_path / name)
    images = pd.DataFrame({"condition": list(sizes), "file": [str(tmp_path / name) for name in sizes]})
    one = model("sometimes", layers=["0"])
    with pytest.raises(UserError, match=r"different sizes: \(3, 30, 30\) of .*a\.png, and \(3, 20, 30\) of .*b\.png;"):
        model_rdms(one, images, "euclidean", device="cpu")
    with pytest.raises(UserError, match=r"has the shape 4x26x26 for .*a\.png, and 4x20x20 was expected"):
        model_rdms(one, images.assign(file=str(tmp_path / "a.png")), "euclidean", device="cpu")
