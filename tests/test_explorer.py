"""What stands in the brain explorer: numbers within their rounding, all kinds of studies, files beside the page."""

import base64
import json
import re
import zlib
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from explorers import (
    ALPHA,
    CONDITIONS,
    LAYERS,
    SETTINGS,
    TIMES_S,
    anatomy_of,
    flipped,
    make_study,
    oblique,
    patterns_of,
    scores_of,
)
from scipy.stats import t as student

from rsa.core import QUALITY, Patterns, RDMs, ScoreMap, Volume
from rsa.files import io
from rsa.inference.group import combine
from rsa.inputs.regions import Regions
from rsa.maps import stack
from rsa.report.explorer import GROUP, Explorer, Maps, half_widths
from rsa.report.explorer_pack import INFINITE, json_text, quantised, quantised_patterns, split_bytes, voxel_gaps
from rsa.report.links import EXPLORER


def study_in(page: str) -> dict:
    return json.loads(re.search(r'<script type="application/json" id="study">(.*?)</script>', page, flags=re.S)[1])


def pieces_in(text: str) -> dict[str, bytes]:
    """Unpack the pieces of a page, or of a file beside it."""
    found = re.findall(r'id="piece-([^"]+)">([^<]*)<', text) or re.findall(r'receivePiece\("([^"]+)","([^"]+)"\)', text)
    return {name: zlib.decompress(base64.b64decode(content)) for name, content in found}


def codes_of(content: bytes) -> np.ndarray:
    low, high = np.frombuffer(content, np.uint8).reshape(2, -1).astype(np.uint16)
    return (low | high << 8).astype(np.uint16).view(np.int16)


def values_of(one: dict, pieces: dict[str, bytes]) -> np.ndarray:
    """Read a set of maps as the page does."""
    codes = codes_of(pieces[one["piece"]]).reshape(len(one["steps"]), -1).astype(float)
    values = np.array(one["offsets"])[:, None] + np.array(one["steps"])[:, None] * codes
    return np.where(codes == -32768, np.nan, values)


def written(folder: Path) -> tuple[dict, dict[str, bytes]]:
    """Return what a page knows, and its pieces, with those of files beside it."""
    page = (folder / EXPLORER).read_text(encoding="utf-8")
    pieces = pieces_in(page)
    for path in (folder / EXPLORER).parent.glob("*.js"):
        pieces |= pieces_in(path.read_text(encoding="utf-8"))
    return study_in(page), pieces


# ------------------------------------------------------------------------------------------------ numbers


@pytest.mark.parametrize("scale", [1e-6, 1, 1e6])
def test_numbers_are_rounded_to_half_a_step(rng, scale):
    values = rng.normal(3, 1, (5, 400)) * scale
    values[0, :3] = [np.nan, np.inf, -np.inf]
    values[1] = 7
    values[2] = np.nan
    found = quantised(values)
    assert found.codes.dtype == np.int16
    finite = np.isfinite(values)
    off_by = np.abs(np.where(finite, found.values(), 0) - np.where(finite, values, 0))
    assert (off_by <= found.steps[:, None] / 2 * (1 + 1e-6)).all()
    np.testing.assert_array_equal(found.values()[~finite], values[~finite])
    assert list(found.codes[0, :3]) == [-32768, INFINITE, -INFINITE]
    assert (found.values()[1] == 7).all()


def test_patterns_are_rounded_to_a_255th_of_the_range_of_each_voxel(rng):
    responses = rng.normal(100, 3, (50, 12)).astype(np.float32)
    responses[3] = 4
    codes, offsets, steps = quantised_patterns(responses)
    off_by = np.abs(offsets[:, None] + steps[:, None] * codes - responses)
    assert (off_by <= np.ptp(responses, axis=1)[:, None] / 254 / 2 + 1e-4).all()
    assert (codes[3] == 0).all()


def test_bytes_and_gaps_are_read_as_they_were_written():
    codes = np.array([-32768, -1, 0, 1, 300, 32767], dtype=np.int16)
    np.testing.assert_array_equal(codes_of(split_bytes(codes)), codes)
    flat = np.array([5, 6, 70_000, 70_001, 20_000_000])  # gaps beyond 16 bits
    np.testing.assert_array_equal(np.cumsum(np.frombuffer(voxel_gaps(flat), "<u4")), flat)


def test_json_holds_no_tag_and_no_number_that_it_cannot_say():
    text = json_text({"a": "</script><b>", "b": np.array([1.0, np.nan]), "c": np.int64(3), "d": "\u2028"})
    assert "<" not in text
    assert "\u2028" not in text
    assert json.loads(text) == {"a": "</script><b>", "b": [1.0, None], "c": 3, "d": "\u2028"}


def test_half_of_the_interval_is_students(rng):
    volume = flipped()
    subjects = [scores_of(volume, f"{i}", rng) for i in range(4)]
    smaller = replace(volume, mask=volume.mask & (np.arange(volume.mask.size).reshape(volume.shape) % 3 > 0))
    subjects[1] = scores_of(smaller, "1", rng)
    table, found = half_widths(Maps(GROUP, "", combine(subjects, "mean"), SETTINGS), subjects)
    common = combine(subjects, "mean").volume
    values = np.stack([one.values[:, common.mask[one.volume.mask]] for one in subjects]).astype(float)
    low, high = student.interval(0.95, 3, values.mean(axis=0), values.std(axis=0, ddof=1) / 2)
    np.testing.assert_allclose(found, (high - low) / 2, rtol=1e-5)
    assert list(table["statistic"].unique()) == ["half_width"]


# ------------------------------------------------------------------------------------------------ studies


def test_page_holds_all_maps_and_links_to_their_files(tmp_path):
    explorer = make_study(tmp_path, oblique())
    study, pieces = written(tmp_path)
    assert study["beside"] == {}
    assert [one["id"] for one in study["people"]] == [GROUP, "01", "02"]
    assert study["conditions"] == CONDITIONS[::-1]
    for one in study["sets"]:
        if one["statistic"] == "half_width":
            continue
        for file in one["files"]:
            assert ((tmp_path / EXPLORER).parent / file).is_file()
        maps = next(maps for maps in explorer.maps if maps.who == one["who"])
        rows = (
            (maps.scores.table["model"] == one["model"]) & (maps.scores.table["statistic"] == one["statistic"])
        ).values
        np.testing.assert_allclose(
            values_of(one, pieces), maps.scores.values[rows], atol=np.max(one["steps"]) / 2 + 1e-7
        )
    assert study["tests"][0]["alpha"] == ALPHA
    net = next(one for one in study["sets"] if one["model"] == "net")
    assert (net["layers"], net["times"]) == (LAYERS, [])
    assert next(one for one in study["sets"] if one["model"] == "meeg")["times"] == TIMES_S


def test_what_does_not_fit_lies_beside_the_page(tmp_path):
    make_study(tmp_path, flipped(), budget=20_000)
    page = (tmp_path / EXPLORER).read_text(encoding="utf-8")
    study = study_in(page)
    files = {path.stem for path in (tmp_path / EXPLORER).parent.glob("*.js")}
    assert set(study["beside"]) == files == set(study["pieces"].values())
    assert "patterns-02" in files
    assert study["beside"]["patterns-02"] == "patterns of subject 02"
    first = study["sets"][0]
    assert first["piece"] in pieces_in(page)
    assert first["who"] == GROUP
    assert sum(map(len, re.findall(r'id="piece-[^"]+">([^<]*)<', page))) <= 20_000
    everything = set(pieces_in(page)) | set(study["pieces"])
    assert {one["piece"] for one in study["sets"]} <= everything


def test_one_subject_without_group_references_or_patterns(tmp_path):
    make_study(tmp_path, flipped(), n_subjects=1, brain={}, references=None)
    study, _ = written(tmp_path)
    assert [one["id"] for one in study["people"]] == ["01"]
    assert (study["references"], study["patterns"], study["tests"], study["regions"]) == (None, [], [], None)
    assert all(one["statistic"] == "spearman" for one in study["sets"])


def test_subjects_on_grids_of_their_own_have_spaces_of_their_own(tmp_path, rng):
    volumes = [flipped(), oblique()]
    maps = [Maps(f"{i}", "", scores_of(volume, f"{i}", rng), SETTINGS) for i, volume in enumerate(volumes)]
    Explorer("two", tmp_path, "T1w", maps).write((tmp_path / EXPLORER).parent)
    study, _ = written(tmp_path)
    assert [one["space"] for one in study["people"]] == [0, 1]
    assert [np.allclose(one["affine"], volume.affine) for one, volume in zip(study["spaces"], volumes, strict=True)]


def test_masks_that_differ_are_brought_to_their_union(tmp_path, rng):
    volume = flipped()
    half = np.arange(volume.shape[0])[:, None, None] < 6
    masks = [replace(volume, mask=volume.mask & half), volume]
    scores = [scores_of(one, f"{i}", rng) for i, one in enumerate(masks)]
    Explorer("two", tmp_path, "T1w", [Maps(f"{i}", "", one, SETTINGS) for i, one in enumerate(scores)]).write(
        (tmp_path / EXPLORER).parent
    )
    study, pieces = written(tmp_path)
    assert study["spaces"][0]["n_voxels"] == volume.n_voxels
    net = next(one for one in study["sets"] if one["who"] == "0" and one["model"] == "net")
    values = values_of(net, pieces)
    inside = masks[0].mask[volume.mask]
    np.testing.assert_allclose(values[:, inside], scores[0].values[:3], atol=np.max(net["steps"]) / 2 + 1e-7)
    assert np.isnan(values[:, ~inside]).all()


def test_a_network_may_be_called_like_the_quality_of_the_data(tmp_path, rng):
    one = scores_of(flipped(), "01", rng)
    named = one.table.assign(model=one.table["model"].replace("net", "reliability"))
    quality = ScoreMap(one.values[:1], named[:1].assign(layer="", role=QUALITY), one.space)
    maps = [Maps("01", "", stack([replace(one, table=named), quality]), SETTINGS)]
    Explorer("odd", tmp_path, "T1w", maps).write((tmp_path / EXPLORER).parent)
    study, _ = written(tmp_path)
    assert [(one["model"], one["quality"]) for one in study["sets"]] == [
        ("reliability", ""),
        ("animate", ""),
        ("meeg", ""),
        ("quality: reliability", "reliability"),
    ]


def test_delays_have_patterns_of_their_own(tmp_path, rng):
    volume = flipped()
    table = pd.DataFrame({"condition": CONDITIONS * 2, "delay_s": [2.0] * len(CONDITIONS) + [4.0] * len(CONDITIONS)})
    path = tmp_path / "patterns.h5"
    io.save(path, Patterns(rng.normal(size=(len(table), volume.n_voxels)), table, volume))
    maps = [Maps("01", "", scores_of(volume, "01", rng), SETTINGS)]
    Explorer("delays", tmp_path, "T1w", maps, brain={"01": path}).write((tmp_path / EXPLORER).parent)
    study, pieces = written(tmp_path)
    assert [one["time"] for one in study["patterns"][0]["delays"]] == [2.0, 4.0]
    assert study["conditions"] == CONDITIONS
    n = volume.n_voxels
    assert {len(pieces[one["piece"]]) for one in study["patterns"][0]["delays"]} == {(n + 7) // 8 + n * (8 + 9)}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, ""),
        ({"distance": "euclidean"}, ""),
        ({"distance": "crossnobis"}, "is between runs"),
        ({"distance": "cv_correlation"}, "is between runs"),
    ],
)
def test_page_says_which_rdms_are_approximate(tmp_path, rng, settings, said):
    volume = flipped()
    path = tmp_path / "patterns.h5"
    io.save(path, patterns_of(volume, rng))
    maps = [Maps("01", "", scores_of(volume, "01", rng), {**SETTINGS, **settings})]
    Explorer("x", tmp_path, "T1w", maps, brain={"01": path}).write((tmp_path / EXPLORER).parent)
    note = written(tmp_path)[0]["patterns"][0]["note"]
    assert (said in note) if said else note == ""


def test_regions_name_voxels(tmp_path):
    volume = flipped()
    points = [tuple(volume.centres_mm[i].tolist()) for i in (10, volume.n_voxels // 2)]
    regions = Regions(spheres={"A <1>": (points[0],), "B": (points[1],)}, radius_mm=9)
    make_study(tmp_path, volume, regions=regions)
    study, pieces = written(tmp_path)
    assert study["regions"]["names"] == ["A <1>", "B"]
    labels = codes_of(pieces["regions"])
    assert [labels[10], labels[volume.n_voxels // 2]] == [1, 2]


def test_mni_brains_have_a_template_and_a_cortex(tmp_path, rng):
    affine = np.diag([12.0, 12.0, 12.0, 1.0])
    affine[:3, 3] = [-72, -108, -72]
    volume = Volume(np.ones((13, 16, 14), dtype=bool), affine)
    maps = [Maps("01", "", scores_of(volume, "01", rng), SETTINGS)]
    Explorer("mni", tmp_path, "MNI152NLin2009cAsym", maps).write((tmp_path / EXPLORER).parent)
    study, pieces = written(tmp_path)
    space = study["spaces"][0]
    behind = study["people"][0]["background"]
    assert behind["name"] == "the MNI152 template"
    assert len(pieces[behind["piece"]]) == np.prod(behind["shape"])
    vertices = np.frombuffer(pieces[space["vertices"]], "<i4")
    assert len(vertices) == 20484
    assert -1 <= vertices.min() < vertices.max() < volume.mask.size
    assert set(study["mesh"]["pieces"]) == {"pial", "inflated", "flat", "triangles", "inFlat", "sulc"}


def test_references_of_single_subjects_are_left_out(rng):
    from rsa.report.explorer import stacked_references

    shared = RDMs(rng.random((1, 36)), CONDITIONS, pd.DataFrame({"model": ["net"], "layer": ["a"]}))
    own = RDMs(rng.random((1, 36)), CONDITIONS, pd.DataFrame({"model": ["meeg"], "subject": ["01"]}))
    assert list(stacked_references([shared, own]).table["model"]) == ["net"]
    assert stacked_references([own]) is None


def test_each_subject_is_drawn_on_its_own_brain_and_the_group_on_the_mask(tmp_path, rng):
    volume = flipped()
    anatomies = {f"{i:02d}": anatomy_of(volume, tmp_path / f"sub-{i:02d}_T1w.nii.gz", rng) for i in (1, 2)}
    make_study(tmp_path, volume, anatomy=anatomies)
    study, pieces = written(tmp_path)
    behind = {one["id"]: one["background"] for one in study["people"]}
    assert behind["group"] is None
    for who, path in anatomies.items():
        image, packed = nib.load(path), behind[who]
        assert packed["name"] == path.name
        shades = np.frombuffer(pieces[packed["piece"]], np.uint8).reshape(packed["shape"])
        place = np.array([3, 2, 4])
        there = nib.affines.apply_affine(np.linalg.inv(image.affine) @ packed["affine"], place)
        data = image.get_fdata()
        top = np.percentile(data[data > 0], 99)
        assert shades[tuple(place)] == np.rint(255 * min(data[tuple(np.rint(there).astype(int))] / top, 1))
