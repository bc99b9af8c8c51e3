"""The pages of a study: where they lead, what they say first, and that each stands alone."""

import re
from html import unescape
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import scipy.stats
from report_study import write_study, written
from test_report import parsed

from rsa.core import REFERENCE, TEST, Neighbourhood, ScoreMap, Volume
from rsa.files import io
from rsa.files.records import NOTES_OF_RUNS
from rsa.maps import stack
from rsa.pipeline.config import load_study, read_yaml
from rsa.rdm import MEEG
from rsa.report.assemble import about_intervals, settings_yaml
from rsa.report.findings import (
    Findings,
    best_in_regions,
    best_in_time,
    best_places,
    planted_places,
    planted_times,
    significant_times,
)
from rsa.report.inventory import tree_html
from rsa.report.links import explorer_link, link_from, link_to_file, page_of
from rsa.report.overview import FOR_OTHERS, badges_of, regions_table, sentences
from rsa.report.runs import read_logs, written_duration
from rsa.simulation.settings import Simulation


def test_a_link_to_the_explorer_gives_back_what_was_asked_with_odd_signs():
    link = explorer_link(who="group", model="a&b <#?>", layer="é+1", time_s=0.12, statistic="mean", mm=(-42.0, 1e-9, 3))
    state = parse_qs(urlsplit(link).fragment, strict_parsing=True)
    assert {key: value for key, (value,) in state.items()} == {
        **{"who": "group", "model": "a&b <#?>", "layer": "é+1", "time": "0.12", "stat": "mean"},
        **{"x": "-42", "y": "0", "z": "3"},
    }
    assert explorer_link(time_s=np.nan) == "explorer/index.html"


@pytest.mark.parametrize("page", ["report.html", page_of("sub-01")])
@pytest.mark.parametrize("name", ["group/a.nii.gz", "pages/a b#c?.html", "logs/é%41.log", "../beside.tsv"])
def test_links_to_files_are_found_from_each_page(tmp_path, page, name):
    link = link_to_file(page, tmp_path / name, tmp_path)
    assert not set("#? ") & set(link)
    assert ((tmp_path / page).parent / unquote(link)).resolve() == (tmp_path / name).resolve()


def test_links_between_pages():
    assert link_from("report.html", page_of("group")) == "pages/group.html"
    assert link_from(page_of("group"), page_of("methods")) == "methods.html"
    assert link_from(page_of("group"), "report.html#found") == "../report.html#found"
    assert Path(page_of("group")).parts[0] == "pages"


# ------------------------------------------------------------------------------------ what was found


def brain(values: dict[tuple[str, str], list[float]], *, statistic: str = "mean", role: str = REFERENCE) -> ScoreMap:
    """Scores of references at places of a line of voxels, 5 mm from each other; 0 elsewhere."""
    volume = Volume(np.ones((30, 1, 1), dtype=bool), np.diag([5.0, 5.0, 5.0, 1.0]))
    rows = np.zeros((len(values), 30))
    for row, own in zip(rows, values.values(), strict=True):
        row[[2, 12, 22]] = own
    table = pd.DataFrame(list(values), columns=["model", "layer"]).assign(statistic=statistic, role=role)
    return ScoreMap(rows, table, volume)


SCORES = {("net", "a"): [0.6, 0.2, 0.1], ("net", "b"): [0.5, 0.4, 0.1], ("gist", ""): [0.1, 0.1, 0.3]}


def with_p(p: dict[tuple[str, str], list[float]]) -> ScoreMap:
    logp = {key: [-np.log10(one) for one in own] for key, own in p.items()}
    return stack([brain(SCORES), brain(logp, statistic="logp_max_stat", role=TEST)])


def test_places_have_the_best_reference_and_the_next_one():
    found = best_places(brain(SCORES), ["net", "gist"])
    assert found[["model", "layer", "x_mm"]].to_numpy().tolist() == [
        ["net", "a", 10.0],
        ["net", "b", 60.0],
        ["gist", "", 110.0],
    ]
    assert found["score"].tolist() == pytest.approx([0.6, 0.4, 0.3])
    assert found["next_best"].tolist() == ["net b", "net a", "net a"]
    assert found["significant"].tolist() == [None] * 3
    assert best_places(brain(SCORES), ["net"])["x_mm"].tolist() == [10.0, 60.0, 110.0]


def test_places_are_those_of_significant_scores():
    p = {("net", "a"): [0.2, 0.9, 1], ("net", "b"): [0.004, 0.01, 1], ("gist", ""): [1, 1, 0.06]}
    found = best_places(with_p(p), ["net", "gist"])
    assert found[["layer", "x_mm"]].to_numpy().tolist() == [["b", 10.0], ["b", 60.0]], "a is higher, and may be chance"
    assert found["p_corrected"].tolist() == pytest.approx([0.004, 0.01])
    assert found["significant"].tolist() == [True, True]
    nothing = best_places(with_p({key: [0.5, 0.6, 0.7] for key in p}), ["net", "gist"])
    assert nothing["significant"].tolist() == [False] * 3
    assert nothing["score"].iloc[0] == pytest.approx(0.6)


def test_the_shoulder_of_a_peak_is_no_place():
    scores = brain({("net", "a"): [0.0, 0.0, 0.0]})
    scores.values[0] = np.linspace(1, 0.1, 30)
    scores.values[0, 25] = 0.5
    assert best_places(scores, ["net"])["x_mm"].tolist() == [0.0, 125.0]


def test_differences_of_groups_are_told_and_not_their_mean():
    difference = brain({("net", "a"): [0.0, 0.2, 0.0]}, statistic="difference", role=TEST)
    found = best_places(stack([brain(SCORES), difference]), ["net", "gist"], n_places=1)
    assert found[["layer", "x_mm"]].to_numpy().tolist() == [["a", 60.0]]


def test_times_of_fusion_are_stretches():
    times, volume = np.array([0.0, 0.1, 0.2, 0.3, 0.4]), Volume(np.ones((2, 1, 1), dtype=bool), np.eye(4))
    table = pd.DataFrame({"model": MEEG, "layer": "", "time_s": times, "statistic": "mean", "role": REFERENCE})
    logp = -np.log10([[1, 0.01], [0.02, 1], [1, 1], [1, 0.05], [1, 1]])
    of_p = ScoreMap(logp, table.assign(statistic="logp_max_stat", role=TEST), volume)
    scores = stack([ScoreMap(np.ones((5, 2)), table, volume), of_p])
    assert significant_times(scores) == [(0.0, 0.1), (0.3, 0.3)]
    assert significant_times(ScoreMap(np.ones((5, 2)), table, volume)) == []


def test_regions_have_their_best_reference_with_interval_p_and_share():
    rows = [(s, region, "net", layer) for s in "123" for region in ("V1", "IT") for layer in ("a", "b")]
    fits = pd.DataFrame(rows, columns=["subject", "region", "model", "layer"]).assign(
        score=[0.3, 0.1, 0.1, 0.4, 0.4, 0.1, 0.1, 0.5, 0.5, 0.1, 0.1, 0.6], ceiling_lower=0.3, ceiling_upper=0.8
    )
    found = best_in_regions(fits, ["net"]).set_index("region")
    assert found["layer"].to_dict() == {"V1": "a", "IT": "b"}
    assert found.loc["V1", ["score", "share_of_ceiling"]].tolist() == pytest.approx([0.4, 0.5])
    expected = scipy.stats.t.interval(0.95, 2, 0.4, 0.1 / np.sqrt(3))
    assert found.loc["V1", ["lower", "upper"]].tolist() == pytest.approx(expected)
    assert found["significant"].tolist() == [None, None]
    tests = pd.DataFrame(rows[:4], columns=["subject", "region", "model", "layer"]).assign(
        lower=0.0, upper=1.0, p_corrected=[0.03, 0.001, 0.5, 0.06]
    )
    found = best_in_regions(fits, ["net"], tests).set_index("region")
    assert found["significant"].to_dict() == {"V1": True, "IT": False}
    assert found.loc["IT", ["lower", "upper", "p_corrected"]].tolist() == pytest.approx([0, 1, 0.06])
    assert FOR_OTHERS not in regions_table(found.reset_index(), "spearman")


def test_regions_have_their_interval_for_other_pictures_beside_and_are_marked_if_few_conditions_carry_it():
    rows = [(s, region, "net", "a", 0.3) for s in "12" for region in ("V1", "IT", "V4")]
    fits = pd.DataFrame(rows, columns=["subject", "region", "model", "layer", "score"])
    fits = fits.assign(ceiling_lower=0.3, ceiling_upper=0.8)
    tests = fits[:3].assign(both_lower=[0.1, -0.2, np.nan], both_upper=[0.5, 0.8, np.nan])
    tests = tests.assign(p_both_corrected=[0.0001, np.nan, np.nan], few_conditions=[np.nan, 2.09, np.nan])
    shown = regions_table(best_in_regions(fits, ["net"], tests), "spearman")
    assert [text.replace("\N{NO-BREAK SPACE}", " ") for text in shown[FOR_OTHERS]] == [
        ".10 to .50, p < .001",
        "\N{MINUS SIGN}.20 to .80 (may be too narrow: 2 conditions carry it)",
        "",
    ]
    assert about_intervals(shown).startswith("In the table, the first interval is for other subjects")
    assert about_intervals(shown.drop(columns=FOR_OTHERS)) == ""


def latencies(p: float = 0.01) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "model": ["net", "net", "gist"],
            "layer": ["a", "b", np.nan],
            "onset_s": [0.05, 0.06, np.nan],
            "onset_lower_s": [0.04, 0.05, np.nan],
            "onset_upper_s": [0.06, 0.07, np.nan],
            "peak_s": [0.1, 0.15, 0.2],
            "peak_lower_s": [0.09, 0.14, 0.1],
            "peak_upper_s": [0.11, 0.16, 0.3],
            "peak_score": [0.5, 0.4, 0.1],
            "peak_p": [p, 0.02, 0.7],
        }
    )


def test_courses_have_the_best_layer_of_each_model():
    found = best_in_time(latencies())
    assert found[["model", "layer", "peak_s", "significant"]].to_numpy().tolist() == [
        ["net", "a", 0.1, True],
        ["gist", "", 0.2, False],
    ]


def simulation(**settings) -> Simulation:
    return Simulation.model_validate(settings)


def test_what_was_planted_is_compared_with_what_was_found():
    spheres = {"model": "net", "layer": "a", "centres_mm": [[10, 0, 0], [60, 0, 0]], "radius_mm": 3}
    scores = brain(SCORES)
    places = best_places(scores, ["net", "gist"], n_places=1)
    found = planted_places(simulation(regions=[{"name": "V1", **spheres}]), scores, ["net", "gist"], places)
    assert found["is_found"].tolist() == [True, False], "at the second, b fits better"
    assert found["found_layer"].tolist() == ["a", "b"]
    assert found["peak_distance_mm"].tolist() == [0.0, 50.0]
    between = {**spheres, "centres_mm": [[11, 0, 0]]}  # no voxel has its centre there
    found = planted_places(simulation(regions=[{"name": "V1", **between}]), scores, ["net", "gist"], places)
    assert found[["x_mm", "peak_distance_mm"]].to_numpy().tolist() == [[11.0, 1.0]], "of the sphere, not of its voxels"
    numbers = np.zeros((30, 1, 1), dtype=np.int16)
    numbers[12], numbers[22] = 7, 3
    atlas = nib.Nifti1Image(numbers, scores.volume.affine)
    by_number = simulation(regions=[{"name": "V1", "model": "net", "layer": "b", "atlas_indices": [7]}])
    found = planted_places(by_number, scores, ["net", "gist"], places, atlas)
    assert found[["x_mm", "is_found"]].to_numpy().tolist() == [[60.0, True]]
    assert found["peak_distance_mm"].tolist() == [50.0]
    planned = simulation(epochs={"latencies": [{"name": "early", "model": "net", "layer": "b", "peak_s": 0.13}]})
    times = planted_times(planned, latencies())
    assert times[["planted_s", "peak_s", "peak_upper_s"]].to_numpy().tolist() == [[0.13, 0.15, 0.16]]


# --------------------------------------------------------------------------------------- in sentences


def said(**tables) -> str:
    study = load_study({"study": "demo"})
    return " ".join(text for text, _ in sentences(Findings(**tables), study)).replace("\N{NO-BREAK SPACE}", " ")


def places_of(scores: ScoreMap, **how) -> pd.DataFrame:
    return best_places(scores, ["net", "gist"], **how).assign(who="group")


def test_sentences_say_what_is_significant_what_is_not_and_what_was_not_with_p():
    p = {("net", "a"): [0.004, 1, 1], ("net", "b"): [1, 0.01, 1], ("gist", ""): [1, 1, 1]}
    text = said(who="group", places=places_of(with_p(p)))
    assert "2 places have significant scores (corrected p ≤ .05)" in text
    assert "Highest is net a with .60 at (10, 0, 0) mm, p = .004." in text
    text = said(who="group", places=places_of(with_p({key: [0.3, 0.4, 1] for key in p})))
    assert text.startswith("Nothing is significant in the maps of the group: no corrected p is .05 or less.")
    assert "may be chance" in text
    text = said(who="group", places=places_of(brain(SCORES)))
    assert text.startswith("The maps of the group were not tested.")
    assert "significant" not in text
    assert said() == "There are no scores to tell of."
    assert "of subject 7" in said(who="7", places=places_of(brain(SCORES)).assign(who="7"))


def test_many_subjects_without_a_group_are_told_of_together():
    p = {("net", "a"): [0.004, 1, 1], ("net", "b"): [1, 1, 1], ("gist", ""): [1, 1, 1]}
    places = pd.concat(
        [places_of(with_p(p) if i < 2 else brain(SCORES), n_places=1).assign(who=str(i)) for i in range(5)]
    )
    text = said(places=places.reset_index(drop=True))
    assert text == (
        "The maps of 2 of 5 subjects have significant scores. Highest is net a with .60 at (10, 0, 0) mm of subject 0."
    )
    assert said(places=places.head(2)).count("In the maps of subject") == 2


def test_places_are_named_by_regions():
    scores = brain(SCORES)
    labels = pd.DataFrame({"region": ["V1", "IT"]})
    named = Neighbourhood(np.array([0, 2, 3]), np.array([1, 2, 12]), scores.space, regions=labels)
    assert best_places(scores, ["net", "gist"], regions=named)["region"].tolist() == ["V1", "IT", ""]
    assert said(who="group", places=places_of(scores, regions=named)).endswith("net a with .60 at V1 (10, 0, 0) mm.")


def test_sentences_tell_of_times_and_of_the_order_of_layers():
    order = pd.DataFrame({"model": ["net"], "rho": [0.9], "lower": [0.5], "upper": [1.0]})
    text = said(courses=best_in_time(latencies()), hierarchy=order)
    assert (
        "In M/EEG, highest is net a with .50 at 100 ms (95 % interval 90 to 110 ms), first above chance at 50 ms"
        in text
    )
    assert "Deeper layers of net peak later (\N{GREEK SMALL LETTER RHO} = .90, 95 % interval .50 to 1.00)." in text
    assert "nothing is significant" in said(courses=best_in_time(latencies(0.4)), hierarchy=order.assign(lower=-0.1))
    assert "Deeper" not in said(hierarchy=order.assign(lower=-0.1))


def test_simulated_and_untrained_are_said():
    assert badges_of(load_study({"study": "a"})) == []
    nets = [{"architecture": "alexnet", "weights": "untrained"}, {"architecture": "vgg11"}]
    planned = load_study({"study": "a", "simulate": {}, "models": nets})
    assert badges_of(planned) == ["simulated data", "some untrained weights"]
    assert badges_of(load_study({"study": "a", "models": nets[:1]})) == ["untrained weights"]


# ------------------------------------------------------------------------------------ logs and files


def test_logs_tell_when_jobs_ran_and_what_they_warned_of(tmp_path):
    logs = {
        "brain_sub-01.log": "2026-01-02 10:00:00,100 DEBUG brain with {}\n2026-01-02 10:00:09,000 WARNING few runs\n",
        "analyses/partial/maps.log": "2026-01-02 10:01:30,000 WARNING few runs\n",
        "group.log": "2026-01-02 10:01:00,000 WARNING /a/b.py:3: UserWarning: odd <x>\n  warnings.warn()\n",
        "report.log": "2026-01-02 12:00:00,000 WARNING its own\n",
    }
    for name, text in logs.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    jobs = read_logs(tmp_path)
    assert jobs.n_jobs == 3
    assert jobs.warnings == {
        "few runs": ["analyses/partial/maps", "brain_sub-01"],
        "UserWarning: odd <x>": ["group"],
    }
    assert written_duration(jobs.duration) == "1 min 30 s"
    assert read_logs(tmp_path / "none").duration is None


def test_the_tree_has_all_files_with_their_sizes_and_finds_odd_names(tmp_path):
    names = ["group/space-own_model-net_layer-a_stat-mean_statmap.nii.gz", "logs/a <b> #1.log", "study.json"]
    left_out = (".hidden", ".checksums/x", f"{NOTES_OF_RUNS}/host_1.json")  # the note of a run is gone when it ends
    for name in (*names, "group/space-own_model-net_layer-a_stat-mean_statmap.json", *left_out):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"12345")
    html = tree_html(tmp_path, page_of("files"))
    links = re.findall(r'href="([^"]*)"', html)
    found = {(tmp_path / "pages" / unquote(link)).resolve().relative_to(tmp_path).as_posix() for link in links}
    assert found == {*names, "group/space-own_model-net_layer-a_stat-mean_statmap.json"}
    assert "map: net, a, mean" in html
    assert "4 files, 20 B" in html
    assert "<b>" not in html


def test_both_hemispheres_share_what_tells_of_them(tmp_path):
    sides = [f"{side}space-fsaverage5_model-net_stat-mean_statmap" for side in ("hemi-L_", "hemi-R_", "")]
    for name in (f"{sides[0]}.shape.gii", f"{sides[1]}.shape.gii", f"{sides[2]}.json"):
        (tmp_path / name).write_bytes(b"12345")
    items = re.findall(r"<li.*?</li>", tree_html(tmp_path, page_of("files")))
    assert len(items) == 2
    for item, side in zip(items, ("left", "right"), strict=True):
        assert f"map on the {side} cortex: net, mean" in item
        assert f"../{sides[2]}.json" in item


# ------------------------------------------------------------------------------------------- settings


ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    "path", [ROOT / "config.yaml", *sorted((ROOT / "config").glob("*.yaml"))], ids=lambda path: path.stem
)
def test_settings_on_the_page_are_those_of_the_study(path, tmp_path):
    study = load_study(read_yaml(path), [path])
    (tmp_path / "again.yaml").write_text(settings_yaml(study), encoding="utf-8")
    again = load_study(read_yaml(tmp_path / "again.yaml"), [tmp_path / "again.yaml"])
    assert again.model_dump() | {"data_root": ""} == study.model_dump() | {"data_root": ""}


# ---------------------------------------------------------------------------------------- all pages


def links_of(html: str) -> list[str]:
    return [unescape(link) for link in re.findall(r'href="([^"]*)"', html)]


@pytest.fixture(scope="module")
def lab(tmp_path_factory) -> tuple[Path, dict[str, str]]:
    folder = tmp_path_factory.mktemp("results") / "lab"
    return folder, written(write_study(folder))


def test_every_link_leads_somewhere_and_every_file_has_one(lab):
    folder, pages = lab
    reached = set()
    for name, html in pages.items():
        parsed(html)
        at = folder / "report.html" if name == "report" else folder / "pages" / f"{name}.html"
        ids = set(re.findall(r' id="([^"]*)"', html))
        for link in links_of(html):
            path, _, fragment = link.partition("#")
            target = (at.parent / unquote(path)).resolve() if path else at
            if path.endswith("explorer/index.html"):
                continue
            assert target.is_relative_to(folder), link
            assert target.is_file(), (name, link)
            assert path or fragment in ids, (name, link)
            reached.add(target)
    there = {path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")}
    assert there - reached <= {path for path in there if path.suffix == ".html"}


def test_the_first_page_answers(lab):
    _, pages = lab
    text = re.sub(r"<(style|script)>.*?</\1>|<[^>]+>", " ", pages["report"], flags=re.DOTALL)
    text = " ".join(unescape(text).split())
    for words in (
        "Where in the brain, and when, do simulated responses of 2 subjects (fMRI) and 3 subjects (M/EEG) to 6 "
        "conditions have the geometry of 2 layers of alexnet (untrained weights) and gist?",
        "In the maps of the group, 2 places have significant scores (corrected p ≤ .05).",
        "at (0, \N{MINUS SIGN}72, 0) mm",
        "In M/EEG, highest is alexnet features.1 with .50 at 100 ms",
        "fMRI and M/EEG share geometry from 100 to 100 ms",
        "in 2 of 2 planted places the planted layer fits best",
        "2 of 3 runs <are> short ('brain_sub-01', 'brain_sub-02')",
        "2 min 51 s",
        "snakemake --cores all --configfile lab.yaml",
    ):
        assert words in text, words
    assert "<title>lab \N{EN DASH} simulated data \N{EN DASH} untrained weights</title>" in pages["report"]
    shown = [link for link in links_of(pages["report"]) if link.startswith("explorer/index.html#")]
    state = parse_qs(urlsplit(shown[0]).fragment)
    assert state["who"] == ["group"]
    assert [state[axis] for axis in "xyz"] == [["0"], ["-72"], ["0"]]


def test_each_row_of_clusters_and_peaks_leads_to_its_voxel(lab):
    folder, pages = lab
    clusters = io.load_table(next((folder / "group").glob("*_clusters.tsv")))
    states = [parse_qs(urlsplit(link).fragment) for link in links_of(pages["group"]) if "explorer/index.html#" in link]
    for row in clusters.to_dict("records"):
        wanted = {axis: [f"{row[f'{axis}_mm']:g}"] for axis in "xyz"} | {"model": [row["model"]]}
        wanted |= {"time": ["0.1"]} if row["model"] == MEEG else {}
        assert any(wanted.items() <= state.items() for state in states), row
    own = [parse_qs(urlsplit(link).fragment) for link in links_of(pages["sub-02"]) if "explorer/index.html#" in link]
    assert {state["who"][0] for state in own} == {"02"}
    assert {state["model"][0] for state in own} == {"alexnet", "gist", MEEG, "reliability"}


def test_many_subjects_are_folded_and_the_first_page_stays_small(tmp_path):
    pages = written(write_study(tmp_path / "lab", n_subjects=9))
    assert len(pages["report"]) < 150_000
    assert "Subjects (9)</summary>" in pages["report"]
    assert max(map(len, pages.values())) < 1_000_000


def test_one_subject_without_tests_is_no_group_and_nothing_is_significant(tmp_path):
    pages = written(write_study(tmp_path / "lab", 1, inference=None, simulate=None, fusion=False, models=[]))
    assert "group" not in pages
    assert "The maps of subject 01 were not tested." in pages["report"]
    assert not re.search("significant|simulated|untrained", re.sub("peak_p", "", pages["report"]))
