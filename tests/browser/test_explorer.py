"""The brain explorer in a browser: its pictures and numbers are those of the files, and every step can be made."""

import base64
from io import BytesIO
from pathlib import Path
from urllib.parse import unquote

import nibabel as nib
import numpy as np
import pytest
from explorers import CONDITIONS, LAYERS, SETTINGS, TIMES_S, flipped, make_study, oblique, permuted
from PIL import Image
from scipy.spatial.distance import squareform

from rsa.files import io
from rsa.neighbourhood import spheres
from rsa.report.explorer import GROUP, SCRIPTS
from rsa.report.links import EXPLORER
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
    """Wait until all that was asked for is drawn and told."""
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
    page.wait_for_timeout(300)
    assert "time=0.2" in page.evaluate("location.hash")


def test_link_opens_the_same_state_and_back_works(opened, studies):
    folder, _ = studies("oblique")
    page = ready(opened, folder, "who=02&model=net&layer=conv1&by=score&least=0.2&x=3&y=4&z=5")
    assert page.evaluate("[explorer.state.who, explorer.state.layer, explorer.state.least]") == ["02", "conv1", 0.2]
    assert page.evaluate("explorer.state.mm") == [3, 4, 5]
    page.evaluate("explorer.change({layer: 'conv<2>'})")
    page.wait_for_timeout(300)
    first = page.evaluate("location.hash")
    assert "layer=conv%3C2%3E" in first
    page.evaluate("location.hash = '#who=group&model=animate'")
    page.wait_for_function("explorer.state.model === 'animate'")
    page.go_back()
    page.wait_for_function("explorer.state.layer === 'conv<2>'")
    assert page.evaluate("explorer.state.who") == "02"


def test_scripts_are_all_there():
    folder = Path(__file__).parents[2] / "rsa" / "report" / "js"
    assert set(SCRIPTS) <= {path.stem for path in folder.glob("*.js")}
