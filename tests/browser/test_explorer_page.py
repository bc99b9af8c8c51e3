"""The brain explorer in a browser: its pictures and numbers are those of the files, and every step can be made."""

import base64
from io import BytesIO
from pathlib import Path
from urllib.parse import unquote

import nibabel as nib
import numpy as np
import pytest
from explorers import CONDITIONS, LAYERS, SETTINGS, TIMES_S, anatomy_of, flipped, make_study, oblique, permuted
from in_a_browser import WIDTHS
from PIL import Image
from scipy.ndimage import map_coordinates
from scipy.spatial.distance import squareform
from scipy.stats import rankdata

from rsa.comparisons import COMPARISONS, compare_vectors
from rsa.core import Volume
from rsa.distances import DISTANCES, rdm_vectors
from rsa.files import io
from rsa.neighbourhood import spheres
from rsa.report.explorer import GROUP, SCRIPTS
from rsa.report.links import EXPLORER, explorer_link
from rsa.spheres import RdmSettings, prepare_spheres

VOLUMES = {"flipped": flipped, "oblique": oblique, "permuted": permuted}
WARM = ["#5a120c", "#a8231a", "#e2571e", "#f9963b", "#fccf6a", "#fff6cf"]
COLD = ["#0c2757", "#1a4fa8", "#1e88d8", "#4fb8ee", "#96dff5", "#e4fbff"]
MASK_SHADE, FADED = 46, 0.55


@pytest.fixture(scope="module")
def studies(tmp_path_factory):
    """Make each study once."""
    made = {}

    def of(name: str) -> tuple:
        if name not in made:
            folder = tmp_path_factory.mktemp(name)
            made[name] = folder, make_study(folder, VOLUMES[name]())
        return made[name]

    return of


def ready(opened, folder: Path, fragment: str = "", **options):
    page = opened(folder / EXPLORER, fragment, **options)
    page.wait_for_selector("html[data-ready=all]")
    settled(page)
    return page


def settled(page) -> None:
    """Wait until all that was asked for is loaded, drawn and told."""
    page.wait_for_function("explorer.settled")
    page.evaluate("new Promise((done) => requestAnimationFrame(() => setTimeout(() => setTimeout(done, 0), 0)))")


def nifti(folder: Path, page) -> np.ndarray:
    """Read the file of the map that is shown, by the link on the page."""
    link = page.get_attribute("#download", "href")
    return np.asarray(nib.load((folder / EXPLORER).parent / unquote(link)).dataobj)


# ------------------------------------------------------------------------------------------------- pictures


def interpolated(stops: list[str], shares: np.ndarray) -> np.ndarray:
    rgb = np.array([[int(stop[i : i + 2], 16) for i in (1, 3, 5)] for stop in stops])
    at = np.linspace(0, 1, len(stops))
    return np.stack([np.interp(shares, at, rgb[:, channel]) for channel in range(3)], axis=-1)


def expected_pixels(page, number: int, image: nib.Nifti1Image, least: float, top: float) -> tuple:
    """Return what a slice must show, from the file alone: pixels, and which have a value."""
    frame = page.evaluate(f"explorer.panels[{number}].frame")
    mm = page.evaluate("explorer.state.mm")
    across, up = [(1, 2), (0, 2), (0, 1)][number]
    columns, rows = np.meshgrid(np.arange(frame["width"]), np.arange(frame["height"]))
    points = np.tile(np.array(mm, dtype=float), (*columns.shape, 1))
    points[..., across] = frame["across"] + (columns + 0.5 - frame["width"] / 2) * frame["mmPerPixel"]
    points[..., up] = frame["up"] - (rows + 0.5 - frame["height"] / 2) * frame["mmPerPixel"]
    at = nib.affines.apply_affine(np.linalg.inv(image.affine), points)
    clear = (np.abs(at + 0.5 - np.rint(at + 0.5)) > 1e-6).all(axis=-1)  # not on the edge of a voxel
    index = np.floor(at + 0.5).astype(int)
    inside = ((index >= 0) & (index < image.shape)).all(axis=-1)
    data = np.asarray(image.dataobj, dtype=float)
    values = np.full(columns.shape, np.nan)
    values[inside] = data[tuple(index[inside].T)]
    sizes = np.abs(values)
    colours = np.where((values < 0)[..., None], interpolated(COLD, sizes / top), interpolated(WARM, sizes / top))
    cover = np.where(sizes >= least, 1, FADED * np.minimum(sizes / top, 1))[..., None]
    return colours, cover, np.isfinite(values), clear


@pytest.mark.parametrize("name", VOLUMES)
def test_every_pixel_is_that_of_the_thresholded_file(opened, studies, name):
    folder, explorer = studies(name)
    volume = explorer.spaces[0].volume
    page = ready(opened, folder, "who=group&model=net&layer=conv1&by=score&least=0.25&to=0.6", width=640)
    image = nib.load((folder / EXPLORER).parent / unquote(page.get_attribute("#download", "href")))
    highest = int(np.nanargmax(np.asarray(image.dataobj)[volume.mask]))
    n_above = 0
    for voxel in (highest, volume.n_voxels // 3):
        page.evaluate("(mm) => { explorer.moveTo(mm, false); explorer.draw(); }", volume.centres_mm[voxel].tolist())
        for number in range(3):
            colours, cover, known, clear = expected_pixels(page, number, image, 0.25, 0.6)
            pixels, expected = drawn(page, number), MASK_SHADE + (colours - MASK_SHADE) * cover
            assert (known & clear).sum() > 1000
            n_above += (cover[..., 0] == 1)[known & clear].sum()
            assert np.abs(pixels - expected)[known & clear].max() <= 3, f"view {number}"
            assert np.isin(pixels[~known & clear], [0, MASK_SHADE]).all(), "no colour where the file has no value"
    assert n_above > 500


def drawn(page, number: int) -> np.ndarray:
    """Return the pixels of a slice, without its marks."""
    url = page.evaluate(f"explorer.panels[{number}].picture.toDataURL()")
    with Image.open(BytesIO(base64.b64decode(url.split(",")[1]))) as picture:
        return np.asarray(picture.convert("RGB"), dtype=float)


def test_each_subject_is_drawn_on_its_own_brain(opened, tmp_path, rng):
    volume = oblique()
    anatomies = {f"{i:02d}": anatomy_of(volume, tmp_path / f"sub-{i:02d}_T1w.nii.gz", rng) for i in (1, 2)}
    make_study(tmp_path, volume, anatomy=anatomies)
    page = ready(opened, tmp_path, "by=none")
    assert set(page.evaluate("Array.from(explorer.panels[1].grey)")) == {0, MASK_SHADE}
    for who in ("02", "01"):
        page.select_option("#who", who)
        page.wait_for_function(
            f"explorer.settled && explorer.panels[1].background === explorer.maps.background('{who}')"
        )
        settled(page)
        image = nib.load(anatomies[who])
        frame, mm = page.evaluate("[explorer.panels[1].frame, explorer.state.mm]")
        columns, rows = np.meshgrid(np.arange(frame["width"]), np.arange(frame["height"]))
        points = np.tile(np.array(mm, dtype=float), (*columns.shape, 1))
        points[..., 0] = frame["across"] + (columns + 0.5 - frame["width"] / 2) * frame["mmPerPixel"]
        points[..., 2] = frame["up"] - (rows + 0.5 - frame["height"] / 2) * frame["mmPerPixel"]
        some = image.get_fdata()[::2, ::2, ::2]  # as it is packed
        at = nib.affines.apply_affine(np.linalg.inv(image.affine @ np.diag([2.0, 2, 2, 1])), points)
        inside = ((at > 0) & (at < np.array(some.shape) - 1)).all(axis=-1)
        shades = np.rint(255 * np.minimum(some / np.percentile(some, 99), 1))
        seen = np.array(page.evaluate("Array.from(explorer.panels[1].grey)")).reshape(inside.shape)
        np.testing.assert_allclose(seen[inside], map_coordinates(shades, at[inside].T, order=1), atol=1)
        assert inside.mean() > 0.3


@pytest.mark.parametrize("name", VOLUMES)
def test_values_are_those_of_the_file_within_the_rounding_that_is_stated(opened, studies, name):
    folder, explorer = studies(name)
    flat = np.flatnonzero(explorer.spaces[0].volume.mask)
    page = ready(opened, folder)
    for state in (
        {"who": GROUP, "model": "net", "layer": LAYERS[1]},
        {"who": "02", "model": "meeg", "time": 0.1},
        {"who": GROUP, "model": "net", "stat": "logp_max_stat"},
    ):
        page.evaluate("(state) => explorer.change(state)", state)
        page.wait_for_function("explorer.settled")
        data = nifti(folder, page)
        if data.ndim == 4:
            data = data[..., TIMES_S.index(0.1)]
        values, rounding = page.evaluate("[Array.from(explorer.map.values, String), explorer.map.rounding]")
        values, expected = np.array(values, dtype=float), data.ravel()[flat]
        np.testing.assert_array_equal(np.isnan(values), np.isnan(expected))
        assert np.nanmax(np.abs(values - expected)) <= rounding + 1e-6
        assert 0 < rounding < 1e-4


# --------------------------------------------------------------------------------------------------- RDMs


@pytest.mark.parametrize("name", VOLUMES)
def test_rdm_of_a_clicked_sphere_is_that_of_the_library(opened, studies, name):
    folder, explorer = studies(name)
    patterns = io.load_patterns(explorer.brain["01"])
    volume = patterns.volume
    around = spheres(volume, SETTINGS["radius_mm"])
    found = prepare_spheres(patterns, around, RdmSettings(min_voxels=SETTINGS["min_voxels"]))
    assert list(explorer.conditions) == CONDITIONS[::-1]
    pairs = {}
    page = ready(opened, folder, "who=01")
    for voxel in np.flatnonzero(found.sizes >= SETTINGS["min_voxels"])[:: volume.n_voxels // 8]:
        page.evaluate("(mm) => explorer.moveTo(mm, false)", volume.centres_mm[voxel].tolist())
        page.wait_for_selector(f"html[data-voxel='{voxel}']")
        rdm = page.evaluate("Array.from(explorer.voxelPanel.pair.rdms[0])")
        run = found.run * (voxel // found.run)
        square = squareform(found.rdms(range(run, voxel + 1))[-1])
        pairs[voxel] = np.corrcoef(rdm, squareform(square[::-1, ::-1]))[0, 1]
        assert f"{found.sizes[voxel]} voxels within 8 mm" in page.inner_text("#rdm-text")
    assert len(pairs) >= 5
    assert min(pairs.values()) > 0.9999


# -------------------------------------------------------------------------------------------------- steps


def test_a_reader_chooses_and_clicks(opened, studies):
    folder, explorer = studies("flipped")
    page = ready(opened, folder)
    assert page.input_value("#who") == "group"
    assert page.inner_text("h1") == "made <up> & odd: brain explorer"
    page.select_option("#model", "net")
    page.select_option("#layer", LAYERS[2])
    settled(page)
    box = page.locator("#slice-2").bounding_box()
    page.mouse.click(box["x"] + box["width"] * 0.4, box["y"] + box["height"] * 0.45)
    settled(page)
    voxel = int(page.get_attribute("html", "data-voxel"))
    mm = page.evaluate("explorer.state.mm")
    np.testing.assert_allclose(mm, explorer.spaces[0].volume.centres_mm[voxel], atol=1e-9)
    data = nifti(folder, page).ravel()[np.flatnonzero(explorer.spaces[0].volume.mask)]
    said = page.inner_text("#facts")
    number = (
        "no score" if np.isnan(data[voxel]) else f"{data[voxel]:.3f}".replace("0.", ".").replace("-", "\N{MINUS SIGN}")
    )
    assert f'net fc "3": {number}' in said
    page.select_option("#model", "meeg")
    page.focus("#time")
    page.keyboard.press("End")
    settled(page)
    assert page.inner_text("#time-text") == "200 ms"
    page.wait_for_function("location.hash.includes('time=0.2')")


def test_link_opens_the_same_state_and_back_works(opened, studies):
    folder, _ = studies("oblique")
    page = ready(opened, folder, "who=02&model=net&layer=conv1&by=score&least=0.2&x=3&y=4&z=5")
    assert page.evaluate("[explorer.state.who, explorer.state.layer, explorer.state.least]") == ["02", "conv1", 0.2]
    assert page.evaluate("explorer.state.mm") == [3, 4, 5]
    page.evaluate("explorer.change({layer: 'conv<2>'})")
    page.wait_for_function("location.hash.includes('layer=conv%3C2%3E')")
    page.evaluate("location.hash = '#who=group&model=animate'")
    page.wait_for_function("explorer.state.model === 'animate'")
    page.go_back()
    page.wait_for_function("explorer.state.layer === 'conv<2>'")
    assert page.evaluate("explorer.state.who") == "02"


def test_files_beside_the_page_are_loaded_when_they_are_needed(opened, tmp_path):
    explorer = make_study(tmp_path, flipped(), budget=20_000)
    page = ready(opened, tmp_path, "model=animate")
    assert "Too large for one page" in page.inner_text("footer")
    page.select_option("#who", "02")
    page.wait_for_function("explorer.settled && explorer.state.who === '02'")
    values = np.array(page.evaluate("Array.from(explorer.map.values, String)"), dtype=float)
    expected = explorer.maps[2].scores.values[3]
    np.testing.assert_allclose(values, expected, atol=1e-4)
    assert page.inner_text("#load-patterns") == "Load the patterns of subject 02"
    page.click("#load-patterns")
    page.wait_for_function("explorer.voxelPanel.pair.rdms.length === 2")
    (tmp_path / EXPLORER).parent.joinpath("patterns-01.js").unlink()
    page.select_option("#who", "01")
    page.wait_for_function("explorer.settled && explorer.state.who === '01'")
    settled(page)
    page.click("#load-patterns")
    page.wait_for_function("document.getElementById('rdm-text').textContent.includes('patterns-01.js')")
    opened.faults.clear()  # the browser names the missing file as well


def test_the_keyboard_alone_is_enough(opened, studies):
    folder, _ = studies("flipped")
    page = ready(opened, folder, "model=net&layer=conv1&x=1&y=4&z=3")
    page.focus("#slice-2")
    start = page.evaluate("explorer.state.mm")
    for key, change in (
        ("ArrowLeft", [-3, 0, 0]),
        ("ArrowUp", [0, 4, 0]),
        ("PageUp", [0, 0, 5]),
        ("PageDown", [0, 0, -5]),
    ):
        page.keyboard.press(key)
        start = [value + step for value, step in zip(start, change, strict=True)]
        assert page.evaluate("explorer.state.mm") == start
    at_once = "['ArrowLeft', 'ArrowUp', 'PageUp', 'ArrowRight'].map((key) => new KeyboardEvent('keydown', {key}))"
    page.evaluate(f"{at_once}.forEach((event) => document.activeElement.dispatchEvent(event))")
    start = [start[0], start[1] + 4, start[2] + 5]
    assert page.evaluate("explorer.state.mm") == start, "keys that come before the next picture count as well"
    page.keyboard.press("]")
    assert page.evaluate("explorer.state.layer") == LAYERS[1]
    settled(page)
    page.keyboard.press("g")
    page.keyboard.type("1, \N{MINUS SIGN}4 8.5")
    page.keyboard.press("Enter")
    assert page.evaluate("explorer.state.mm") == [1, -4, 8.5]
    page.keyboard.press("m")
    assert page.evaluate("explorer.place().voxel") == page.evaluate(
        "explorer.map.values.reduce((best, value, i, all) => value > (all[best] || -9) ? i : best, 0)"
    )
    page.keyboard.press("?")
    assert page.is_visible("#help")
    page.keyboard.press("Escape")
    assert not page.is_visible("#help")


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_fits_and_keeps_no_reader_out(opened, barriers, studies, width, scheme):
    folder, _ = studies("flipped")
    page = ready(opened, folder, "model=meeg", width=width, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("[...document.querySelectorAll('.slice canvas')].every((one) => one.clientWidth > 100)")
    assert barriers(page) == []
    page.evaluate("document.getElementById('help').showModal()")
    assert barriers(page) == []


def test_a_pair_of_conditions_is_told(opened, studies):
    folder, explorer = studies("flipped")
    page = ready(opened, folder, "who=01&model=net&layer=conv1")
    page.focus(".matrix")
    page.keyboard.press("ArrowDown")
    n = page.evaluate("explorer.voxelPanel.pair.rdms[1][pairOf(1, 1 + 1, 9)]")
    page.keyboard.press("ArrowRight")
    assert [page.inner_text(f".pair-told figure:nth-of-type({i}) figcaption") for i in (1, 2)] == [
        explorer.conditions[1],
        explorer.conditions[2],
    ]
    assert page.evaluate("written(" + str(n) + ")") in page.inner_text("#pair-told > span")


def test_ranks_distances_and_scores_are_those_of_the_library(opened, studies):
    """The page's own arithmetic, beside scipy's and the library's."""
    folder, _ = studies("flipped")
    page = ready(opened, folder)
    rng = np.random.default_rng(3)
    values = rng.integers(0, 12, 40).astype(float)
    np.testing.assert_array_equal(page.evaluate("(v) => Array.from(ranksOf(v))", values.tolist()), rankdata(values))
    patterns = rng.normal(5, 1, (7, 30)).astype(np.float64)
    for name, entry in DISTANCES.items():
        script = "([p, name]) => Array.from(dissimilarities(Float64Array.from(p), 7, name))"
        got = page.evaluate(script, [patterns.ravel().tolist(), name])
        np.testing.assert_allclose(got, rdm_vectors(patterns, entry), rtol=1e-9)
    a, b = rng.random(21).round(1), rng.random(21).round(1)
    for name, comparison in COMPARISONS.items():
        got = page.evaluate("([a, b, name]) => similarity(a, b, name)", [a.tolist(), b.tolist(), name])
        assert got == pytest.approx(compare_vectors(a, b, comparison)[0, 0], abs=1e-9), name


@pytest.mark.parametrize("name", VOLUMES)
def test_spheres_and_millimetres_are_those_of_the_library(opened, studies, name):
    folder, explorer = studies(name)
    volume = explorer.spaces[0].volume
    page = ready(opened, folder)
    for radius_mm in (3, 8, 10):
        around = spheres(volume, radius_mm)
        for voxel in (0, volume.n_voxels // 2, volume.n_voxels - 1):
            members = page.evaluate(
                """([voxel, radius]) => { const {info, positions, flat} = explorer.grid();
                const centre = voxelAt(flat[voxel], info.shape);
                const offsets = sphereOffsets(info.affine, radius, info.shape);
                return sphereMembers(centre, offsets, info.shape, positions); }""",
                [voxel, radius_mm],
            )
            np.testing.assert_array_equal(members, around.members(voxel))
    points = volume.centres_mm[::97] + np.array([0.4, -0.7, 1.1])
    got = page.evaluate("(points) => points.map((mm) => transformed(explorer.grid().inverse, mm))", points.tolist())
    np.testing.assert_allclose(got, volume.mm_to_voxel(points), atol=1e-9)


@pytest.mark.parametrize(
    ("link", "said"),
    [
        ("", {"who": "", "mm": [], "time": None}),
        ("#who=01&layer=conv%3C2%3E&time=-0.1&x=-1.5&y=2&z=0", {"layer": "conv<2>", "time": -0.1, "mm": [-1.5, 2, 0]}),
        ("#x=1&y=two&z=3", {"mm": []}),
        ("#model=a%26b%2Bc%20%23&least=1e-3", {"model": "a&b+c #", "least": 0.001}),
    ],
)
def test_links_are_read_and_written(opened, studies, link, said):
    page = ready(opened, studies("flipped")[0])
    state = page.evaluate("(link) => stateOf(link)", link)
    assert {key: state[key] for key in said} == said
    assert page.evaluate("(link) => hashOf(stateOf(hashOf(stateOf(link))))", link) == page.evaluate(
        "(link) => hashOf(stateOf(link))", link
    )


def test_links_of_other_pages_are_understood(opened, studies):
    page = ready(opened, studies("flipped")[0])
    link = explorer_link(who="02", model="net", layer='fc "3"', statistic="spearman", mm=(-42, -74.5, 8))
    state = page.evaluate("(link) => stateOf(link)", "#" + link.split("#")[1])
    assert (state["who"], state["layer"], state["stat"], state["mm"]) == ("02", 'fc "3"', "spearman", [-42, -74.5, 8])


def test_without_webgl_all_but_the_cortex_is_there(opened, tmp_path):
    affine = np.diag([12.0, 12.0, 12.0, 1.0])
    affine[:3, 3] = [-72, -108, -72]
    volume = Volume(np.ones((13, 16, 14), dtype=bool), affine)
    make_study(tmp_path, volume, space="MNI152NLin2009cAsym", n_subjects=1, radius_mm=20)
    page = ready(opened, tmp_path)
    assert page.is_visible("#surface")
    path = tmp_path / EXPLORER
    no_webgl = """<script>const get = HTMLCanvasElement.prototype.getContext;
    HTMLCanvasElement.prototype.getContext = function (kind, options) {
      return kind === "2d" ? get.call(this, kind, options) : null; };</script>"""
    path.write_text(path.read_text("utf-8").replace("<body>", "<body>" + no_webgl, 1), "utf-8")
    page = ready(opened, tmp_path)
    assert not page.is_visible("#surface")
    assert page.evaluate("explorer.voxelPanel.pair.rdms.length") == 2
    assert page.locator("#profile svg").count() == 1


def test_an_old_browser_is_told(opened, tmp_path):
    make_study(tmp_path, flipped(), n_subjects=1)
    path = tmp_path / EXPLORER
    text = path.read_text("utf-8").replace("<body>", "<body><script>delete window.DecompressionStream</script>", 1)
    path.write_text(text, "utf-8")
    assert "too old" in opened(path).inner_text("#message")


def test_scripts_are_all_there():
    folder = Path(__file__).parents[2] / "rsa" / "report" / "js"
    assert set(SCRIPTS) <= {path.stem for path in folder.glob("*.js")}


def test_numbers_keep_their_tens(opened, studies):
    page = ready(opened, studies("flipped")[0])
    said = page.evaluate("[0.5, -0.25, 10.234, -20.5, 1, 100.0625].map(decimals)")
    assert said == [".500", "\N{MINUS SIGN}.250", "10.234", "\N{MINUS SIGN}20.500", "1.000", "100.063"]


def test_a_voxel_of_a_map_of_the_best_tells_which_it_is(opened, studies):
    folder, explorer = studies("flipped")
    scores = explorer.maps[0].scores
    net = scores.values[
        [i for i, one in enumerate(scores.table.itertuples()) if (one.model, one.statistic) == ("net", "mean")]
    ]
    best = np.where(np.isfinite(net).all(axis=0), net.argmax(axis=0), -1)
    page = ready(
        opened, folder, explorer_link(who=GROUP, model="net", layer=LAYERS[0], statistic="best_layer").split("#")[1]
    )
    for layer in range(len(LAYERS)):
        voxel = np.flatnonzero((best == layer) & (net.max(axis=0) > 0.2))[0]
        page.evaluate("(mm) => explorer.moveTo(mm, true)", explorer.spaces[0].volume.centres_mm[voxel].tolist())
        settled(page)
        assert f"net {LAYERS[layer]}: {net[layer, voxel]:.3f}".replace(" 0.", " .") in page.inner_text("#facts")
    page.select_option("#stat", "logp_max_stat")
    page.wait_for_function("explorer.settled")
    settled(page)
    assert f"net {LAYERS[0]}, corrected p, maximum (" in page.inner_text("#facts")
