"""The form of a configuration: what is accepted, and what is said when it is not."""

from copy import deepcopy
from typing import Any

import pytest

from rsa.errors import Problems, UserError
from rsa.pipeline.config import load_study, read_yaml
from rsa.pipeline.plan import Plan

BASE: dict[str, Any] = {
    "study": "test",
    "stimuli": {"folder": "pictures"},
    "models": [{"architecture": "alexnet", "weights": "untrained"}],
    "brain": {"kind": "maps", "subjects": ["01"], "images": "sub-{subject}.nii", "table": "t.tsv"},
    "searchlight": {"radius_mm": 8},
}


def changed(**changes: Any) -> dict[str, Any]:
    """Return the base configuration with some keys replaced; "a__b" is b in the section a."""
    raw = deepcopy(BASE)
    for place, value in changes.items():
        section, _, key = place.rpartition("__")
        (raw[section] if section else raw)[key] = value
    return raw


def test_defaults_are_those_of_the_documentation() -> None:
    study = load_study(BASE)
    assert study.comparison == "spearman"
    assert study.layer_distance == study.brain_distance == "correlation"
    assert study.searchlight is not None
    assert (study.searchlight.radius_mm, study.searchlight.min_voxels, study.searchlight.stride) == (8, 20, 1)
    assert study.models[0].label == "alexnet"
    assert study.folder.as_posix() == "results/test"


def test_a_study_is_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_study(BASE).study = "other"  # type: ignore[misc]


EPOCHS = {"kind": "epochs", "subjects": ["01"], "file": "{subject}-epo.fif"}


def test_a_study_may_have_no_brain() -> None:
    study = load_study({"study": "test", "meeg": EPOCHS, "references": BASE["models"][:0]})
    assert study.brain is None
    assert (study.subjects, study.has_images, study.needs_residuals, study.fusion) == ((), False, False, False)
    assert (study.movie.distance, study.movie.folds, study.movie.whiten) == ("correlation", None, None)


def test_items_that_are_wrong_are_not_said_to_be_missing_as_well() -> None:
    with pytest.raises(Problems) as caught:
        load_study(changed(units={"chosen": [{"layers": "0", "units": [-1]}]}))
    (problem,) = caught.value.problems
    assert problem == "units.chosen.0.units.0: input should be greater than or equal to 0 (it is -1)."


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"meeg": {**EPOCHS, "kind": "raw"}}, r"meeg.*'raw'.*'epochs', 'movie'"),
        ({"meeg": {**EPOCHS, "baseline": [-0.1, 0]}}, r"unknown key 'meeg.baseline'. Did you mean 'baseline_s'"),
        ({"movie": {"distance": "decoding"}}, r"unknown distance 'decoding'.*decoding_lda, decoding_svm"),
        ({"movie": {"whiten": "oas"}}, r"unknown shrinkage 'oas'.*ledoit_wolf"),
        ({"movie": {"folds": 1}}, r"movie.folds: input should be greater than or equal to 2 \(it is 1\)"),
        ({"movie": {"window_s": -0.1}}, r"movie.window_s: input should be greater than or equal to 0"),
        ({"fusion": "maybe"}, r"fusion"),
        ({"simulate": {"epochs": {"n_channels": 20}}}, r"simulate.epochs.n_channels.*16, 32, 64"),
        ({"simulate": {"epochs": {"n_trials": 2, "n_runs": 3}}}, r"cannot be spread over 3 runs: set n_runs to 2"),
    ],
)
def test_each_mistake_about_m_eeg_has_its_message(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_study(changed(**changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"serchlight": {}}, r"unknown key 'serchlight'. Did you mean 'searchlight'\?"),
        ({"searchlight__radius": 3}, r"unknown key 'searchlight.radius'. Did you mean 'radius_mm'\?"),
        ({"brain__image": "x"}, r"unknown key 'brain.image'. Did you mean 'images'\? Known here: 'kind', 'subjects'"),
        (
            {"models": [{"architecture": "alexnet", "wieghts": "x"}]},
            r"unknown key 'models.0.wieghts'. Did you mean 'weights'",
        ),
        ({"brain": {"kind": "maps"}}, r"the key 'brain.subjects' is missing"),
        ({"brain__kind": "betas"}, r"brain"),
        ({"searchlight__radius_mm": 0}, r"searchlight.radius_mm: input should be greater than 0 \(it is 0\)"),
        ({"searchlight__radius_mm": "ten"}, r"searchlight.radius_mm: input should be a valid number.*'ten'"),
        ({"comparison": "kendall"}, r"unknown comparison 'kendall'. Did you mean 'kendall_tau_a'\?.*spearman, pearson"),
        ({"layer_distance": "crossnobis"}, r"unknown distance 'crossnobis'.*correlation, cosine"),
        ({"group": ["median"]}, r"unknown group test 'median'"),
        ({"maps": ["best"]}, r"unknown map 'best'.*best_layer"),
        ({"study": "my study"}, r"'my study' becomes part of BIDS file names"),
        ({"brain__subjects": [1]}, r'YAML reads 1 as the number 1; write it in quotes: "1"'),
        ({"stimuli": {}}, r"stimuli"),
        ({"regions": {}}, r"regions: regions are given either by `atlas` or by `masks`"),
        (
            {"references": [{"kind": "table", "name": "a", "colum": "x"}]},
            r"unknown key 'references.0.colum'. Did you mean 'column'",
        ),
        (
            {"simulate": {"regions": [{"name": "a", "model": "alexnet", "layer": "x"}]}},
            r"the planted region 'a' needs either `centres_mm` or `atlas_indices`",
        ),
    ],
)
def test_each_mistake_has_its_message(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_study(changed(**changes))


def test_all_mistakes_are_listed_at_once() -> None:
    raw = changed(serchlight={}, comparison="kendall", searchlight__radius_mm=-1, study="a b")
    with pytest.raises(UserError) as error:
        load_study(raw)
    lines = str(error.value).splitlines()
    assert lines[0] == "The configuration has 4 problems:"
    assert len(lines) == 5
    assert all(line.startswith("  - ") for line in lines[1:])


def test_relative_paths_start_at_data_root() -> None:
    study = load_study({**BASE, "data_root": "/data"})
    assert study.brain.files("01", [])[0].as_posix() == "/data/sub-01.nii"
    assert study.stimuli is not None
    assert study.stimuli.folder == "/data/pictures"


@pytest.mark.parametrize(
    ("path", "read"),
    [("{results}/a.nii", "results/test/a.nii"), ("./a.nii", "a.nii"), ("/else/a.nii", "/else/a.nii")],
)
def test_some_paths_do_not_start_at_data_root(path: str, read: str) -> None:
    study = load_study({**changed(brain__images=path), "data_root": "/data"})
    assert study.brain.files("01", [])[0].as_posix() == read


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "is not valid YAML"),
        ("- a", "should hold settings like"),
        (None, "Cannot read the configuration"),
        ("study: a\nmaps: {}\nstudy: b", "has 'study' twice in one section, on lines 1 and 3; keep one"),
        ("brain:\n  kind: maps\n  mask: a.nii\n  space: T1w\n  mask: b.nii", "'mask' twice .* on lines 3 and 5"),
        ("models:\n- {name: a,\n   name: b}", "'name' twice"),
    ],
)
def test_a_file_that_is_no_configuration(tmp_path: Any, text: str | None, message: str) -> None:
    path = tmp_path / "my.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError, match=message):
        read_yaml(path)


def test_an_anchor_may_be_used_twice_and_within_itself(tmp_path: Any) -> None:
    path = tmp_path / "my.yaml"
    path.write_text("study: a\nmaps: &m {mask: x}\nbrain: {<<: *m, kind: maps}\nmeeg: &a [*a]\n")
    assert read_yaml(path)["brain"] == {"mask": "x", "kind": "maps"}


def names(paths: Any) -> list[str]:
    return [path.as_posix().removeprefix("results/test/") for path in paths]


TABLE = {"kind": "table", "name": "a", "column": "b"}


def test_a_study_of_m_eeg_alone_plans_nothing_of_fmri() -> None:
    meeg = {**EPOCHS, "subjects": ["01", "02"], "file": "{subject}_run-{run}-epo.fif", "runs": ["1", "2"]}
    plan = Plan(load_study({"study": "test", "meeg": meeg, "references": [TABLE]}))
    assert names(plan.all("movie")) == ["meeg/sub-01_movie.h5", "meeg/sub-02_movie.h5"]
    assert names(plan.all("time")) == ["time"]
    assert names(plan.figures()) == ["figures/references", "figures/time"]
    assert names(plan.meeg_files("02")) == ["02_run-1-epo.fif", "02_run-2-epo.fif"]
    for nothing in ("brain", "scores", "maps", "group_maps", "region_rdms", "region_fits", "resampled"):
        assert plan.all(nothing) == [], nothing
    assert plan.brain_files("01") == plan.simulated_epochs("01") == plan.fused(["01"]) == []
    assert (plan.space, plan.has_films) == ("", False)


def test_a_study_without_m_eeg_plans_nothing_over_time() -> None:
    plan = Plan(load_study(BASE))
    assert plan.all("movie") == plan.all("time") == plan.fused(["01"]) == plan.meeg_files("01") == []
    assert not plan.has_films
    assert names(plan.figures()) == ["figures/references", "figures/sub-01"]


def test_a_searchlight_over_sensors_ends_in_the_group_or_the_only_subject() -> None:
    given = {"study": "test", "meeg": {**EPOCHS, "subjects": ["01", "02"]}, "references": [TABLE], "sensors": {}}
    plan = Plan(load_study(given))
    assert names(plan.all("sensor_scores")) == ["sensors/sub-01_scores.h5", "sensors/sub-02_scores.h5"]
    group = [f"sensors/group_stat-{test}_scores_ave.fif" for test in ("mean", "t")]
    assert names([*plan.all("sensor_group"), *plan.all("sensor_group_evokeds")]) == ["sensors/group_scores.h5", *group]
    assert names(plan.drawn_sensors("")) == ["sensors/group_scores.h5", group[0]]
    assert names(plan.figures()) == ["figures/references", "figures/time", "figures/sensors"]
    alone = Plan(load_study({**given, "meeg": {**EPOCHS, "subjects": ["01"]}}))
    assert alone.all("sensor_group") == alone.all("sensor_group_evokeds") == []
    assert names(alone.drawn_sensors("")) == ["sensors/sub-01_scores.h5", "sensors/sub-01_scores_ave.fif"]
    assert (plan.sensor_title(), alone.sensor_title()) == ("mean over 2 subjects", "subject 01")
    without = Plan(load_study({**given, "sensors": None}))
    assert not any(without.all(kind) for kind in ("sensor_scores", "sensor_peaks", "sensor_group", "sensor_figures"))


def test_a_searchlight_over_sensors_takes_the_analyses_within_subjects() -> None:
    given = {"study": "test", "meeg": {**EPOCHS, "subjects": ["01", "02"]}, "sensors": {}}
    given["references"] = [{**TABLE, "name": name} for name in "abc"]
    given["analyses"] = [
        {"kind": "partial"},
        {"kind": "partition", "predictors": {"one": ["a"], "two": ["b"]}},
        {"kind": "weighted", "of": ["a"], "fitted_to": "others"},
    ]
    plan = Plan(load_study(given))
    has = [part for part in plan.parts() if plan.all("sensor_scores", part)]
    assert has == ["", "analyses/partial/", "analyses/partition/"], "weights of other subjects are for maps and regions"
    assert plan.sensor_groups() == {("mean", "t"): has[:2], ("mean",): has[2:]}, "shares of variance have no t"
    assert names(plan.all("sensor_group_evokeds", has[2])) == [f"{has[2]}sensors/group_stat-mean_scores_ave.fif"]
    assert {f"figures/{part}sensors" for part in has} <= set(names(plan.figures()))


@pytest.mark.parametrize(
    ("changes", "filmed", "figures"),
    [
        ({}, "scores/sub-01_scores.h5", ["references", "sub-01", "time"]),
        (
            {"group": ["mean"], "brain__subjects": ["01", "02"]},
            "scores/group_scores.h5",
            ["references", "sub-01", "sub-02", "group", "time"],
        ),
        ({"searchlight": None, "regions": {"atlas": "a.nii"}}, None, ["references", "regions", "time"]),
    ],
)
def test_fusion_films_the_group_or_else_the_first_subject(
    changes: dict[str, Any], filmed: str | None, figures: list[str]
) -> None:
    plan = Plan(load_study(changed(meeg=EPOCHS, fusion=True, **changes)))
    assert names(plan.fused(["01"])) == ["meeg/group_movie.h5"]
    assert set(names(plan.compared("01"))) > {"meeg/group_movie.h5"}
    assert plan.has_films == (filmed is not None)
    assert set(names(plan.figures())) == {f"figures/{name}" for name in [*figures, *(["fusion"] if filmed else [])]}
    if filmed is not None:
        assert names([plan.filmed_scores()]) == [filmed]


def test_simulated_epochs_lie_where_they_are_read() -> None:
    meeg = {**EPOCHS, "file": "{results}/simulated/sub-{subject}_epo.fif"}
    plan = Plan(load_study(changed(meeg=meeg, simulate={"epochs": {}})))
    assert names(plan.simulated_epochs(["01"])) == ["simulated/sub-01_epo.fif"]
    assert plan.simulated_epochs(["01"]) == plan.study.meeg.files("01")


# ------------------------------------------------------------------- what YAML takes for something else


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ("exclude: [no]", 'brain.exclude.0: a text is expected, and YAML reads no as false; write it in quotes: "no".'),
        ("exclude: [a, Off]", "brain.exclude.1: a text is expected, and YAML reads Off as false; write it in quotes"),
        ("exclude: [null]", 'YAML reads null as no value; write it in quotes: "null".'),
        ("exclude: [~]", 'YAML reads ~ as no value; write it in quotes: "~".'),
        ("sessions: [2024-01-15]", 'brain.sessions.0: .* YAML reads 2024-01-15 as a date; .* quotes: "2024-01-15".'),
        ("runs: [1.10]", 'brain.runs.0: .* YAML reads 1.10 as the number 1.1; write it in quotes: "1.10".'),
        ("runs: [0x1F]", 'YAML reads 0x1F as the number 31; write it in quotes: "0x1F".'),
        ("runs: [1_0]", 'YAML reads 1_0 as the number 10; write it in quotes: "1_0".'),
        ("condition_column: on", 'brain.condition_column: .* YAML reads on as true; write it in quotes: "on".'),
        ("condition_column:", "brain.condition_column: a text is expected, and there is none"),
        ("runs: [010]", r'my.yaml, line \d+: 010 is 8 to YAML; write "010" in quotes if it is a name'),
        ("runs: [1:30]", r'my.yaml, line \d+: 1:30 is 90 to YAML; write "1:30" in quotes'),
        ("smoothing: [01]", r"my.yaml, line \d+: 01 is 1 to YAML"),
    ],
)
def test_words_that_yaml_reads_as_something_else_are_quoted_as_they_were_written(
    tmp_path: Any, changes: str, message: str
) -> None:
    path = tmp_path / "my.yaml"
    path.write_text(
        "study: test\nbrain:\n  kind: maps\n  subjects: ['01']\n  images: 'sub-{subject}.nii'\n  table: t.tsv\n"
        f"  {changes}\n"
    )
    with pytest.raises(UserError, match=message):
        load_study(read_yaml(path), [path])


@pytest.mark.parametrize("text", ["data_root: 2024", "study: 2024", "data_root:", "study: no"])
def test_names_of_a_study_that_are_no_text_are_told(tmp_path: Any, text: str) -> None:
    path = tmp_path / "my.yaml"
    path.write_text(f"{text}\nstimuli: {{folder: pictures}}\n")
    with pytest.raises(UserError, match=f"{text.split(':')[0]}: a text is expected"):
        load_study(read_yaml(path), [path])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "regions: {masks: {on: a.nii}}",
            'a key in regions.masks: .* YAML reads on as true; write it in quotes: "on".',
        ),
        ("regions: {masks: {a: b, 1.0: c}}", 'a key in regions.masks: .* YAML reads 1.0 as the number 1.0; .*: "1.0".'),
        ("on: 3", "a key is true to YAML, and not text; write it in quotes"),
    ],
)
def test_keys_that_yaml_reads_as_something_else_are_told(tmp_path: Any, text: str, message: str) -> None:
    path = tmp_path / "my.yaml"
    path.write_text(f"study: test\n{text}\n")
    with pytest.raises(UserError, match=message):
        load_study(read_yaml(path), [path])


@pytest.mark.parametrize(
    "changes",
    [{"searchlight__radius_mm": True}, {"searchlight__stride": True}, {"meeg": {**EPOCHS, "baseline_s": [False, 0]}}],
)
def test_yes_and_no_are_no_numbers(changes: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="a number is expected; to YAML the words yes, on and true are true"):
        load_study(changed(**changes))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("study: caf\xe9\n".encode("latin-1"), "is not text in UTF-8"),
        ("study: demo\n".encode("utf-16"), "is not text in UTF-8"),
        (b"study: demo\nwhen: 2024-13-45\n", "is not valid YAML: month must be in 1..12"),
        (b"a: [b\nc: d\n", "is not valid YAML: while parsing"),
        (b"study: \x00\n", "is not valid YAML"),
    ],
)
def test_a_file_that_is_no_text_in_utf_8_is_told_in_one_line(tmp_path: Any, content: bytes, message: str) -> None:
    path = tmp_path / "my.yaml"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        read_yaml(path)
    assert "\n" not in str(error.value)


def test_a_mark_of_utf_8_at_the_start_is_no_key(tmp_path: Any) -> None:
    path = tmp_path / "my.yaml"
    path.write_text("\N{ZERO WIDTH NO-BREAK SPACE}study: demo\n", encoding="utf-8")
    assert read_yaml(path) == {"study": "demo"}


@pytest.mark.parametrize("images", ["a{b.nii", "a}b_{subject}.nii"])
def test_a_brace_that_is_of_no_placeholder_is_told(images: str) -> None:
    with pytest.raises(UserError, match=r"has a brace that is of no placeholder such as \{subject\}"):
        load_study(changed(brain__images=images))
