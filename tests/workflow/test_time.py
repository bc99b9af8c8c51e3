"""Studies with M/EEG data and little else, computed again by hand from the files that went in."""

import re
from collections.abc import Callable
from html.parser import HTMLParser
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import oracles
import pandas as pd
import pytest
import yaml
from array_files import write_matlab_73
from meeg_files import make_epochs, write_fif
from sandbox import Sandbox, pages_of, redrawn
from scipy.spatial.distance import squareform
from scipy.stats import rankdata, spearmanr

pytestmark = pytest.mark.slow

SUBJECTS = ["s1", "s2", "s3"]
CONDITIONS = [f"img{number}" for number in np.random.default_rng(1).permutation(92)]
TIMES_S = np.array([-0.05, 0.0, 0.05, 0.1, 0.15, 0.2, 0.25])
PEAKS = [2, 4, 5]
"""At which of the times each of the layers shows."""

LAYERS = ["1", "2", "3"]
SPOKEN = ("fMRI", "earchlight", "oxel", "Fusion", "None", "nan")
"""What a page without brain images does not speak of."""


@pytest.fixture(scope="module")
def sandbox(make_sandbox: Callable[[str], Sandbox]) -> Sandbox:
    sandbox = make_sandbox("time")
    (sandbox.folder / "mine").mkdir()
    return sandbox


def configured(sandbox: Sandbox, settings: dict[str, Any]) -> str:
    name = f"{settings['study']}.yaml"
    (sandbox.folder / name).write_text(yaml.safe_dump({"data_root": "mine", **settings}))
    return name


def results(sandbox: Sandbox, study: str) -> Path:
    return sandbox.folder / "results" / study


def table(sandbox: Sandbox, study: str, name: str) -> pd.DataFrame:
    return pd.read_csv(results(sandbox, study) / name, sep="\t", dtype={"layer": str}, na_values="n/a").fillna(
        {"layer": ""}
    )


# ------------------------------------------------------------------------- ready RDMs over time, no fMRI


@pytest.fixture(scope="module")
def layers() -> np.ndarray:
    """Draw the RDMs of three layers, (3, n_pairs)."""
    return np.random.default_rng(2).random((3, 92 * 91 // 2))


@pytest.fixture(scope="module")
def movies(layers: np.ndarray) -> np.ndarray:
    """Draw decoding accuracies, (n_subjects, n_times, 92, 92), in which layers show at their times; NaN below."""
    rng = np.random.default_rng(3)
    strength = np.zeros((3, len(TIMES_S)))
    strength[range(3), PEAKS] = 1
    vectors = 60 + strength.T @ layers * 10 + rng.normal(0, 3, (3, len(TIMES_S), layers.shape[1]))
    squares = np.array([[squareform(vector) for vector in movie] for movie in vectors])
    squares[..., *np.tril_indices(92)] = np.nan
    return squares


def upper(square: np.ndarray) -> np.ndarray:
    return square[..., *np.triu_indices(92, 1)]


READY: dict[str, Any] = {
    "study": "ready",
    "stimuli": {"table": "stimuli.tsv"},
    "references": [
        {"kind": "file", "name": "net", "file": "layers.npz"},
        {"kind": "table", "name": "animate", "column": "animate"},
    ],
    "meeg": {
        "kind": "movie",
        "subjects": SUBJECTS,
        "file": "movies.mat",
        "key": "decoding",
        "axes": "subject time condition condition",
        "times": {"start": -50, "step": 50, "unit": "ms"},
        "distance": "decoding_svm",
    },
}


@pytest.fixture(scope="module")
def files(sandbox: Sandbox, movies: np.ndarray, layers: np.ndarray) -> Path:
    """Write the movies of all subjects as MATLAB 7.3 does, and what they are compared with."""
    folder = sandbox.folder / "mine"
    write_matlab_73(folder / "movies.mat", decoding=movies)
    np.savez(folder / "layers.npz", rdms=np.array([squareform(layer) for layer in layers]))
    animate = [int(name[3:]) % 3 == 0 for name in CONDITIONS]
    stimuli = pd.DataFrame({"condition": CONDITIONS, "animate": np.where(animate, "yes", "no")})
    stimuli.to_csv(folder / "stimuli.tsv", sep="\t", index=False)
    return folder


@pytest.fixture(scope="module")
def ready(sandbox: Sandbox, files: Path) -> Sandbox:
    """Run a study of ready RDMs over time and no fMRI data."""
    sandbox.succeed("--configfile", configured(sandbox, READY))
    return sandbox


def test_scores_of_ready_movies_are_those_of_scipy(ready: Sandbox, movies: np.ndarray, layers: np.ndarray) -> None:
    animate = np.array([float((int(a[3:]) % 3 == 0) != (int(b[3:]) % 3 == 0)) for a, b in combinations(CONDITIONS, 2)])
    references = {("net", name): layer for name, layer in zip(LAYERS, layers, strict=True)} | {("animate", ""): animate}
    scores = table(ready, "ready", "time/scores.tsv")
    assert len(scores) == len(SUBJECTS) * len(TIMES_S) * len(references)
    found = scores.set_index(["subject", "model", "layer", "time_s"])["score"]
    for place, subject in enumerate(SUBJECTS):
        for time_s, square in zip(TIMES_S, movies[place], strict=True):
            for (model, layer), reference in references.items():
                expected = spearmanr(upper(square), reference).statistic
                assert found[(subject, model, layer, time_s)] == pytest.approx(expected, abs=1e-5)


def test_layers_appear_when_they_were_planted(ready: Sandbox) -> None:
    latencies = table(ready, "ready", "time/latencies.tsv").set_index(["model", "layer"])
    assert latencies.loc["net", "peak_s"].tolist() == pytest.approx(TIMES_S[PEAKS])
    assert (latencies["n_subjects"] == 3).all()
    (hierarchy,) = table(ready, "ready", "time/hierarchy.tsv").to_dict("records")
    assert (hierarchy["model"], hierarchy["n_layers"], hierarchy["rho"]) == ("net", 3, 1)
    courses = table(ready, "ready", "time/courses.tsv")
    scores = table(ready, "ready", "time/scores.tsv")
    keys = ["model", "layer", "time_s"]
    means = scores.groupby(keys)["score"].mean()
    np.testing.assert_allclose(courses.set_index(keys)["mean"].reindex(means.index), means, rtol=1e-5, atol=1e-6)


def test_the_page_of_a_study_without_fmri_speaks_of_m_eeg_only(ready: Sandbox) -> None:
    text = pages_of(results(ready, "ready"))
    HTMLParser().feed(text)
    said = re.sub(r"How this was made</h2>.*?</details>", "", text, flags=re.DOTALL)
    for words in (
        "Layers over time",
        "M/EEG RDMs (accuracy of pairwise decoding by linear support vector machines) of 3 subjects at 7 times from "
        "\N{MINUS SIGN}50 to 250 ms",
        "92 (4,186 pairs)",
        "Sci Rep 6:27755",
        "peak (s)",
    ):
        assert words in said
    assert [words for words in SPOKEN if words in said] == []
    assert text.count("<figure>") == len(list(results(ready, "ready").glob("figures/*/*.png"))) + 1 == 5


def test_a_study_without_fmri_writes_nothing_of_fmri(ready: Sandbox) -> None:
    folders = {path.name for path in results(ready, "ready").glob("[!.]*") if path.is_dir()}
    assert folders == {"figures", "logs", "meeg", "pages", "references", "time"}
    assert {path.name for path in (results(ready, "ready") / "meeg").glob("[!.]*")} == {
        f"sub-{subject}_movie.h5" for subject in SUBJECTS
    }
    assert "Nothing to be done" in ready.planned("--configfile", "ready.yaml")


# ------------------------------------------------------------------------------- fusion with ready RDMs

OWN = {
    subject: np.random.default_rng(9 + place).random(92 * 91 // 2)
    for place, subject in enumerate(["b1", "b2", *SUBJECTS])
}
"""An RDM of each subject for itself, such as of reaction times."""


@pytest.fixture(scope="module")
def areas(layers: np.ndarray) -> np.ndarray:
    """Draw the RDMs of V1 and IT, each like one layer, (2 areas, 2 subjects, n_pairs)."""
    noise = np.random.default_rng(5).normal(0, 0.3, (2, 2, layers.shape[1]))
    return layers[[0, 2], None] + noise


@pytest.fixture(scope="module")
def fused(sandbox: Sandbox, files: Path, areas: np.ndarray) -> Sandbox:
    """Run a study that compares the RDMs of two areas of other subjects with M/EEG as well."""
    squares = [np.array([squareform(vector) for vector in area]) for area in areas]
    np.savez(files / "areas.npz", V1=squares[0], IT=squares[1])
    for subject, vector in OWN.items():
        np.savez(files / f"own-{subject}.npz", rdms=squareform(vector))
    references = [
        *READY["references"],
        {"kind": "file", "name": "own", "file": "own-{subject}.npz", "subjects": [*OWN]},
    ]
    brain = {"kind": "rdms", "subjects": ["b1", "b2"], "file": "areas.npz", "regions": ["V1", "IT"]}
    analyses = [
        {"kind": "partial", "nuisance": ["animate", "own"], "of": ["net"]},
        {"kind": "partition", "predictors": {"early": ["net 1"], "late": ["net 2", "net 3"]}},
        {"kind": "commonality", "of": ["net"], "explained": "meeg"},
    ]
    changes = {"study": "fused", "brain": brain, "fusion": True, "generalisation": "between"}
    changes |= {"references": references, "analyses": analyses}
    sandbox.succeed("--configfile", configured(sandbox, {**READY, **changes}))
    return sandbox


def test_areas_are_compared_with_the_mean_of_m_eeg_at_every_time(
    fused: Sandbox, movies: np.ndarray, areas: np.ndarray, layers: np.ndarray
) -> None:
    fits = table(fused, "fused", "regions.tsv")
    meeg = fits[fits["model"] == "meeg"]
    assert len(meeg) == 2 * 2 * len(TIMES_S)
    found = meeg.set_index(["region", "subject", "time_s"])["score"]
    for frame, time_s in enumerate(TIMES_S):
        mean = np.mean([rankdata(upper(movie[frame])) for movie in movies], axis=0)
        for region, area in zip(("V1", "IT"), areas, strict=True):
            for subject, rdm in zip(("b1", "b2"), area, strict=True):
                expected = spearmanr(rdm, mean).statistic
                assert found[(region, subject, time_s)] == pytest.approx(expected, abs=1e-5)
    means = meeg.groupby(["region", "time_s"])["score"].mean().unstack()
    assert means.idxmax(axis=1).to_dict() == pytest.approx({"V1": TIMES_S[PEAKS[0]], "IT": TIMES_S[PEAKS[2]]})
    of_net = fits[fits["model"] == "net"].set_index(["region", "subject", "layer"])
    assert of_net["time_s"].isna().all()
    expected = spearmanr(areas[1, 0], layers[2]).statistic
    assert of_net.loc[("IT", "b1", "3"), "score"] == pytest.approx(expected, abs=1e-5)


def test_each_subject_is_compared_with_its_own_rdm(fused: Sandbox, movies: np.ndarray, areas: np.ndarray) -> None:
    fits = table(fused, "fused", "regions.tsv")
    found = fits[fits["model"] == "own"].set_index(["region", "subject"])["score"]
    assert len(found) == 4
    assert found[("IT", "b2")] == pytest.approx(spearmanr(areas[1, 1], OWN["b2"]).statistic, abs=1e-5)
    scores = table(fused, "fused", "time/scores.tsv")
    found = scores[scores["model"] == "own"].set_index(["subject", "time_s"])["score"]
    assert len(found) == 3 * len(TIMES_S)
    assert found[("s2", 0.1)] == pytest.approx(spearmanr(upper(movies[1][3]), OWN["s2"]).statistic, abs=1e-5)


def explained(y: np.ndarray, *predictors: np.ndarray) -> float:
    """Return the share of the variance of ranks that a regression on ranks explains."""
    ranks = rankdata(y)
    x = np.column_stack([np.ones(len(ranks)), *(rankdata(one) for one in predictors)])
    left = ranks - x @ np.linalg.lstsq(x, ranks, rcond=None)[0]
    return 1 - float((left**2).sum() / ((ranks - ranks.mean()) ** 2).sum())


def test_analyses_of_areas_and_times_are_regressions(
    fused: Sandbox, movies: np.ndarray, areas: np.ndarray, layers: np.ndarray
) -> None:
    shared = table(fused, "fused", "analyses/commonality/regions.tsv")
    assert len(shared) == 2 * 2 * len(LAYERS) * len(TIMES_S)
    found = shared.set_index(["region", "subject", "layer", "time_s"])["score"]
    frame = PEAKS[2]
    mean = np.mean([rankdata(upper(movie[frame])) for movie in movies], axis=0)
    together = explained(mean, areas[1, 0], layers[2])
    expected = explained(mean, areas[1, 0]) + explained(mean, layers[2]) - together
    assert found[("IT", "b1", "3", TIMES_S[frame])] == pytest.approx(expected, abs=1e-5)
    assert expected > 0.1

    parts = table(fused, "fused", "analyses/partition/time/scores.tsv").set_index(["subject", "model", "time_s"])
    one = upper(movies[1][frame])
    late = explained(one, *layers) - explained(one, layers[0])
    assert parts["score"][("s2", "unique:late", TIMES_S[frame])] == pytest.approx(late, abs=1e-5)
    courses = table(fused, "fused", "analyses/partition/time/courses.tsv")
    assert courses["p"].isna().all(), "shares of variance are above 0 by chance"
    assert courses["mean"].notna().all()

    given = table(fused, "fused", "analyses/partial/regions.tsv").set_index(["region", "subject", "layer"])["score"]
    animate = np.array([float((int(a[3:]) % 3 == 0) != (int(b[3:]) % 3 == 0)) for a, b in combinations(CONDITIONS, 2)])
    more = explained(areas[1, 0], animate, OWN["b1"], layers[2]) - explained(areas[1, 0], animate, OWN["b1"])
    assert given[("IT", "b1", "3")] ** 2 == pytest.approx(
        more / (1 - explained(areas[1, 0], animate, OWN["b1"])), abs=1e-5
    )
    partial = table(fused, "fused", "analyses/partial/time/latencies.tsv")
    assert partial["layer"].tolist() == LAYERS
    assert partial["peak_s"].tolist() == pytest.approx(TIMES_S[PEAKS])
    text = pages_of(results(fused, "fused"))
    assert "Share of the variance of the M/EEG RDM (spearman) that the fMRI RDM and the reference explain" in text
    assert "eLife 7:e32816" in text


def test_times_are_compared_between_subjects(fused: Sandbox, movies: np.ndarray) -> None:
    """Each subject's RDM at one time with the mean of the others' ranks at another."""
    found = table(fused, "fused", "time/generalisation.tsv").set_index("time_s")
    np.testing.assert_allclose(found.index, TIMES_S)
    np.testing.assert_allclose(found.columns.astype(float), TIMES_S)
    ranks = np.array([[rankdata(upper(frame)) for frame in movie] for movie in movies])
    for row, column in ((1, 1), (2, 4), (5, 0)):
        each = [
            spearmanr(own[row], np.delete(ranks, subject, axis=0)[:, column].mean(axis=0)).statistic
            for subject, own in enumerate(ranks)
        ]
        assert found.iloc[row, column] == pytest.approx(np.mean(each), abs=1e-5)
    assert (results(fused, "fused") / "figures" / "time" / "generalisation.png").exists()


def test_figures_can_be_made_again(fused: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(fused.folder)
    figures = ["references/rdms", "regions/regions_courses", "time/layer_time", "time/generalisation"]
    redrawn(Path("results", "fused"), tmp_path, [*figures, "analyses/partial/time/layer_time"])


def test_the_page_shows_areas_with_layers_and_over_time(fused: Sandbox) -> None:
    text = pages_of(results(fused, "fused"))
    regions = text.split("Regions</h2>")[1].split("</details>")[0]
    for words in ("<td>net</td>", "Scores in regions. Bars are means", "Scores in regions over time"):
        assert words in regions
    assert "also a reference for the fMRI data (fusion; Cichy et al., 2014)" in text


# ---------------------------------------------------------------------------------------------- epochs

N_RUNS, N_TRIALS = 3, 2
"""Runs, and trials of each condition in a run."""

SHOWN = ["img1", "img2", "img10", "img20", "img3", "img30"]
ELECTRODES = {f"EEG{number:03d}": "eeg" for number in range(1, 9)}
DECIMATE = 10


@pytest.fixture(scope="module")
def trials(sandbox: Sandbox) -> dict[str, tuple[np.ndarray, list[str], list[str]]]:
    """Write the epochs of two subjects; return values (n_trials, n_channels, n_times), conditions and runs."""
    rng, written = np.random.default_rng(4), {}
    patterns = rng.standard_normal((len(SHOWN), len(ELECTRODES), 1))
    for subject in ("01", "02"):
        order = np.concatenate([rng.permutation(np.repeat(range(len(SHOWN)), N_TRIALS)) for _ in range(N_RUNS)])
        runs = [str(run) for run in np.repeat(range(1, N_RUNS + 1), len(SHOWN) * N_TRIALS)]
        mixing = np.eye(len(ELECTRODES)) + 0.3
        noise = mixing @ rng.standard_normal((len(order), len(ELECTRODES), 81))
        shown = np.arange(81) > 20
        values = (patterns[order] * shown + noise + rng.normal(0, 5, noise.shape[:2])[..., None]) * 1e-6
        events = [SHOWN[code] for code in order]
        epochs = make_epochs(values, events, metadata={"block": runs}, channels=ELECTRODES)
        write_fif(sandbox.folder / "mine" / f"sub-{subject}-epo.fif", epochs)
        written[subject] = values, events, runs
    return written


EPOCHS: dict[str, Any] = {
    "study": "epochs",
    "stimuli": {"table": "shown.tsv"},
    "references": [{"kind": "table", "name": "size", "column": "size", "rule": "difference"}],
    "meeg": {
        "kind": "epochs",
        "subjects": ["01", "02"],
        "file": "sub-{subject}-epo.fif",
        "run_column": "block",
        "baseline_s": [-0.1, 0],
        "decimate": DECIMATE,
    },
    "movie": {"distance": "crossnobis", "whiten": "ledoit_wolf"},
}


@pytest.fixture(scope="module")
def epochs(sandbox: Sandbox, trials: object) -> Sandbox:
    """Run a study of epochs up to the tables."""
    shown = pd.DataFrame({"condition": sorted(SHOWN), "size": np.arange(6) ** 2})
    shown.to_csv(sandbox.folder / "mine" / "shown.tsv", sep="\t", index=False)
    sandbox.succeed("results/epochs/time", "--configfile", configured(sandbox, EPOCHS))
    return sandbox


def test_scores_of_epochs_are_those_of_distances_one_pair_of_trials_at_a_time(
    epochs: Sandbox, trials: dict[str, tuple[np.ndarray, list[str], list[str]]]
) -> None:
    scores = table(epochs, "epochs", "time/scores.tsv").astype({"subject": str})
    assert sorted(scores["time_s"].unique()) == pytest.approx(np.arange(-0.1, 0.31, 0.05))
    size = dict(zip(sorted(SHOWN), np.arange(6) ** 2, strict=True))
    for subject, (values, events, runs) in trials.items():
        baseline = values[..., :21]  # -100 to 0 ms
        corrected = values - baseline.mean(axis=-1, keepdims=True)
        samples = corrected[..., :21:DECIMATE]
        samples = (samples - samples.mean(axis=-1, keepdims=True)).transpose(0, 2, 1)  # (n_trials, n_samples, n_ch)
        n_trials, n_samples = samples.shape[:2]
        samples = samples.reshape(-1, len(ELECTRODES)) * 1e6
        names = list(dict.fromkeys(events))
        reference = [abs(size[a] - size[b]) for a, b in combinations(names, 2)]
        for time_s in (0.1, 0.2):
            rows = corrected[..., round((time_s + 0.1) * 200)] * 1e6
            rows = oracles.whitened(rows, samples, n_trials * (n_samples - 1), "ledoit_wolf")
            distances = oracles.between_runs(rows, events, runs, "crossnobis")
            expected = spearmanr(distances, reference).statistic
            is_found = (scores["subject"].str.zfill(2) == subject) & np.isclose(scores["time_s"], time_s)
            assert scores["score"][is_found].item() == pytest.approx(expected, abs=1e-5)


# --------------------------------------------------------------------------------------------- sensors


def test_a_searchlight_over_sensors_is_planned_down_to_the_page(sandbox: Sandbox) -> None:
    rules = {"sensor_searchlight", "sensor_group", "sensor_peaks", "draw_sensors"}
    meeg = {"subjects": ["01", "02"]}
    fmri = dict.fromkeys(["brain", "searchlight", "group", "fusion", "film_times_s", "noise_ceiling", "layer_distance"])
    partial = [{"kind": "partial", "nuisance": ["category"]}]
    default = sandbox.configured("config.yaml", study="sensors", meeg=meeg, sensors={}, analyses=partial, **fmri)
    said = sandbox.planned("--printshellcmds", "--configfile", default)
    assert set(re.findall(r"^ +\d+ (\w+)", said, flags=re.M)) >= rules
    assert said.count("python -m rsa sensor-searchlight --meeg-kind=epochs") == 4, "the comparison and the analysis"
    assert said.count("python -m rsa sensor-group") == 2
    assert "--movie-distance=crossnobis --movie-whiten=ledoit_wolf" in said.split("rsa sensor-searchlight")[1]
    assert "--sensors results/sensors/sensors/sub-01_scores.h5 results/sensors/sensors/sub-02_scores.h5" in said


# -------------------------------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"meeg": None}, "there are no data: set `brain`, `meeg` or both; or `units`, which looks at networks alone."),
        ({"fusion": True}, "fusion needs fMRI data (`brain`) and M/EEG data (`meeg`)."),
        ({"movie": {"distance": "crossnobis"}}, "`movie` says how RDMs are made of epochs, and there are none"),
        (
            {"meeg": {**EPOCHS["meeg"], "baseline_s": None}, "movie": {"whiten": "ledoit_wolf"},
             "stimuli": EPOCHS["stimuli"], "references": EPOCHS["references"]},
            "movie.whiten needs the noise before onset: set meeg.baseline_s, such as [-0.1, 0].",
        ),
        ({"meeg": EPOCHS["meeg"]}, "subjects '01', '02': "),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_and_nothing_is_written(
    epochs: Sandbox, files: Path, changes: dict[str, Any], message: str
) -> None:
    settings = {key: value for key, value in {**READY, "study": "wrong", **changes}.items() if value is not None}
    result = epochs.dry_run("--configfile", configured(epochs, settings))
    assert result.returncode == 2, result.stdout
    (line,) = [line for line in result.stdout.splitlines() if line and "workflow specific profile" not in line]
    assert line.startswith("error: The configuration has a problem: ")
    assert message in line
    assert not (epochs.folder / "results" / "wrong").exists()
