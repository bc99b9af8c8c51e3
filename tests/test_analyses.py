"""Analyses: which references their settings name, what is wrong with them, and that they measure what they say."""

import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pydantic import TypeAdapter
from scipy.stats import rankdata

from rsa.analyses import ANALYSES, PLAIN, Analysis
from rsa.core import RDMs
from rsa.errors import UserError
from rsa.names import label_of
from rsa.partition import commonality, partial, partition, semipartial
from rsa.pipeline import stages
from rsa.pipeline.cli import _collect, build_parser, options_of
from rsa.pipeline.config import load_study
from rsa.pipeline.plan import Plan
from rsa.rdm import measured_regions, own_references, region_fits
from rsa.weighted import weighted_fit

LABELS = [("net", "conv1"), ("net", "conv2"), ("net", "fc"), ("gist", ""), ("category", "")]
N = 12
NAMES = [f"img{number}" for number in range(N)]
N_PAIRS = N * (N - 1) // 2


def analysis(**settings: Any) -> Analysis:
    return TypeAdapter(Analysis).validate_python(settings)


@pytest.fixture
def references(rng: np.random.Generator) -> RDMs:
    """Draw layers, two other references, and M/EEG RDMs at three times."""
    table = pd.DataFrame([*LABELS, *[("meeg", "")] * 3], columns=["model", "layer"])
    table["time_s"] = [np.nan] * len(LABELS) + [0.0, 0.1, 0.2]
    values = rng.random((len(table), N_PAIRS)) + rng.random(N_PAIRS)
    return RDMs(values, NAMES, table)


@pytest.fixture
def brain(rng: np.random.Generator) -> np.ndarray:
    return rng.random((4, N_PAIRS))


def measured(settings: dict[str, Any], references: RDMs, brain: np.ndarray) -> tuple[pd.DataFrame, np.ndarray]:
    measure = analysis(**settings).measure(references, "spearman")
    assert list(measure.conditions) == NAMES
    scores = measure.score(brain, brain)
    assert scores.shape == (len(measure.table), len(brain))
    return measure.table, scores


# ----------------------------------------------------------------------------------- what is measured


def test_partial_correlations_given_some_references_are_of_all_others(references, brain):
    table, scores = measured({"kind": "partial", "nuisance": ["category", "net conv*"]}, references, brain)
    assert table["layer"].tolist() == ["fc", "", "", "", ""]
    assert table["model"].tolist() == ["net", "gist", "meeg", "meeg", "meeg"]
    np.testing.assert_allclose(
        scores, partial(brain, references.values[[2, 3, 5, 6, 7]], references.values[[0, 1, 4]]), atol=1e-12
    )
    table, scores = measured({"kind": "partial", "semi": True, "nuisance": ["gist"], "of": ["meeg"]}, references, brain)
    assert table["time_s"].tolist() == [0.0, 0.1, 0.2]
    assert set(table["statistic"]) == {"semipartial"}
    np.testing.assert_allclose(scores, semipartial(brain, references.values[5:], references.values[[3]]), atol=1e-12)


def test_without_a_nuisance_references_are_controlled_for_each_other_and_not_for_m_eeg(references, brain):
    table, scores = measured({"kind": "partial"}, references, brain)
    assert table["model"].tolist() == ["net"] * 3 + ["gist", "category"]
    np.testing.assert_allclose(scores, partial(brain, references.values[:5]), atol=1e-12)
    _, some = measured({"kind": "partial", "of": ["net"]}, references, brain)
    np.testing.assert_allclose(some, partial(brain, references.values[:3]), atol=1e-12)


def test_predictors_of_a_partition_are_named_references(references, brain):
    settings = {"kind": "partition", "predictors": {"early": ["net conv1", "net conv2"], "category": ["category"]}}
    table, scores = measured({**settings, "nuisance": ["gist"]}, references, brain)
    values = references.values
    expected = partition(brain, {"early": values[:2], "category": values[[4]]}, values[[3]])
    assert table["model"].tolist() == list(expected)
    assert "time_s" not in table
    np.testing.assert_allclose(scores, list(expected.values()), atol=1e-12)


@pytest.mark.parametrize("explained", ["fmri", "meeg"])
def test_commonality_is_of_each_reference_and_time(references, brain, explained):
    settings = {"kind": "commonality", "of": ["net fc", "category"], "nuisance": ["gist"], "explained": explained}
    table, scores = measured(settings, references, brain)
    assert table[["model", "time_s"]].to_numpy().tolist() == [
        [name, time_s] for name in ("net", "category") for time_s in (0.0, 0.1, 0.2)
    ]
    layers, movie, gist = references.values[[2, 4]], references.values[5:], references.values[[3]]
    if explained == "fmri":
        expected = commonality(brain, movie, layers, gist)  # (n_times, n_layers, n_brain)
        expected = expected.swapaxes(0, 1)
    else:
        expected = np.moveaxis(commonality(movie, brain, layers, gist), [0, 1, 2], [2, 0, 1])
    np.testing.assert_allclose(scores, expected.reshape(6, len(brain)), atol=1e-6)
    everything, _ = measured({"kind": "commonality", "nuisance": ["gist"]}, references, brain)
    assert set(everything["model"]) == {"net", "category"}


@pytest.mark.parametrize("more", [[], ["gist"]])
def test_one_line_is_the_commonality_of_hebart_and_others(references, brain, more):
    """The variance of M/EEG that fMRI and a model explain beyond the other model: R2 of four regressions on ranks."""
    line = {"kind": "commonality", "explained": "meeg", "beyond_others": True, "of": ["net fc", "category"]}
    assert analysis(**line, nuisance=more).problems(LABELS, "spearman") == []
    table, scores = measured({**line, "nuisance": more}, references, brain)
    assert table["model"].tolist() == ["net"] * 3 + ["category"] * 3
    ranked = rankdata(np.vstack([references.values, brain]), axis=1)
    controls = [ranked[3]] if more else []

    def explained(movie: np.ndarray, *predictors: np.ndarray) -> float:
        design = np.stack([np.ones(N_PAIRS), *predictors, *controls], axis=1)
        left = movie - design @ np.linalg.lstsq(design, movie)[0]
        return float(1 - left.var() / movie.var())

    for row, (own, other) in enumerate([(2, 4), (4, 2)]):
        for time in range(3):
            movie, model, nuisance = ranked[5 + time], ranked[own], ranked[other]
            for subject, fmri in enumerate(ranked[8:]):
                shared = explained(movie, fmri, nuisance) + explained(movie, model, nuisance)
                shared -= explained(movie, fmri, model, nuisance) + explained(movie, nuisance)
                assert scores[3 * row + time, subject] == pytest.approx(shared, abs=1e-6)
    about = analysis(**line, nuisance=more).about("spearman")
    assert about.endswith(
        " beyond 'gist' and all other references" if more else " together beyond all other references"
    )


def test_weighted_models_are_the_layers_of_a_model(references, brain):
    table, scores = measured({"kind": "weighted", "fit": "ridge", "penalty": 0.5, "n_folds": 3}, references, brain)
    assert table["model"].tolist() == ["ridge:net", "net", "net", "net"]
    expected = weighted_fit(brain, references.values[:3], fit="ridge", penalty=0.5, n_folds=3)
    np.testing.assert_allclose(scores, np.vstack([expected.scores[None], expected.alone.T]), atol=1e-12)
    some, _ = measured({"kind": "weighted", "of": ["net conv*"]}, references, brain)
    assert some["layer"].tolist() == ["", "conv1", "conv2"]


# -------------------------------------------------------------------------------------- what is wrong


@pytest.mark.parametrize(
    ("settings", "comparison", "message"),
    [
        ({"kind": "partial", "nuisance": ["gits"]}, "spearman", "no reference is called 'gits'. Did you mean 'gist'?"),
        ({"kind": "partial", "nuisance": ["net conv3"]}, "spearman", "Did you mean 'net conv"),
        ({"kind": "partial", "nuisance": ["gist"]}, "cosine", "on the scale of 'spearman', 'pearson', not of 'cosine'"),
        ({"kind": "partial", "nuisance": ["*"]}, "spearman", "every reference is controlled for, and none is left"),
        ({"kind": "partial", "of": ["gist"]}, "spearman", "there is nothing to control for: set `nuisance`, or have 2"),
        ({"kind": "weighted", "of": ["gist"]}, "spearman", "of 2 RDMs or more, and 'gist' has one; leave it out of"),
        ({"kind": "commonality", "of": ["fc"]}, "spearman", "no reference is called 'fc'"),
        ({"kind": "commonality", "nuisance": ["*"]}, "spearman", "every reference is a nuisance, and none is left"),
        (
            {"kind": "commonality", "of": ["gist"], "beyond_others": True},
            "spearman",
            "there are no others to go beyond",
        ),
        ({"kind": "partition", "predictors": {"a": ["gist"], "b": ["nets"]}}, "spearman", "no reference is called"),
    ],
)
def test_what_is_wrong_is_said(settings, comparison, message):
    (problem,) = analysis(**settings).problems(LABELS, comparison)
    assert message in problem


def test_a_study_without_layers_has_no_weighted_model():
    (problem,) = analysis(kind="weighted").problems(LABELS[3:], "spearman")
    assert problem == "a weighted sum is of 2 layers or more, and no model has them."


@pytest.mark.parametrize("settings", [{"nuisance": ["gist"]}, {}, {"of": ["net"]}])
def test_what_is_right_is_no_problem(settings):
    assert analysis(kind="partial", **settings).problems(LABELS, "pearson") == []
    assert analysis(kind="weighted").problems(LABELS, "kendall_tau_a") == []


@pytest.mark.parametrize(
    ("predictors", "message"),
    [
        ({"a": ["gist"]}, "predictors are 2 to 4, not 1"),
        ({name: ["gist"] for name in "abcde"}, "predictors are 2 to 4, not 5"),
        ({"a": ["gist"], "b": []}, "the predictor 'b' has no reference; list some, or leave it out"),
        (
            {name: ["gist"] for name in ("a", "bc", "ab", "c")},
            r"shared parts 'a\+bc' and 'ab\+c' would share the file",
        ),
    ],
)
def test_partitions_that_cannot_be_divided_are_refused(predictors, message):
    raw = {"study": "s", "analyses": [{"kind": "partition", "predictors": predictors}]}
    with pytest.raises(UserError, match=message):
        load_study(raw)


def test_unknown_kinds_and_keys_are_refused():
    with pytest.raises(UserError, match="'partial', 'partition', 'commonality', 'weighted'"):
        load_study({"study": "s", "analyses": [{"kind": "partiel"}]})
    with pytest.raises(UserError, match=r"unknown key 'analyses\.0\.nuisances'\. Did you mean 'nuisance'"):
        load_study({"study": "s", "analyses": [{"kind": "partial", "nuisances": ["a"]}]})


# ---------------------------------------------------------------------------------- all kinds are alike

EXAMPLES: dict[str, dict[str, Any]] = {
    "partial": {"nuisance": ["gist"]},
    "partition": {"predictors": {"net": ["net"], "gist": ["gist"]}},
    "commonality": {"of": ["net fc"], "explained": "meeg"},
    "weighted": {"fitted_to": "others"},
}


@pytest.mark.parametrize("kind", ANALYSES)
def test_every_kind_says_what_it_is_and_survives_the_command_line(kind, references, brain):
    one = analysis(kind=kind, **EXAMPLES[kind])
    assert one.name == kind == label_of(one.name)
    assert one.about("spearman").count("spearman") == 1
    words = shlex.split(options_of("analysis", one))
    needed = ["--brain", "a", "--references", "b", "--output", "c"]
    given = vars(build_parser("region-fits", stages.region_fits).parse_args([*needed, *words]))
    assert _collect(stages.region_fits, given)[1]["analysis"] == one
    table, scores = measured({"kind": kind, **EXAMPLES[kind]}, references, brain)
    assert {"model", "layer", "statistic"} <= set(table)
    assert not table[[name for name in ("model", "layer", "time_s") if name in table]].duplicated().any()
    assert np.isfinite(scores).all()
    gaps = np.vstack([brain, np.full((1, N_PAIRS), 0.5), np.where(np.arange(N_PAIRS) == 3, np.nan, brain[:1])])
    measure = one.measure(references, "spearman")
    found = measure.score(gaps, gaps)
    assert np.isnan(found[:, 4:]).all()
    np.testing.assert_allclose(found[:, :4], scores, atol=1e-6)


# ------------------------------------------------------------------------------------ regions, and pairs


def test_references_of_a_subject_are_compared_with_its_own_brain(rng):
    subjects = ["01", "02"]
    brain = RDMs(
        rng.random((4, N_PAIRS)), NAMES, pd.DataFrame({"subject": ["01", "01", "02", "02"], "region": ["V1", "IT"] * 2})
    )
    table = pd.DataFrame({"model": ["net"] + ["meeg"] * 4, "layer": "", "subject": ["", "01", "01", "02", "02"]})
    table["time_s"] = [np.nan, 0.0, 0.1, 0.0, 0.1]
    both = RDMs(rng.random((5, N_PAIRS)), NAMES, table)
    fits = region_fits(brain, both, "spearman")
    assert len(fits) == 2 * 2 * 3
    for place, subject in enumerate(subjects):
        own = own_references(both, subject)
        assert "subject" not in own.table
        np.testing.assert_array_equal(own.values, both.values[[0, 1 + 2 * place, 2 + 2 * place]])
        alone = brain.subset([2 * place, 2 * place + 1])
        expected = region_fits(alone, own, "spearman")["score"]
        np.testing.assert_array_equal(fits[fits["subject"] == subject]["score"], expected)
    one = analysis(kind="commonality", of=["net"])
    shared = measured_regions(brain, both, lambda own: one.measure(own, "spearman"))
    assert shared["time_s"].tolist() == [0.0, 0.1] * 4
    expected = commonality(brain.values[2:], both.values[3:], both.values[:1])  # (n_times, 1, n_regions)
    np.testing.assert_allclose(shared[shared["subject"] == "02"]["score"], expected[:, 0].T.ravel(), atol=1e-6)


def test_weights_for_a_region_are_fitted_to_the_same_region_of_others(references, rng):
    table = pd.DataFrame({"subject": ["01", "02", "03"] * 2, "region": np.repeat(["V1", "IT"], 3)})
    brain = RDMs(rng.random((6, N_PAIRS)), NAMES, table)
    one = analysis(kind="weighted", fitted_to="others", n_folds=3)
    fits = measured_regions(brain, references, lambda own: one.measure(own, "spearman"))
    seen = (brain.values[[3, 5]] - brain.values[[3, 5]].mean(axis=1, keepdims=True)).T / brain.values[[3, 5]].std(
        axis=1
    )
    expected = weighted_fit(brain.values[[4]], references.values[:3], fitted_to=seen.mean(axis=1)[None], n_folds=3)
    row = fits[(fits["subject"] == "02") & (fits["region"] == "IT") & (fits["model"] == "nnls:net")]
    np.testing.assert_allclose(row["score"], expected.scores, atol=1e-12)


# ------------------------------------------------------------------------------------------- the plan

BRAIN = {"kind": "maps", "subjects": ["01", "02"], "images": "{subject}_{condition}.nii"}
MEEG = {"kind": "epochs", "subjects": ["01", "02"], "file": "{subject}-epo.fif"}


def plan(**settings: Any) -> Plan:
    base = {"study": "test", "references": [{"kind": "table", "name": "a", "column": "b"}], "brain": BRAIN}
    return Plan(load_study({**base, "searchlight": {}, "group": ["mean", "t"], "noise_ceiling": True, **settings}))


def test_derived_maps_are_asked_for_only_where_not_all_are_wanted():
    """A later version with one more map, or one less, re-runs no study."""
    assert plan().derived_option() == ""
    assert plan(maps=["peak_time", "best_layer"]).derived_option() == "--derived peak_time best_layer"
    assert plan(maps=[]).derived_option() == "--derived"
    parser = build_parser("maps", stages.maps)
    required = ["--scores", "a.h5", "--subject", "1", "--space", "T1w", "--folder", "results"]
    assert parser.parse_args([*required, "--derived"]).derived == []
    assert "derived" not in parser.parse_args(required)


def test_an_analysis_has_folders_of_its_own():
    study = plan(
        meeg=MEEG,
        fusion="paired",
        analyses=[{"kind": "commonality", "name": "shared"}, {"kind": "weighted", "fitted_to": "others"}],
    )
    assert study.parts() == ["", "analyses/shared/", "analyses/weighted/"]
    made = {path.as_posix().removeprefix("results/test/") for path in study.every("maps", "group_maps")}
    assert made == {f"{part}{name}" for part in study.parts() for name in ("sub-01", "sub-02", "group")}
    assert study.path("scores").as_posix() == "results/test/{part}scores/sub-{subject}_scores.h5"
    assert [study.group_tests(part) for part in study.parts()] == [("mean", "t"), ("mean",), ("mean", "t")]
    assert [len(study.all("noise_ceiling", part)) for part in study.parts()] == [1, 0, 0]
    assert study.all("time", "analyses/shared/") == []
    assert len(study.all("time", "analyses/weighted/")) == 1
    figures = {path.as_posix().removeprefix("results/test/figures/") for path in study.figures()}
    assert {name for name in figures if "analyses" in name} == {
        "analyses/shared/group",
        "analyses/weighted/group",
        "analyses/weighted/time",
    }


def test_other_subjects_and_m_eeg_of_the_same_subject_are_inputs():
    study = plan(meeg=MEEG, fusion="paired", analyses=[{"kind": "weighted", "fitted_to": "others"}])
    assert [path.name for path in study.compared("02")] == ["ref-a_rdms.h5", "sub-02_movie.h5"]
    assert [path.name for path in study.fused(["01", "02"])] == ["sub-01_movie.h5", "sub-02_movie.h5"]
    assert study.others("", "01") == []
    assert study.others("analyses/weighted/", "01") == [Path("results/test/brain/sub-02_patterns.h5")]
    assert [path.name for path in plan(meeg=MEEG, fusion="mean").fused(["01"])] == ["group_movie.h5"]


def test_the_plain_comparison_is_an_analysis_without_settings(rng):
    """It has no options and no words in the provenance, and its scores of regions are those of `region_fits`."""
    assert options_of("analysis", PLAIN) == ""
    assert PLAIN.provenance("spearman") == {}
    names = list("abcdef")
    table = pd.DataFrame({"subject": ["01", "02"], "region": ["V1", "V1"]})
    brain = RDMs(rng.random((2, 15)), names[::-1], table)
    references = RDMs(rng.random((3, 15)), names, pd.DataFrame({"model": "net", "layer": list("xyz")}))
    found = measured_regions(brain, references, PLAIN.measure_of(brain.conditions, "pearson"))
    expected = region_fits(brain, references, "pearson")
    pd.testing.assert_frame_equal(found, expected[list(found)], check_exact=True)
