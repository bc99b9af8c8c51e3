"""What learning changes: units that answer to other pictures, and categories that are no longer told apart."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import oracles
import pandas as pd
import pytest
import torch
from figure_faults import faults
from networks import small_network
from PIL import Image
from scipy.stats import binom, norm

from rsa.distances import cross_products
from rsa.errors import UserError
from rsa.files import io
from rsa.models.python import Python
from rsa.pipeline import stages
from rsa.pipeline.checks import problems_of
from rsa.pipeline.config import Study, load_study
from rsa.pipeline.plan import Plan
from rsa.report.style import caption_of
from rsa.report.units.learning import change_sections, chosen_layers, draw_categories, draw_curve, extremes
from rsa.units.found import Found, Table, save_found
from rsa.units.learning import (
    CATEGORY_COLUMNS,
    CURVE_COLUMNS,
    UNIT_COLUMNS,
    Discordant,
    Responses,
    category_changes,
    corrected_p,
    layer_changes,
    learning_curve,
    n_top,
    top_overlap,
    top_pictures_of,
    tuning_similarity,
    unit_changes,
)
from rsa.units.look import PARTS, Beside, Look
from rsa.units.readout import PairReadouts, design_of, readout
from rsa.units.settings import Codes, UnitSettings
from rsa.units.watched import Watched

N = 24
SWAPPED, DEAD = [2, 5], 6


# ----------------------------------------------------------------------------------------- planted changes


def of_pixels(picture: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.asarray(picture.resize((32, 32)), dtype=np.float32).transpose(2, 0, 1) / 128 - 1)


def before() -> tuple[torch.nn.Module, Callable[[Image.Image], torch.Tensor]]:
    return small_network(), of_pixels


def after() -> tuple[torch.nn.Module, Callable[[Image.Image], torch.Tensor]]:
    """Return the same network, of which two units of the first layer changed places, and one died."""
    network = small_network()
    conv: Any = network[0]
    with torch.no_grad():
        for values in (conv.weight, conv.bias):
            values[SWAPPED] = values[SWAPPED[::-1]].clone()
        conv.weight[DEAD] = 0
        conv.weight[0] *= 2  # of which no order depends
        conv.bias[0] *= 2
    return network, of_pixels


@pytest.fixture(scope="module")
def responses(tmp_path_factory: pytest.TempPathFactory) -> list[Responses]:
    folder, rng = tmp_path_factory.mktemp("learning"), np.random.default_rng(0)
    for i in range(N):
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(folder / f"{i}.png")
    files = [str(folder / f"{i}.png") for i in range(N)]
    pictures = pd.DataFrame({"condition": [f"c{i}" for i in range(N)], "file": files})
    settings, found = UnitSettings.model_validate({"chosen": [{"layers": ["0", "5"]}]}), []
    for name in ("before", "after"):
        watched = Watched.of(Python.model_validate({"function": f"{__file__}:{name}"}), pictures)
        part = PARTS["responses"](Look(watched, settings, Beside(pictures)))
        assert part is not None
        save_found(folder / name, "responses", part)
        found.append(Responses.of(folder / name, name))
    return found


def test_the_units_that_changed_are_found(responses: list[Responses]) -> None:
    table = unit_changes(*responses)
    assert list(table) == list(UNIT_COLUMNS)
    first = table[table["layer"] == "0"].set_index("unit")
    same = first.drop([*SWAPPED, DEAD])
    assert (same[["tuning_similarity", "overlap"]] == 1).all(axis=None)
    assert (same["preferred_before"] == same["preferred_after"]).all()
    moved, peaks = first.loc[SWAPPED], [one.peaks["0"] for one in responses]
    expected = oracles.by_spearman(peaks[0][:, 2], peaks[0][:, 5])
    np.testing.assert_allclose(moved["tuning_similarity"], expected)
    assert (moved["tuning_similarity"] < 0.6).all()
    assert moved.loc[2, "preferred_after"] == moved.loc[5, "preferred_before"]
    assert np.isnan(first.loc[DEAD, "tuning_similarity"])
    assert first.loc[DEAD, ["constant", "preferred_after"]].tolist() == ["after", ""]
    assert (first["constant"].drop(DEAD) == "").all()
    assert first.loc[0, "spread_after"] == pytest.approx(2 * first.loc[0, "spread_before"])
    last = table[table["layer"] == "5"]
    assert (last["tuning_similarity"] < 1).all()
    summary = layer_changes(table).set_index("layer").loc["0"]
    assert summary[["n_units", "n_constant", "n_same"]].tolist() == [8, 1, 5]
    assert summary["tuning_similarity"] == pytest.approx((5 + 2 * expected) / 7)
    assert summary["chance"] == 6 / 24


# ---------------------------------------------------------------------------------------------- numbers


def slow_overlap(a: np.ndarray, b: np.ndarray, n: int) -> float:
    """Return the share of the highest pictures that two units share, without those that tie at the end."""
    sets = []
    for values in (a, b):
        higher = [sum(other >= value for other in values) for value in values]  # itself and its ties count
        sets.append({i for i, rank in enumerate(higher) if rank <= n})
    return len(sets[0] & sets[1]) / max(map(len, sets)) if all(sets) else np.nan


def test_similarity_and_overlap_are_the_slow_ones(rng: np.random.Generator) -> None:
    a, b = (np.round(rng.random((40, 30)) * 8) for _ in range(2))  # with ties
    a[:, 0], b[:, 1], b[:, 2] = 3.0, 1.0, np.exp(a[:, 2])
    for found, one in ((tuning_similarity(a, b), oracles.by_spearman), (top_overlap(a, b, 9), slow_overlap)):
        arguments = () if one is oracles.by_spearman else (9,)
        np.testing.assert_allclose(found, [one(a[:, i], b[:, i], *arguments) for i in range(30)], atol=1e-12)
        assert np.isnan(found[:2]).all()
        assert found[2] == 1
    assert top_pictures_of(a, 9).sum(axis=0).max() <= 9


def test_unrelated_units_overlap_by_chance(rng: np.random.Generator) -> None:
    a, b = rng.random((2, 92, 4000))
    found = top_overlap(a, b, 9)
    assert found.mean() == pytest.approx(9 / 92, abs=4 * found.std() / np.sqrt(4000))
    assert [n_top(n) for n in (2, 14, 35, 36, 92)] == [1, 3, 8, 9, 9]
    assert top_overlap(a[:2], b[:2], 2)[0] == 1, "all pictures are the same pictures"


def read_out(*, sizes: tuple[int, int] = (10, 10), **pairs: tuple[float, float]) -> PairReadouts:
    """Return read-outs of pairs of categories, by names of two letters and the share of each that is right."""
    rows, singles = [], []
    for name, shares in pairs.items():
        which = np.repeat([False, True], sizes)
        is_right = np.concatenate([np.arange(n) < round(n * share) for n, share in zip(sizes, shares, strict=True)])
        rows.append({"layer": "fc", "category_a": name[0], "category_b": name[1], "accuracy": np.mean(shares)})
        rows[-1] |= {"n": len(which), "n_right": is_right.sum()}
        singles.append({"place": np.arange(len(which)), "is_second": which, "is_right": is_right})
    return PairReadouts(pd.DataFrame(rows), singles, 5)


@pytest.fixture
def forgotten() -> pd.DataFrame:
    before = read_out(ab=(0.9, 0.9), ac=(1.0, 1.0), bc=(0.6, 0.6))
    return category_changes(before, read_out(bc=(0.6, 0.7), ab=(1.0, 0.9), ac=(0.0, 0.2)))


def test_forgotten_categories_come_first(forgotten: pd.DataFrame) -> None:
    assert list(forgotten) == list(CATEGORY_COLUMNS)
    assert (forgotten["category_a"] + forgotten["category_b"]).tolist() == ["ac", "ab", "bc"]
    np.testing.assert_allclose(forgotten["difference"], [-0.9, 0.05, 0.05])
    assert forgotten[["n_lost", "n_gained"]].to_numpy().tolist() == [[18, 0], [0, 1], [0, 1]]
    z = 18 / np.sqrt(2.25 * 18)  # equal categories: McNemar's, and the variance of five folds
    assert forgotten["p"][0] == pytest.approx(2 * norm.sf(z))
    assert forgotten["p_corrected"][0] == forgotten["p"][0], "one condition can never give such a p"
    assert forgotten["p_corrected"].tolist()[1:] == [1, 1]


def test_p_is_that_of_all_ways_to_gain_and_lose(rng: np.random.Generator) -> None:
    """The variance is that over all ways in which discordant conditions may be lost or gained, times 1 + 5/4."""
    for _ in range(5):
        before, after = rng.random((2, 11)) < 0.5
        single = {"place": np.arange(11), "is_second": np.arange(11) > 6}
        one = Discordant.of({**single, "is_right": before}, {**single, "is_right": after})
        p, every = oracles.paired_p(before, after, single["is_second"], 5)
        assert one.p(5) == pytest.approx(p)
        np.testing.assert_allclose(one.possible(5), every)
    assert Discordant((3, 3), (0, 0), (0, 0)).p(5) == 1


def test_correction_is_holms_where_every_p_is_possible_and_lower_where_few_are(rng: np.random.Generator) -> None:
    p = rng.random(12) ** 3
    fine = [np.unique([*np.linspace(0.001, 1, 1000), *p])] * 12
    np.testing.assert_allclose(corrected_p(p, fine), oracles.holm(p))
    coarse = [np.array([own, 1.0]) for own in p]
    found = corrected_p(p, coarse)
    assert (found >= p).all()
    assert (found <= oracles.holm(p)).all()
    assert found.min() == p.min()
    assert corrected_p(np.zeros(0), []).shape == (0,)


def test_read_outs_of_other_conditions_are_told_in_a_line() -> None:
    one, other = read_out(ab=(1.0, 1.0)), read_out(ab=(1.0, 1.0))
    other.singles[0]["place"][0] = 99
    with pytest.raises(UserError, match="before and after are of other conditions; run the study again"):
        category_changes(one, other)
    with pytest.raises(UserError, match="have different folds; run the study again"):
        category_changes(one, replace(one, n_folds=4))


def test_unbalanced_categories_have_the_same_weight() -> None:
    """Of 18 conditions and 2: all of the many and none of the few are right, then half of the many and both."""
    found = category_changes(read_out(ab=(1.0, 0.0), sizes=(18, 2)), read_out(ab=(0.5, 1.0), sizes=(18, 2)))
    assert found["difference"][0] == 0.25
    assert found[["n_lost", "n_gained"]].to_numpy().tolist() == [[9, 2]]
    assert found["p"][0] == pytest.approx(2 * norm.sf((2 / 2 - 9 / 18) / np.sqrt(2.25 * (2 / 4 + 9 / 324))))


def test_noise_is_no_loss() -> None:
    """Two layers of noise, 60 studies: p of .05 or less is rarer than by chance, and holds over all pairs."""
    kinds, lowest = np.repeat(["a", "b", "c"], 12), []
    for seed in range(60):
        rng, design = np.random.default_rng(seed), design_of(kinds, 5, seed)
        assert design is not None
        both = []
        for _ in range(2):
            layers = [(name, cross_products([rng.standard_normal((36, 40))], "feature")) for name in "xy"]
            found = readout(layers, 2, design, Codes(permutations=0))
            rows, singles = found.tables["readout_pairs"].rows, []
            for i in range(6):
                singles.append({name: values[24 * i : 24 * (i + 1)] for name, values in found.arrays.items()})
            both.append(PairReadouts(rows, singles, 5))
        table = category_changes(*both)
        assert (table["p_corrected"] >= table["p"]).all()
        lowest.append((table["p"].min(), table["p_corrected"].min(), (table["p"] <= 0.05).sum()))
    single, corrected, n_low = np.array(lowest).T
    assert n_low.sum() <= binom.ppf(0.99999, 6 * 60, 0.05)
    assert (corrected <= 0.05).sum() <= binom.ppf(0.99999, 60, 0.05)
    assert single.min() < 0.2, "differences are found at all"


def curve_of(rng: np.random.Generator) -> tuple[pd.DataFrame, list[Responses]]:
    """Return units that go from one tuning to another in three steps, and their curve."""
    first, last = rng.standard_normal((2, 30, 50))
    parts = [{"conv": first, "fc": (1 - share) * first + share * last} for share in (0.0, 0.5, 1.0)]
    conditions = np.array([f"c{i}" for i in range(30)])
    found = [Responses(f"run{step}", conditions, part) for step, part in zip((1, 5, 20), parts, strict=True)]
    readouts = [pd.DataFrame({"layer": ["fc"], "accuracy": [value], "chance": [0.25]}) for value in (0.3, 0.5, 0.9)]
    return learning_curve({"run1": 1, "run5": 5, "run20": 20}, found, readouts), found


def test_a_training_is_followed_to_its_end(rng: np.random.Generator) -> None:
    table, found = curve_of(rng)
    assert list(table) == list(CURVE_COLUMNS)
    rows = table.set_index(["layer", "step"])
    assert (rows.loc["conv", ["tuning_similarity", "overlap"]] == 1).all(axis=None)
    assert rows.loc["conv", "accuracy"].isna().all()
    assert rows.loc["fc", "accuracy"].tolist() == [0.3, 0.5, 0.9]
    similarity = rows.loc["fc", "tuning_similarity"]
    assert abs(similarity[1]) < 0.15 < 0.5 < similarity[5] < similarity[20] == 1
    each = [oracles.by_spearman(found[1].peaks["fc"][:, i], found[2].peaks["fc"][:, i]) for i in range(50)]
    assert similarity[5] == pytest.approx(np.mean(each))
    assert (rows["n_units"] == 50).all()


# --------------------------------------------------------------------------------------------- mistakes


def test_other_pictures_or_another_architecture_are_told_in_a_line() -> None:
    conditions, peaks = np.array(["a", "b"]), {"fc": np.zeros((2, 4))}
    one = Responses("one", conditions, peaks)
    with pytest.raises(UserError, match="units of one answer to 2 pictures, and those of other to 2 or to others"):
        one.shared(Responses("other", conditions[::-1], peaks))
    with pytest.raises(UserError, match="'fc' has 4 units in one and 3 in other; units are compared within one arch"):
        one.shared(Responses("other", conditions, {"fc": np.zeros((2, 3))}))
    with pytest.raises(UserError, match="nowhere has no responses of units; run the study again"):
        Responses.of(Path("nowhere"), "one")


SQUEEZENET: Mapping[str, Any] = {"architecture": "squeezenet1_1", "layers": ["features.9", "classifier"]}


def study_of(tmp_path: Path, **changes: Any) -> Study:
    for number in (1, 2, 3):
        (tmp_path / f"epoch_{number}.pth").touch()
    return load_study(
        {
            "study": "own",
            "stimuli": {"folder": str(tmp_path)},
            "models": [
                {**SQUEEZENET, "name": "other", "weights": "untrained"},
                {**SQUEEZENET, "name": "run", "weights": f"{tmp_path}/epoch_*.pth"},
            ],
            "network_comparisons": [
                {"kind": "before_after", "name": "tuned", "before": "runepoch1", "after": "runepoch3"},
                {"kind": "training", "name": "steps", "model": "run"},
            ],
            "units": {},
        }
        | changes
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"units": {"models": ["rum"]}},
            "`units.models` names 'rum', and no model is called so. Did you mean 'run'?",
        ),
        (
            {"units": {"chosen": [{"layers": "features.3", "models": ["other", "runseed0"]}]}},
            "'tuned' is of units as well, and `units.chosen` has no layer of both 'runseed0' and 'runseed2'; choose",
        ),
        (
            {
                "models": [
                    {"architecture": "squeezenet1_1", "weights": "untrained", "layers": ["classifier"], "name": "a"},
                    {"architecture": "vgg11", "weights": "untrained", "layers": ["classifier"], "name": "b"},
                ],
                "network_comparisons": [{"kind": "before_after", "before": "a", "after": "b"}],
                "units": {"chosen": [{"layers": "features.9"}]},
            },
            "layer 'features.9' has 384 units in 'a' and 256 in 'b'; units are compared within one architecture",
        ),
    ],
)
def test_mistakes_are_found_by_the_check(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    for number in range(4):
        Image.new("RGB", (8, 8), (60 * number, 0, 0)).save(tmp_path / f"{number}.png")
    comparison = {"kind": "before_after", "name": "tuned", "before": "runseed0", "after": "runseed2"}
    untrained = [{**SQUEEZENET, "name": "other"}, {**SQUEEZENET, "name": "run", "seeds": 3}]
    defaults = {"models": [{**one, "weights": "untrained"} for one in untrained], "network_comparisons": [comparison]}
    (problem,) = problems_of(study_of(tmp_path, **{**defaults, **changes}))
    assert message in problem


def test_models_stand_for_their_networks(tmp_path: Path) -> None:
    """An entry for a model with checkpoints is one for each; one for another network is no part of their settings."""
    chosen = [{"layers": "features.9", "models": ["run"]}, {"layers": "classifier", "models": ["other"]}]
    study = study_of(tmp_path, units={"chosen": chosen, "maximised": {"models": ["run"]}}, network_comparisons=[])
    assert len(study.watched) == 4
    for label, asked in study.watched.items():
        assert [one.layers for one in asked.chosen] == [("classifier",) if label == "other" else ("features.9",)]
        assert (asked.maximised is None) == (label == "other")


# ------------------------------------------------------------------------------------------ in a study


def test_networks_that_are_only_compared_have_their_responses_alone(tmp_path: Path) -> None:
    plan = Plan(study_of(tmp_path, units={"models": ["runepoch3"], "maximised": {}}))
    assert plan.watched() == ["runepoch1", "runepoch2", "runepoch3"]
    asked = plan.study.watched
    assert asked["runepoch3"].maximised is not None
    assert asked["runepoch1"] == asked["runepoch2"] != asked["runepoch3"]
    alone = asked["runepoch1"]
    assert (alone.preferred, alone.fields, alone.maximised, alone.channels) == (None,) * 4
    assert alone.codes is not None
    assert all(not one.models for one in asked.values())
    assert Plan(study_of(tmp_path)).watched() == ["other", "runepoch1", "runepoch2", "runepoch3"]
    for units, n_folders in (({"models": ["other"]}, 1), (None, 0)):
        assert len(Plan(study_of(tmp_path, units=units)).all("unit_changes")) == n_folders


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write what the stages make of three checkpoints, whose units are random."""
    folder, rng = tmp_path_factory.mktemp("stage"), np.random.default_rng(1)
    study = study_of(folder)
    (folder / "study.json").write_text(study.model_dump_json())
    first = {"features.9": rng.random((20, 14)), "classifier": rng.random((20, 14))}
    small = rng.integers(0, 256, (20, 16, 16, 3), dtype=np.uint8)
    for number in (1, 2, 3):
        peaks = {"features.9": first["features.9"], "classifier": first["classifier"] + number * rng.random((20, 14))}
        arrays: dict[str, Any] = {f"peaks_{k}": values for k, values in enumerate(peaks.values())}
        arrays |= {"layers": np.array(list(peaks)), "conditions": np.array([f"c{i:02}" for i in range(20)])}
        to = folder / f"model-runepoch{number}"
        whole_readout = pd.DataFrame({"layer": list(peaks), "accuracy": [0.9, 0.9 / number], "chance": 1 / 3})
        told = read_out(ab=(0.9, 0.9), ac=(1.0, 1.0), bc=(0.9 / number, 0.6 / number**3))
        pair = pd.concat([told.rows.assign(layer=layer) for layer in peaks])
        singles = {name: np.concatenate([one[name] for one in told.singles * 2]) for name in told.singles[0]}
        tables = {"readout": Table(whole_readout.assign(n_folds=5), dict.fromkeys([*whole_readout, "n_folds"], "x"))}
        tables["readout_pairs"] = Table(pair, dict.fromkeys(pair, "x"))
        save_found(to, "readout", Found(tables, singles))
        save_found(to, "responses", Found({}, arrays))
        whole = np.zeros((0, 16, 16, 3), np.uint8)
        save_found(to, "pictures", Found({}, {"small": small, "whole": whole, "numbers": np.zeros(0, int)}))
    units = [folder / f"model-runepoch{number}" for number in (1, 2, 3)]
    stages.unit_changes(folder / "study.json", units, folder / "changes")
    stages.draw_unit_changes(folder / "changes", units, folder / "figures")
    return folder


def test_stage_writes_a_table_and_a_figure_of_each(written: Path) -> None:
    names = sorted(path.stem for path in (written / "changes").glob("*.tsv"))
    assert names == ["steps_curve", "tuned_categories", "tuned_layers", "tuned_units"]
    for path in (written / "changes").glob("*.tsv"):
        assert set(json.loads(path.with_suffix(".json").read_text())) == set(io.load_table(path))
    drawn = sorted((written / "figures").glob("*.png"))
    assert [path.stem for path in drawn] == [
        *("steps_curve", "tuned_categories", "tuned_layers", "tuned_units_1_classifier")
    ], "no unit of features.9 changed"
    assert all(caption_of(path) for path in drawn)
    assert "that changed most, then the 6 that" in caption_of(drawn[-1])
    table = io.load_table(written / "changes" / "tuned_units.tsv")
    assert (table.loc[table["layer"] == "features.9", "tuning_similarity"] == 1).all()


def test_the_page_tells_of_units_categories_and_training(written: Path) -> None:
    def files(*paths: Path) -> list[Any]:
        return list(paths)

    where = written / "changes", written / "figures", files
    sections = [one for name in ("tuned", "steps") for one in change_sections(name, *where)]
    assert [one.heading for one in sections] == [
        "Units before and after: tuned",
        "Units that changed most and least: tuned",
        "Categories told apart before and after: tuned",
        "Units along a training: steps",
    ]
    assert "No unit of features.9 puts the pictures in another order" in sections[0].html
    assert "Of 6 comparisons 2 have p &lt; .05, corrected for their number (and 2 without a" in sections[2].html
    assert all(len(one.figures) == 1 and one.table is not None for one in sections)
    assert change_sections("nothing", *where) == []


def test_most_and_least_changed_units_are_apart(written: Path) -> None:
    table = io.load_table(written / "changes" / "tuned_units.tsv")
    own = table[table["layer"] == "classifier"]
    most, least = extremes(own)
    ordered = own.sort_values("tuning_similarity")["unit"].tolist()
    assert (most, least) == (ordered[:6], ordered[-6:])
    assert [len(part) for part in extremes(own.head(3))] == [2, 1]
    assert chosen_layers(table) == ["classifier"]


def test_folders_of_earlier_versions_are_told_in_a_line(written: Path, tmp_path: Path) -> None:
    for name in ("readout_pairs.tsv", "readout.tsv"):
        (tmp_path / name).write_bytes((written / "model-runepoch1" / name).read_bytes())
    with pytest.raises(UserError, match="does not say which conditions were read out; run the study again"):
        PairReadouts.of(tmp_path)


def test_figures_show_the_numbers(rng: np.random.Generator, forgotten: pd.DataFrame) -> None:
    (axes,) = draw_categories(forgotten).axes
    assert {text.get_text() for text in axes.texts} == {"\N{MINUS SIGN}.90\N{BULLET}", ".05"}
    shown = np.asarray(axes.images[0].get_array())
    assert shown[1, 0] == -0.9
    layers = [forgotten.assign(layer=f"features.{i}.expand3x3.activation") for i in range(3)]
    assert faults(draw_categories(pd.concat(layers))) == []
    curve, _ = curve_of(rng)
    similarity, readout = draw_curve(curve).axes
    np.testing.assert_array_equal(
        similarity.lines[1].get_ydata(), curve.loc[curve["layer"] == "fc", "tuning_similarity"]
    )
    assert readout.get_ylabel() == "balanced accuracy"
    assert len(draw_curve(curve.assign(accuracy=np.nan)).axes) == 1


# ------------------------------------------------------------------------------------- the script of the page


def test_the_script_of_the_page_changes_late_layers_most(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read docs/units.md as a user does, with fewer steps and pictures."""
    page = (Path(__file__).parent.parent / "docs/units.md").read_text(encoding="utf-8")
    (script,) = re.findall(r"```python\n(\"\"\"Fine-tune.*?)```", page, re.S)
    for said, less in (("N_CHECKPOINTS, N_STEPS, N_BATCH = 4, 6, 23", "N_CHECKPOINTS, N_STEPS, N_BATCH = 1, 2, 4"),):
        assert said in script
        script = script.replace(said, less)
    (tmp_path / "data").symlink_to(data)
    monkeypatch.chdir(tmp_path)
    with torch.random.fork_rng():
        exec(compile(script.replace('sep="\\t")', 'sep="\\t")[::11]'), "finetune.py", "exec"), {})
    first, last = (torch.load(tmp_path / "runs" / f"step_{n}.pth", weights_only=True) for n in (0, 2))
    moved = {name: float((first[name] - last[name]).norm() / first[name].norm()) for name in first}
    assert 0 < moved["features.0.weight"] < moved["classifier.1.weight"]
    assert moved["features.3.expand3x3.weight"] < moved["features.12.expand3x3.weight"]
