"""Pictures over time are tested by what is on them: places, intervals, scales, the order and number of frames."""

import json
import re
import subprocess

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PolyCollection
from matplotlib.colors import same_color, to_rgb
from matplotlib.figure import Figure
from PIL import Image
from scipy.stats import rankdata
from test_report import flipped, mni, signed_images, texts

from rsa.core import RDMs, ScoreMap, concatenate
from rsa.errors import UserError
from rsa.meeg.latencies import group_courses, hierarchy, latencies
from rsa.meeg.scores import layer_time
from rsa.rdm import noise_ceiling
from rsa.report import film
from rsa.report.courses import (
    course_figures,
    generalisation_figure,
    latency_caption,
    latency_figure,
    layer_time_caption,
    layer_time_figure,
    save_generalisation,
)
from rsa.report.film import (
    film_figures,
    film_frames,
    film_strip,
    film_times,
    rdm_film_figures,
    rdm_film_frames,
    rdm_movie_strip,
)
from rsa.report.planes import project, upright
from rsa.report.player import film_html
from rsa.report.style import caption_of

MINUS = "\N{MINUS SIGN}"
TIMES = np.array([-0.1, 0.0, 0.1, 0.2, 0.3])


def course(layer="conv1", model="net", peak=2, **columns) -> pd.DataFrame:
    """A course with its highest score at one of `TIMES`."""
    mean = 0.3 - 0.1 * np.abs(np.arange(5) - peak)
    return pd.DataFrame({"model": model, "layer": layer, "time_s": TIMES, "mean": mean, **columns})


def banded(**columns) -> pd.DataFrame:
    table = course(**columns)
    band = {"lower": table["mean"] - 0.02, "upper": table["mean"] + 0.03, "p": [0.5, 0.2, 0.05, 0.01, 0.051]}
    return table.assign(statistic="spearman", n_subjects=9, **band)


def latency(layer="conv1", model="net", onset=0.1, peak=0.2, spread=0.03) -> pd.DataFrame:
    ends = {"onset_lower_s": onset - spread, "onset_upper_s": onset + spread}
    ends |= {"peak_lower_s": peak - spread, "peak_upper_s": peak + spread}
    return pd.DataFrame({"model": [model], "layer": layer, "onset_s": onset, "peak_s": peak, **ends})


def drawn_lines(axes) -> list[np.ndarray]:
    """The lines that have a value, without those at 0."""
    lines = [line.get_xydata() for line in axes.lines if line.get_transform() == axes.transData]
    return [line for line in lines if np.isfinite(line).all()]


def polygons(axes) -> list[PolyCollection]:
    return [part for part in axes.collections if isinstance(part, PolyCollection)]


def extent(part: PolyCollection, path: int = 0) -> list[float]:
    """From where to where a polygon reaches: across, then up."""
    vertices = part.get_paths()[path].vertices
    return [*vertices.min(axis=0), *vertices.max(axis=0)]


# --------------------------------------------------------------------------------------- layer x time


def test_lines_are_the_means_in_ms_in_the_order_of_layers():
    table = pd.concat([course("late", peak=3), course("early", peak=1), course("", "category")])
    figure = layer_time_figure(
        table.sample(frac=1, random_state=1).sort_values("model", ascending=False, kind="stable")
    )
    assert [axes.get_title() for axes in figure.axes] == ["net", "category"]
    figure = layer_time_figure(table)
    net, category = figure.axes
    labelled = {line.get_label(): line for line in net.lines if not line.get_label().startswith("_")}
    assert list(labelled) == ["late", "early"]
    expected = np.column_stack([1000 * TIMES, course(peak=3)["mean"]])
    np.testing.assert_allclose(labelled["late"].get_xydata(), expected)
    assert not same_color(labelled["late"].get_color(), labelled["early"].get_color())
    assert net.get_ylim() == category.get_ylim()
    assert (net.get_xlabel(), net.get_ylabel(), category.get_ylabel()) == ("time (ms)", "score", "")
    np.testing.assert_allclose(net.get_xlim(), [-150, 350])


def test_rows_in_another_order_are_the_same_picture():
    table = banded()
    a, b = (layer_time_figure(rows).axes for rows in (table, table.iloc[::-1]))
    for one, other in zip(a, b, strict=True):
        for left, right in zip(drawn_lines(one), drawn_lines(other), strict=True):
            np.testing.assert_array_equal(left, right)
        assert [extent(part) for part in polygons(one)] == [extent(part) for part in polygons(other)]


def test_bands_reach_from_lower_to_upper():
    (band,) = polygons(layer_time_figure(banded().drop(columns="p")).axes[0])
    table = banded()
    np.testing.assert_allclose(extent(band), [-100, table["lower"].min(), 300, table["upper"].max()])


def test_bars_below_are_the_times_of_a_low_p_with_half_a_step_on_both_sides():
    table = pd.concat([banded(), banded(layer="fc").assign(p=[0.04, 0.5, 0.5, 0.5, 0.04])])
    _, below = layer_time_figure(table).axes
    first, second = polygons(below)
    assert len(first.get_paths()) == 1  # 0.05 counts, 0.051 does not
    np.testing.assert_allclose(extent(first), [50, -0.3, 250, 0.3])
    np.testing.assert_allclose([extent(second, i)[0] for i in (0, 1)], [-150, 250])
    np.testing.assert_allclose([extent(second, i)[2] for i in (0, 1)], [-50, 350])
    assert below.get_ylim()[0] > below.get_ylim()[1]  # the first layer on top
    (single,) = polygons(layer_time_figure(banded(), alpha=0.01).axes[1])
    np.testing.assert_allclose(extent(single), [150, -0.3, 250, 0.3])


def test_latencies_are_marked_with_their_intervals():
    table = pd.concat([banded(), banded(layer="fc", peak=3)])
    marks = pd.concat([latency(), latency("fc", onset=0.15, peak=0.3, spread=0.04)])
    upper, below = layer_time_figure(table, marks).axes
    lines = [line for line in drawn_lines(below) if len(line)]
    intervals = [line.tolist() for line in lines if len(line) == 2 and line[0, 1] == line[1, 1]]
    expected = [(70, 130, 0), (170, 230, 0), (110, 190, 1), (260, 340, 1)]
    np.testing.assert_allclose(intervals, [[[low, y], [high, y]] for low, high, y in expected])
    points = [line[0].tolist() for line in lines if len(line) == 1]
    np.testing.assert_allclose(points, [[100, 0], [200, 0], [150, 1], [300, 1]])
    dots = [line for line in upper.lines if line.get_marker() == "o"]
    np.testing.assert_allclose([line.get_xydata()[0] for line in dots], [[200, 0.2], [300, 0.2]])


def test_an_interval_without_upper_end_is_dotted_to_the_end():
    marks = latency().assign(onset_upper_s=np.nan)
    _, below = layer_time_figure(banded(), marks).axes
    stimulus, dotted = [line for line in below.lines if line.get_linestyle() == ":"]
    assert list(stimulus.get_xdata()) == [0, 0]
    np.testing.assert_allclose(dotted.get_xydata(), [[70, 0], [350, 0]])
    assert "A dotted interval has no upper end" in layer_time_caption(banded(), marks)
    assert "dotted interval" not in layer_time_caption(banded(), latency())


def test_layers_without_onset_or_peak_are_drawn_without_them():
    marks = latency().assign(**{name: np.nan for name in latency() if name.endswith("_s")})
    _, below = layer_time_figure(banded(), marks).axes
    assert not [line for line in drawn_lines(below) if len(line) == 1]


def bounds_drawn(axes) -> dict[str, np.ndarray]:
    """The points of both bounds of a noise ceiling, by the labels of their lines."""
    lines = {str(line.get_label()): line.get_xydata() for line in axes.lines}
    return {name: points[np.isfinite(points).all(axis=1)] for name, points in lines.items() if "ceiling" in name}


@pytest.mark.parametrize(("top", "expected"), [(0.35, 0.35), (0.9, 1.6 * 0.33)])
def test_bounds_of_the_noise_ceiling_are_lines_that_do_not_squeeze_the_scores(top, expected):
    table = banded().assign(ceiling_lower=0.1, ceiling_upper=top)
    axes = layer_time_figure(table).axes[0]
    drawn = bounds_drawn(axes)
    np.testing.assert_allclose(drawn["ceiling, lower bound"], [[time, 0.1] for time in (0, 100, 200, 300)])
    np.testing.assert_allclose(drawn["ceiling, upper bound"], [[time, top] for time in (0, 100, 200, 300)])
    low, high = axes.get_ylim()
    assert (low, high) == pytest.approx((min(table["lower"].min(), 0), expected), abs=0.06 * 0.6)
    assert {*drawn} <= {text.get_text() for text in axes.get_legend().get_texts()}


def test_no_ceiling_is_drawn_before_onset_nor_where_its_lower_bound_is_not_above_0():
    table = course(ceiling_lower=[0.2, 0.0, 0.3, -0.1, np.nan], ceiling_upper=0.5)
    drawn = bounds_drawn(layer_time_figure(table).axes[0])
    np.testing.assert_allclose(drawn["ceiling, lower bound"], [[100, 0.3]])
    np.testing.assert_allclose(drawn["ceiling, upper bound"], [[100, 0.5]])
    nothing = table.assign(ceiling_lower=[0.2, 0.0, -0.1, -0.1, np.nan])
    assert not bounds_drawn(layer_time_figure(nothing).axes[0])
    assert "ceiling" not in layer_time_caption(nothing)


@pytest.mark.parametrize(
    ("statistic", "n_subjects", "said"),
    [("spearman", 4, "about 0.50 (1/√4)"), ("pearson", 16, "about 0.25 (1/√16)"), ("kendall_tau_a", 4, "more than 0")],
)
def test_captions_say_how_high_noise_lifts_the_upper_ceiling(statistic, n_subjects, said):
    table = course(ceiling_lower=0.1, ceiling_upper=0.5, n_subjects=n_subjects, statistic=statistic)
    assert f"so noise alone reaches {said}" in layer_time_caption(table)


def test_the_upper_ceiling_of_noise_is_about_1_over_the_root_of_n(rng):
    noise = RDMs(
        rng.normal(size=(4, 48 * 47 // 2)), [f"c{i}" for i in range(48)], pd.DataFrame({"subject": list("abcd")})
    )
    assert noise_ceiling(noise, "spearman")[1] == pytest.approx(1 / np.sqrt(4), abs=0.03)


def test_one_subject_has_no_band_no_p_and_no_words_for_them():
    nothing = dict.fromkeys(("lower", "upper", "p", "ceiling_lower", "ceiling_upper"), np.nan)
    table = course(n_subjects=1, **nothing)
    (axes,) = layer_time_figure(table).axes
    assert not polygons(axes)
    assert layer_time_caption(table) == (
        "Scores over time, a line per layer from the first (dark) to the last (bright). "
        "The dotted line is the onset of the stimulus."
    )


def test_caption_says_what_is_shown():
    table = banded().assign(ceiling_lower=0.1, ceiling_upper=0.2)
    caption = layer_time_caption(table, latency(), alpha=0.01)
    for said in (
        "mean over 9 subjects",
        "bands are confidence intervals over subjects",
        "lower bound of the noise ceiling",
        "about 0.33 (1/√9)",
        "a corrected p of 0.01 or less",
        "Triangles are onsets, dots peaks, with confidence intervals over subjects.",
    ):
        assert said in caption
    assert "onset of the stimulus" not in layer_time_caption(banded()[1:])


def test_courses_of_nothing_are_drawn():
    figure = layer_time_figure(banded().assign(mean=np.nan, lower=np.nan, upper=np.nan, p=np.nan))
    assert "no score is defined" in texts(figure)


def test_tables_without_what_is_drawn_are_refused():
    with pytest.raises(UserError, match=r"The table of courses has no 'mean'; its columns are 'model', 'layer', 'tim"):
        layer_time_figure(course().drop(columns="mean"))
    with pytest.raises(UserError, match=r"The table of courses is empty; its columns are 'model'"):
        layer_time_figure(course()[:0])
    with pytest.raises(UserError, match=r"The table of latencies has no 'onset_s'; its columns are 'model'"):
        layer_time_figure(course(), latency().drop(columns="onset_s"))


# ------------------------------------------------------------------------------------------ latencies


def rising(peaks=(0.1, 0.15, 0.12, 0.3), model="net") -> pd.DataFrame:
    return pd.concat([latency(f"layer{i}", model, onset=peak / 2, peak=peak) for i, peak in enumerate(peaks)])


def test_latencies_stand_at_the_numbers_of_their_layers():
    (axes,) = latency_figure(pd.concat([rising(), latency("", "category")])).axes
    points = [line[0].tolist() for line in drawn_lines(axes) if len(line) == 1]
    np.testing.assert_allclose(points, [[0, 100], [1, 150], [2, 120], [3, 300]])
    intervals = [line[:, 1].tolist() for line in drawn_lines(axes) if len(line) == 2]
    np.testing.assert_allclose(intervals, [[70, 130], [120, 180], [90, 150], [270, 330]])
    assert [text.get_text() for text in axes.get_xticklabels()] == [f"layer{i}" for i in range(4)]
    assert axes.get_ylabel() == "peak latency (ms)"
    assert axes.get_title() == "net"
    onsets = latency_figure(rising(), what="onset").axes[0]
    np.testing.assert_allclose([line[0, 1] for line in drawn_lines(onsets) if len(line) == 1], [50, 75, 60, 150])


@pytest.mark.parametrize(
    ("lower", "upper", "expected"),
    [
        (0.2, 1.0, "rank correlation 0.80 (0.20 to 1.00)"),
        (-0.2, np.nan, f"rank correlation 0.80 (from {MINUS}0.20)"),
        (np.nan, np.nan, "rank correlation 0.80"),
    ],
)
def test_rank_correlation_is_in_the_title(lower, upper, expected):
    rho = pd.DataFrame({"model": ["other", "net"], "rho": [0.1, 0.8], "lower": lower, "upper": upper})
    (axes,) = latency_figure(rising(), rho).axes
    assert axes.get_title() == f"net\n{expected}"
    assert "In the title: the rank correlation" in latency_caption(rising(), rho)
    assert "In the title" not in latency_caption(rising())


def test_a_name_with_a_hyphen_keeps_it():
    rho = pd.DataFrame({"model": ["vit-b"], "rho": [-0.5]})
    assert latency_figure(rising(model="vit-b"), rho).axes[0].get_title() == f"vit-b\nrank correlation {MINUS}0.50"


def test_an_interval_need_not_hold_the_latency_and_a_layer_need_not_have_one():
    table = rising()
    table["peak_lower_s"] = table["peak_s"] + 0.01  # a percentile interval may lie beside its estimate
    table.iloc[1, table.columns.get_loc("peak_s")] = np.nan
    (axes,) = latency_figure(table).axes
    assert [line[0, 0] for line in drawn_lines(axes) if len(line) == 1] == [0, 2, 3]
    (axes,) = latency_figure(rising().assign(peak_s=np.nan, peak_lower_s=np.nan, peak_upper_s=np.nan)).axes
    assert "no layer has a peak" in [text.get_text() for text in axes.texts]


def test_latencies_need_layers_and_a_known_word():
    with pytest.raises(UserError, match=r"Latencies along the layers are drawn for a model of two layers or more; the"):
        latency_figure(latency("", "category"))
    with pytest.raises(UserError, match=r"Unknown latency 'peek'\. Did you mean 'peak'\? Choose one of: onset, peak"):
        latency_figure(rising(), what="peek")


# ---------------------------------------------------------------------------------------- times x times


def test_rows_of_a_generalisation_go_up_and_columns_to_the_right(tmp_path):
    matrix = np.arange(25).reshape(5, 5) / 100 + np.diag(np.ones(5))
    figure = generalisation_figure(matrix, TIMES, score="spearman", between=True)
    axes = figure.axes[0]
    (mesh,) = axes.collections
    np.testing.assert_allclose(np.reshape(mesh.get_array(), (5, 5)), matrix)
    corners = mesh.get_coordinates()
    np.testing.assert_allclose(corners[0, :, 0], [-150, -50, 50, 150, 250, 350])
    np.testing.assert_allclose(corners[:, 0, 1], [-150, -50, 50, 150, 250, 350])
    assert axes.get_ylim()[0] < axes.get_ylim()[1]
    assert mesh.get_clim() == pytest.approx((-0.23, 0.23))  # the highest off the diagonal
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("time, mean of the others (ms)", "time, subject (ms)")
    assert f"spearman ({MINUS}0.23 to 0.23)" in texts(figure)
    path = save_generalisation(matrix, TIMES, tmp_path / "a.png", comparison="pearson")
    assert "within subjects" in caption_of(path)
    assert "(pearson)" in caption_of(path)


def test_uneven_times_have_borders_half_way():
    mesh = generalisation_figure(np.eye(3), [0.0, 0.1, 0.4]).axes[0].collections[0]
    np.testing.assert_allclose(mesh.get_coordinates()[0, :, 0], [-50, 50, 250, 550])


@pytest.mark.parametrize(("times", "shape"), [([0.1, 0.0], (2, 2)), ([0.1], (1, 1)), ([0.0, 0.1], (2, 3))])
def test_a_generalisation_needs_ascending_times_and_a_square(times, shape):
    said = f"ascending times and a matrix of as many rows and columns, not {len(times)} times and the shape {shape}."
    with pytest.raises(UserError, match=re.escape(said)):
        generalisation_figure(np.zeros(shape), times)


# ----------------------------------------------------------------------------------------------- films


def over_time(volume, rng, times=TIMES, layers=("conv1",), model="meeg") -> ScoreMap:
    rows = [(model, layer, time) for time in times for layer in layers]
    table = pd.DataFrame(rows, columns=["model", "layer", "time_s"]).assign(statistic="mean")
    return ScoreMap(rng.uniform(-0.2, 0.3, (len(table), volume.n_voxels)), table, volume)


def titles(figure: Figure) -> list[str]:
    """What is written above the pictures."""
    return [text.get_text() for text in figure.texts if text.get_text()]


def test_times_of_a_strip_are_spread_from_the_onset_to_the_end_and_hold_the_peak():
    times = np.arange(-20, 101) / 100
    chosen = film_times(times)
    assert (len(chosen), chosen[0], chosen[-1]) == (8, 0.0, 1.0)
    assert np.abs(np.diff(chosen) - 1 / 7).max() <= 0.01 + 1e-9
    with_peak = film_times(times, peak_s=0.11)
    assert [time for time in with_peak if time not in chosen] == [0.11]
    assert [time for time in chosen if time not in with_peak] == [chosen[1]]
    assert film_times(times, peak_s=-0.1) == chosen
    assert film_times([-0.2, -0.1]) == [-0.2, -0.1]
    assert film_times([0.3, 0.0, 0.1]) == [0.0, 0.1, 0.3]


def test_strip_shows_the_scores_of_its_times_on_one_scale(rng):
    volume = flipped()
    scores = over_time(volume, rng)
    scores.values[0, 3] = -0.9  # before the onset, not drawn, and on the scale
    scores.values[3, 5] = 0.8
    shuffled = ScoreMap(scores.values[::-1], scores.table[::-1], volume)
    figure = film_strip(shuffled, [0.01, 0.2])
    assert titles(figure) == ["0 ms", "200 ms"]
    images, grid = signed_images(figure), upright(volume)
    assert {image.get_clim() for image in images} == {(-0.9, 0.9)}
    for image, (row, view) in zip(images, [(row, view) for row in (1, 3) for view in "xyz"], strict=True):
        np.testing.assert_array_equal(np.ma.filled(image.get_array(), np.nan), project(grid, scores.values[row], view))
    assert titles(film_strip(scores)) == ["0 ms", "100 ms", "200 ms", "300 ms"]


def test_peak_of_a_strip_is_after_the_onset(rng):
    times = np.arange(-10, 101) / 100
    scores = over_time(flipped(), rng, times)
    scores.values[2, 1] = 0.9
    scores.values[10 + 33, 1] = 0.8
    assert "330 ms" in titles(film_strip(scores))
    empty = ScoreMap(np.full_like(scores.values, np.nan), scores.table, scores.volume)
    assert "no score is defined" in texts(film_strip(empty))


def test_references_are_rows_of_a_strip(rng):
    volume = flipped()
    scores = over_time(volume, rng, layers=("conv1", "fc"))
    figure = film_strip(scores, [0.0, 0.1, 0.3])
    assert titles(figure) == ["0 ms", "100 ms", "300 ms", "conv1", "fc"]
    seen = [np.ma.filled(image.get_array(), np.nan) for image in signed_images(figure)]
    grid = upright(volume)
    n_views = len(seen) // 6
    np.testing.assert_array_equal(seen[-n_views], project(grid, scores.values[9], "x"))  # fc at 300 ms
    np.testing.assert_array_equal(seen[n_views], project(grid, scores.values[4], "x"))  # conv1 at 100 ms


def test_films_that_cannot_be_made_say_why(rng):
    scores = over_time(flipped(), rng)
    with pytest.raises(UserError, match=r"A film from -0\.1 to 0\.3 s has no time 0\.5 s; choose another\."):
        film_strip(scores, [0.1, 0.5])
    one = ScoreMap(scores.values[:1], scores.table[:1], scores.volume)
    with pytest.raises(UserError, match=r"A film needs scores at two times or more; these are at 1\."):
        film_strip(one)
    twice = ScoreMap(np.tile(scores.values, (2, 1)), pd.concat([scores.table] * 2), scores.volume)
    with pytest.raises(UserError, match=r"A film of 'conv1' needs each of 5 times once; choose one subject, one score"):
        film_strip(twice)


def frames_of(path) -> tuple[list[np.ndarray], dict]:
    """The frames of a film in red, green and blue, and its table."""
    table = json.loads(path.read_text(encoding="utf-8"))
    with Image.open(path.with_name(table["frames"])) as image:
        page = np.asarray(image.convert("RGB")).astype(int)
    (width, height), n_across = table["frame_px"], table["n_across"]
    places = [(i // n_across * height, i % n_across * width) for i in range(len(table["times_s"]))]
    return [page[top : top + height, left : left + width] for top, left in places], table


def n_near(frame: np.ndarray, colour: tuple[float, ...]) -> int:
    """How many pixels above the colour bar are of this colour, but for a little."""
    return int((np.abs(frame[: int(0.6 * len(frame))] - 255 * np.array(colour)).max(axis=-1) < 8).sum())


def test_frames_of_a_film_are_the_times_in_order(tmp_path, rng):
    scores = over_time(flipped(), rng)
    scores.values[:] = 0
    scores.values[3, :] = 0.5
    path = film_frames(scores, tmp_path / "a" / "film.json", caption="Scores \N{MINUS SIGN}1 to 1.")
    frames, table = frames_of(path)
    darkest = to_rgb("#67001f")
    assert [n_near(frame, darkest) > 100 for frame in frames] == [False, False, False, True, False]
    assert all((frame[0, 0] == 255).all() for frame in frames)
    assert table["caption"] == "Scores \N{MINUS SIGN}1 to 1."
    assert table["times_s"] == pytest.approx(TIMES)
    assert table["labels"] == ["\N{MINUS SIGN}100 ms", "0 ms", "100 ms", "200 ms", "300 ms"]
    assert table["start"] == 3, "the time of the highest score"
    assert {file.name for file in path.parent.iterdir()} == {"film.json", "film.webp", "film.mp4"}


def test_a_film_is_a_video_as_well_of_31_frames_at_most(tmp_path):
    imageio_ffmpeg = pytest.importorskip("imageio_ffmpeg")
    drawn = []

    def frame(time):
        drawn.append(time)
        return Figure((0.51, 0.31), facecolor="#67001f" if time > 1 else "white")

    path = film._save_frames(frame, np.arange(150) / 100, tmp_path / "film.json", "", "ms")
    assert (len(drawn), drawn[0], drawn[-1]) == (film.N_FRAMES, 0.0, 1.49)
    command = [
        imageio_ffmpeg.get_ffmpeg_exe(),
        "-i",
        path.with_suffix(".mp4"),
        *["-f", "rawvideo", "-pix_fmt", "gray", "-"],
    ]
    read = subprocess.run(command, capture_output=True, check=True)
    pictures = np.frombuffer(read.stdout, np.uint8).reshape(film.N_FRAMES, 38, 62)  # 37 x 61 pixels, made even
    assert (pictures.mean(axis=(1, 2)) > 150).tolist() == [time <= 1 for time in drawn]
    assert b", 4 fps" in read.stderr


def test_a_film_of_several_references_shows_them_beside_each_other(rng, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(film, "_save_frames", lambda frame, times, *_: drawn.extend(map(frame, times)))
    scores = over_time(flipped(), rng, layers=("conv1", "fc"))
    film_frames(scores, tmp_path / "film.json")
    assert titles(drawn[2]) == ["conv1 100 ms", "fc 100 ms"]
    images = signed_images(drawn[2])
    grid = upright(scores.volume)
    np.testing.assert_array_equal(images[0].get_array().filled(np.nan), project(grid, scores.values[4], "x"))
    np.testing.assert_array_equal(images[3].get_array().filled(np.nan), project(grid, scores.values[5], "x"))
    limits = {image.get_clim() for figure in drawn for image in signed_images(figure)}
    assert len(limits) == 1


def test_films_of_brains_are_files_with_captions(tmp_path, rng):
    strip, moving = film_figures(over_time(mni(), rng, TIMES[:3]), tmp_path, space="MNI152", title="group mean")
    assert "Scores over time, group mean." in caption_of(strip)
    assert "that of the highest score among them" in caption_of(strip)
    frames, table = frames_of(moving)
    assert len(frames) == 3
    html = film_html(moving)
    assert f"aspect-ratio: {table['frame_px'][0]} / {table['frame_px'][1]}" in html
    assert "<figcaption>Scores over time, group mean." in html
    moving.with_suffix(".webp").unlink()
    with pytest.raises(UserError, match=r"Cannot read the film .*film\.json: No such file or directory\. Run the fig"):
        film_html(moving)


# ------------------------------------------------------------------------------------------- RDM films


def movie(rng, n=6, times=TIMES) -> RDMs:
    conditions = [f"img{i}" for i in range(n)]
    return RDMs(rng.random((len(times), n * (n - 1) // 2)), conditions, pd.DataFrame({"time_s": times}))


def squares_on(figure: Figure) -> list[np.ndarray]:
    return [axes.images[0].get_array().filled(np.nan) for axes in figure.axes if axes.images]


def test_rdms_of_a_strip_are_ranked_among_all_times(rng):
    rdms = movie(rng)
    rdms.values[3] += 10
    figure = rdm_movie_strip(RDMs(rdms.values[::-1], rdms.conditions, rdms.table[::-1]), [0.0, 0.2])
    ranks = 100 * (rankdata(rdms.values).reshape(5, -1) - 0.5) / rdms.values.size
    rows, columns = np.triu_indices(6, k=1)
    for square, row in zip(squares_on(figure), (1, 3), strict=True):
        np.testing.assert_allclose(square[rows, columns], ranks[row])
        np.testing.assert_array_equal(square, square.T)
    assert {axes.images[0].get_clim() for axes in figure.axes if axes.images} == {(0, 100)}
    assert [axes.get_title() for axes in figure.axes[:2]] == ["0 ms", "200 ms"]


def test_rdms_are_in_the_order_of_categories(rng):
    rdms = movie(rng)
    categories = pd.Series(["face", "tool"] * 3, rdms.conditions)
    figure = rdm_movie_strip(rdms, categories=categories)
    assert [axes.get_title() for axes in figure.axes[:4]] == ["0 ms", "100 ms", "200 ms", "300 ms"]
    ordered = rdms.reordered([f"img{i}" for i in (0, 2, 4, 1, 3, 5)]).squares[1]
    shown = squares_on(figure)[0]
    upper = np.triu_indices(6, k=1)
    np.testing.assert_array_equal(np.argsort(shown[upper]), np.argsort(ordered[upper]))
    assert [tick.get_text() for tick in figure.axes[0].get_yticklabels()] == ["face", "tool"]
    with pytest.raises(UserError, match=r"These conditions have no category: 'img5'"):
        rdm_movie_strip(rdms, categories=categories[:5])


def test_missing_dissimilarities_stay_missing(rng):
    rdms = movie(rng)
    rdms.values[1, 0] = np.nan
    first, *others = squares_on(rdm_movie_strip(rdms))
    assert np.isnan(first[0, 1])
    assert all(np.isnan(square).sum() == 6 for square in others)  # the diagonal


def test_rdm_film_has_a_frame_per_time(tmp_path, rng):
    rdms = movie(rng)
    rdms.values[:] = rng.random(rdms.values.shape)
    rdms.values[2] += 10
    strip, moving = rdm_film_figures(rdms, tmp_path, categories=pd.Series("face", rdms.conditions), title="group mean")
    frames, _ = frames_of(moving)
    yellow = [n_near(frame, to_rgb("#fde725")) for frame in frames]
    assert len(frames) == 5
    assert np.argmax(yellow) == 2
    assert "RDMs over time, group mean." in caption_of(strip)
    assert "sorted by category" in caption_of(strip)
    few, plain = rdm_film_figures(rdms, tmp_path / "b", times_s=[TIMES[0], TIMES[3]])
    with Image.open(few) as narrow, Image.open(strip) as wide:
        assert narrow.size[0] < 0.7 * wide.size[0], "two pictures in place of five"
    assert "category" not in frames_of(plain)[1]["caption"]


def test_films_of_rdms_need_one_rdm_per_time(rng, tmp_path):
    rdms = movie(rng)
    said = r"A film of RDMs needs one RDM at each of two times or more; these are 10 RDMs at 5 times\. Choose one subj"
    with pytest.raises(UserError, match=said):
        rdm_film_frames(concatenate([rdms, rdms]), tmp_path / "a.json")
    with pytest.raises(UserError, match=r"these are 5 RDMs at 0 times"):
        rdm_movie_strip(RDMs(rdms.values, rdms.conditions, pd.DataFrame(index=range(5))))


# ------------------------------------------------------------------------------------- from the statistics


def test_figures_of_the_statistics_of_a_group_and_of_one_subject(tmp_path, rng):
    times = np.arange(-10, 40) / 100
    patterns = rng.random((3, 66))
    waves = np.stack([np.exp(-0.5 * ((times - peak) / 0.04) ** 2) for peak in (0.1, 0.15, 0.25)], axis=1)
    table = pd.DataFrame({"model": "net", "layer": ["conv1", "conv2", "fc"]})
    references = RDMs(patterns, [f"img{i}" for i in range(12)], table)
    parts = [
        RDMs(
            waves @ patterns + 0.3 * rng.standard_normal((50, 66)),
            references.conditions,
            pd.DataFrame({"subject": f"{i:02d}", "time_s": times}),
        )
        for i in range(8)
    ]
    scores = layer_time(concatenate(parts), references, "spearman")
    found = latencies(scores, n_permutations=200, n_bootstrap=50)
    rho = hierarchy(scores, n_bootstrap=50)
    courses = group_courses(scores, n_permutations=200)
    paths = course_figures(courses, found, tmp_path, hierarchy=rho)
    assert [path.name for path in paths] == ["layer_time.png", "latencies.png"]
    assert "mean over 8 subjects" in caption_of(paths[0])
    upper, below = layer_time_figure(courses, found).axes
    points = [line[0].tolist() for line in drawn_lines(below) if len(line) == 1]
    np.testing.assert_allclose(sorted(x for x, _ in points), sorted(1000 * found[["onset_s", "peak_s"]].stack()))
    assert upper.get_ylabel() == "spearman"
    one = scores[scores["subject"] == "00"]
    single = course_figures(group_courses(one), latencies(one), tmp_path / "one", hierarchy=hierarchy(one))
    assert "confidence" not in caption_of(single[0])
    assert "confidence" not in caption_of(single[1])
