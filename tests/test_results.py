"""Files of the user are never replaced or deleted, and results that were damaged are found."""

import json
import os
import re
import shlex
import subprocess
import time
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from rsa.core import RDMs
from rsa.datasets.maps import Maps
from rsa.errors import UserError
from rsa.files import io, records
from rsa.inputs.stimuli import Stimuli
from rsa.pipeline import cli
from rsa.pipeline.plan import Plan, read_plan
from rsa.pipeline.replaced import problems_of_inputs, replaced
from rsa.pipeline.results import problems_of_folder, verified
from rsa.simulation.settings import Simulation
from rsa.simulation.write import write_brain, write_stimuli

CONDITIONS = ["a", "b", "c", "d"]
AFFINE = np.diag([3.0, 3.0, 3.0, 1.0])


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a small study of two subjects with a table of stimuli, in the folder where Snakemake would run."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    pd.DataFrame({"condition": CONDITIONS, "kind": list("aabb")}).to_csv("stimuli.tsv", sep="\t", index=False)
    for subject in ("01", "02"):
        betas = rng.standard_normal((6, 6, 6, 4)).astype(np.float32)
        nib.save(nib.Nifti1Image(betas, AFFINE), f"sub-{subject}_betas.nii.gz")
        nib.save(nib.Nifti1Image(np.ones((6, 6, 6), np.uint8), AFFINE), f"sub-{subject}_mask.nii.gz")
        pd.DataFrame({"condition": CONDITIONS}).to_csv(f"sub-{subject}_betas.tsv", sep="\t", index=False)
    return tmp_path


def written_yaml(**changes: Any) -> Path:
    raw: dict[str, Any] = {
        "study": "lab",
        "stimuli": {"table": "stimuli.tsv"},
        "references": [{"kind": "table", "name": "kind", "column": "kind"}],
        "brain": {
            "kind": "maps",
            "subjects": ["01", "02"],
            "images": "sub-{subject}_betas.nii.gz",
            "table": "sub-{subject}_betas.tsv",
            "mask": "sub-{subject}_mask.nii.gz",
        },
        "searchlight": {"radius_mm": 6, "min_voxels": 5},
        **changes,
    }
    path = Path("my.yaml")
    path.write_text(yaml.safe_dump({key: value for key, value in raw.items() if value is not None}))
    return path


def contents(*names: str) -> list[bytes]:
    return [Path(name).read_bytes() for name in names]


OWN = ["stimuli.tsv", *(f"sub-{subject}_{name}" for subject in ("01", "02") for name in ("betas.nii.gz", "betas.tsv"))]


# ------------------------------------------------------------------------------------------- simulations


def test_a_forgotten_simulation_is_refused_before_it_replaces_data(
    lab: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(*OWN)
    path = written_yaml(simulate={"images_per_category": 2, "voxel_size_mm": 8})
    assert cli.main(["check", str(path)]) == 2
    said = capsys.readouterr().err
    assert "and 16 more, and a study writes to results/lab alone: remove the block `simulate` to use data" in said
    assert contents(*OWN) == before


@pytest.mark.parametrize(
    "place",
    ["../{name}", "{results}/../other/{name}", "{results}/link/{name}"],
    ids=["beside", "dots", "link"],
)
def test_ways_out_of_the_results_are_seen(lab: Path, place: str) -> None:
    Path("results/lab").mkdir(parents=True)
    Path("results/lab/link").symlink_to(lab)
    names = {"images": "sub-{subject}_betas.nii.gz", "table": "sub-{subject}_betas.tsv", "mask": "sub-{subject}_m.nii"}
    brain = {name: place.replace("{name}", file) for name, file in names.items()}
    path = written_yaml(simulate={"voxel_size_mm": 8}, brain={"kind": "maps", "subjects": ["01"], **brain})
    with pytest.raises(UserError, match="a study writes to results/lab alone"):
        read_plan(path, check=True)


def simulated_in_results() -> Path:
    brain = {
        "kind": "maps",
        "subjects": ["01"],
        "images": "{results}/mine/sub-{subject}_betas.nii.gz",
        "table": "{results}/mine/sub-{subject}_betas.tsv",
        "mask": "{results}/mine/sub-{subject}_mask.nii.gz",
    }
    return written_yaml(simulate={"voxel_size_mm": 8}, brain=brain)


def test_data_in_the_folder_of_the_results_are_not_replaced_either(lab: Path) -> None:
    path = simulated_in_results()
    read_plan(path, check=True)
    Path("results/lab/mine").mkdir(parents=True)
    Path("results/lab/mine/sub-01_betas.nii.gz").write_bytes(Path("sub-01_betas.nii.gz").read_bytes())
    with pytest.raises(UserError, match=r"would write over 'results/lab/mine/sub-01_betas.nii.gz', which it did not"):
        read_plan(path, check=True)


def test_a_simulation_writes_over_its_own_files_and_no_others(lab: Path, rng: np.random.Generator) -> None:
    brain = read_plan(simulated_in_results(), check=True).study.brain
    assert isinstance(brain, Maps)
    values = 1 - np.corrcoef(rng.standard_normal((4, 20)))[np.triu_indices(4, 1)]
    rdms = RDMs(values[None], CONDITIONS, pd.DataFrame({"model": ["net"], "layer": ["a"]}), "correlation")
    for seed in (1, 2):
        write_brain(Simulation(voxel_size_mm=10, seed=seed), brain, "01", rdms)
    read_plan(simulated_in_results(), check=True)
    table = Path("results/lab/mine/sub-01_betas.tsv")
    table.write_text("condition\nmine\n")
    with pytest.raises(UserError, match=r"would write over 'results/lab/mine/sub-01_betas.tsv', which no simulation"):
        write_brain(Simulation(voxel_size_mm=10), brain, "01", rdms)
    assert table.read_text() == "condition\nmine\n"
    with pytest.raises(UserError, match=r"would write over 'results/lab/mine/sub-01_betas.tsv'.* or which changed"):
        read_plan(simulated_in_results(), check=True)


def test_pictures_of_the_user_are_not_replaced(lab: Path) -> None:
    Path("disc01.png").write_text("a photograph")
    with pytest.raises(UserError, match=r"would write over 'disc01.png', which no simulation wrote"):
        write_stimuli(Simulation(images_per_category=1), Stimuli(table="new.tsv"))
    assert Path("disc01.png").read_text() == "a photograph"
    assert not Path("new.tsv").exists()


def test_names_that_differ_in_case_alone_are_one_file_to_some_systems(lab: Path) -> None:
    place = "{results}/sub-{subject}"
    brain = {"kind": "maps", "images": f"{place}.nii", "table": f"{place}.tsv", "mask": f"{place}_mask.nii"}
    path = written_yaml(simulate={"voxel_size_mm": 8}, brain={**brain, "subjects": ["A1", "a1"]})
    with pytest.raises(UserError, match=r"'results/lab/sub-A1.nii', 'results/lab/sub-A1.tsv' and 4 more twice"):
        read_plan(path, check=True)


# ------------------------------------------------------------------------------- folders of results


def test_a_folder_of_another_study_is_refused(lab: Path) -> None:
    folder = Path("results/lab")
    folder.mkdir(parents=True)
    (folder / "study.json").write_text('{"study": "other"}')
    with pytest.raises(UserError, match="results/lab holds results of a study called 'other'; choose another name"):
        read_plan(written_yaml(), check=True)


def test_studies_whose_names_differ_in_case_alone_are_one_to_some_systems(lab: Path) -> None:
    Path("results/LAB").mkdir(parents=True)
    with pytest.raises(UserError, match="results has a folder 'LAB', which is the same as 'lab' where upper and lower"):
        read_plan(written_yaml(), check=True)


@pytest.mark.parametrize("name", ["sub-01/notes.txt", "regions.json", "figures/group/mine.png", "report.html"])
def test_files_that_no_run_has_written_are_not_deleted(lab: Path, name: str) -> None:
    path = written_yaml(regions={"spheres": {"V1": [6, 6, 6]}})
    own = Path("results/lab", name)
    own.parent.mkdir(parents=True)
    own.touch()
    with pytest.raises(
        UserError, match=f"results/lab has '{own}', which this study did not write and a run would delete"
    ):
        read_plan(path, check=True)


def test_files_of_a_run_are_those_of_the_study(lab: Path) -> None:
    plan = read_plan(written_yaml(), check=True)
    with records.recording():
        for path in plan.outputs():
            io.save_text(path if path.suffix else path / "map.txt", "ours")
    assert problems_of_folder(plan.folder, plan.outputs()) == []
    (plan.folder / "sub-02" / ".DS_Store").touch()
    (plan.folder / "sub-02" / ".snakemake_timestamp").touch()
    (plan.folder / "notes.txt").touch()  # lies where nothing is deleted
    assert problems_of_folder(plan.folder, plan.outputs()) == []
    (plan.folder / "sub-02" / "smoothed.nii.gz").touch()
    (problem,) = problems_of_folder(plan.folder, plan.outputs())
    assert "results/lab/sub-02/smoothed.nii.gz" in problem


def test_results_of_an_earlier_version_have_no_checksums_and_are_no_problem(lab: Path) -> None:
    plan = read_plan(written_yaml(), check=True)
    for path in plan.outputs():
        io.save_text(path if path.suffix else path / "map.txt", "ours")
    io.save_json(plan.folder / "study.json", {"study": "lab"})
    assert problems_of_folder(plan.folder, plan.outputs()) == []
    with pytest.raises(UserError, match="results/lab has no checksums"):
        verified(plan.folder, plan.outputs(), "my.yaml")


def test_a_folder_that_is_a_link_to_somewhere_else_is_refused(lab: Path) -> None:
    Path("results/lab").mkdir(parents=True)
    Path("real").mkdir()
    Path("results/lab/sub-01").symlink_to(lab / "real")
    with pytest.raises(
        UserError, match=f"results/lab/sub-01 is a link to {re.escape(str(lab))}/real, and a study writes to"
    ):
        read_plan(written_yaml(), check=True)


def test_the_folder_of_results_may_be_a_link_itself(lab: Path) -> None:
    Path("large disk").mkdir()
    Path("results").symlink_to(lab / "large disk")
    plan = read_plan(written_yaml(), check=True)
    assert Path(plan.folder).resolve() == lab.resolve() / "large disk" / plan.study.study


# ----------------------------------------------------------------------------------------- checksums


def run_of(plan: Plan) -> None:
    """Write something for every output of a study."""
    with records.recording():
        for path in plan.outputs():
            for file in [path] if path.suffix else [path / "one.nii.gz", path / "peaks.tsv"]:
                io.save_text(file, f"of {file}")


def test_verify_finds_what_is_missing_changed_and_not_of_the_study(
    lab: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = written_yaml(regions={"spheres": {"V1": [6, 6, 6]}})
    plan = read_plan(config, check=True)
    run_of(plan)
    assert cli.main(["verify", str(config)]) == 0
    n_files = len(list(plan.folder.rglob("*.sha256")))
    assert f"results/lab: all {n_files} files are as they were written." in capsys.readouterr().out

    (plan.folder / "sub-01" / "one.nii.gz").unlink()
    cut = plan.folder / "regions.tsv"
    cut.write_bytes(cut.read_bytes()[:4])
    for path in plan.path("group_figures", part="").rglob("*"):
        if path.is_file():
            path.unlink()
    (plan.path("group_figures", part="") / ".checksums").rmdir()
    plan.path("group_figures", part="").rmdir()
    (plan.folder / "sub-02" / "mine.txt").touch()
    (plan.folder / ".checksums" / "report.html.sha256").write_bytes(b"\xff\xfe")
    assert cli.main(["verify", str(config)]) == 2
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1
    assert "missing: 'results/lab/figures/group', 'results/lab/sub-01/one.nii.gz'." in said
    assert "changed: 'results/lab/regions.tsv', 'results/lab/report.html'." in said
    assert "not of this study: 'results/lab/sub-02/mine.txt'." in said
    command = "snakemake --cores all --configfile my.yaml --forcerun"
    again = ["figures/group", "sub-01", "regions.tsv", "report.html"]
    assert " ".join([command, *(f"results/lab/{name}" for name in again)]) in said


def test_a_file_beside_an_output_is_made_again_with_it(lab: Path) -> None:
    plan = read_plan(written_yaml(), check=True)
    run_of(plan)
    with records.recording():
        io.save_text(plan.folder / "references" / "ref-kind_notes.json", "{}")
    (plan.folder / "references" / "ref-kind_notes.json").unlink()
    with pytest.raises(UserError, match=r"--forcerun results/lab/references/ref-kind_rdms.h5$"):
        verified(plan.folder, plan.outputs(), "my.yaml")


def test_checksums_are_those_of_sha256sum(tmp_path: Path) -> None:
    with records.recording():
        io.save_text(tmp_path / "a b.txt", "some text")
    io.save_text(tmp_path / "notebook.txt", "not of the pipeline")
    assert [path.name for path in records.named_in(tmp_path)] == ["a b.txt"]
    done = subprocess.run(
        "cat .checksums/* | sha256sum --check", shell=True, cwd=tmp_path, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, "a b.txt: OK\n")


def test_a_file_counts_as_written_from_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that is killed between the two leaves no file that seems to be somebody else's."""
    replace, seen = os.replace, []

    def killed(source: Any, target: Any) -> None:
        if Path(target).name == "a.txt":
            seen.append(records.recorded(target))
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt), records.recording():
        io.save_text(tmp_path / "a.txt", "new")
    assert seen == [records.recorded(tmp_path / "a.txt")]
    assert seen[0] is not None


@pytest.mark.slow
def test_the_outputs_of_a_plan_are_those_of_the_rules(lab: Path) -> None:
    """What `verify` looks for is what Snakemake makes, but for the activations."""
    config = written_yaml(
        regions={"spheres": {"V1": [6, 6, 6]}},
        group=["mean"],
        noise_ceiling=True,
        analyses=[{"kind": "partition", "predictors": {"one": ["kind"], "two": ["other"]}}],
        references=[{"kind": "table", "name": name, "column": "kind"} for name in ("kind", "other")],
    )
    done = subprocess.run(snakemake(config, "--dry-run", "--verbose"), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line.strip() for line in done.stdout.splitlines()]
    made = {one for line in lines if line.startswith("output: ") for one in line.removeprefix("output: ").split(", ")}
    assert made == {str(path) for path in read_plan(config, check=False).outputs()}


# -------------------------------------------------------------------------------------------- inputs


def test_an_input_that_is_replaced_while_it_is_read_is_no_input(lab: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load = Maps.load
    before = io.content_hash("sub-01_betas.nii.gz")

    def replaced(self: Maps, *arguments: Any, **options: Any) -> Any:
        loaded = load(self, *arguments, **options)
        nib.save(nib.Nifti1Image(np.zeros((6, 6, 6, 5), np.float32), AFFINE), "sub-01_betas.nii.gz")
        return loaded

    words = ["--brain-kind", "maps", "--brain-subjects", "01", "--brain-images", "sub-{subject}_betas.nii.gz"]
    words += ["--brain-table", "sub-{subject}_betas.tsv", "--subject", "01", "--output", "out.h5"]
    assert cli.main(["brain", *words]) == 0
    assert io.read_provenance("out.h5")["inputs"]["sub-01_betas.nii.gz"] == before
    Path("out.h5").unlink()
    monkeypatch.setattr(Maps, "load", replaced)
    assert cli.main(["brain", *words]) == 2
    assert not Path("out.h5").exists()


def test_what_is_hashed_is_what_was_there_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("one")
    with io.provenance_of([path]) as provenance:
        assert provenance["inputs"] == {str(path): io.content_hash(path)}
    with pytest.raises(UserError, match=r"a.txt' changed while it was read"), io.provenance_of([path]):
        path.write_text("another")


# --------------------------------------------------------------------------------- braces and workflow


@pytest.mark.slow
@pytest.mark.parametrize(("name", "is_refused"), [("a{1}.png", True), ("{subject}.png", True), ("a}{.png", False)])
def test_words_in_braces_are_refused_before_snakemake_replaces_them(lab: Path, name: str, is_refused: bool) -> None:
    Path("pictures").mkdir()
    names = [name, "b}.png", "{c.png", "d.png"]
    for number, picture in enumerate(names):
        pixels = np.random.default_rng(number).integers(0, 255, (16, 16), dtype=np.uint8)
        Image.fromarray(pixels).save(Path("pictures", picture))
    for subject in ("01", "02"):
        table = pd.DataFrame({"condition": [picture.removesuffix(".png") for picture in names]})
        table.to_csv(f"sub-{subject}_betas.tsv", sep="\t", index=False)
    references = [{"kind": "pixels", "name": "pixels"}]
    config = written_yaml(stimuli={"folder": "pictures"}, references=references)
    done = subprocess.run(snakemake(config, "--dry-run"), capture_output=True, text=True)
    assert done.returncode == (2 if is_refused else 0), done.stdout + done.stderr
    message = f"'pictures/{name}': a word in braces, {{}} or <>, stands for something else in the workflow; rename it"
    assert (message in done.stderr) == is_refused


def test_words_in_braces_are_refused_in_all_inputs(lab: Path) -> None:
    folder = Path("{data}")
    folder.mkdir()
    for name in ("stimuli.tsv", "01_betas.nii.gz", "01_betas.tsv"):
        Path(name.replace("01_", "sub-01_")).rename(folder / name)
    brain = {"kind": "maps", "subjects": ["01"], "images": "sub-{subject}_betas.nii.gz", "table": "{data}/01_betas.tsv"}
    with pytest.raises(UserError, match="unknown placeholder 'data'"):
        read_plan(written_yaml(brain=brain), check=True)
    (folder / "01_betas.nii.gz").rename("sub-01_betas.nii.gz")
    (folder / "01_betas.tsv").rename("sub-01_betas.tsv")
    brain["table"] = "sub-{subject}_betas.tsv"
    with pytest.raises(UserError, match=r"'\{data\}/stimuli.tsv': a word in braces"):
        read_plan(written_yaml(brain=brain, stimuli={"table": "{data}/stimuli.tsv"}), check=True)
    folder.rename("<data>")
    with pytest.raises(UserError, match=r"'<data>/stimuli.tsv': a word in braces, {} or <>, stands for something else"):
        read_plan(written_yaml(brain=brain, stimuli={"table": "<data>/stimuli.tsv"}), check=True)


def snakemake(config: Path, *options: str) -> list[str]:
    snakefile = Path(__file__).parents[1] / "Snakefile"
    return ["snakemake", "--snakefile", str(snakefile), "--cores", "1", "--configfile", str(config), *options]


@pytest.mark.slow
def test_snakemake_refuses_what_check_refuses(lab: Path) -> None:
    before = contents(*OWN)
    config = written_yaml(simulate={"images_per_category": 2, "voxel_size_mm": 8})
    done = subprocess.run(snakemake(config), capture_output=True, text=True)
    assert done.returncode == 2
    assert "`simulate` would write" in done.stderr
    assert contents(*OWN) == before


# ------------------------------------------------------------------------- inputs that were replaced

OLD, MADE = 1_000_000_000, 1_500_000_000
"""When inputs were written, and when an output was made of them, in s: both before any file of a test."""


@pytest.fixture
def made(tmp_path):
    """A folder of results, made of two pictures that are older."""
    pictures, output = tmp_path / "pictures", tmp_path / "results" / "units"
    pictures.mkdir()
    output.mkdir(parents=True)
    (tmp_path / "results" / records.FOLDER).mkdir()
    files = [pictures / "a.png", pictures / "b.png"]
    for file in files:
        write_old(file, file.stem)
    inputs = {str(file): records.sha256_of(file) for file in files}
    (output / "provenance.json").write_text(json.dumps({"inputs": inputs}))
    os.utime(output, (MADE, MADE))
    return output, files


def write_old(file, text):
    file.write_text(text)
    os.utime(file, (OLD, OLD))


def test_inputs_that_were_replaced_by_older_files_are_found(made):
    output, (first, second) = made
    assert replaced([output], made[1]) == {}
    write_old(second, "c")
    assert replaced([output], made[1]) == {str(second): [output]}
    assert replaced([output], [first]) == {}, "it is no input any more"
    (problem,) = problems_of_inputs(output.parent, [output], made[1])
    assert problem.startswith(f"{second} is not what the results in {output.parent} were made of, but older")
    assert "Give it the date of now (`touch`)" in problem
    second.touch()
    assert replaced([output], made[1]) == {}, "Snakemake sees it"


def test_a_folder_that_took_the_name_of_another_is_looked_at(made):
    output, files = made
    folder = files[0].parent
    other = folder.with_name("other")
    other.mkdir()
    for file in files:
        write_old(other / file.name, "c")
    folder.rename(folder.with_name("before"))
    other.rename(folder)
    assert list(replaced([output], files)) == list(map(str, files))
    (problem,) = problems_of_inputs(output.parent, [output], files)
    assert problem.startswith("2 inputs are not what")


def test_inputs_are_read_once(made, monkeypatch):
    output, files = made
    assert problems_of_inputs(output.parent, [output], files) == []
    monkeypatch.setattr(records, "sha256_of", None)
    assert problems_of_inputs(output.parent, [output], files) == []


def test_who_waits_until_large_inputs_are_read_is_told_once(made, monkeypatch, caplog):
    output, files = made
    monkeypatch.setattr("rsa.pipeline.replaced.LARGE_BYTES", 0)
    replaced([output], files)
    assert [record.message.split(":")[0] for record in caplog.records] == [
        "Inputs came to their places after results were made of them"
    ]


def test_a_folder_of_results_is_as_old_as_snakemake_says(made):
    """A browser of files leaves its own in a folder of results, which makes the folder younger, but not the results."""
    output, (first, _) = made
    stamp = output / ".snakemake_timestamp"
    stamp.touch()
    os.utime(stamp, (MADE, MADE))
    (output / ".DS_Store").touch()
    first.write_text("c")
    os.utime(first, (MADE + 1, MADE + 1))
    assert replaced([output], made[1]) == {}, "Snakemake makes it again"


def test_a_link_on_the_way_to_inputs_that_leads_elsewhere_is_seen(made, tmp_path):
    output, files = made
    data = tmp_path / "data"
    data.symlink_to(tmp_path)
    names = [data / "pictures" / file.name for file in files]
    inputs = {str(name): records.sha256_of(name) for name in names}
    (output / "provenance.json").write_text(json.dumps({"inputs": inputs}))
    other = tmp_path / "other" / "pictures"
    other.mkdir(parents=True)
    for file in files:
        write_old(other / file.name, "c")
    os.utime(output)
    while (
        data.lstat().st_ctime_ns <= output.stat().st_mtime_ns
    ):  # a clock of files ticks every few ms, some each second
        time.sleep(0.01)
        data.unlink()
        data.symlink_to(other.parent)
    assert list(replaced([output], names)) == list(map(str, names))


def test_what_cannot_be_touched_is_made_again_by_old_results(made, monkeypatch):
    """Files of others, and results of a machine whose clock is ahead: the advice must help."""
    output, (_, second) = made
    write_old(second, "c")
    monkeypatch.setattr(os, "access", lambda *_: False)
    (problem,) = problems_of_inputs(output.parent, [output], made[1])
    assert problem.endswith(
        f"Give what was made of it an old date (touch -t 197001020000 {shlex.quote(str(output))}), and run again: then "
        "these results are made anew. (With `--touch`, once, they are kept as they are; do so only if nothing that "
        "counts has changed.)"
    )
    monkeypatch.undo()
    hence = time.time() + 3600
    os.utime(output, (hence, hence))
    monkeypatch.setattr("rsa.pipeline.replaced._moved_at", lambda folder: 2**62)
    (problem,) = problems_of_inputs(output.parent, [output], made[1])
    assert "old date" in problem
    os.utime(output, (86_400, 86_400))
    assert problems_of_inputs(output.parent, [output], made[1]) == []


def test_inputs_that_cannot_be_read_and_damaged_notes_are_no_traceback(made, monkeypatch):
    output, (_, second) = made
    write_old(second, "c")
    notes = output.parent / records.FOLDER / ".inputs.json"
    notes.write_text("[]")
    assert len(problems_of_inputs(output.parent, [output], made[1])) == 1
    notes.unlink()

    def refused(name):
        raise PermissionError

    monkeypatch.setattr(records, "sha256_of", refused)
    assert problems_of_inputs(output.parent, [output], made[1]) == []
