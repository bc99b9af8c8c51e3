"""The command line: derived from signatures, one line for a mistake, a traceback for a bug."""

import contextlib
import json
import logging
import os
import re
import shlex
import subprocess
import sys
import warnings
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path

import pytest

from rsa.comparisons import COMPARISONS
from rsa.datasets import EpochFiles, Movies
from rsa.datasets.maps import Maps
from rsa.distances import DISTANCES
from rsa.errors import Problems, UserError
from rsa.files import io
from rsa.files.versions import versions
from rsa.inference.group import GROUP_TESTS
from rsa.inputs.references import PixelReference, TableReference
from rsa.inputs.regions import Regions
from rsa.maps import MAPS
from rsa.models import MODELS, Torchvision
from rsa.noise import SHRINKAGES
from rsa.pipeline import cli, stages
from rsa.pipeline.config import BRAIN_DISTANCES, Movie, Sensors
from rsa.simulation.settings import PlantedRegion, Simulation


def parsed(stage: str, options: str) -> dict[str, object]:
    """Read options as the stage gets them."""
    function = getattr(stages, stage)
    given = vars(cli.build_parser(stage, function).parse_args(shlex.split(options)))
    given.pop("log")
    return cli._collect(function, given)[1]


@pytest.mark.parametrize("name", stages.__all__)
def test_every_stage_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main([name.replace("_", "-"), "--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert cli._summary(getattr(stages, name)).split()[0] in text
    parser = cli.build_parser(name, getattr(stages, name))
    assert all(action.help for action in parser._actions), "an option without help"


@pytest.mark.parametrize("name", stages.__all__)
def test_help_says_what_holds_if_an_option_is_not_given_as_it_would_be_written(name: str) -> None:
    text = cli.build_parser(name, getattr(stages, name)).format_help()
    assert "Undefined" not in text
    assert not re.search(r"default:\s*[\[{()]", text), "no Python"


def test_help_says_what_each_kind_is() -> None:
    text = " ".join(cli.build_parser("brain", stages.brain).format_help().split())
    assert "bids: Runs preprocessed by fMRIPrep" in text
    assert "spm: A folder per subject with SPM.mat" in text
    usage = cli.build_parser("searchlight", stages.searchlight).format_usage()
    assert usage.startswith("usage: python -m rsa searchlight --patterns PATTERNS --references REFERENCES ... --output")
    assert usage.endswith("[options]\n")


def test_the_version_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith(f"brain-model-rsa {versions()['brain-model-rsa']}")


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("words", [["--help"], ["describe", "--help"]])
def test_a_reader_who_wants_no_more_ends_it_without_a_word(words: list[str], unbuffered: str) -> None:
    """As in `python -m rsa --help | head -0`."""
    ours, theirs = os.pipe()
    os.close(ours)
    how = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    done = subprocess.run([sys.executable, "-m", "rsa", *words], stdout=theirs, stderr=subprocess.PIPE, env=how)
    os.close(theirs)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_pipe_of_its_own_that_breaks_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise BrokenPipeError("of a film")

    monkeypatch.setattr(io, "load_scores", broken)
    monkeypatch.setattr(cli, "_reader_has_gone", lambda: False)
    with pytest.raises(BrokenPipeError, match="of a film"):
        cli.main(["maps", "--scores", "s", "--subject", "1", "--space", "T1w", "--folder", "f"])


def test_in_a_run_jobs_write_to_their_logs_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(io, "load_scores", broken)
    monkeypatch.setenv("RSA_MESSAGES", "log")
    log = tmp_path / "maps.log"
    words = ["maps", "--scores", "s", "--subject", "1", "--space", "T1w", "--folder", "f"]
    assert cli.main([*words, "--log", str(log)]) == 1
    assert log.read_text().endswith("ZeroDivisionError: a bug\n")
    assert capsys.readouterr().err == ""
    with pytest.raises(ZeroDivisionError):
        cli.main(words)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ([{"did": "9 spheres"}, {"holds": "1 map of 2 voxels"}, {"writes": "a"}], ["9 spheres"]),
        ([{"holds": "1 map of 2 voxels"}, {"writes": "a"}], ["1 map of 2 voxels"]),
        ([{"writes": "a"}, {"writes": "b"}], ["2 files"]),
        ([{}], []),
    ],
)
def test_what_a_stage_did_is_its_most_telling_number(said: list[dict[str, str]], words: list[str]) -> None:
    did = cli._Did()
    did.begins()
    for one in said:
        did.handle(logging.makeLogRecord(one))
    assert did.words() == words


def test_runs_that_did_the_same_are_told_once() -> None:
    did = cli._Did()
    for one in ("9 spheres", "9 spheres", "2 maps"):
        did.begins()
        did.handle(logging.makeLogRecord({"did": one}))
    assert did.words() == ["2 x 9 spheres", "2 maps"]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, object]]]:
    """What two stages are called with, instead of what they do."""
    made: list[tuple[str, dict[str, object]]] = []

    def maps(scores: list[Path], subject: str, folder: Path = Path("f")) -> None:
        if subject == "bad":
            raise UserError("The subject is bad.")
        made.append(("maps", {"scores": scores, "subject": subject, "folder": folder}))

    def draw_subject(subject: str) -> None:
        made.append(("draw_subject", {"subject": subject}))

    monkeypatch.setattr(stages, "maps", maps, raising=False)
    monkeypatch.setattr(stages, "draw_subject", draw_subject, raising=False)
    return made


def test_one_process_runs_several_stages_and_a_stage_several_times(
    calls: list[tuple[str, dict[str, object]]], tmp_path: Path
) -> None:
    each = ["--each", "--subject", "1", "--scores", "a", "b", "--each", "--scores", "c", "--subject", "2"]
    log = tmp_path / "log"
    words = ["maps", "--folder", "g", *each, "--then", "draw-subject", "--subject", "1", "--log", str(log)]
    assert cli.main(words) == 0
    assert calls == [
        ("maps", {"scores": [Path("a"), Path("b")], "subject": "1", "folder": Path("g")}),
        ("maps", {"scores": [Path("c")], "subject": "2", "folder": Path("g")}),
        ("draw_subject", {"subject": "1"}),
    ]
    assert log.read_text().count("done: ") == 1


def test_a_mistake_in_one_run_stops_those_after_it(
    calls: list[tuple[str, dict[str, object]]], capsys: pytest.CaptureFixture[str]
) -> None:
    each = ["--each", "--subject", "1", "--each", "--subject", "bad", "--each", "--subject", "2"]
    assert cli.main(["maps", "--scores", "a", *each]) == 2
    assert [given["subject"] for _, given in calls] == ["1"]
    assert capsys.readouterr().err == "error: The subject is bad.\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["maps", "--scores", "a", "--subject", "1", "--then"],
            "The name of a stage is missing",
        ),
        (["--then", "draw-subject"], "The name of a stage is missing"),
        (["maps", "--scores", "a", "--subject", "1", "--then", "draw-subjects"], "There is no stage 'draw-subjects'."),
        (["maps", "--scores", "a", "--each", "--subject", "1", "--each"], "required: --subject"),
    ],
)
def test_all_runs_are_read_before_the_first_begins(
    calls: list[tuple[str, dict[str, object]]], words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with contextlib.suppress(SystemExit):
        assert cli.main(words) == 2
    assert calls == []
    assert said in capsys.readouterr().err


def test_the_log_ends_with_what_was_done_and_how_long_it_took(tmp_path: Path) -> None:
    table = tmp_path / "stimuli.tsv"
    table.write_text("condition\tkind\na\tx\nb\tx\nc\ty\n")
    words = ["reference", "--reference-kind", "table", "--reference-name", "kind", "--reference-column", "kind"]
    log, output = tmp_path / "r.log", tmp_path / "r.h5"
    assert cli.main([*words, "--stimuli-table", str(table), "--output", str(output), "--log", str(log)]) == 0
    last = log.read_text().splitlines()[-1]
    assert re.fullmatch(r"\S+ \S+ DEBUG done: 1 RDM of 3 conditions, \d+[.]\d s", last), last


def test_the_overview_names_every_stage(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(name.replace("_", "-") in text for name in stages.__all__)


def test_the_table_of_stages_is_complete_and_help_imports_none() -> None:
    """Every public function of a module of stages is a stage; the overview is read from their sources."""
    for module, names in stages.MODULES.items():
        assert sorted(names) == sorted(import_module(f"rsa.pipeline.stages.{module}").__all__)
    assert all(stages.summaries()[name] == cli._summary(getattr(stages, name)) for name in stages.__all__)
    code = "import sys; from rsa.pipeline import cli; cli.main(['--help'])\n"
    code += "print(sorted(name for name in sys.modules if name.startswith(('rsa.pipeline.stages.', 'rsa.datasets'))))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (
            "searchlight --patterns no.h5 --references no.h5 --subject 01 --output o.h5 --comparison sperman",
            COMPARISONS,
        ),
        ("searchlight --patterns no.h5 --references no.h5 --subject 01 --output o.h5 --distance x", BRAIN_DISTANCES),
        ("region-rdms --patterns no.h5 --subject 01 --output o.h5 --shrinkage x", SHRINKAGES),
        ("group --scores no.h5 --space x --folder f --output o.h5 --tests mean medain", GROUP_TESTS),
        ("maps --scores no.h5 --subject 01 --space x --folder f --derived best", MAPS),
        ("layer-rdms --activations no.h5 --output o.h5 --distance crossnobis", DISTANCES),
        ("layer-time --movies no.h5 --references no.h5 --folder f --generalisation both", ("within", "between")),
    ],
)
def test_choices_are_checked_before_any_file(
    words: str, names: Iterable[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(shlex.split(words))
    assert stop.value.code == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "invalid choice" in said
    assert all(f"'{name}'" in said for name in names)


def test_optional_options_may_be_without_a_value() -> None:
    given = parsed("region_fits", "--brain b.h5 --references r.h5 --output o.tsv")
    assert "analysis" not in given
    words = "--patterns p.h5 --references r.h5 --subject 01 --output o.h5 --shrinkage --others"
    given = parsed("searchlight", f"{words} --searchlight-radius-mm 8")
    assert given["shrinkage"] is None
    assert given["others"] == []
    with pytest.raises(SystemExit):
        parsed("region_fits", "--brain b.h5 --references --output o.tsv")


SECTIONS = [
    (
        "brain",
        "brain",
        Maps(
            subjects=("01", "02"),
            runs=("1", "2"),
            images="my data/sub-{subject}_run-{run}.nii.gz",
            table="t {subject} {run}.tsv",
            run_column=None,
            exclude=("rest", "it's"),
        ),
    ),
    (
        "extract",
        "model",
        MODELS["torchvision"](architecture="alexnet", weights="untrained", layers=("features.*",), seed=3),
    ),
    ("region_rdms", "regions", Regions(masks={"V 1": "a b.nii", "V2": "{subject}.nii"}, resample=True)),
    (
        "movie",
        "meeg",
        EpochFiles(
            subjects=("01", "02"),
            file="my data/sub-{subject}_run-{run}-epo.fif",
            runs=("1", "2"),
            condition="{category}_{event}",
            condition_pattern="([^/]+)$",
            exclude=("it's",),
            picks=("meg", "EEG 001"),
            baseline_s=(-0.1, 0.0),
            tmin_s=-0.05,
        ),
    ),
    (
        "movie",
        "meeg",
        Movies(
            subjects=("01",),
            file="all movies.mat",
            axes="subject time condition condition",
            times={"start": -100, "step": 5, "unit": "ms"},
            distance="decoding_svm",
        ),
    ),
    ("movie", "movie", Movie(distance="decoding_lda", folds=4, n_repeats=3, whiten="ledoit_wolf", window_s=0.01)),
    ("sensor_searchlight", "sensors", Sensors(min_sensors=5)),
    (
        "simulate_epochs",
        "simulation",
        Simulation(
            epochs={"latencies": [{"name": "a b", "model": "m", "layer": "features.1", "peak_s": 0.1}], "tmin_s": -0.2}
        ),
    ),
    ("reference", "reference", TableReference(name="animal", column="is it?", rule="difference")),
    ("reference", "reference", PixelReference(name="low", size=16, colour=True, distance="euclidean")),
    (
        "simulate_stimuli",
        "simulation",
        Simulation(
            signal=0.5,
            regions=(PlantedRegion(name="a b", model="m", layer="features.1", centres_mm=((-1.5, 2, 3), (4, 5, 6))),),
        ),
    ),
]


@pytest.mark.parametrize(
    ("stage", "prefix", "section"), SECTIONS, ids=[f"{stage} {type(one).__name__}" for stage, _, one in SECTIONS]
)
def test_a_section_survives_the_shell(stage: str, prefix: str, section: object) -> None:
    function = getattr(stages, stage)
    others = {
        "brain": "--subject 01 --output o.h5",
        "extract": "--stimuli-folder f --output o.h5",
        "region_rdms": "--patterns p.h5 --subject 01 --output o.h5",
        "movie": "--subject 01 --output o.h5",
        "sensor_searchlight": "--meeg-kind epochs --meeg-subjects 01 --meeg-file {subject}-epo.fif "
        "--subject 01 --references r.h5 --output o.h5 --evokeds o_ave.fif",
        "simulate_epochs": "--meeg-kind epochs --meeg-subjects 01 --meeg-file {subject}-epo.fif --subject 01"
        " --rdms r.h5",
        "reference": "--output o.h5",
        "simulate_stimuli": "--stimuli-table t.tsv",
    }
    assert function is not None
    dataset = "--meeg-kind movie --meeg-subjects 01 --meeg-file m.npz " if prefix == "movie" else ""
    arguments = parsed(stage, f"{dataset}{cli.options_of(prefix, section)} {others[stage]}")  # type: ignore[arg-type]
    assert arguments[prefix] == section


def test_defaults_are_not_written_out() -> None:
    options = cli.options_of("simulation", Simulation(signal=2.0))
    assert options == "--simulation-signal=2.0"
    assert cli.options_of("simulation", None) == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["serchlight"], "There is no stage 'serchlight'. Did you mean 'searchlight'?"),
        (["layers", "alexnt"], "torchvision has no classification model 'alexnt'. Did you mean 'alexnet'"),
        (["check", "nowhere.yaml"], "Cannot read the configuration nowhere.yaml"),
        (["region-fits", "--brain", "no.h5", "--references", "no.h5", "--output", "o.tsv"], "There is no file no.h5"),
        (["brain", "--brain-kind", "betas", "--subject", "1", "--output", "o"], "--brain"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(arguments) == 2
    said = capsys.readouterr().err
    assert message in said
    assert "Traceback" not in said
    assert not list(tmp_path.iterdir())


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(io, "load_scores", broken)
    log = tmp_path / "logs" / "maps.log"
    with pytest.raises(ZeroDivisionError, match="a bug"):
        cli.main(["maps", "--scores", "s", "--subject", "1", "--space", "T1w", "--folder", "f", "--log", str(log)])
    text = log.read_text()
    assert "Traceback" in text
    assert '"numpy":' in text, "the log names the versions"


def test_an_interrupt_stops_quietly(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(io, "load_scores", interrupted)
    assert cli.main(["maps", "--scores", "s", "--subject", "1", "--space", "T1w", "--folder", "f"]) == 130
    assert "stopped" in capsys.readouterr().err


def test_layers_lists_what_can_be_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["layers", "alexnet"]) == 0
    text = capsys.readouterr().out
    assert "features.0" in text
    assert "classifier.6" in text
    assert "64x55x55" in text


def test_a_setting_that_is_wrong_is_named_by_its_option() -> None:
    with pytest.raises(UserError, match="--searchlight-radius-mm: Input should be greater than 0"):
        parsed("searchlight", "--patterns p --references r --output o --subject 1 --searchlight-radius-mm=-1")


def test_long_settings_reach_a_stage_in_pieces() -> None:
    """A word of a command has up to 128 KiB on Linux."""
    section = Regions(spheres={f"region{n}": [[-n, 0, 0.5]] for n in range(9_000)})
    words = shlex.split(cli.options_of("regions", section))
    assert len(words) > 5
    assert max(len(word.encode()) for word in words) < 2**17
    done = subprocess.run(["true", *words], check=False)
    assert done.returncode == 0
    arguments = parsed("region_rdms", f"--patterns p --subject 01 --output o {cli.options_of('regions', section)}")
    assert arguments["regions"] == section


def test_long_settings_of_a_study_are_described(tmp_path: Path) -> None:
    brain = {"kind": "maps", "subjects": ["01"], "images": "\N{EURO SIGN}" * 200_000, "table": "t.tsv"}
    study = {"study": "x", "brain": brain}
    text = json.dumps(study, ensure_ascii=False)
    words = cli.pieces("--settings", text)
    assert max(len(word.encode()) for word in words) < 2**17
    assert cli.main(["describe", *words, "--folder", str(tmp_path)]) == 0
    assert json.loads((tmp_path / "study.json").read_text())["brain"]["images"] == brain["images"]


@pytest.mark.parametrize("place", ["file/maps.log", "folder"])
def test_a_log_that_cannot_be_written_is_one_line(
    tmp_path: Path, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    log = str(tmp_path / place)
    assert cli.main(["layers", "alexnet", "--log", log]) == 2
    said = capsys.readouterr()
    assert said.err.startswith(f"error: Cannot write the log {log}: ")
    assert len(said.err.splitlines()) == 1
    assert said.out == ""


def test_a_setting_that_is_no_json_is_named() -> None:
    with pytest.raises(UserError, match=r"--regions-masks: \{V1: a.nii\} is not valid JSON"):
        parsed("region_rdms", "--patterns p --subject 01 --output o '--regions-masks={V1: a.nii}'")


def test_a_word_needs_no_quotation_marks_where_a_section_may_stand() -> None:
    arguments = parsed("model_rdms", "--model-architecture alexnet --model-units mean --output o")
    assert arguments["model"] == Torchvision(architecture="alexnet", units="mean")
    with pytest.raises(UserError, match=r"--regions-masks: .*dictionary"):
        parsed("region_rdms", "--patterns p --subject 01 --output o --regions-masks=a.nii")


@pytest.mark.parametrize("words", [["maps"], ["maps", "--nothing"], ["brain", "--output", "o"]])
def test_a_wrong_command_line_is_one_line(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(words)
    said = capsys.readouterr().err
    assert stop.value.code == 2
    assert len(said.splitlines()) == 1
    assert f"see python -m rsa {words[0]} --help." in said


@pytest.mark.parametrize("text", ["two\nlines", "two\r\nlines", "two\u2028lines", "\n two \n\n lines\n"])
def test_what_a_user_is_told_is_one_line(text: str) -> None:
    assert str(UserError(text)) == "two lines"
    problems = Problems("The configuration", [text, text])
    assert str(problems) == "The configuration has 2 problems:\n  - two lines\n  - two lines"
    assert str(Problems("The configuration", [text])) == "The configuration has a problem: two lines"


def test_warnings_are_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def warned(*_: object) -> None:
        logging.getLogger("rsa.x").warning("what a library\n  says: %s", "a\nb")
        warnings.warn("two\nlines", stacklevel=1)
        raise UserError("the end")

    monkeypatch.setattr(io, "load_scores", warned)
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        assert cli.main(["maps", "--scores", "s", "--subject", "1", "--space", "T1w", "--folder", "f"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "what a library says: a b"
    assert len(lines) == 3
    assert "two lines" in lines[1]


def test_no_error_is_made_past_the_one_that_flattens() -> None:
    """Every class of users' errors hands its message to UserError, or joins lines that are flattened."""
    own = [path for path in Path(cli.__file__).parents[1].rglob("*.py") if path.name != "errors.py"]
    assert not [path for path in own if "Exception.__init__" in path.read_text(encoding="utf-8")]
