"""One conformance test for each table: every entry, whatever it measures, keeps the promises of its table.

The second half runs every entry through the house: checks, command line, methods text, sidecar, figures and page; and
with them the examples of docs/extending.md, which are added to the tables at run time.
"""

import json
import re
import shlex
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Union

import numpy as np
import pandas as pd
import pytest
from networks import SMALLEST
from pydantic import create_model

from rsa.analyses import ANALYSES
from rsa.comparisons import COMPARISONS, compare_vectors
from rsa.core import RDMs, ScoreMap, Volume
from rsa.datasets import DATASETS, MEEG_DATASETS, Dataset, MeegDataset
from rsa.distances import CROSS_VALIDATED, DISTANCES, rdm_vectors
from rsa.files.maps import write_description, write_maps
from rsa.inference.group import GROUP_TESTS, combine
from rsa.inputs.references import REFERENCES, RULES
from rsa.maps import MAPS, derive_all
from rsa.meeg.timecourse import MOVIE_DISTANCES
from rsa.models import BY_SOURCE, MODELS
from rsa.papers import PAPERS, cited
from rsa.pipeline import stages
from rsa.pipeline.checks import problems_of
from rsa.pipeline.cli import _collect, build_parser, options_of
from rsa.pipeline.config import Study, load_study, read_yaml
from rsa.report.assemble import captioned, networks_table
from rsa.report.html import PageSection, page
from rsa.report.methods import Measured, methods_text
from rsa.report.study import group_figures, subject_figures

NAN_ROW = 2
TABLES = {"DISTANCES": DISTANCES, "COMPARISONS": COMPARISONS, "MAPS": MAPS, "GROUP_TESTS": GROUP_TESTS}


def relabelled(values: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Put the conditions of condensed RDMs into another order."""
    names = [str(n) for n in range(len(order))]
    stack = RDMs(values, names, pd.DataFrame(index=range(len(np.atleast_2d(values)))))
    return stack.reordered([names[n] for n in order]).values


def one_line(text: str) -> bool:
    return len(text) > 10 and "\n" not in text


@pytest.mark.parametrize(("table", "name"), [(table, name) for table, entries in TABLES.items() for name in entries])
def test_every_entry_is_a_word_and_tells_in_one_line_what_it_is(table, name):
    entry = TABLES[table][name]
    assert name.isidentifier()
    assert name == name.lower()
    described = {field.name for field in fields(entry)}
    assert one_line(entry.summary if "summary" in described else entry.unit)


@pytest.mark.parametrize("name", DISTANCES)
def test_distances(name, rng):
    """(n_conditions, n_features) -> (n_pairs,); NaN stays with its pattern; conditions may be relabelled."""
    distance = DISTANCES[name]
    patterns = rng.standard_normal((7, 30)) + 1
    rdm = rdm_vectors(patterns, distance)
    assert rdm.shape == (21,)
    assert rdm.dtype == np.float64
    assert np.isfinite(rdm).all()
    assert distance.origin in ("pattern", "feature", "zero")

    order = rng.permutation(7)
    np.testing.assert_allclose(rdm_vectors(patterns[order], distance), relabelled(rdm, order)[0], atol=1e-12)
    features = rng.permutation(30)
    np.testing.assert_allclose(rdm_vectors(patterns[:, features], distance), rdm, atol=1e-12)

    patterns[NAN_ROW, 4] = np.nan
    holed = rdm_vectors(patterns, distance)
    rows, columns = np.triu_indices(7, 1)
    touched = (rows == NAN_ROW) | (columns == NAN_ROW)
    assert np.isnan(holed[touched]).all()
    np.testing.assert_allclose(holed[~touched], rdm[~touched], atol=1e-12)


@pytest.mark.parametrize("name", COMPARISONS)
def test_comparisons(name, rng):
    """(n_a, n_pairs) x (n_b, n_pairs) -> (n_a, n_b); NaN and constant RDMs are NaN and leave the others alone."""
    comparison = COMPARISONS[name]
    a, b = rng.integers(0, 9, (5, 21)).astype(float), rng.random((3, 21))
    scores = compare_vectors(a, b, comparison)
    assert scores.shape == (5, 3)
    assert np.abs(scores).max() <= 1
    np.testing.assert_allclose(compare_vectors(b, a, comparison), scores.T, atol=1e-14)
    assert comparison.prepare(a).shape == comparison.standardise(a).shape == a.shape

    order = rng.permutation(7)
    np.testing.assert_allclose(
        compare_vectors(relabelled(a, order), relabelled(b, order), comparison), scores, atol=1e-14
    )
    each = [compare_vectors(row, b, comparison)[0] for row in a]
    np.testing.assert_allclose(scores, each, atol=1e-14)

    holed = a.copy()
    holed[NAN_ROW, 4] = np.nan
    holed[NAN_ROW + 1] = 0
    after = compare_vectors(holed, b, comparison)
    undefined = np.isin(np.arange(5), [NAN_ROW, NAN_ROW + 1])
    assert np.isnan(after[undefined]).all()
    np.testing.assert_allclose(after[~undefined], scores[~undefined], atol=1e-14)
    assert np.isnan(compare_vectors(b, holed, comparison)[:, undefined]).all()


@pytest.mark.parametrize("name", MAPS)
def test_maps(name, rng):
    """(n_rows, n_voxels) -> (n_voxels,), each voxel by itself; a voxel without scores has no value.

    What a baseline is worth, though, is told by many voxels together.
    """
    times_s = np.array([*np.arange(-12, 0) / 10, 2.5, 4.0])
    over = {"layers": (), "times": (times_s,), "layers and times": (times_s.round(),), "times and baseline": (times_s,)}
    rows = over[MAPS[name].over]

    def make(scores: np.ndarray) -> np.ndarray:
        return MAPS[name].from_scores(scores, *rows)

    scores = rng.uniform(-0.9, 0.9, (14, 12))
    scores[12:] += 99  # far above the baseline
    made = make(scores)
    assert made.shape == (12,)
    assert np.isfinite(made).all()
    n_together = 6 if MAPS[name].over == "times and baseline" else 1
    alone = [make(part) for part in np.split(scores, 12 // n_together, axis=1)]
    np.testing.assert_allclose(made, np.concatenate(alone), atol=1e-12)
    holed = scores.copy()
    holed[:, NAN_ROW] = np.nan
    after = make(holed)
    assert np.isnan(after[NAN_ROW])
    np.testing.assert_array_equal(np.delete(after, NAN_ROW), np.delete(made, NAN_ROW))


@pytest.mark.parametrize("name", GROUP_TESTS)
def test_group_tests(name, rng):
    """(n_subjects, n_maps, n_voxels) -> (n_maps, n_voxels), subjects in any order; NaN of a subject is NaN, not 0."""
    test = GROUP_TESTS[name].compute
    scores = rng.uniform(-0.5, 0.9, (6, 2, 8))
    result = test(scores)
    assert result.shape == (2, 8)
    assert np.isfinite(result).all()
    np.testing.assert_allclose(test(scores[rng.permutation(6)]), result, atol=1e-12)
    np.testing.assert_allclose(test(-scores), -result, atol=1e-12)
    holed = scores.copy()
    holed[3, 1, NAN_ROW] = np.nan
    after = test(holed)
    assert np.isnan(after[1, NAN_ROW])
    after[1, NAN_ROW] = result[1, NAN_ROW]
    np.testing.assert_array_equal(after, result)


# ------------------------------------------------------------------------------------ through the house

ROOT = Path(__file__).parent.parent
EXAMPLES = {"mean_sqeuclidean", "concordance", "layer_range", "median", "ratio"}


def extending_example(name: str) -> dict:
    """Run the example of docs/extending.md that defines this name; return what it defines."""
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs/extending.md").read_text("utf-8"), flags=re.S | re.M)
    (block,) = [block for block in blocks if name in block]
    space: dict = {"__name__": "example"}
    exec(compile(block, "extending.md", "exec"), space)
    return space


def entry_of(table: dict, name: str) -> Any:
    """Return an entry; one of an example is added to the table first."""
    if name in EXAMPLES and name not in table:
        extending_example(name)
    return table[name]


def study(**sections) -> Study:
    brain = {"kind": "maps", "subjects": ["01", "02"], "images": "{subject}.nii.gz", "table": "t.tsv"}
    references = [{"kind": "table", "name": "animacy", "column": "animate"}]
    return load_study({"study": "demo", "brain": brain, "references": references, "searchlight": {}} | sections)


def said(given: Study) -> str:
    """Return the methods text, in which nothing is missing, and every paper that is cited has its reference."""
    text = methods_text(given, Measured(10, {"net": ["a"], "animacy": []}, n_runs=4, meeg_times_s=[0.0, 0.1]))
    body, references = text.split("\n\nReferences: ")
    for part in ("None", "..", " ,", "  ", "()"):
        assert part not in body
    for citation in re.findall(r"(\w+)[^()\d]*, \d{4}", body):
        assert citation in references
    return body


def require_choice(name: str, stage: str, **options: str) -> None:
    """Check that an entry can be asked for on the command line; choices are read once, so not those of examples."""
    words = [word for option, value in options.items() for word in (f"--{option}", value)]
    if name not in EXAMPLES:
        given = build_parser(stage, getattr(stages, stage.replace("-", "_"))).parse_args(words)
        assert any(value == name or value == [name] for value in vars(given).values())


@pytest.mark.usefixtures("tables")
@pytest.mark.parametrize("name", [*DISTANCES, "mean_sqeuclidean"])
def test_distances_are_said_everywhere(name):
    entry = entry_of(DISTANCES, name)
    assert (entry.words or entry.summary) in said(study(layer_distance=name, models=[{"architecture": "alexnet"}]))
    pixels = {"kind": "pixels", "name": "animacy", "distance": name}
    assert (entry.words or entry.summary) in said(study(references=[pixels]))
    require_choice(name, "layer-rdms", activations="a.h5", output="r.h5", distance=name)


@pytest.mark.parametrize("name", [*DISTANCES, *CROSS_VALIDATED])
def test_distances_of_the_brain_are_said_with_and_without_whitening(name):
    entry = (DISTANCES | CROSS_VALIDATED)[name]
    assert entry.words in said(study(brain_distance=name, noise={}))
    assert (entry.words_unwhitened or entry.words) in said(study(brain_distance=name))


@pytest.mark.parametrize("name", MOVIE_DISTANCES)
def test_distances_over_time_are_said(name):
    entry = MOVIE_DISTANCES[name]
    words = entry.words or (DISTANCES | CROSS_VALIDATED)[name].words
    meeg = {"kind": "epochs", "subjects": ["1"], "file": "{subject}-epo.fif", "baseline_s": [-0.1, 0]}
    assert words in said(study(meeg=meeg, movie={"distance": name, "whiten": "ledoit_wolf"}))


@pytest.mark.usefixtures("tables")
@pytest.mark.parametrize("name", [*COMPARISONS, "concordance"])
def test_comparisons_are_said_and_checked_everywhere(name):
    entry = entry_of(COMPARISONS, name)
    given = study(comparison=name, noise_ceiling=True, analyses=[{"kind": "weighted"}])
    assert (entry.words or entry.summary) in said(given)
    assert any("score above 0" in problem for problem in problems_of(given)) == (not entry.unrelated_score_0)
    require_choice(
        name, "region-fits", **{"brain": "b.h5", "references": "r.h5", "output": "f.tsv", "comparison": name}
    )


def scores_over_time(rng, subject: str = "01") -> ScoreMap:
    """Scores of two layers and another reference, with a baseline, that rise at 0 s."""
    times_s = np.arange(-12, 12) / 100
    rows = [(model, layer, time) for time in times_s for model, layer in (("net", "a"), ("net", "b"), ("gist", ""))]
    table = pd.DataFrame(rows, columns=["model", "layer", "time_s"]).assign(subject=subject, statistic="spearman")
    volume = Volume(np.ones((3, 3, 2), dtype=bool), np.diag([3.0, 3, 3, 1]))
    values = rng.uniform(-0.01, 0.01, (len(table), 18)) + 0.3 * (table["time_s"] > -0.001).to_numpy()[:, None]
    return ScoreMap(values, table, volume, n_members=np.full(18, 20), reason=np.zeros(18, dtype=int))


@pytest.mark.usefixtures("tables")
@pytest.mark.parametrize("name", [*MAPS, "layer_range"])
def test_maps_are_written_drawn_and_on_the_page(name, rng, tmp_path):
    entry, scores = entry_of(MAPS, name), scores_over_time(rng)
    derived = derive_all(scores, [name], distance="correlation")
    made = {"settings": {"distance": "correlation"}, "versions": {}}
    write_maps(scores, tmp_path, "01", "own", [name], made, tmp_path / "s.h5")
    sidecars = list((tmp_path / "sub-01").glob(f"*_stat-{name.replace('_', '')}_statmap.json"))
    assert sidecars
    assert all(json.loads(path.read_text())["Description"] == entry.unit for path in sidecars)
    subject_figures(scores, derived, space="own", folder=tmp_path / "figures" / "sub-01", title="one")
    pictures = captioned(tmp_path / "figures" / "sub-01")
    shown = [caption for caption, path in pictures if path.stem.startswith(name)]
    assert shown
    assert all(entry.note in caption for caption in shown)
    assert shown[0].split(", one")[0] in page("demo", [PageSection("Subject 01", figures=pictures)])
    assert study(maps=[name]).maps == (name,)
    require_choice(name, "maps", scores="s.h5", subject="01", space="own", folder="f", derived=name)


@pytest.mark.usefixtures("tables")
@pytest.mark.parametrize("name", [*GROUP_TESTS, "median"])
def test_group_tests_are_written_and_drawn(name, rng, tmp_path):
    entry, subjects = entry_of(GROUP_TESTS, name), [scores_over_time(rng, label) for label in ("1", "2", "3")]
    assert study(group=[name]).group == (name,)
    result = combine(subjects, name, distance="correlation")
    made = {"settings": {"distance": "correlation"}, "versions": {}}
    write_maps(result, tmp_path, "", "own", [], made, tmp_path / "s.h5", {name: entry.about(3)})
    (path,) = (tmp_path / "group").glob(f"*model-gist_stat-{name}_statmap.json")
    about = json.loads(path.read_text())
    assert about["Description"].startswith(entry.summary[:1].upper() + entry.summary[1:])
    assert (about["Units"], about["Subjects"]) == (entry.unit, 3)
    titled = [(str(n), one) for n, one in enumerate(subjects)]
    assert group_figures(titled, result, None, space="own", folder=tmp_path / "figures")
    require_choice(name, "group", scores="s.h5", space="own", folder="f", output="g.h5", tests=name)


REQUIRED = {
    "subjects": ["01"],
    "task": "look",
    "regions": ["V1"],
    "times": {"start": 0, "step": 1, "unit": "ms"},
    "runs": ["1"],
}
FILES = {"glmsingle": "some/{subject}.npy", "epochs": "some/{subject}-epo.fif", "movie": "some/{subject}.npz"}
"""Settings that kinds of data ask for; all others without a default are files, some with an ending of their own."""


def smallest(section: type, **settings: Any) -> dict:
    """Return the fewest settings that a section takes."""
    needed = [name for name, field in section.model_fields.items() if field.is_required()]
    file = FILES.get(settings["kind"], "some/{subject}.nii")
    return {name: REQUIRED.get(name, file) for name in needed} | settings


@pytest.mark.usefixtures("tables")
@pytest.mark.parametrize("kind", [*DATASETS, "zscored", *MEEG_DATASETS])
def test_kinds_of_data_are_read_from_options_and_described(kind, tmp_path):
    union = extending_example("class ZScoredMaps")["Dataset"] if kind == "zscored" else Dataset
    entry, part = {**DATASETS, **MEEG_DATASETS}[kind], "meeg" if kind in MEEG_DATASETS else "brain"
    wider = create_model("Wider", __base__=Study, brain=(union | None, None))
    more = {"table": "some/t.tsv"} if "table" in entry.model_fields else {}
    more |= {"grid_image": "g.nii"} if "grid_image" in entry.model_fields else {}
    given = wider.model_validate({"study": "demo", part: smallest(entry, kind=kind, **more)})
    data = getattr(given, part)
    assert type(data) is entry
    write_description(tmp_path, given.model_dump(mode="json"), [data.location])
    described = json.loads((tmp_path / "dataset_description.json").read_text())
    assert described["SourceDatasets"] == [{"URL": data.location}]
    assert wider.model_validate_json((tmp_path / "study.json").read_text()) == given
    assert all(sentence in said(given) for sentence in data.methods())
    assert problems_of(given)
    hint = MeegDataset if part == "meeg" else union

    def stage(dataset: hint) -> None:
        """Take a data set."""

    words = shlex.split(options_of("dataset", data))
    options = vars(build_parser("stage", stage).parse_args(words))
    assert _collect(stage, options)[1]["dataset"] == data


@pytest.mark.usefixtures("tables")
@pytest.mark.parametrize(
    "path", [ROOT / "config.yaml", *sorted((ROOT / "config").glob("*.yaml"))], ids=lambda p: p.stem
)
def test_a_second_source_of_networks_leaves_all_configurations_valid(path):
    extending_example("class Pixels")
    model = Annotated[Union[tuple(MODELS.values())], *BY_SOURCE]  # noqa: UP007
    wider = create_model("Wider", __base__=Study, models=(tuple[model, ...], ()))
    raw = read_yaml(path)
    given = wider.model_validate(raw, context={"data_root": raw.get("data_root", ".")})
    assert given.models == load_study(raw).models


@pytest.mark.usefixtures("tables")
@pytest.mark.parametrize("source", [*MODELS, "pixels"])
def test_sources_of_networks_are_read_from_options_and_described(source, tmp_path):
    extending_example("class Pixels")
    model = Annotated[Union[tuple(MODELS.values())], *BY_SOURCE]  # noqa: UP007
    wider = create_model("Wider", __base__=Study, models=(tuple[model, ...], ()))
    settings = SMALLEST.get(source, lambda _: {})(tmp_path)
    given = wider.model_validate({**study().model_dump(), "models": [{"source": source, **settings}]})
    (network,) = given.models
    assert network.problems() == []
    assert "1 layer of net" in said(given)
    table = networks_table(given.models, [{"source": {"device": "cpu"}}])
    assert table[["model", "network"]].to_numpy().tolist() == [[network.label, network.about()]]

    def stage(model: model) -> None:
        """Take a network."""

    options = vars(build_parser("stage", stage).parse_args(shlex.split(options_of("model", network))))
    assert _collect(stage, options)[1]["model"] == network


@pytest.mark.usefixtures("tables")
@pytest.mark.parametrize("rule", [*RULES, "ratio"])
def test_rules_of_references_are_said(rule):
    entry = entry_of(RULES, rule)
    assert entry.summary in said(study(references=[{"kind": "table", "name": "animacy", "column": "a", "rule": rule}]))


@pytest.mark.parametrize("kind", REFERENCES)
def test_references_are_said(kind):
    files = {"file": "f.npy"} if kind == "file" else {}
    given = study(references=[smallest(REFERENCES[kind], kind=kind, name="animacy", **files)])
    assert f"the model animacy ({given.references[0].about()})" in said(given)


@pytest.mark.parametrize("kind", ANALYSES)
def test_analyses_are_said_with_their_paper(kind):
    settings = {"predictors": {"one": ["net"], "two": ["animacy"]}} if kind == "partition" else {}
    given = study(analyses=[{"kind": kind, **settings}])
    (analysis,) = given.analyses
    assert analysis.about("spearman") in said(given)
    assert (analysis.paper in said(given)) == bool(analysis.paper) or not analysis.paper


def test_every_paper_that_an_entry_names_is_known():
    tables = (DISTANCES, CROSS_VALIDATED, COMPARISONS, ANALYSES)
    named = [entry.paper for table in tables for entry in table.values() if entry.paper]
    assert len(named) >= 5
    assert set(named) <= set(PAPERS)
    assert all(cited(citation) for citation in named)
