"""What jobs need is known before they run: estimates are right to a quarter, and the check says no in time."""

import importlib
import re
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import yaml
from test_sizes import default_study

from rsa.datasets.bids import dataset, glm
from rsa.files.images import opened
from rsa.files.memory import MB
from rsa.pipeline import budget, cli, extent, needs, stages
from rsa.pipeline.budget import STAGES, budget_of
from rsa.pipeline.config import load_study
from rsa.pipeline.extent import KEPT_IN, Extent, extent_of, kept_extent
from rsa.pipeline.needs import NEEDS, Need, Needs, Runs, of_stages
from rsa.pipeline.plan import OUTPUTS, Plan
from rsa.simulation.write import simulated_volume
from rsa.units.settings import HeatMap, UnitSettings

ROOT = Path(__file__).parent.parent
RULES = {path.name: path.read_text(encoding="utf-8") for path in sorted((ROOT / "workflow/rules").glob("*.smk"))}

MEASURED = [
    *(("brain", 1), ("searchlight", 1), ("noise_ceiling", 1), ("noise_ceiling_in_slabs", 1), ("group", 1)),
    *(("maps", 0), ("flip_subjects", 1), ("permute_conditions", 2), ("layer_rdms", 1), ("model_rdms", 0)),
]
"""What is measured in tests; docs/memory.md has all stages at three sizes."""


@pytest.fixture(autouse=True)
def anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(KEPT_IN, raising=False)


@pytest.fixture
def measure(monkeypatch):
    """Give the benchmark that measures a stage in a process of its own."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module("needs").measured


def own_study(folder, n_conditions=6, **changes):
    """A study of files: two subjects, two runs of float32 images in a mask of 125 voxels."""
    affine = np.diag([3.0, 3, 3, 1])
    mask = np.zeros((9, 9, 9), dtype=np.uint8)
    mask[2:7, 2:7, 2:7] = 1
    nib.Nifti1Image(mask, affine).to_filename(folder / "mask.nii.gz")
    names = [f"img{number}" for number in range(n_conditions)]
    for name in ("01_1", "01_2", "02_1", "02_2"):
        images = (
            np.random.default_rng(int(name[1] + name[3])).standard_normal((9, 9, 9, n_conditions)).astype(np.float32)
        )
        nib.Nifti1Image(images, affine).to_filename(folder / f"{name}.nii")
        pd.DataFrame({"condition": names}).to_csv(folder / f"{name}.tsv", sep="\t", index=False)
    places = np.arange(n_conditions) ** 2
    np.save(folder / "one.npy", np.abs(places[:, None] - places).astype(float))
    (folder / "names.txt").write_text("\n".join(names) + "\n")
    brain = {"kind": "maps", "subjects": ["01", "02"], "runs": ["1", "2"], "images": "{subject}_{run}.nii"}
    brain |= {"table": "{subject}_{run}.tsv", "mask": "mask.nii.gz"}
    reference = {"kind": "file", "name": "one", "file": "one.npy", "condition_order": "names.txt"}
    given = {"study": "own", "brain": brain, "searchlight": {"radius_mm": 6}, "references": [reference]}
    return load_study({**given, **changes})


# ------------------------------------------------------------------------------------------ measured peaks


@pytest.mark.slow
@pytest.mark.parametrize(("stage", "size"), MEASURED)
def test_estimates_are_right_to_a_quarter(stage, size, measure):
    found = measure(stage, size)
    assert 0.75 <= found["estimate_mb"] / found["measured_mb"] <= 1.25, found


# ------------------------------------------------------------------------------------------------- sizes


def test_sizes_of_the_default_study_are_those_of_its_data():
    study = default_study()
    found = extent_of(study)
    volume = simulated_volume(study.simulate)
    assert found.n_voxels == pytest.approx(volume.n_voxels, rel=0.02)
    assert found.n_grid == pytest.approx(np.prod(volume.shape), rel=0.05)
    assert (found.n_subjects, found.n_meeg_subjects, found.n_conditions, found.n_runs) == (4, 6, 48, 4)
    assert (found.n_trials, found.n_channels, found.n_times) == (48 * 8, 32, 61)
    assert (found.n_layers, found.n_units, found.n_references) == (8, 193_600, 8 + 1 + 61)
    assert found.assumed == []


def test_sizes_of_files_are_read_from_headers_and_masks(tmp_path):
    found = extent_of(own_study(tmp_path))
    assert (found.n_voxels, found.n_grid, found.n_planes) == (125, 729, 9)
    assert (found.n_conditions, found.n_runs, found.n_rows, found.n_references) == (6, 2, 12, 1)
    assert (found.n_members, found.reach) == (33, 2)
    assert (found.between, found.whitens, found.by_runs, found.assumed) == (False, False, False, [])
    noise = {"normalisation": "multivariate", "source": "runs"}
    found = extent_of(own_study(tmp_path, brain_distance="crossnobis", noise=noise))
    assert (found.between, found.whitens, found.by_runs) == (True, True, True)


def test_of_many_images_a_few_headers_are_read(tmp_path, monkeypatch):
    study = own_study(tmp_path)
    for subject, run, name in product(["01", "02"], ["1", "2"], [f"img{number}" for number in range(6)]):
        values = np.random.default_rng(int(subject + run)).random((9, 9, 9), dtype=np.float32)
        nib.Nifti1Image(values, np.diag([3.0, 3, 3, 1])).to_filename(tmp_path / f"{subject}_{run}_{name}.nii")
    pd.DataFrame({"condition": [f"img{n}" for n in range(6)]}).to_csv("stimuli.tsv", sep="\t", index=False)
    brain = study.brain.model_dump(exclude_unset=True) | {"images": "{subject}_{run}_{condition}.nii", "table": None}
    given = study.model_dump(exclude_unset=True) | {"brain": brain, "stimuli": {"table": "stimuli.tsv"}}
    each = load_study(given)
    known = extent_of(each)
    monkeypatch.setattr(extent, "MANY_FILES", 3)
    read = []
    monkeypatch.setattr(extent, "opened", lambda path: read.append(path) or opened(path))
    assert extent_of(each) == known
    assert known.n_runs == 2
    assert len(read) == 4


def test_what_no_file_says_is_assumed_and_told(tmp_path):
    study = own_study(tmp_path)
    without = load_study({**study.model_dump(exclude_unset=True), "brain": {**study.brain.model_dump(), "mask": None}})
    found = extent_of(without)
    assert found.n_voxels == round(729 / 3)
    assert found.assumed == ["33% of the voxels of an image are in the brain"]
    fetched = load_study(yaml.safe_load((ROOT / "config/haxby.yaml").read_text()))
    assert {"8 runs", "a grid of 2 mm around the MNI152 brain"} <= set(extent_of(fetched).assumed)


def test_jobs_learn_sizes_from_the_main_process(tmp_path, monkeypatch):
    study = own_study(tmp_path)
    found = kept_extent(study)

    def never(*arguments):
        raise AssertionError("the sizes are known")

    monkeypatch.setattr(extent, "extent_of", never)
    assert kept_extent(study) == found
    assert Needs(study).extent == found
    with pytest.raises(AssertionError, match="the sizes are known"):
        kept_extent(load_study({**study.model_dump(exclude_unset=True), "study": "other"}))


# ------------------------------------------------------------------------------------------------- needs


def test_every_rule_asks_for_memory_and_time():
    known = "|".join(NEEDS)
    for name, text in RULES.items():
        n_rules = len(re.findall(r"^ *(?:rule(?: \w+)?|use rule \w+ as \w+ with):", text, flags=re.M))
        asked = re.findall(r"\*\*needs\(([^\n]*)\),", text)
        assert len(asked) == n_rules, name
        for words in asked:
            stages_of = [one for one in re.findall(r'"(\w+)"', words) if f'kind="{one}"' not in words or one in NEEDS]
            assert stages_of, words
            assert all(re.fullmatch(known, one) for one in stages_of if f'kind="{one}"' not in words), words
    every = {one.replace("permute_conditions", "permute_group") for one in stages.__all__}
    assert every - set(NEEDS) == {"check", "figure", "layers", "models", "rank", "recover", "verify"}


def test_every_kind_of_output_has_a_stage_or_is_small():
    small = {"region_dictionary", "region_group", "region_group_dictionary", "group_maps", "sensor_evokeds"}
    small |= {"model_cost", "ranking_dictionary", "ranking_pairs", "ranking_pairs_dictionary"}
    small |= {"sensor_group_evokeds", "settings", "bidsignore", "readme", "description", "pages"}
    assert set(OUTPUTS) - set(STAGES) == small
    assert all(stage in NEEDS for each in STAGES.values() for stage in each)


def test_a_job_asks_for_more_each_time():
    need = Need(base_mb=200, held=800 * MB, seconds=600)
    assert [need.memory_mb(attempt) for attempt in (1, 2, 3)] == [1200, 1920, 3072]
    assert [need.minutes(attempt) for attempt in (1, 2)] == [40, 80]
    assert need.minutes(n_threads=4) == 10
    assert Need().minutes() == 5


def test_a_loop_that_can_hold_less_asks_for_no_more_than_is_quick():
    need = Need(base_mb=200, held=50_000 * MB, least=1000 * MB)
    assert need.memory_mb() == 4800
    assert replace(need, least=20_000 * MB).memory_mb() == 1.2 * 20_200


def test_stages_of_one_job_take_the_memory_of_the_largest_and_the_time_of_all():
    runs = Runs(extent_of(default_study()), default_study(), n_threads=2, n_subjects=3)
    each = [NEEDS[stage](runs) for stage in ("extract", "layer_rdms")]
    both = of_stages(["extract", "layer_rdms"], runs)
    assert both.peak_mb >= max(one.peak_mb for one in each)
    assert both.seconds == pytest.approx(3 * sum(one.seconds for one in each))
    assert both.disk == pytest.approx(3 * sum(one.disk for one in each))


GROWS = {"ranking", "region_fits", "permute_group", "flip_subjects", "draw_group"}
"""Stages of fMRI that hold more the more subjects there are, and cannot hold less."""


def test_nothing_else_grows_with_the_number_of_subjects():
    inference = {"over": "subjects", "permutations": 100, "enhance": "none"}
    study = default_study(inference=inference, meeg=None, simulate=None, fusion=None, film_times_s=None, movie=None)
    few = Extent(n_subjects=5, n_voxels=200_000, n_grid=900_000, n_template=200_000, n_references=10, n_regions=20)
    few = replace(few, n_members=100, reach=3)
    more = replace(few, n_subjects=50)
    growing = set()
    for stage, need in NEEDS.items():
        least = [need(Runs(one, study)).least_mb for one in (few, more)]
        if least[1] > 1.3 * least[0]:
            growing.add(stage)
    assert growing - {"noise_ceiling"} == GROWS
    slabs = [NEEDS["noise_ceiling"](Runs(one, study)) for one in (few, more)]
    assert slabs[1].least is not None
    assert slabs[1].least < 0.3 * slabs[1].held


# --------------------------------------------------------------------------------------------- the check


def test_the_check_tells_memory_and_disk(tmp_path, capsys):
    study = own_study(tmp_path)
    Path("my.yaml").write_text(study.model_dump_json(exclude_unset=True))
    assert cli.main(["check", "my.yaml", "--memory-mb", "8000"]) == 0
    lines = capsys.readouterr().out.splitlines()
    memory, disk = (next(line for line in lines if line.startswith(f"  {word} ")) for word in ("memory", "disk"))
    assert re.match(r"  memory      of 8,000 MB, jobs need up to: report [\d,]+, .*searchlight [\d,]+", memory)
    assert re.match(r"  disk        [\d.]+ [GM]B for what is not there yet; [\d,.]+ GB are free", disk)
    assert not any(line.startswith("  assumed") for line in lines)


def test_a_study_that_is_too_large_for_the_memory_is_refused_with_numbers(tmp_path, capsys):
    study = own_study(tmp_path)
    Path("my.yaml").write_text(study.model_dump_json(exclude_unset=True))
    assert cli.main(["check", "my.yaml", "--memory-mb", "200"]) == 2
    said = capsys.readouterr().err
    assert re.search(
        r"searchlight needs \d{3} MB of memory at the least, and there are 200 MB; run it on a larger", said
    )


def test_a_disk_that_is_too_small_is_told_with_numbers(tmp_path, capsys, monkeypatch):
    study = own_study(tmp_path)
    Path("my.yaml").write_text(study.model_dump_json(exclude_unset=True))
    monkeypatch.setattr(budget, "free_bytes_of", lambda folder: 1_000_000)
    assert cli.main(["check", "my.yaml"]) == 2
    said = capsys.readouterr().err
    assert re.search(
        r"The results need [\d.]+ GB of disk, and results/own has 1 MB left; make room, or put results/", said
    )


def test_a_run_on_a_small_machine_warns_and_is_not_refused(tmp_path, caplog, monkeypatch):
    plan = Plan(own_study(tmp_path))
    budget.warn_of_shortage(plan)
    assert caplog.records == []
    monkeypatch.setattr(budget, "machine_bytes", lambda: 200 * MB)
    budget.warn_of_shortage(plan)
    said = [record.getMessage() for record in caplog.records]
    assert any(
        re.match(r"searchlight needs \d{3} MB of memory at the least, and this machine has 200 MB", one) for one in said
    )


def test_what_is_there_needs_no_disk(tmp_path):
    plan = Plan(own_study(tmp_path))
    before = budget_of(plan).disk_bytes
    for path in plan.all("brain"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert budget_of(plan).disk_bytes == pytest.approx(before - 2 * 4 * 125 * 12)


def test_sizes_are_plain_numbers_that_jobs_can_be_told():
    assert all(type(value) in (int, bool, list) for value in asdict(extent_of(default_study())).values())


def test_blocks_of_a_model_are_those_of_the_reader():
    assert (needs.VOXELS_PER_BLOCK, needs.FITTED_VOXELS) == (dataset.VOXELS_PER_BLOCK, glm.BLOCK)


def test_time_of_covered_pictures_is_known_beforehand():
    """Ten pictures of each of twenty units at most, and the pictures of each heat map."""
    few, none = UnitSettings(), UnitSettings(fields=None)
    assert needs.seconds_of_covering(few, 14) == 14 * needs.COVERED_S
    assert needs.seconds_of_covering(few, 10_000) == 200 * needs.COVERED_S
    assert needs.seconds_of_covering(none, 14) == 0
    maps = UnitSettings(fields=None, heat_maps=(HeatMap(), HeatMap(name="two", pictures=("a", "b"))))
    assert needs.seconds_of_covering(maps, 14) == 16 * needs.COVERED_S


@pytest.mark.parametrize(
    ("network", "n_pictures", "measured_mb"),
    [
        ({"n_layers": 10, "n_outputs": 788_544, "n_all_units": 2_240_040, "n_weights": 4_941_984}, 1000, 10_280),
        ({"n_layers": 19, "n_outputs": 802_816, "n_all_units": 5_723_112, "n_weights": 102_441_032}, 1, 1_990),
    ],
    ids=["squeezenet1_1, read out of 1,000 pictures at once", "resnet50, covered pictures"],
)
def test_units_ask_for_what_they_take_and_can_do_with_less(network, n_pictures, measured_mb):
    known = Extent(n_conditions=n_pictures, n_images=n_pictures, n_units=network["n_outputs"], **network)
    need = NEEDS["units"](Runs(known, default_study()))
    assert 0.75 <= need.peak_mb / measured_mb <= 1.25
    assert need.least_mb <= 2_200
