"""How a study runs: the default one, mistakes before any work, killed jobs, the right interpreter, lint."""

import os
import re
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path
from threading import Timer

import h5py
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sandbox import SMALL, Sandbox, environment

from rsa.core import Patterns, RDMs, Volume
from rsa.files import io
from rsa.pipeline import cli


@pytest.fixture(scope="module")
def sandbox(make_sandbox: Callable[..., Sandbox]) -> Sandbox:
    return make_sandbox("running")


def test_dry_run_of_the_default_study(sandbox: Sandbox) -> None:
    rules = {"simulate_stimuli", "simulate_brain", "layer_rdms", "searchlight", "noise_ceiling", "group", "report"}
    assert rules <= sandbox.rules("--configfile", "config.yaml")


def test_another_study_takes_nothing_from_the_default_one(sandbox: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text("study: own\nbrain: {kind: rdms}\n")
    result = sandbox.dry_run("--configfile", str(tmp_path / "own.yaml"))
    assert result.returncode == 2
    assert "the key 'brain.subjects' is missing" in result.stdout
    assert "simulate" not in result.stdout


def test_a_mistake_stops_a_run_before_any_work(sandbox: Sandbox) -> None:
    wrong = sandbox.configured("config.yaml", study="wrong", searchlight={"radius": 3}, comparison="spearmann")
    result = sandbox.run("--configfile", wrong)
    assert result.returncode == 2
    assert "error: The configuration has 2 problems:" in result.stdout
    assert "Did you mean 'radius_mm'?" in result.stdout
    assert "Traceback" not in result.stdout
    assert not (sandbox.folder / "results" / "wrong").exists()


@pytest.mark.slow
def test_jobs_are_told_their_memory_and_no_more_than_there_is(sandbox: Sandbox) -> None:
    wanted = ("-p", "--configfile", "config.yaml")

    def told(*options: str) -> list[int]:
        said = sandbox.planned(*wanted, *options)
        return [int(number) for number in re.findall(r"--memory-mb \$\(\((\d+) - BESIDE_MB\)\)", said)]

    asked = told()
    assert len(asked) == 4, "layer RDMs, searchlight, noise ceiling and permutations"
    assert min(asked) > 300
    assert told("--resources", "mem_mb=300") == [300] * 4


@pytest.mark.slow
def test_lint_finds_nothing(sandbox: Sandbox) -> None:
    result = sandbox.run("--lint")
    assert result.returncode == 0, result.stdout


def heed_ctrl_c() -> None:
    """Undo what processes inherit from a shell that runs the tests in the background."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def started(sandbox: Sandbox, options: list[str]) -> subprocess.Popen[bytes]:
    """Start Snakemake in a process group of its own."""
    return subprocess.Popen(
        sandbox.command(*options),
        cwd=sandbox.folder,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=heed_ctrl_c,
    )


def jobs_of(stage: str, folder: Path) -> list[int]:
    """Return the processes that run a stage in a folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
            here = Path(os.readlink(process / "cwd"))
        except OSError:
            continue
        if words[1:4] == [b"-m", b"rsa", stage.encode()] and here == folder:
            found.append(int(process.name))
    return found


def wait_for_job(stage: str, folder: Path, run: subprocess.Popen[bytes]) -> int:
    while run.poll() is None:
        if jobs := jobs_of(stage, folder):
            return jobs[0]
        time.sleep(0.01)
    raise AssertionError(f"no job ran {stage}")


@pytest.fixture(scope="module")
def noise(make_sandbox: Callable[..., Sandbox]) -> tuple[Sandbox, list[str]]:
    """Configure a small study of single subjects without signal; return what runs it."""
    sandbox = make_sandbox("null", forked=False)
    alone = dict.fromkeys(["group", "inference", "references"])
    small = {**SMALL, **alone, "study": "null", "simulate": {**SMALL["simulate"], "signal": 0.0}}  # type: ignore[dict-item]
    return sandbox, ["--configfile", sandbox.configured("config.yaml", **small)]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="finds the job to kill in /proc")
def test_a_killed_job_leaves_nothing_half_done_and_a_rerun_continues(noise: tuple[Sandbox, list[str]]) -> None:
    sandbox, options = noise
    results = sandbox.folder / "results" / "null"
    sandbox.quick().succeed(*options, "--until", "brain")
    run = started(sandbox, options)
    os.kill(wait_for_job("searchlight", sandbox.folder, run), signal.SIGKILL)
    assert run.wait() == 1
    rdms = results / "models" / "model-alexnet_rdms.h5"
    made = rdms.stat().st_mtime_ns
    assert len(list((results / "scores").glob("*.h5"))) < 2, "the killed job left no scores"

    run = started(sandbox, options)
    wait_for_job("searchlight", sandbox.folder, run)
    os.killpg(run.pid, signal.SIGINT)
    run.wait()
    for path in results.rglob("*.h5"):
        with h5py.File(path, "r") as file:
            assert file.attrs["kind"]

    said = sandbox.quick().succeed(*options)
    assert (results / "report.html").exists()
    assert rdms.stat().st_mtime_ns == made, "what was done is not done again"
    assert "layer-rdms" not in said
    lines = said.splitlines()
    jobs = [line for line in lines if re.match(r"\[ *\d+/\d+\] [a-z]+", line)]
    assert f"{len(jobs)} jobs to run for the study null." in lines, said
    assert len(set(jobs)) == len(jobs), "a line each"
    assert re.search(r"\] searchlight: 2 x 7,332 spheres, [\d.]+ s$", said, flags=re.M), said
    assert lines[-2].startswith(f"{len(jobs)} jobs done in ")
    assert lines[-1] == "Report: results/null/report.html"
    assert not list(results.rglob(".partial-*"))


@pytest.mark.slow
def test_a_study_without_signal_finds_nothing_anywhere(noise: tuple[Sandbox, list[str]]) -> None:
    sandbox, options = noise
    sandbox.quick().succeed(*options)
    maps = [io.load_scores(path).values for path in sorted(sandbox.folder.glob("results/null/scores/sub-*.h5"))]
    assert len(maps) == 2
    n_pairs = 24 * 23 / 2
    for scores in maps:
        defined = scores[:, np.isfinite(scores).all(axis=0)]
        assert defined.shape[1] > 3_000
        assert np.abs(defined.mean(axis=1)).max() < 0.02
        # Scores of a map are as wide as chance makes them: 1 / sqrt(n_pairs - 1) for independent dissimilarities, up to
        # twice that since dissimilarities share conditions.
        assert (defined.std(axis=1) < 2 / np.sqrt(n_pairs - 1)).all()
        assert np.abs(defined).max() < 0.5


# ------------------------------------------------------------------------------------------ Ctrl-C


def long_searchlight(folder: Path) -> list[str]:
    """Write a study whose searchlight takes a minute; return the options of the stage."""
    rng = np.random.default_rng(1)
    names = [f"c{i}" for i in range(160)]
    volume = Volume(np.ones((40, 40, 40), dtype=bool), np.diag([2.0, 2, 2, 1]))
    values = rng.standard_normal((160, 64_000), dtype=np.float32)
    io.save(folder / "patterns.h5", Patterns(values, pd.DataFrame({"condition": names}), volume))
    rdm = RDMs(rng.random((1, 160 * 159 // 2)), names, pd.DataFrame({"model": ["m"]}), "correlation")
    io.save(folder / "rdms.h5", rdm)
    settings = ["--searchlight-radius-mm", "10", "--device", "cpu", "--threads", "2", "--subject", "1"]
    settings += ["--comparison", "kendall_tau_a"]
    return ["searchlight", "--patterns", "patterns.h5", "--references", "rdms.h5", *settings]


def long_extraction(folder: Path) -> list[str]:
    """Write a picture that stands for thousands of conditions; return the options of a stage that writes little."""
    Image.fromarray(np.zeros((224, 224, 3), dtype=np.uint8)).save(folder / "picture.png")
    table = pd.DataFrame({"condition": range(3_000), "file": "picture.png"})
    table.to_csv(folder / "stimuli.tsv", sep="\t", index=False)
    network = ["--model-architecture", "squeezenet1_1", "--model-weights", "untrained"]
    return ["extract", *network, "--model-layers", "classifier", "--stimuli-table", "stimuli.tsv", "--device", "cpu"]


def read_until(pattern: str, terminal: int) -> str:
    """Return what a process says on its terminal, up to a pattern or to its end."""
    said = ""
    while not re.search(pattern, said):
        try:
            said += os.read(terminal, 65_536).decode(errors="replace")
        except OSError:  # Linux's way to say that nobody has the other end open any more
            break
    return said


COUNT = r"\| *([1-9]\d*)/(\d+) \["


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs a terminal")
@pytest.mark.parametrize("study", [long_searchlight, long_extraction])
def test_ctrl_c_stops_a_stage_at_once_and_leaves_nothing(tmp_path: Path, study: Callable[[Path], list[str]]) -> None:
    command = [sys.executable, "-m", "rsa", *study(tmp_path), "--output", "out.h5"]
    before = sorted(tmp_path.iterdir())
    ours, theirs = os.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    run = subprocess.Popen(command, cwd=tmp_path, env=environment(), stderr=theirs, preexec_fn=heed_ctrl_c)
    os.close(theirs)
    hangs = Timer(900, run.kill)
    hangs.start()
    try:
        said = read_until(COUNT, ours)  # the bar counts
        assert run.poll() is None, said
        run.send_signal(signal.SIGINT)
        said += read_until("(?!)", ours)  # to the end
        assert run.wait() == 130, said
    finally:
        hangs.cancel()
        run.kill()
        run.wait()
        os.close(ours)
    assert said.count("stopped") == 1
    assert "Traceback" not in said
    done, of_all = re.findall(COUNT, said)[-1]
    assert int(done) < int(of_all) / 2, "it did not go on"
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.slow
def test_a_stage_can_be_run_by_hand(make_sandbox: Callable[..., Sandbox], monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_sandbox("by-hand").folder
    monkeypatch.chdir(folder)
    draw = ["simulate-stimuli", "--simulation-images-per-category", "2", "--stimuli-table", "s/stimuli.tsv"]
    assert cli.main(draw) == 0
    network = ["--model-architecture", "alexnet", "--model-weights", "untrained", "--model-layers", "features.1"]
    assert (
        cli.main(["extract", *network, "--stimuli-table", "s/stimuli.tsv", "--output", "a.h5", "--device", "cpu"]) == 0
    )
    assert cli.main(["layer-rdms", "--activations", "a.h5", "--output", "r.h5", "--log", "r.log"]) == 0
    column = ["--reference-kind", "table", "--reference-name", "category", "--reference-column", "category"]
    assert cli.main(["reference", *column, "--stimuli-table", "s/stimuli.tsv", "--output", "c.h5"]) == 0
    pixels = ["--reference-kind", "pixels", "--reference-name", "low", "--reference-size", "8"]
    assert cli.main(["reference", *pixels, "--stimuli-table", "s/stimuli.tsv", "--output", "p.h5"]) == 0
    assert len(io.read_provenance("p.h5")["source"]["inputs"]) == 1 + len(io.load_table("s/stimuli.tsv"))
    assert cli.main(["draw-references", "--references", "r.h5", "c.h5", "p.h5", "--folder", "pictures"]) == 0
    assert (folder / "pictures" / "rdms.png").stat().st_size > 5_000
