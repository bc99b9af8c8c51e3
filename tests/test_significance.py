"""What is significant: p find the scores that they belong to, and pictures and captions show it."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from test_report import (
    fits_over_time,
    flipped,
    fmri,
    maps,
    mni,
    over_time,
    parsed,
    plant,
    rdms,
    single_slice,
    study,
    written_place,
)

from rsa.core import QUALITY, TEST, RDMs, ScoreMap, select
from rsa.files import io
from rsa.files.maps import PEAK_COLUMNS, clusters_path, peaks_path
from rsa.maps import derive_all, peaks, stack
from rsa.pipeline.stages.reports import draw_fusion, draw_group, draw_regions, draw_subject
from rsa.rdm import MEEG
from rsa.report.assemble import StudyPages, about_intervals, shown_fits, with_region_tests, with_spans, without_clusters
from rsa.report.drawing import FADED, outline, threshold_words
from rsa.report.film import film_strip, film_times
from rsa.report.glass import glass_grid
from rsa.report.html import table_html
from rsa.report.planes import project, upright
from rsa.report.slices import label_slices, signed_slices, slices
from rsa.report.study import region_means, subject_figures
from rsa.report.style import caption_of
from rsa.report.times import at_peak_times, courses, of_models, peak_voxel, time_courses
from rsa.significance import primary, significance_of, without_tests

AT_MOST = "\N{LESS-THAN OR EQUAL TO}"


def results_of(scores: ScoreMap, p: np.ndarray, statistic: str = "logp_max_tfce") -> ScoreMap:
    """Rows with -log10 of a corrected p for rows of scores."""
    table = scores.table.assign(statistic=statistic, role=TEST)
    return replace(scores, values=-np.log10(p), table=table)


def with_results(scores: ScoreMap, found: np.ndarray, statistic: str = "logp_max_tfce") -> ScoreMap:
    """Scores with tests below, in which some are significant (p = .01) and others not (p = .5)."""
    own = of_models(scores)
    return stack([scores, results_of(own, np.where(found, 0.01, 0.5), statistic)])


def above(scores: ScoreMap, score: float) -> np.ndarray:
    return of_models(scores).values > score


def outlines(figure: Figure) -> list:
    return [patch for axes in figure.axes for patch in axes.patches if patch.get_label() == "significant"]


# ------------------------------------------------------------------------------------------------- rows


def test_the_primary_p_is_the_first_there_is_in_the_order_of_the_scores(rng):
    scores = maps(flipped(), rng)
    p = rng.uniform(0.001, 1, scores.values.shape)
    others = [results_of(scores, np.ones_like(p), name) for name in ("logp", "logp_max_stat", "logp_max_mass")]
    backwards = np.array([2, 0, 1])
    shuffled = replace(
        results_of(scores, p), values=-np.log10(p[backwards]), table=results_of(scores, p).table.iloc[backwards]
    )
    found = primary(stack([scores, *others, shuffled]))
    np.testing.assert_allclose(found.values, -np.log10(p), rtol=1e-6)
    assert found.table["layer"].tolist() == scores.table["layer"].tolist()
    assert set(found.table["statistic"]) == {"logp_max_tfce"}
    assert set(primary(stack([scores, *others])).table["statistic"]) == {"logp_max_mass"}
    assert primary(stack([scores, others[0]])) is None
    assert primary(scores) is None


def test_rows_without_a_test_of_their_own_are_neither_significant_nor_not(timed):
    tests = results_of(of_models(timed), np.full(of_models(timed).values.shape, 0.01))
    some = stack([timed, select(tests, model="net")])
    found = significance_of(some).of(without_tests(some))
    is_net = (timed.table["model"] == "net").to_numpy()
    assert (found[is_net] == 1).all()
    assert np.isnan(found[~is_net]).all()
    assert significance_of(some).untested(of_models(timed)) == ["animacy"]


def test_p_at_alpha_is_significant_in_single_precision(rng):
    scores = maps(flipped((4, 1, 1)), rng, layers=["a"])
    for n_permutations in (100, 1000, 10_000, 100_000):
        k = n_permutations // 20
        p = np.array([[k, k + 1, k - 1, 1]]) / n_permutations
        found = significance_of(stack([scores, results_of(scores, p)]), {"inference": {"alpha": 0.05}})
        np.testing.assert_array_equal(found.of(scores), [[1, 0, 1, 1]])


@pytest.mark.parametrize(
    ("statistic", "family", "words"),
    [
        ("logp_max_tfce", None, "TFCE, family-wise over voxels"),
        ("logp_max_mass", ["voxels", "times"], "cluster mass, family-wise over voxels and times"),
        ("logp_max_size", ["voxels", "layers", "times"], "cluster size, family-wise over voxels, layers and times"),
        ("logp_max_stat", ["voxels"], "maximum statistic, family-wise over voxels"),
    ],
)
def test_words_come_from_the_settings(rng, statistic, family, words):
    scores = over_time(flipped(), rng, extra=())
    settings = {"inference": {"alpha": 0.01} | ({} if family is None else {"family": family})}
    found = significance_of(with_results(scores, above(scores, 0.3), statistic), settings)
    assert (found.words, found.written_alpha, found.alpha) == (words, ".01", 0.01)


@pytest.mark.parametrize(
    ("statistic", "is_whole"), [("logp_max_mass", True), ("logp_max_size", True), ("logp_max_tfce", False)]
)
def test_captions_say_that_p_of_clusters_are_those_of_whole_ones(rng, statistic, is_whole):
    scores = maps(flipped(), rng)
    found = significance_of(with_results(scores, above(scores, 0.3), statistic))
    assert ("a cluster as a whole" in threshold_words(found, scores)) == is_whole


def test_words_name_no_times_where_there_are_none_and_what_is_tested_if_it_is_not_the_score(rng):
    scores = maps(flipped(), rng)
    inference = {"family": ["voxels", "times"], "groups": "diagnosis"}
    found = significance_of(with_results(scores, above(scores, 0.3)), {"inference": inference})
    assert found.words == "TFCE, family-wise over voxels, of the difference between the groups in diagnosis"


# --------------------------------------------------------------------------------------------- pictures


def test_an_outline_is_the_edges_between_inside_and_outside(rng):
    inside = rng.random((7, 5)) < 0.5
    axes = Figure().add_subplot()
    outline(axes, inside, np.array([0.0, 10.0, -7.0, 7.0]))
    (patch,) = axes.patches
    drawn = {tuple(sorted(map(tuple, np.round(edge, 6)))) for edge in patch.get_path().vertices.reshape(-1, 2, 2)}
    expected, around = set(), np.pad(inside, 1)
    for y, x in np.argwhere(inside):
        left, right, low, high = 2.0 * x, 2.0 * (x + 1), -7.0 + 2 * y, -7.0 + 2 * (y + 1)
        sides = {(0, 1): ((left, low), (left, high)), (2, 1): ((right, low), (right, high))}
        sides |= {(1, 0): ((left, low), (right, low)), (1, 2): ((left, high), (right, high))}
        expected |= {edge for (dx, dy), edge in sides.items() if not around[y + dy, x + dx]}
    assert drawn == expected


def test_glass_brains_show_the_significant_score_of_each_line_and_fade_the_others(rng):
    volume = flipped()
    scores = maps(volume, rng, layers=["a"])
    scores.values[:] = 0.3
    scores.values[0, 7] = 0.1  # significant, and lower than all that is before and behind it
    found = np.zeros(scores.values.shape)
    found[0, 7] = 1
    figure = glass_grid([("", scores)], significant=[found])
    grid = upright(volume)
    for axes, view in zip(figure.axes, "xyz", strict=False):
        (image,) = axes.images
        through = project(grid, np.where(np.arange(volume.n_voxels) == 7, 1.0, 0.0), view) > 0
        assert through.sum() == 1
        np.testing.assert_array_equal(image.get_alpha(), np.where(through, 1.0, FADED))
        np.testing.assert_allclose(image.get_array(), np.where(through, 0.1, 0.3), rtol=1e-6)
    assert [len(patch.get_path().vertices) for patch in outlines(figure)] == [8, 8, 8]


def test_maps_that_were_not_tested_look_as_without_tests(rng):
    scores = maps(flipped(), rng)
    nothing = np.full(scores.values.shape, np.nan)
    for plainly, untested in (
        (glass_grid([("", scores)]), glass_grid([("", scores)], significant=[nothing])),
        (slices(scores), slices(scores, significant=nothing)),
    ):
        assert not outlines(untested)
        for one, other in zip(plainly.axes, untested.axes, strict=True):
            assert one.get_title() == other.get_title()
            for a, b in zip(one.images, other.images, strict=True):
                assert a.get_alpha() is b.get_alpha() is None
                np.testing.assert_array_equal(a.get_array(), b.get_array())


def test_slices_are_at_the_highest_significant_score_which_is_opaque(rng):
    volume = single_slice()
    scores = maps(volume, rng, ["a"])
    scores.values[:] = 0.1
    scores.values[0, 9], scores.values[0, 7], scores.values[0, 8] = 0.8, 0.3, np.nan
    found = np.zeros(scores.values.shape)
    found[0, [7, 8]] = 1
    figure = slices(scores, significant=found)
    assert f"0.30 at ({written_place(volume, 7)}) mm" in [text.get_text() for text in figure.texts]
    opacity = figure.axes[0].images[1].get_array()[..., 3]
    assert set(np.round(np.unique(opacity), 3)) == {0.0, round(FADED * 0.25, 3), FADED, 1.0}
    assert len(outlines(figure)) == 1
    nowhere = slices(scores, significant=np.zeros(scores.values.shape))
    assert f"0.80 at ({written_place(volume, 9)}) mm" in [text.get_text() for text in nowhere.texts]
    assert not outlines(nowhere)


@pytest.mark.parametrize(
    "draw",
    [
        lambda row, **look: label_slices(row, ["a", "b"], **look),
        lambda row, **look: signed_slices(row, "slope", **look),
    ],
)
def test_derived_maps_are_faded_where_nothing_behind_them_is_significant(rng, draw):
    volume = single_slice()
    row = replace(maps(volume, rng, ["a"]), values=np.full((1, volume.n_voxels), 2.0))
    found = np.zeros(volume.n_voxels)
    found[:5], found[5:8] = 1, np.nan
    figure = draw(row, significant=found)
    opacity = figure.axes[0].images[1].get_array()[..., 3]
    assert set(np.unique(opacity)) == {0.0, FADED, 1.0}
    assert outlines(figure)
    assert not outlines(draw(row, significant=np.zeros(volume.n_voxels)))


# ------------------------------------------------------------------------------------------- over time


@pytest.fixture
def timed(rng) -> ScoreMap:
    """Scores over time: of conv1 the highest is at 6 s, of fc at 4.5 s, of animacy at 6 s."""
    scores = over_time(flipped(), rng, extra=("reliability",))
    scores.values[:] = np.clip(scores.values, -0.2, 0.2)
    for row in (("conv1", 6.0, 3, 0.9), ("conv1", 1.5, 4, 0.5), ("fc", 4.5, 20, 0.7)):
        plant(scores, "net", *row)
    plant(scores, "animacy", "", 6.0, 30, 0.6)
    return scores


def found_at(scores: ScoreMap, *places: tuple[str, float, int]) -> np.ndarray:
    """Which scores of models are significant: layer, time and voxel of each."""
    table = of_models(scores).table
    found = np.zeros(of_models(scores).values.shape, dtype=bool)
    for layer, time, voxel in places:
        found[((table["layer"] == layer) & (table["time_s"] == time)).to_numpy(), voxel] = True
    return found


def test_times_for_pictures_are_those_of_the_highest_significant_score(timed):
    models = of_models(timed)
    found = found_at(timed, ("conv1", 1.5, 4), ("conv1", 0.0, 5)).astype(float)
    (kept,) = at_peak_times([models], [found])
    assert kept.table["time_s"].tolist() == [1.5, 4.5, 6.0]  # of fc and animacy none is significant
    assert at_peak_times([models], [None])[0].table["time_s"].tolist() == [6.0, 4.5, 6.0]


def test_a_time_at_which_the_mean_has_nothing_significant_is_not_chosen(timed):
    """One subject is far higher at another time, the mean is tested."""
    subject, mean = of_models(timed), of_models(timed)
    found = found_at(timed, ("conv1", 1.5, 4)).astype(float)
    for kept in at_peak_times([subject, subject, mean], [None, None, found]):
        assert kept.table["time_s"].tolist() == [1.5, 4.5, 6.0]


def test_courses_are_of_the_voxel_of_the_highest_significant_score_with_dots_below(timed):
    significance = significance_of(
        with_results(timed, found_at(timed, ("conv1", 1.5, 4), ("conv1", 0.0, 4), ("fc", 0.0, 4)))
    )
    assert peak_voxel(select(of_models(timed), model="net"), significance)[1] == 4
    table = courses(of_models(timed), significance)
    net = table[table["model"] == "net"]
    chosen = (timed.table["layer"] == "conv1").to_numpy()
    np.testing.assert_allclose(net[net["layer"] == "conv1"]["score"], timed.values[chosen, 4])
    axes = time_courses(table).axes[0]
    dots = [line for line in axes.lines if line.get_label() == "_significant"]
    assert [sorted(line.get_xdata()) for line in dots] == [[0.0, 1.5], [0.0]]
    assert len({height for line in dots for height in line.get_ydata()}) == 2
    lowest = net["score"].min()
    assert all(axes.get_ylim()[0] < height < min(lowest, 0) for line in dots for height in line.get_ydata())
    assert "highest at 1.5 s" in axes.get_title()
    assert not [
        line for line in time_courses(courses(of_models(timed))).axes[0].lines if line.get_label() == "_significant"
    ]


def test_films_outline_each_time_and_choose_a_significant_one(timed):
    models = select(of_models(timed), model="net", layer="conv1")
    significance = significance_of(with_results(timed, found_at(timed, ("conv1", 1.5, 4))))
    figure = film_strip(models, significance=significance)
    assert len(outlines(figure)) == 3  # one time of four, three views
    images = [image for axes in figure.axes for image in axes.images if image.get_cmap().name == "RdBu_r"]
    assert [float(np.max(image.get_alpha())) for image in images[::3]] == [FADED, 1.0, FADED, FADED]
    assert film_times([0, 1, 2, 3, 4, 5, 6], peak_s=1, n_shown=3) == [0.0, 1.0, 6.0]
    three = film_strip(models, [0.0, 6.0], significance=significance)
    assert not outlines(three)


# ------------------------------------------------------------------------------------------ whole studies


@pytest.mark.slow
def test_captions_say_what_is_faded_and_what_is_nowhere_significant(tmp_path, timed):
    found = found_at(timed, ("conv1", 1.5, 4))
    significance = significance_of(with_results(timed, found), {"inference": {"family": ["voxels", "times"]}})
    derived = derive_all(timed, ["best_layer", "layer_gradient", "peak_time", "time_of_best_layer"])
    paths = subject_figures(timed, derived, space="", folder=tmp_path, title="one", significance=significance)
    captions = {path.stem: caption_of(path) for path in paths}
    for name in ("glass", "slices"):
        assert (
            f"Faded: corrected p > .05 (TFCE, family-wise over voxels and times); outlined: p {AT_MOST} .05."
            in captions[name]
        )
        assert f"No score of net fc or animacy is significant at corrected p {AT_MOST} .05." in captions[name]
        assert "thresholded" not in captions[name]
        assert "its highest significant score" in captions[name]
    assert "Dots below mark the times at which a score is significant" in captions["courses"]
    assert "at 1.5 s (the time of the model's highest significant score)" in captions["best_layer-1"]
    assert "Outlined is where a layer of net is significant" in captions["best_layer-1"]
    assert "each layer corrected by itself" in captions["best_layer-1"]
    assert "Outlined is where a layer at a time of net is significant" in captions["time_of_best_layer-1"]
    assert "Outlined is where a time of animacy is significant" in captions["peak_time-2"]
    assert "corrected by itself" not in captions["peak_time-2"]
    assert "nothing is thresholded" in captions["ceiling"]


@pytest.mark.slow
def test_stages_draw_tests_that_lie_below_scores(tmp_path, rng):
    volume = mni()
    subjects = [over_time(volume, rng, name) for name in ("1", "2")]
    for scores in subjects:
        scores.table["model"] = scores.table["model"].replace("animacy", MEEG)
    table = subjects[0].table.drop(columns="subject").assign(statistic="mean")
    mean = ScoreMap((subjects[0].values + subjects[1].values) / 2, table, volume, n_members=np.full(volume.n_voxels, 2))
    together = with_results(mean, above(mean, 0.3))
    settings = {"comparison": "spearman", "distance": "correlation"}
    inference = {"alpha": 0.05, "family": ["voxels", "times"]}
    for scores in subjects:
        io.save(tmp_path / f"{scores.table['subject'].iloc[0]}.h5", scores, {"settings": settings})
    io.save(tmp_path / "group.h5", together, {"settings": {**settings, "inference": inference}})
    both = [tmp_path / "1.h5", tmp_path / "2.h5"]
    draw_group(both, "MNI152", tmp_path / "group", tmp_path / "group.h5", ["peak_time"])
    said = f"corrected p > .05 (TFCE, family-wise over voxels and times); outlined: p {AT_MOST} .05"
    for name in ("glass", "slices", "subjects"):
        assert said in caption_of(tmp_path / "group" / f"{name}.png")
    assert "the mean alone was tested" in caption_of(tmp_path / "group" / "subjects.png")
    alone = of_models(subjects[0])
    io.save(
        tmp_path / "tests.h5",
        results_of(alone, np.where(alone.values > 0.3, 0.01, 0.5)),
        {"settings": {"inference": inference}},
    )
    draw_subject(both[0], "1", "MNI152", tmp_path / "one", ["best_layer"], tmp_path / "tests.h5")
    assert said in caption_of(tmp_path / "one" / "glass.png")
    draw_subject(both[0], "1", "MNI152", tmp_path / "bare", [])
    assert "nothing is thresholded" in caption_of(tmp_path / "bare" / "glass.png")
    movie = select(of_models(mean), model=MEEG)
    io.save(
        tmp_path / "movie.h5", RDMs(rng.random((len(movie), 6)), list("abcd"), movie.table[["model", "time_s"]]), {}
    )
    draw_fusion(tmp_path / "group.h5", tmp_path / "movie.h5", "MNI152", tmp_path / "fusion")
    assert said in caption_of(tmp_path / "fusion" / "film.png")
    assert said in json.loads((tmp_path / "fusion" / "film.json").read_text(encoding="utf-8"))["caption"]


def test_rows_of_tests_make_no_derived_map(timed):
    everything = with_results(timed, found_at(timed))
    alike = replace(everything, table=everything.table.assign(statistic="spearman"))
    assert len(derive_all(alike)) == len(derive_all(timed))
    assert not (of_models(alike).table["role"].isin([TEST, QUALITY])).any()


# ----------------------------------------------------------------------------------------------- tables


def test_p_are_written_with_as_many_digits_as_they_need():
    table = pd.DataFrame(
        {"p": [0.34, 0.0502, 0.00123, 0.00001, np.nan], "score": [0.34, 0.0345, 0.00123, 0.00001, np.nan]}
    )
    cells = [text for tag, text in parsed(table_html(table)).texts if tag == "td"]
    assert cells[::2] == ["0.34", "0.0502", "0.0012", "< 0.0001", "\N{EN DASH}"]
    assert cells[1] == "0.340"


def test_p_for_other_pictures_too_is_written_as_other_p_are():
    found = parsed(table_html(pd.DataFrame({"p_both_corrected": [0.00001]}))).texts
    assert [text for tag, text in found if tag in ("th", "td")] == ["corrected p for other pictures too", "< 0.0001"]


def test_maps_without_a_cluster_are_named(timed):
    rows = with_results(timed, found_at(timed)).table
    clusters = pd.DataFrame({"model": ["net"], "layer": ["fc"], "cluster": [1]})
    assert without_clusters(rows, clusters) == ["net conv1", "animacy"]
    assert without_clusters(rows, clusters[:0]) == ["net", "animacy"]
    assert without_clusters(timed.table, clusters) == []


def region_tests() -> pd.DataFrame:
    """Of the regions and times of `fits_over_time`, V1 is significant for conv1 at 2 and 4 s."""
    table = region_means(fits_over_time())[["region", "model", "layer", "time_s", "mean"]]
    found = (table["region"] == "V1") & (table["layer"] == "conv1") & (table["time_s"] > 0)
    p = np.where(found, 0.05, 0.2)
    table = table.assign(lower=table["mean"] - 0.1, upper=table["mean"] + 0.1, p=p / 2, p_corrected=p, q=p)
    contrast = table[:1].assign(model="late less early", layer="", p_corrected=0.3)
    return pd.concat([table, contrast], ignore_index=True)


def test_tests_of_regions_stand_beside_their_means_and_contrasts_below():
    shown = with_region_tests(shown_fits(fits_over_time()), region_tests())
    assert len(shown) == 5
    v1 = shown[(shown["region"] == "V1") & (shown["layer"] == "conv1")].iloc[0]
    assert (v1["time_s"], v1["p"], v1["p_corrected"]) == (2.0, 0.025, 0.05)
    assert v1["lower"] == pytest.approx(v1["mean"] - 0.1)
    assert shown.iloc[-1]["model"] == "late less early"
    assert (shown.iloc[-1]["p_corrected"], shown["standard_error"].isna().tolist()) == (0.3, [False] * 4 + [True])


def test_bounds_are_written_as_one():
    shown = pd.DataFrame({"mean": [0.2], "lower": [0.1], "upper": [0.3], "p": [0.01], "both_lower": [np.nan]})
    found = with_spans(shown.assign(both_upper=np.nan))
    assert list(found) == ["mean", "interval", "p", "interval for other pictures too"]
    assert found["interval"].item().replace("\N{NO-BREAK SPACE}", " ") == "0.100 to 0.300"
    assert found["interval for other pictures too"].item() == ""
    assert about_intervals(found) == about_intervals(found[["mean"]]) == ""
    both = with_spans(shown.assign(both_lower=0.0, both_upper=0.4, few_conditions=3.2))
    assert about_intervals(both).startswith("In the table, the first")
    assert list(both) == list(found)
    noted = both["interval for other pictures too"].item().replace("\N{NO-BREAK SPACE}", " ")
    assert noted == "0.000 to 0.400 (may be too narrow: 3 conditions carry it)"


@pytest.mark.slow
@pytest.mark.parametrize(("alpha", "times"), [(0.05, [2.0, 4.0]), (0.01, [])])
def test_significant_times_of_regions_have_dots(tmp_path, monkeypatch, alpha, times):
    drawn = []
    monkeypatch.setattr(
        "rsa.report.study.time_courses", lambda table, *said: drawn.append(table) or time_courses(table, *said)
    )
    io.save_table(tmp_path / "regions.tsv", fits_over_time(), dict.fromkeys(fits_over_time(), "a column"))
    io.save_table(tmp_path / "regions_group.tsv", region_tests(), dict.fromkeys(region_tests(), "a column"))
    draw_regions(tmp_path / "regions.tsv", tmp_path / "figures", tmp_path / "regions_group.tsv", alpha)
    (course,) = drawn
    found = course[course["significant"]]
    assert found["time_s"].tolist() == times
    assert set(found["model"]) <= {"V1, net"}
    said = f"the corrected p is {f'{alpha:g}'[1:]} or less"
    assert said in caption_of(tmp_path / "figures" / "regions_courses.png")


def test_a_table_of_regions_without_p_has_no_dots(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr("rsa.pipeline.stages.reports.region_figures", lambda *tables, **_: drawn.append(tables))
    untested = region_tests().drop(columns="p_corrected")
    io.save_table(tmp_path / "regions.tsv", fits_over_time(), dict.fromkeys(fits_over_time(), "a column"))
    io.save_table(tmp_path / "regions_group.tsv", untested, dict.fromkeys(untested, "a column"))
    draw_regions(tmp_path / "regions.tsv", tmp_path / "figures", tmp_path / "regions_group.tsv")
    assert drawn[0][2] is None


INFERENCE = {"over": "conditions", "enhance": "cluster_mass"}


@pytest.mark.parametrize("inference", [INFERENCE, None])
def test_the_page_has_clusters_and_p_of_peaks_and_regions(tmp_path, rng, inference):
    volume = flipped()
    scores = maps(volume, rng, layers=["conv1", "fc"])
    table = scores.table.drop(columns="subject").assign(statistic="mean")
    mean = ScoreMap(scores.values, table, volume, n_members=np.full(volume.n_voxels, 2))
    group = with_results(mean, above(mean, 0.38) & (np.arange(2) == 0)[:, None])
    for name in ("1", "2"):
        io.save(tmp_path / f"{name}.h5", replace(scores, table=scores.table.assign(subject=name)), {})
        own = peaks(replace(scores, table=scores.table.assign(subject=name)), n_peaks=1)
        io.save_table(tmp_path / f"sub-{name}" / f"sub-{name}_space-own_peaks.tsv", own, PEAK_COLUMNS)
    io.save(tmp_path / "scores" / "group_scores.h5", group, {})
    io.save(tmp_path / "references.h5", rdms(rng, n_rdms=2), {})
    of_group = peaks(group)
    about = {name: PEAK_COLUMNS[name] for name in of_group}
    io.save_table(peaks_path(tmp_path, "", "own"), of_group, about)
    clusters = pd.DataFrame(
        {"model": ["net"], "layer": ["conv1"], "cluster": [1], "p_corrected": [0.01], "region": ["V9"]}
    )
    io.save_table(clusters_path(tmp_path, "own"), clusters, dict.fromkeys(clusters, "a column"))
    fitted = fits_over_time()
    io.save_table(tmp_path / "regions.tsv", fitted, dict.fromkeys(fitted, "a column"))
    io.save_table(tmp_path / "regions_group.tsv", region_tests(), dict.fromkeys(region_tests(), "a column"))
    given = study(brain=fmri(2, space="own"), searchlight={}, **({} if inference is None else {"inference": inference}))
    files = {"scores": [tmp_path / "1.h5", tmp_path / "2.h5"], "fits": tmp_path / "regions.tsv"}
    pages = StudyPages(given, tmp_path, [tmp_path / "references.h5"], **files).html()
    found = [text for html in pages.values() for text in parsed(html).texts]
    said = " ".join(text for _, text in found)
    shown = inference is not None
    assert (("h2", "Clusters") in found) == shown
    assert ("There is no cluster of net fc." in said) == shown
    assert ("A p is that of a cluster as a whole" in said) == shown
    assert (("td", "V9") in found) == shown
    assert (("td", "late less early") in found) == shown
    assert (("th", "corrected p") in found) == shown
