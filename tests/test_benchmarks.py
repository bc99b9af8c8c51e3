"""The benchmarks run, and measure what they say."""

import importlib
import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

ROOT = Path(__file__).parent.parent


@pytest.fixture
def benchmarks(monkeypatch):
    """Import a module of the benchmarks by its name."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module


@pytest.mark.slow
def test_the_benchmarks_run_and_scores_agree(tmp_path):
    """The script on a corner of workload A, with its tables and figure, in the files that it is told to write."""
    page, output = tmp_path / "performance.md", tmp_path / "results.json"
    page.write_text((ROOT / "docs/performance.md").read_text(encoding="utf-8"), encoding="utf-8")
    words = ["--workloads", "A", "--peers", "naive", "--scale", "0.002", "--check", "15", "--repeats", "1"]
    words += ["--peer-seconds", "0.5", "--output", str(output), "--page", str(page)]
    command = [sys.executable, str(ROOT / "benchmarks/searchlight.py"), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    measured = json.loads(output.read_text())["measured"]
    assert list(measured) == ["machine", "A | ours", "A | naive"]
    ours, naive = measured["A | ours"], measured["A | naive"]
    assert 0 <= ours["error"] < 1e-6
    assert ours["n_checked"] == 15
    assert 0 <= naive["difference"] < 1e-6
    assert 1e7 < ours["bytes_before"] <= ours["bytes"] < 4e9
    table = page.read_text(encoding="utf-8").partition("<!-- begin: peers -->")[2]
    assert "| A | this one | " in table
    assert f"| {naive['n_measured']:,} | " in table or "| all | " in table


def test_steps_are_counted_as_voxels_that_enter_and_leave(benchmarks, rng):
    spheres = [sorted(rng.choice(40, size, replace=False)) for size in (9, 12, 3, 30, 28)]
    expected = len(spheres[0])
    for before, after in pairwise(spheres):
        expected += min(len(set(before) ^ set(after)), len(after))
    indptr = np.cumsum([0, *map(len, spheres)])
    assert benchmarks("ours").n_steps(indptr, np.concatenate(spheres)) == expected


def test_floor_adds_products_ranks_and_scores(benchmarks):
    found = {"gram_operations": 6e9, "score_operations": 8e9, "n_values": 10**9}
    results = {"measured": {"machine": {"float64_speed": 3e9, "float32_speed": 4e9}}, "options": {"n_threads": 2}}
    assert benchmarks("page").floor_seconds(found, results) == pytest.approx(2 + 2 + 1.55)


def test_text_between_marks_is_replaced_and_nothing_else(benchmarks):
    page = benchmarks("page")
    text = "a\n<!-- begin: x -->\nold\n<!-- end: x -->\nb <!-- begin: y -->"
    assert (
        page.between_marks(text, "x", r"new \1")
        == "a\n<!-- begin: x -->\nnew \\1\n<!-- end: x -->\nb <!-- begin: y -->"
    )
    with pytest.raises(ValueError, match="no marks for z"):
        page.between_marks(text, "z", "new")


@pytest.mark.parametrize(("workload", "n_voxels"), [("A", 69_765), ("B", 235_375)])
def test_workloads_have_the_masks_that_are_meant(benchmarks, workload, n_voxels):
    from nilearn.datasets import load_mni152_brain_mask

    resolution = benchmarks("studies").WORKLOADS[workload].resolution_mm
    assert np.count_nonzero(load_mni152_brain_mask(resolution=resolution).get_fdata()) == n_voxels


def test_crossnobis_of_the_check_is_unbiased_and_uses_other_runs(benchmarks, rng):
    """Against the sum over all ordered pairs of different runs."""
    peers, studies = benchmarks("peers"), benchmarks("studies")
    runs = rng.standard_normal((3, 4, 7))
    found = peers.sphere_rdm(runs.reshape(12, 7), studies.Workload(4, 3, 9, n_runs=3))
    pairs = [(i, j) for i in range(4) for j in range(i + 1, 4)]
    steps = [[run[i] - run[j] for run in runs] for i, j in pairs]
    expected = [sum(d[r] @ d[s] for r in range(3) for s in range(3) if r != s) / 6 / 7 for d in steps]
    np.testing.assert_allclose(found, expected, atol=1e-12)


BY_OTHERS = {"report", "explorer", "performance_growth"}
"""Pictures of docs by screenshots.py and searchlight.py."""


def test_each_picture_of_the_docs_has_a_command(benchmarks):
    pictures = benchmarks("pictures")
    own = {*pictures.FIGURES, *pictures.PARTS, *pictures.MADE}
    assert own | BY_OTHERS == {path.stem for path in ROOT.glob("docs/images/*.png")}


def test_pictures_of_the_docs_are_figures_or_some_of_their_rows(benchmarks, tmp_path, monkeypatch):
    pictures, drawn = benchmarks("pictures"), []
    results, whole = tmp_path / "results", tmp_path / "results/one/figures/whole.png"
    whole.parent.mkdir(parents=True)
    Image.new("RGB", (30, 20), (200, 10, 10)).save(whole)
    pd.DataFrame({"layer": ["a", "b", "b"], "unit": [1, 2, 3]}).to_csv(results / "units.tsv", sep="\t", index=False)

    def draw(folder, to):
        drawn.append(folder.table("units"))
        Image.new("RGB", (8, 8), (0, 0, 250)).save(to / "part.png")
        return [to / "part.png"]

    monkeypatch.setattr(pictures, "FIGURES", {"whole": "one/figures/whole.png"})
    monkeypatch.setattr(pictures, "PARTS", {"part": pictures.Part("", draw, "units", "layer == 'b' and unit == 3")})
    monkeypatch.setattr(pictures, "MADE", {"made": lambda results, data, to: data / results.name})
    Image.new("RGB", (5, 5), (0, 250, 0)).save(tmp_path / "other.png")
    (tmp_path / "other.png").rename(tmp_path / results.name / results.name)
    pictures.save_pictures(results, results, tmp_path, ["whole", "part", "made"])
    assert drawn[0].to_dict("index") == {2: {"layer": "b", "unit": 3}}
    made = {name: Image.open(tmp_path / f"{name}.png").convert("RGB") for name in ("whole", "part", "made")}
    assert (made["whole"].size, made["whole"].getpixel((3, 3))) == ((30, 20), (200, 10, 10))
    assert made["part"].getpixel((3, 3)) == (0, 0, 250)
    assert made["made"].getpixel((3, 3)) == (0, 250, 0)


def test_the_92_photographs_have_their_categories(benchmarks, data):
    for name in ("cichy92/stimuli", "kriegeskorte92/conditions.tsv"):
        if not (data / name).exists():
            pytest.skip(f"data/{name} is not there")
    table = benchmarks("pictures").labelled92(data)
    assert table["category"].value_counts(sort=False).to_dict() == {
        **{"human bodypart": 12, "human face": 12, "nonhuman bodypart": 12, "nonhuman face": 12},
        **{"natural inanimate": 23, "artificial inanimate": 21},
    }
    faces = table.loc[table["category"] == "human face", "condition"]
    assert [*faces] == [f"image_{number}" for number in range(13, 25)]
