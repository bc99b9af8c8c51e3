"""Which units of a network are looked at, where in a picture they are, and what drives them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure
from networks import small_network
from PIL import Image

from rsa.core import RDMs
from rsa.errors import UserError
from rsa.models.python import Python
from rsa.models.representation import axes_of
from rsa.models.torchvision import Torchvision
from rsa.pipeline.stages.looks import require_units
from rsa.report.style import save_figure
from rsa.report.units.draw import unit_figures
from rsa.report.units.page import HEADINGS, IN_PLACE
from rsa.units.choosing import chosen_units, layers_of_units, problems_of_units, selection, without_others
from rsa.units.found import FILES, Found, load_arrays, remove_found, save_found
from rsa.units.look import PARTS, Beside, Look, looked_at
from rsa.units.settings import UnitSettings
from rsa.units.watched import LayerMap, Peaks, Watched

Watch = Callable[..., Watched]

N = 6


def of_pixels(picture: Image.Image) -> torch.Tensor:
    """Return pixels from -1 to 3: a range that no preprocessing has by itself."""
    values = np.asarray(picture.resize((32, 32)), dtype=np.float32).transpose(2, 0, 1)
    return torch.from_numpy(4 * values / 255 - 1)


def with_dead_units() -> tuple[torch.nn.Module, Callable[[Image.Image], torch.Tensor]]:
    network = small_network()
    conv: Any = network[0]
    with torch.no_grad():
        conv.weight[3] = 0
        conv.bias[3] = -1
    return network, of_pixels


def all_dead() -> tuple[torch.nn.Module, Callable[[Image.Image], torch.Tensor]]:
    network = small_network()
    conv: Any = network[0]
    with torch.no_grad():
        conv.weight.zero_()
    return network, of_pixels


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for i in range(N):
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(folder / f"{i}.png")
    files = [str(folder / f"{i}.png") for i in range(N)]
    return pd.DataFrame({"condition": [f"c{i}" for i in range(N)], "file": files})


def model(function: str = "with_dead_units", **settings: Any) -> Python:
    return Python.model_validate({"function": f"{__file__}:{function}", **settings})


@pytest.fixture(scope="module")
def watched(pictures: pd.DataFrame) -> Watched:
    return Watched.of(model(), pictures)


@pytest.fixture(scope="module")
def peaks(watched: Watched) -> dict[str, Peaks]:
    return watched.peaks(["1", "2", "5"])


def settings(**given: Any) -> UnitSettings:
    return UnitSettings.model_validate(given)


# ------------------------------------------------------------------------------------- what is watched


def test_pixels_are_those_of_the_picture(watched: Watched, pictures: pd.DataFrame) -> None:
    assert watched.black.flatten().tolist() == [-1, -1, -1]
    assert watched.white.flatten().tolist() == [3, 3, 3]
    for i in (0, 4):
        np.testing.assert_array_equal(watched.pixels(watched.input_of(i)), np.asarray(Image.open(pictures["file"][i])))


def test_peaks_are_the_highest_responses(watched: Watched, peaks: dict[str, Peaks]) -> None:
    network, _ = with_dead_units()
    inputs = torch.stack([watched.input_of(i) for i in range(N)])
    with torch.no_grad():
        plain = network[:2](inputs.clone()).numpy()
        scores = network(inputs.clone()).numpy()
    for picture in range(N):
        for channel in range(8):
            values = plain[picture, channel]
            assert peaks["1"].values[picture, channel] == pytest.approx(values.max(), rel=1e-5)
            assert values.flat[peaks["1"].places[picture, channel]] == pytest.approx(values.max(), rel=1e-5)
            assert peaks["1"].lowest[picture, channel] == pytest.approx(values.min(), rel=1e-5)
    np.testing.assert_allclose(peaks["5"].values, scores, rtol=1e-4, atol=1e-5)
    assert peaks["1"].is_dead.tolist() == [channel == 3 for channel in range(8)]


def test_fields_lie_where_the_gradient_does(watched: Watched) -> None:
    """The theoretical field of a unit holds all pixels with a gradient, and ends with them."""
    network, where = small_network(), watched.map_of("2")
    assert where.grid == (16, 16)
    assert where.field_px == 7
    for row, column in ((5, 9), (0, 15)):
        picture = torch.rand(1, 3, 32, 32, requires_grad=True)
        conv, block = network[0], network[2]
        torch.nn.functional.conv2d(conv(picture), block.conv.weight.abs(), padding=1)[0, 2, row, column].backward()
        assert picture.grad is not None
        rows, columns = np.nonzero(picture.grad[0].abs().sum(dim=0).numpy())
        assert where.field_of(row, column) == (rows.min(), columns.min(), rows.max() + 1, columns.max() + 1)
    middle_row, middle_column = where.centre_of(5, 9)
    assert (middle_row, middle_column) == (10, 18)


@pytest.mark.parametrize(
    ("shape", "n_before", "last", "grid"),
    [
        ((8, 4, 6), 0, False, (4, 6)),
        ((4, 4, 8), 0, True, (4, 4)),
        ((10, 8), 1, False, (3, 3)),
        ((11, 8), 1, False, (1, 10)),
        ((8,), 0, False, (1, 1)),
    ],
)
def test_maps_have_channels_before_space(
    shape: tuple[int, ...], n_before: int, last: bool, grid: tuple[int, int]
) -> None:
    """Channels first and last, tokens with a class token, and no space come to one form."""
    one = LayerMap("layer", shape, axes_of(shape, last), n_before, (24, 24))
    output = torch.arange(2.0 * np.prod(shape)).reshape(2, *shape)
    maps = one.maps(output)
    assert one.grid == grid
    assert tuple(maps.shape) == (2, 8, *grid)
    plain = {
        (8, 4, 6): lambda c, i, j: output[1, c, i, j],
        (4, 4, 8): lambda c, i, j: output[1, i, j, c],
        (10, 8): lambda c, i, j: output[1, 1 + 3 * i + j, c],
        (11, 8): lambda c, i, j: output[1, 1 + j, c],
        (8,): lambda c, i, j: output[1, c],
    }[shape]
    assert all(maps[1, c, i, j] == plain(c, i, j) for c in range(8) for i in range(grid[0]) for j in range(grid[1]))
    assert one.has_space == (min(grid) > 1)


def of_wide_pictures() -> tuple[torch.nn.Module, Callable[[Image.Image], torch.Tensor]]:
    """Return a network for 32 x 64 pixels, whose first layer has as many channels as rows."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = torch.nn.Sequential(torch.nn.Conv2d(3, 16, 3, 2, 1), torch.nn.ReLU(), torch.nn.Conv2d(16, 4, 3, 2, 1))
    return network.eval(), lambda picture: of_pixels(picture).repeat(1, 1, 2)


def test_channels_of_pictures_that_are_not_square_are_no_columns(pictures: pd.DataFrame) -> None:
    """Of 16 x 16 x 32 numbers the first 16 are channels, though two lengths are equal; so too for means over space."""
    watched = Watched.of(model("of_wide_pictures", units="mean"), pictures)
    assert [watched.map_of(layer).n_channels for layer in "012"] == [16, 16, 4]
    assert [watched.map_of(layer).grid for layer in "012"] == [(16, 32), (16, 32), (8, 16)]
    assert [one.n_units for one in watched.model.representations().values()] == [16, 16, 4]
    with torch.inference_mode():
        whole = watched.network.module[0](watched.input_of(0)[None])[0]
    np.testing.assert_allclose(watched.peaks(["0"])["0"].values[0], whole.amax(dim=(1, 2)), rtol=1e-5)


def test_tokens_of_pictures_that_are_not_square_lie_as_patches_do() -> None:
    one = LayerMap("layer", (16, 8), axes_of((16, 8)), 0, (16, 64))
    output = torch.arange(128.0).reshape(1, 16, 8)
    assert one.maps(output)[0, 3, 1, 2] == output[0, 10, 3]
    assert one.centre_of(1, 2) == (11.5, 19.5)
    assert [LayerMap("layer", (n, 8), axes_of((n, 8)), 0, (224, 300)).grid for n in (252, 18)] == [(14, 18), (1, 18)]


def test_units_that_share_a_window_have_no_field_beside_the_picture() -> None:
    """Of 56 x 56 tokens each 7 x 7 see the same 28 x 28 pixels: fields are 28 pixels apart, and units are 4."""
    where = {"layer": "block", "shape": (56, 56, 96), "axes": axes_of((56, 56, 96)), "n_before": 0}
    one = LayerMap(**where, input_px=(224, 224), field_px=28.0, jump_px=28.0, centre_px=13.5)
    assert one.field_of(4, 18) == (0, 0, 224, 224)
    assert one.centre_of(4, 18) == (17.5, 73.5)
    own = LayerMap(**where, input_px=(224, 224), field_px=4.0, jump_px=4.0, centre_px=1.5)
    assert own.field_of(4, 18) == (16, 72, 20, 76)
    padded = LayerMap("conv", (8, 36, 36), axes_of((8, 36, 36)), 0, (32, 32), 5.0, 1.0, -2.0)
    assert padded.field_of(35, 35) == (31, 31, 32, 32), "of a convolution that goes beyond the border on all sides"


@pytest.mark.parametrize("part", ["fields", "maximised", "codes", "channels"])
def test_seeds_that_no_generator_takes_are_refused(part: str) -> None:
    with pytest.raises(ValueError, match="less than 4294967296"):
        settings(**{part: {"seed": 2**32}})


def standardised() -> tuple[torch.nn.Module, Callable[[Image.Image], torch.Tensor]]:
    def prepare(picture: Image.Image) -> torch.Tensor:
        pixels = of_pixels(picture)
        return (pixels - pixels.mean()) / (pixels.std() + 1e-8)

    return small_network(), prepare


def test_of_pictures_that_are_standardised_one_by_one_the_range_is_theirs(pictures: pd.DataFrame) -> None:
    watched = Watched.of(model("standardised"), pictures)
    inputs = torch.stack([watched.input_of(picture) for picture in range(N)])
    torch.testing.assert_close(watched.black, inputs.amin(dim=(0, 2, 3))[:, None, None])
    torch.testing.assert_close(watched.white, inputs.amax(dim=(0, 2, 3))[:, None, None])
    assert np.ptp(watched.pixels(inputs)) == 255


def test_places_without_a_known_field_are_spread_evenly() -> None:
    one = LayerMap("layer", (8, 4, 4), axes_of((8, 4, 4)), 0, (24, 24))
    assert one.centre_of(0, 3) == (2.5, 20.5)
    assert one.field_of(0, 3) == (0, 0, 24, 24)


# --------------------------------------------------------------------------------------- which units


def test_units_are_those_that_are_named_or_vary_most(watched: Watched, peaks: dict[str, Peaks]) -> None:
    asked = settings(chosen=[{"layers": "5", "units": [4, 0]}, {"layers": ["1"], "n": 3}])
    found = chosen_units(watched, asked, peaks)
    spread = peaks["1"].values.std(axis=0)
    best = sorted(range(8), key=lambda channel: -spread[channel])[:3]
    assert [(one.layer, one.unit) for one in found] == [*(("1", unit) for unit in best), ("5", 4), ("5", 0)]
    assert [one.why for one in found] == ["varies most"] * 3 + ["asked for"] * 2
    assert 3 not in best  # dead


def test_units_are_those_most_like_a_region(watched: Watched, peaks: dict[str, Peaks]) -> None:
    likeness = {("1", "V1"): np.array([0.1, 0.3, np.nan, 0.9, 0.2, -0.1, 0.0, 0.25])}
    found = chosen_units(watched, settings(chosen=[{"layers": "1", "like": "V1", "n": 3}]), peaks, likeness)
    assert [one.unit for one in found] == [1, 7, 4]  # 3 is dead
    assert {one.why for one in found} == {"like V1"}


def test_without_a_choice_layers_are_spread_from_the_first_to_the_last() -> None:
    names = tuple(f"layer{stage}.{block}" for stage in (1, 2, 3, 4) for block in (0, 1))
    resnet = Torchvision(architecture="resnet18", layers=(*names, "fc"))
    (one,) = selection(settings(), resnet)
    assert one.layers == ("layer1.0", "layer2.0", "layer3.0", "layer4.0", "fc")
    assert one.n == 4


def test_layers_are_those_of_the_model_or_any_other(watched: Watched) -> None:
    own = model(layers=["0", "5"])
    assert layers_of_units(settings(), own, watched.described) == ["0", "5"]
    asked = settings(chosen=[{"layers": "2.*"}, {"layers": "1", "models": ["other"]}])
    assert layers_of_units(asked, own, watched.described) == ["2.conv", "2.norm", "2.relu"]


def test_dead_units_that_are_named_are_refused(watched: Watched, peaks: dict[str, Peaks]) -> None:
    with pytest.raises(UserError, match=r"Layer '1' of .*: unit 3 is dead, .* choose other units"):
        chosen_units(watched, settings(chosen=[{"layers": "1", "units": [1, 3]}]), peaks)


def test_a_dead_layer_is_refused(pictures: pd.DataFrame) -> None:
    dead = Watched.of(model("all_dead"), pictures)
    with pytest.raises(UserError, match=r"All units of layer '0' of .* are dead"):
        chosen_units(dead, settings(chosen=[{"layers": "0"}]), dead.peaks(["0"]))


@pytest.mark.parametrize(
    ("chosen", "line"),
    [
        (
            {"layers": "conv9"},
            "units of 'conv9': no layer of 'withdeadunits' is called 'conv9' and has one output; `python -m rsa layers",
        ),
        (
            {"layers": "1", "units": 8},
            "units of '1': layer '1' of withdeadunits has no unit 8: it has 8, numbered from 0 to 7.",
        ),
        ({"layers": "1", "models": ["alexnet"]}, "there is no network 'alexnet'; there are 'withdeadunits'."),
        ({"layers": "1", "like": "V4"}, "`like: V4` is no region; there are 'V1', 'IT'."),
    ],
)
def test_mistakes_are_told_in_a_line(chosen: dict[str, Any], line: str) -> None:
    (found,) = problems_of_units(settings(chosen=[chosen]), [model()], ["V1", "IT"])
    assert line in found


def test_of_a_study_a_network_is_asked_for_what_it_has(pictures: pd.DataFrame) -> None:
    net = model()
    others = [{"layers": "1", "models": ["other"]}, {"layers": "elsewhere"}]
    maps = [{"layer": "elsewhere"}, {"name": "b", "models": ["other"]}]
    asked = settings(chosen=[{"layers": "1"}, *others], heat_maps=maps, maximised={"models": ["other"]})
    own = without_others(asked, net, net.describe())
    assert (own.chosen, own.heat_maps, own.maximised) == (asked.chosen[:1], (), None)
    require_units(net, pictures, asked)
    with pytest.raises(UserError, match=r"units of 'elsewhere': no layer of .* is called 'elsewhere' and"):
        require_units(net, pictures, settings(chosen=others))


def test_of_a_network_of_which_no_units_are_wanted_the_rest_is_looked_at(watched: Watched) -> None:
    layers = RDMs(np.zeros((0, N * (N - 1) // 2)), watched.pictures.conditions, pd.DataFrame({"layer": []}))
    asked = settings(chosen=[{"layers": "1", "models": ["other"]}], codes=None)
    found = dict(looked_at(Look(watched, asked, Beside(watched.pictures.images, layers))))
    assert found["units"].tables["units"].rows.empty
    assert "filters" in found


def test_without_regions_no_unit_is_like_one() -> None:
    (line,) = problems_of_units(settings(chosen=[{"layers": "1", "like": "V4"}]), [model()], [])
    assert line.endswith("the study has no regions.")


def test_units_are_named_or_chosen_and_not_both() -> None:
    with pytest.raises(ValueError, match="`units` names units and `like` chooses them"):
        settings(chosen=[{"layers": "1", "units": 1, "like": "V1"}])


# ------------------------------------------------------------------------------------ what drives them


def look(watched: Watched, **asked: Any) -> Look:
    rdms = RDMs(np.ones((0, N * (N - 1) // 2)), [f"c{i}" for i in range(N)], pd.DataFrame({"layer": []}), "correlation")
    return Look(watched, settings(**asked), Beside(watched.pictures.images, rdms))


def test_one_picture_is_too_few(pictures: pd.DataFrame) -> None:
    alone = Watched.of(model(), pictures[:1])
    with pytest.raises(UserError, match="compares responses to pictures, and there is 1"):
        next(looked_at(look(alone)))


def test_pictures_are_in_the_order_of_the_responses(watched: Watched, peaks: dict[str, Peaks]) -> None:
    only = {"fields": None, "codes": None, "channels": None, "filters": False}
    asked = look(watched, chosen=[{"layers": "1", "units": [0, 5]}], preferred={"n_pictures": 4}, **only)
    found = dict(looked_at(asked))
    table, maps = found["preferred"].tables["preferred"].rows, found["preferred"].arrays
    for k, unit in enumerate((0, 5)):
        own = table[table["unit"] == unit]
        order = np.argsort(-peaks["1"].values[:, unit])[:4]
        assert own["picture"].tolist() == order.tolist()
        assert own["condition"].tolist() == [f"c{i}" for i in order]
        np.testing.assert_allclose(own["response"], peaks["1"].values[order, unit], rtol=1e-6)
        assert maps[f"maps_{k}"].shape == (4, 16, 16)
        np.testing.assert_allclose(maps[f"maps_{k}"].max(axis=(1, 2)), own["response"], rtol=1e-5)
        row, column = np.unravel_index(maps[f"maps_{k}"][0].argmax(), (16, 16))
        assert (own["row_px"].iloc[0], own["column_px"].iloc[0]) == (2 * row, 2 * column)
    shown = found["pictures"].arrays
    assert shown["small"].shape == (N, 64, 64, 3)
    assert set(shown["numbers"]) == set(table["picture"])


def test_a_picture_that_gives_no_number_is_named(pictures: pd.DataFrame) -> None:
    broken = Watched.of(model(), pictures)
    conv: Any = broken.network.module[0]
    with torch.no_grad():
        conv.weight[0] = np.inf
    with pytest.raises(UserError, match=r"The output of layer '1' of .* is NaN or infinite for .*0\.png"):
        broken.peaks(["1"])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_a_gpu_finds_the_same_peaks(pictures: pd.DataFrame, peaks: dict[str, Peaks]) -> None:
    found = Watched.of(model(), pictures, device="cuda").peaks(["1", "2", "5"])
    for layer, one in peaks.items():
        np.testing.assert_allclose(found[layer].values, one.values, rtol=1e-4, atol=1e-5)


def test_results_are_the_same_again_and_by_any_batch(pictures: pd.DataFrame, peaks: dict[str, Peaks]) -> None:
    again = Watched.of(model(), pictures, batch_size=1).peaks(["1", "2", "5"])
    for layer, one in peaks.items():
        np.testing.assert_allclose(again[layer].values, one.values, rtol=1e-5, atol=1e-6)
    same = Watched.of(model(), pictures).peaks(["1"])
    np.testing.assert_array_equal(same["1"].values, peaks["1"].values)


def test_a_table_whose_files_are_the_conditions(tmp_path: Path, pictures: pd.DataFrame) -> None:
    from rsa.inputs.stimuli import Stimuli

    table = tmp_path / "stimuli.tsv"
    pd.DataFrame({"file": pictures["file"], "kind": "a"}).to_csv(table, sep="\t", index=False)
    found = Stimuli(table=str(table), condition_column="file").load()
    assert found["condition"].tolist() == pictures["file"].tolist() == found["file"].tolist()
    assert found["kind"].tolist() == ["a"] * N


# ------------------------------------------------------------------------------------------- the folder


def test_nothing_of_an_earlier_look_stays_in_the_folder(tmp_path: Path, pictures: pd.DataFrame) -> None:
    """An earlier look had heat maps and codes; the new one has neither, and the user's own file is not touched."""
    from rsa.inputs.stimuli import Stimuli
    from rsa.pipeline.stages.looks import units

    table, folder = tmp_path / "stimuli.tsv", tmp_path / "found"
    pictures.to_csv(table, sep="\t", index=False)
    folder.mkdir()
    for name in ("heat_maps.tsv", "heat_maps.npz", "readout_pairs.json", "responses.npz", "notes.tsv"):
        (folder / name).write_text("of an earlier look")
    nothing = dict.fromkeys(("preferred", "fields", "codes", "channels"))
    asked = settings(chosen=[{"layers": "1", "units": 0}], filters=False, **nothing)
    units(model(layers=["1"]), Stimuli(table=str(table)), folder, asked, device="cpu")
    names = {path.name for path in folder.iterdir()}
    assert names == {"units.tsv", "units.json", "responses.npz", "pictures.npz", "provenance.json", "notes.tsv"}


def test_a_mistake_leaves_an_earlier_look_as_it_is(tmp_path: Path, pictures: pd.DataFrame) -> None:
    from rsa.inputs.stimuli import Stimuli
    from rsa.pipeline.stages.looks import units

    table, kept = tmp_path / "stimuli.tsv", tmp_path / "found" / "heat_maps.tsv"
    pictures.to_csv(table, sep="\t", index=False)
    kept.parent.mkdir()
    kept.write_text("of an earlier look")
    asked = settings(chosen=[{"layers": "1"}], fields={"patch_px": 40}, codes=None)
    with pytest.raises(UserError, match="`patch_px: 40` is larger than the network's input"):
        units(model(layers=["1"]), Stimuli(table=str(table)), kept.parent, asked, device="cpu")
    assert kept.is_file()


def test_files_of_the_user_are_not_removed(tmp_path: Path) -> None:
    for name in ("channels.tsv", "pictures.json"):
        (tmp_path / name).write_text("of the user")
    with pytest.raises(UserError, match=r"has 'channels.tsv', 'pictures.json', and is not .* name another folder"):
        remove_found(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"channels.tsv", "pictures.json"}


def test_a_folder_that_is_a_file_is_told_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "found").write_text("a file")
    with pytest.raises(UserError, match=r"Cannot write to the folder .*found: File exists"):
        remove_found(tmp_path / "found")


def test_one_picture_is_told_in_a_line(tmp_path: Path, pictures: pd.DataFrame) -> None:
    from rsa.inputs.stimuli import Stimuli
    from rsa.pipeline.stages.looks import units

    table = tmp_path / "stimuli.tsv"
    pictures.head(1).to_csv(table, sep="\t", index=False)
    with pytest.raises(UserError, match="there is 1: add pictures to `stimuli`"):
        units(model(layers=["1"]), Stimuli(table=str(table)), tmp_path / "found", settings(), device="cpu")


def test_arrays_cut_in_half_are_told_in_one_line(tmp_path: Path) -> None:
    save_found(tmp_path, "fields", Found({}, {"mean_0": np.arange(1e4)}))
    path = tmp_path / "fields.npz"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UserError, match=r"fields\.npz cannot be read .*delete it, and run the study again"):
        load_arrays(tmp_path, "fields")


def test_all_files_of_a_look_are_known_to_be_removed() -> None:
    names = {*PARTS, *HEADINGS, *(name for name in IN_PLACE.values() if name), "pictures", "provenance"}
    assert names <= set(FILES)


def test_figures_of_an_earlier_look_are_removed(tmp_path: Path) -> None:
    for name in ("fields_00_a.png", "fields.png", "notes.png"):
        save_figure(tmp_path / name, Figure((1, 1)), "of an earlier look")
    Image.new("RGB", (8, 8)).save(tmp_path / "fields_of_mine.png")
    (tmp_path / "filters_of_mine.png").write_text("no picture")
    assert unit_figures(tmp_path, tmp_path) == []
    left = {"notes.png", "notes.svg", "fields_of_mine.png", "filters_of_mine.png"}
    assert {path.name for path in tmp_path.iterdir()} == left
