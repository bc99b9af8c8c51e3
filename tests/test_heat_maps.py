"""Heat maps show where a class is seen, on networks that see one place, and on photographs with real weights."""

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
from rsa.models.representation import axes_of
from rsa.models.torchvision import Torchvision
from rsa.report.units import heat_maps as figures
from rsa.report.units.folder import UnitsFolder
from rsa.report.units.page import unit_sections
from rsa.units.choosing import without_others
from rsa.units.found import save_found
from rsa.units.heat_maps import _problems_of_layer, heat_maps, measured, problems_of_heat_maps, require_squares
from rsa.units.look import PARTS, Beside, Look, looked_at
from rsa.units.naming import layers_of_classes, names_of_units, problems_of_classes
from rsa.units.occlusion import grey
from rsa.units.settings import Chosen, HeatMap, UnitSettings
from rsa.units.watched import LayerMap, Watched

SIDE = field_networks.SIDE

BOXES = {
    "bird.jpg": (19, (27, 0, 205, 190)),
    "dragonfly.jpg": (319, (15, 50, 155, 224)),
    "hot_dog.jpg": (934, (35, 0, 145, 224)),
    "dog_train_0.jpg": ("207,208,222,257", (18, 0, 190, 224)),
    "hotdog_train_1.jpg": (934, (32, 5, 210, 175)),
}
"""Accepted classes of photographs, and where in the network's input the object is: first row and column, and one
behind the last of each, seen by eye."""


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Two pictures of noise, with units in columns."""
    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(1)
    files = [folder / f"{name}.png" for name in "ab"]
    for file in files:
        Image.fromarray(rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)).save(file)
    return pd.DataFrame({"condition": ["a", "b"], "file": list(map(str, files)), "classes": ["3,1", "2"], "bad": "x"})


@pytest.fixture(scope="module")
def corners(images):
    """Watch a network whose four classes each see one quarter of the picture."""
    return Watched.of(Python(function="field_networks:corners", name="own"), images)


def asked(**settings):
    return UnitSettings(heat_maps=(HeatMap(**settings),))


def test_heat_map_is_that_of_places_covered_one_by_one(corners):
    found = heat_maps(corners, asked(unit=1, patch_px=6, stride_px=4, pictures=["b"]))
    module = corners.network.module

    def probability(picture):
        with torch.inference_mode():
            return float(torch.softmax(module(picture[None])[0], dim=0)[1])

    picture, size = corners.input_of(1), 4
    expected = oracles.mean_falls(probability, picture, grey(corners), 6, size)
    np.testing.assert_allclose(found.arrays["map_0"], expected, atol=1e-6)
    row = found.tables["heat_maps"].rows.iloc[0]
    assert row["intact"] == pytest.approx(probability(picture))
    assert row["largest_fall"] == pytest.approx(expected.max(), abs=1e-6)
    assert (row["row_px"], row["column_px"]) == np.unravel_index(found.arrays["map_0"].argmax(), expected.shape)


def test_the_unit_is_named_or_the_highest_of_a_column_or_of_all(corners):
    with torch.inference_mode():
        scores = corners.network.module(torch.stack([corners.input_of(0), corners.input_of(1)])).numpy()
    settings = {"patch_px": 16, "stride_px": 16, "measure": "response"}
    named, column, best = (
        heat_maps(corners, asked(**settings, **chosen)).tables["heat_maps"].rows
        for chosen in ({"unit": 2}, {"unit_column": "classes"}, {})
    )
    assert list(named["unit"]) == [2, 2]
    assert list(column["unit"]) == [max((3, 1), key=lambda unit: scores[0, unit]), 2]
    assert list(best["unit"]) == list(scores.argmax(axis=1))
    np.testing.assert_allclose(best["intact"], scores.max(axis=1), rtol=1e-5)


def test_responses_of_layers_with_space_are_the_highest_at_any_place(images):
    watched = Watched.of(Python(function="field_networks:network", arguments={"kind": "odd"}, name="own"), images)
    found = heat_maps(watched, asked(layer="0", unit=1, measure="response", patch_px=SIDE, stride_px=SIDE))
    with torch.inference_mode():
        module = watched.network.module
        intact = module(torch.stack([watched.input_of(0), watched.input_of(1)]))[:, 1].amax(dim=(1, 2)).numpy()
        covered = float(module(grey(watched)[None])[0, 1].max())
    np.testing.assert_allclose(found.tables["heat_maps"].rows["intact"], intact, rtol=1e-5)
    for i in (0, 1):
        np.testing.assert_allclose(found.arrays[f"map_{i}"], intact[i] - covered, rtol=1e-4)


def test_probabilities_stay_as_they_are():
    ready = np.array([[0.2, 0.5, 0.3], [1.0, 0.0, 0.0]])
    np.testing.assert_array_equal(measured(ready, "probability"), ready)
    np.testing.assert_allclose(measured(10 * ready, "probability").sum(axis=1), 1)


def test_the_class_of_a_photograph_is_seen_on_its_object(data):
    """Real weights: the class unit falls most where the object is, and more on it than beside it."""
    folder = data / "photos_labelled"
    table = pd.DataFrame({"condition": list(BOXES), "file": [str(folder / name) for name in BOXES]})
    table["classes"] = [classes for classes, _ in BOXES.values()]
    weights = str(data / "weights" / "squeezenet1_1.pth")
    model = Torchvision(architecture="squeezenet1_1", weights=weights, preprocess_as="IMAGENET1K_V1")
    names = folder / "imagenet_labels.txt"
    settings = UnitSettings(heat_maps=(HeatMap(unit_column="classes", patch_px=64, stride_px=32),), names=str(names))
    assert problems_of_heat_maps(settings, [model], table) == problems_of_classes(settings, [model]) == []
    watched = Watched.of(model, table)
    assert layers_of_classes(watched, ["features.12", "classifier.3", "classifier"]) == ["classifier.3", "classifier"]
    found = heat_maps(watched, settings, names_of_units(watched, settings, ["classifier"]))
    rows = found.tables["heat_maps"].rows
    assert rows["unit_name"].str.contains("chickadee|dragonfly|hotdog|Labrador").all()
    for i, (name, (_, (top, left, bottom, right))) in enumerate(BOXES.items()):
        row, mapped = rows.iloc[i], found.arrays[f"map_{i}"]
        assert top <= row["row_px"] < bottom, name
        assert left <= row["column_px"] < right, name
        inside = np.zeros(mapped.shape, dtype=bool)
        inside[top:bottom, left:right] = True
        assert mapped[inside].mean() > mapped[~inside].mean(), name


# ------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"layer": "conv"}, "no layer of 'own' is called 'conv' and has one output; `python -m rsa layers"),
        ({"unit": 4}, "layer '1' of own has no unit 4: it has 4, numbered from 0 to 3."),
        ({"models": ["other"]}, "there is no network 'other'; there are 'own'."),
        ({"unit": 1, "unit_column": "classes"}, "`unit` and `unit_column` both name its unit; set one of the two."),
        (
            {"patch_px": 4, "stride_px": 5},
            "`stride_px: 5` is larger than the patch, 4 pixels, so that some pixels would never be covered; set a "
            "stride of at most the patch.",
        ),
        ({"unit_column": "class"}, "`unit_column: class` is no column of the stimulus table; it has 'classes', 'bad'."),
        ({"unit_column": "bad"}, "column 'bad' has 'x' for condition 'a'; write numbers of units, with commas between"),
        ({"pictures": ["a", "c"]}, "`pictures` has 'c', which is no condition."),
    ],
)
def test_a_heat_map_that_cannot_be_is_one_line(corners, images, settings, expected):
    (problem,) = problems_of_heat_maps(asked(**settings), [corners.model], images)
    assert problem.startswith("Heat map 'class': ")
    assert expected in problem


def test_probabilities_in_bfloat16_stay_as_they_are():
    rounded = torch.tensor([[0.901, 0.0495, 0.0495], [0.3, 0.3, 0.4]]).bfloat16().float().numpy()
    assert 1e-3 < abs(rounded[0].sum() - 1) < 1e-2
    np.testing.assert_array_equal(measured(rounded, "probability"), rounded)


def test_the_probability_of_one_unit_alone_is_refused(corners):
    alone = LayerMap("score", (1,), axes_of((1,)), 0, (30, 30))
    (problem,) = _problems_of_layer(HeatMap(), corners.model, alone, None)
    assert "has one unit, whose probability among all is always 1; set `measure: response`" in problem
    assert _problems_of_layer(HeatMap(measure="response"), corners.model, alone, None) == []


def test_units_of_pictures_that_are_not_asked_for_do_not_count(corners, images):
    table = images.assign(classes=["99", "2"])
    assert problems_of_heat_maps(asked(unit_column="classes", pictures=["b"]), [corners.model], table) == []
    (problem,) = problems_of_heat_maps(asked(unit_column="classes"), [corners.model], table)
    assert "has no unit 99" in problem


def test_probabilities_need_a_layer_without_space(images):
    model = Python(function="field_networks:network", arguments={"kind": "odd"}, name="own")
    (problem,) = problems_of_heat_maps(asked(layer="0", unit=0), [model], images)
    assert "layer '0' of own has 30 x 30 places, and probabilities are of layers with one" in problem


@pytest.fixture(scope="module")
def ending(images):
    """Watch a network whose last layers have the same output."""
    return Watched.of(Python(function="field_networks:ends_with_classes", name="own"), images)


def test_layers_with_the_output_of_the_last_have_its_classes(ending, images):
    layers = ["0", "1", "2", "3.0", "3.1", "3"]
    assert list(ending.described["layer"]) == layers
    assert layers_of_classes(ending, layers) == ["3.0", "3.1", "3"]  # those before have four units of another kind
    assert layers_of_classes(ending, ["0", "1"], told=["0", "3.*"]) == ["0"]
    dead = Watched.of(Python(function="field_networks:ends_with_zeros", name="own"), images)
    assert layers_of_classes(dead, layers) == ["3"]


def test_units_of_all_layers_of_classes_have_names(ending, tmp_path):
    (tmp_path / "names.txt").write_text("a\nb\nc\nd\n", encoding="utf-8")
    heat = HeatMap(layer="3.1", unit=3, pictures=("b",), patch_px=16, stride_px=16)
    settings = UnitSettings(
        names=str(tmp_path / "names.txt"),
        class_layers=("0",),
        chosen=(Chosen(layers=("0", "2", "3.0", "3"), units=(1, 2)),),
        heat_maps=(heat,),
    )
    look = Look(ending, settings, Beside(ending.pictures.images))
    rows = PARTS["units"](look).tables["units"].rows
    assert list(zip(rows["layer"], rows["name"], strict=True)) == [
        *[("0", "b"), ("0", "c"), ("2", ""), ("2", "")],
        *[("3.0", "b"), ("3.0", "c"), ("3", "b"), ("3", "c")],
    ]
    assert list(PARTS["heat_maps"](look).tables["heat_maps"].rows["unit_name"]) == ["d"]


def test_names_have_a_line_for_each_unit(corners, ending, tmp_path, caplog):
    path = tmp_path / "names.txt"
    path.write_text("one\ntwo\nthree\n", encoding="utf-8")
    assert problems_of_classes(UnitSettings(names=str(path), class_layers=("0", "9*")), [corners.model]) == [
        "`units.class_layers`: no layer of 'own' is called '9*' and has one output; "
        f"`python -m rsa layers {corners.model.word}` lists them.",
        "`units.names` has 3 lines, and the last layer of own, 1, has 4 units; it needs a line for each.",
        "`units.names` has 3 lines, and 0 of own has 3072 units; it needs a line for each.",
    ]
    settings = UnitSettings(class_layers=("3.*", "9*"))
    assert problems_of_classes(settings, [ending.model]) == [
        "`units.class_layers` has no names to give; set `units.names`."
    ]
    assert without_others(settings, ending.model, ending.described).class_layers == ("3.*",)
    assert "`class_layers`: own has no layer '9*'." in caplog.text


def test_two_heat_maps_need_two_names(corners, images):
    settings = UnitSettings(heat_maps=(HeatMap(unit=1), HeatMap(unit=2)))
    assert problems_of_heat_maps(settings, [corners.model], images) == [
        "Two `heat_maps` are called 'class'; give each a `name`."
    ]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"patch_px": 40}, "Heat map 'class': `patch_px: 40` is larger than the network's input, 32 x 32 pixels"),
        ({"patch_px": 4, "stride_px": 5}, "Heat map 'class': `stride_px: 5` is larger than the patch, 4 pixels"),
    ],
)
def test_a_square_that_does_not_fit_is_one_line(corners, settings, expected):
    with pytest.raises(UserError, match=re.escape(expected)):
        require_squares(corners, asked(**settings))


def test_heat_maps_are_drawn_over_their_pictures(corners, images, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(figures, "save_figure", lambda path, figure, *rest: drawn.append((path.stem, figure, *rest)))
    (tmp_path / "names.txt").write_text("north-west\nnorth-east\nsouth-west, down left\nsouth-east", encoding="utf-8")
    settings = UnitSettings.model_validate(
        {"names": str(tmp_path / "names.txt"), "preferred": None, "fields": None, "codes": None, "channels": None}
        | {"chosen": [{"layers": ["1"]}], "filters": False}
        | {"heat_maps": [{"unit": 2}, {"name": "best", "measure": "response", "pictures": ["b"]}]}
    )
    for part, found in looked_at(Look(corners, settings, Beside(images))):
        save_found(tmp_path, part, found)
    named = pd.read_csv(tmp_path / "units.tsv", sep="\t").set_index("unit")["name"]
    assert dict(named) == {0: "north-west", 1: "north-east", 2: "south-west, down left", 3: "south-east"}
    (listed, *_) = unit_sections(tmp_path, tmp_path, lambda *paths: [])
    assert listed.table is not None
    assert list(listed.table["name"]) == [dict(named)[unit].partition(",")[0] for unit in listed.table["unit"]]
    figures.heat_map_figures(UnitsFolder(tmp_path), tmp_path)
    assert [name for name, *_ in drawn] == ["heat_maps_class", "heat_maps_best"]
    assert [faults(figure) for _, figure, *_ in drawn] == [[], []]
    words = [text.get_text() for text in drawn[0][1].axes[0].texts]
    table = pd.read_csv(tmp_path / "heat_maps.tsv", sep="\t")
    assert f"south-west: {table['intact'][0]:.2f}".replace("0.", ".") in words
    assert "the probability for the whole picture" in drawn[0][2]
    assert "the response for the whole picture" in drawn[1][2]
