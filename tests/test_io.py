"""What is saved comes back, and every file is whole or not there at all."""

import codecs
import gzip
import hashlib
import json
import os
import re
import signal
import stat
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path
from types import SimpleNamespace

import h5py
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rewriting import rewritten
from strategies import quick

from rsa.core import PART, QUALITY, REFERENCE, Patterns, RDMs, Residuals, ScoreMap, Volume
from rsa.errors import UserError
from rsa.files import io
from rsa.files.io import (
    content_hash,
    load_image,
    load_patterns,
    load_rdms,
    load_scores,
    load_table,
    provenance,
    read_provenance,
    require_whole,
    save,
    save_json,
    save_nifti,
    save_table,
    save_text,
    writing,
)
from rsa.files.sources import NoContentError, problems_of_content, require_content
from rsa.labels import as_label

LABEL = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12).map(as_label)
OBLIQUE = nib.affines.from_matvec(nib.eulerangles.euler2mat(0.3, -0.2, 0.7) @ np.diag([-2.0, 2.5, 3.0]), [-40, 12, 7])


@pytest.fixture
def volume(rng):
    return Volume(rng.random((4, 3, 2)) > 0.3, OBLIQUE, sform_code=4, qform_code=2)


@pytest.fixture
def scores(rng, volume):
    table = pd.DataFrame({"subject": ["01", "01"], "layer": ["conv1", "fc"], "time_s": [0.1, np.nan]})
    values = rng.normal(size=(2, volume.n_voxels))
    values[0, 0] = np.nan
    n_members = rng.integers(1, 99, volume.n_voxels)
    return ScoreMap(values, table, volume, n_members=n_members, reason=(n_members % 5).astype(np.uint8))


def leftovers(folder):
    return [path.name for path in folder.iterdir() if path.name.startswith(".partial")]


# ------------------------------------------------------------------------------------------ round trips


@settings(quick, max_examples=40)
@given(names=st.lists(LABEL, min_size=2, max_size=5, unique=True), column=st.lists(LABEL, min_size=3, max_size=3))
def test_any_label_survives(tmp_path_factory, names, column):
    path = tmp_path_factory.mktemp("labels") / "r.h5"
    n_pairs = len(names) * (len(names) - 1) // 2
    rdms = RDMs(np.arange(3.0 * n_pairs).reshape(3, n_pairs), names, pd.DataFrame({"layer": column}), "größe ∂")
    save(path, rdms)
    found = load_rdms(path)
    assert found.conditions == tuple(names)
    assert list(found.table["layer"]) == column
    assert found.distance == "größe ∂"
    np.testing.assert_array_equal(found.values, rdms.values)


@settings(quick, max_examples=30)
@given(
    kinds=st.lists(
        st.sampled_from(["int64", "int8", "uint16", "float64", "float32", "bool", "str"]), min_size=1, max_size=4
    ),
    n_rows=st.integers(1, 4),
    seed=st.integers(0, 2**32 - 1),
)
def test_columns_keep_their_types(tmp_path_factory, kinds, n_rows, seed):
    rng = np.random.default_rng(seed)
    table = pd.DataFrame({f"column {i}": rng.integers(0, 9, n_rows).astype(kind) for i, kind in enumerate(kinds)})
    table["condition"] = [f"c{i}" for i in range(n_rows)]
    values = rng.normal(size=(n_rows, 3)).astype(np.float32)
    path = tmp_path_factory.mktemp("types") / "p.h5"
    save(path, Patterns(values, table))
    found = load_patterns(path)
    pd.testing.assert_frame_equal(found.table, table, check_dtype=False)
    kind_of = {name: values.dtype.kind for name, values in table.items()}
    for name, column in found.table.items():
        assert column.dtype == table[name].dtype or kind_of[name] == "O"
    np.testing.assert_array_equal(found.values, values)
    assert found.values.dtype == np.float32


def test_patterns_keep_residuals_and_delays(tmp_path, rng, volume):
    table = pd.DataFrame({"condition": ["a", "b"] * 2, "delay_s": [2.5, 2.5, 5.0, 5.0]})
    residuals = Residuals(rng.standard_normal((7, volume.n_voxels)), 5.5)
    patterns = Patterns(rng.standard_normal((4, volume.n_voxels)), table, volume, residuals=residuals)
    save(tmp_path / "p.h5", patterns)
    loaded = load_patterns(tmp_path / "p.h5")
    assert loaded.delays_s == [2.5, 5.0]
    np.testing.assert_array_equal(loaded.residuals.values, residuals.values)
    assert loaded.residuals.degrees_of_freedom == 5.5


def test_large_files_are_not_made_in_memory(tmp_path, rng, volume, monkeypatch):
    """The same content either way, and a clear message before anything is written if there is no room."""
    table = pd.DataFrame({"condition": ["a", "b"]})
    patterns = Patterns(rng.standard_normal((2, volume.n_voxels)), table, volume)
    monkeypatch.setattr(io, "IN_MEMORY", 0)
    save(tmp_path / "large.h5", patterns, {"settings": {"a": 1}})
    monkeypatch.setattr(io, "IN_MEMORY", 10**9)
    save(tmp_path / "small.h5", patterns, {"settings": {"a": 1}})
    large, small = load_patterns(tmp_path / "large.h5"), load_patterns(tmp_path / "small.h5")
    for name in ("values", "usable"):
        np.testing.assert_array_equal(getattr(large, name), getattr(small, name))
    assert io.read_provenance(tmp_path / "large.h5") == {"settings": {"a": 1}}
    monkeypatch.setattr(io, "IN_MEMORY", 0)
    monkeypatch.setattr(io.shutil, "disk_usage", lambda _: SimpleNamespace(free=1))
    with pytest.raises(UserError, match="GB left; make room"):
        save(tmp_path / "none.h5", patterns)
    assert not (tmp_path / "none.h5").exists()


def test_patterns_keep_grid_codes_and_usable_voxels(tmp_path, rng, volume):
    values = rng.normal(size=(4, volume.n_voxels)).astype(np.float32)
    values[1, 2], values[:, 5] = np.nan, 3
    table = pd.DataFrame({"condition": ["a", "b"] * 2, "run": ["01", "01", "02", "02"], "delay_s": [0.0, 1.5, 0, 1.5]})
    patterns = Patterns(values, table, volume)
    save(tmp_path / "p.h5", patterns)
    found = load_patterns(tmp_path / "p.h5")
    np.testing.assert_array_equal(found.values, values)
    np.testing.assert_array_equal(np.flatnonzero(~found.usable), [2, 5])
    np.testing.assert_array_equal(found.volume.mask, volume.mask)
    np.testing.assert_array_equal(found.volume.affine, OBLIQUE)
    assert (found.volume.sform_code, found.volume.qform_code) == (4, 2)
    assert list(found.table["run"]) == ["01", "01", "02", "02"]


def test_scores_of_voxels_and_of_regions(tmp_path, scores):
    save(tmp_path / "s.h5", scores)
    found = load_scores(tmp_path / "s.h5")
    np.testing.assert_array_equal(found.values, scores.values)
    np.testing.assert_array_equal(found.n_members, scores.n_members)
    np.testing.assert_array_equal(found.reason, scores.reason)
    pd.testing.assert_frame_equal(found.table, scores.table, check_dtype=False)
    assert found.regions is None
    regions = pd.DataFrame({"region": ["V1", "IT"], "n_voxels": [7, 8]})
    save(tmp_path / "r.h5", ScoreMap(scores.values[:, :2], scores.table, regions=regions))
    found = load_scores(tmp_path / "r.h5")
    assert found.volume is None
    assert found.n_members is None
    pd.testing.assert_frame_equal(found.regions, regions, check_dtype=False)


def test_scores_of_earlier_versions_say_by_their_names_what_they_are(tmp_path, volume):
    models, layers = ["net", "reliability", "reliability", "unique:a"], ["conv1", "conv1", "", ""]
    table = pd.DataFrame({"model": models, "layer": layers, "statistic": [*["spearman"] * 3, "variance"]})
    save(tmp_path / "s.h5", ScoreMap(np.zeros((4, volume.n_voxels)), table, volume))
    assert list(load_scores(tmp_path / "s.h5").table["role"]) == [REFERENCE] * 4
    with h5py.File(tmp_path / "s.h5", "r+") as file:
        del file["table/role"]
        file["table"].attrs["columns"] = json.dumps(list(table))
    assert list(load_scores(tmp_path / "s.h5").table["role"]) == [REFERENCE, REFERENCE, QUALITY, PART]


def test_rdms_keep_double_precision_and_nan(tmp_path):
    values = np.array([[1 + 1e-15, np.nan, np.inf]])
    save(tmp_path / "r.h5", RDMs(values, ["a", "b", "c"], pd.DataFrame({"layer": [""]})))
    np.testing.assert_array_equal(load_rdms(tmp_path / "r.h5").values, values)


def test_a_stack_without_rows_or_labels(tmp_path):
    save(tmp_path / "r.h5", RDMs(np.empty((0, 3)), ["a", "b", "c"], pd.DataFrame({"layer": []})))
    assert load_rdms(tmp_path / "r.h5").values.shape == (0, 3)
    save(tmp_path / "r.h5", RDMs(np.ones((2, 1)), ["a", "b"], pd.DataFrame(index=range(2))))
    assert load_rdms(tmp_path / "r.h5").table.shape == (2, 0)


def test_missing_text_becomes_empty(tmp_path):
    table = pd.DataFrame({"layer": ["a", None, np.nan]}, dtype=object)
    save(tmp_path / "r.h5", RDMs(np.ones((3, 1)), ["a", "b"], table))
    assert list(load_rdms(tmp_path / "r.h5").table["layer"]) == ["a", "", ""]


def test_provenance_says_what_was_read(tmp_path):
    save_text(tmp_path / "in.txt", "abc")
    made = provenance([tmp_path / "in.txt"], {"radius_mm": 8}, device="cuda")
    save(tmp_path / "r.h5", RDMs(np.ones((1, 1)), ["a", "b"], pd.DataFrame({"layer": ["x"]})), made)
    found = read_provenance(tmp_path / "r.h5")
    assert found["inputs"] == {str(tmp_path / "in.txt"): hashlib.sha256(b"abc").hexdigest()}
    assert (found["settings"], found["device"]) == ({"radius_mm": 8}, "cuda")
    assert found["versions"]["numpy"] == np.__version__
    assert found["versions"]["h5py"] == h5py.__version__
    with pytest.raises(UserError, match=r"Cannot read .*none\.txt: No such file"):
        content_hash(tmp_path / "none.txt")


# --------------------------------------------------------------------------------------- wrong files


def test_files_of_another_kind_are_refused(tmp_path, scores):
    save(tmp_path / "s.h5", scores)
    with pytest.raises(UserError, match=r"s\.h5 holds ScoreMap, where RDMs is expected"):
        load_rdms(tmp_path / "s.h5")
    with pytest.raises(UserError, match=r"s\.h5 holds ScoreMap, where Patterns is expected"):
        load_patterns(tmp_path / "s.h5")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["values"] = np.ones(3)
    with pytest.raises(UserError, match=r"other\.h5 holds no data of this pipeline, where ScoreMap is expected"):
        load_scores(tmp_path / "other.h5")
    with pytest.raises(UserError, match=r"There is no file .*none\.h5"):
        load_scores(tmp_path / "none.h5")


@pytest.mark.parametrize("n_bytes", [0, 100, 3000])
def test_damaged_files_are_refused(tmp_path, scores, n_bytes):
    save(tmp_path / "s.h5", scores)
    (tmp_path / "s.h5").write_bytes((tmp_path / "s.h5").read_bytes()[:n_bytes])
    with pytest.raises(UserError, match=r"s\.h5 is not an HDF5 file, or is damaged; delete it and run again"):
        load_scores(tmp_path / "s.h5")


def flipped(path: Path, whole: bytes, place: int, bit: int) -> tuple[ScoreMap | None, str]:
    """Flip a bit of a file and read it: the scores, or what is said of them."""
    changed = bytearray(whole)
    changed[place] ^= 1 << bit
    path.write_bytes(changed)
    io._is_whole.cache_clear()
    try:
        return load_scores(path), ""
    except UserError as error:
        return None, str(error)


@pytest.mark.parametrize("in_memory", [True, False])
def test_files_that_changed_since_they_were_written_are_refused(tmp_path, scores, monkeypatch, rng, in_memory):
    monkeypatch.setattr(io, "IN_MEMORY", io.IN_MEMORY if in_memory else 0)
    save(tmp_path / "s.h5", scores)
    whole = (tmp_path / "s.h5").read_bytes()
    mark = range(len(whole) - 64 - len(io.CHECKSUM), len(whole) - 64)
    for place in {*map(int, rng.integers(len(whole), size=200)), *range(mark.start - 20, len(whole))}:
        found, message = flipped(tmp_path / "s.h5", whole, place, int(rng.integers(8)))
        if place in mark:  # as good as a file of an earlier version
            np.testing.assert_array_equal(found.values, scores.values)
        else:
            assert "s.h5 is damaged: it is not what was written (by its checksum). Delete it and run again" in message


def test_files_of_earlier_versions_have_no_checksum(tmp_path, scores):
    """They are read; what the HDF5 library finds wrong with one is told in one line."""
    save(tmp_path / "s.h5", scores)
    old = (tmp_path / "s.h5").read_bytes()[: -len(io.CHECKSUM) - 64]
    (tmp_path / "s.h5").write_bytes(old)
    np.testing.assert_array_equal(load_scores(tmp_path / "s.h5").values, scores.values)
    for place in (old.index(b"TREE"), old.index(b"HEAP"), old.index(b"GCOL")):
        found, message = flipped(tmp_path / "s.h5", old, place, 0)
        assert found is None
        assert re.search(r"s\.h5 is damaged \(.+\); delete it and run again\.$", message)


def test_an_error_in_what_is_done_with_a_whole_file_is_none_of_the_file(tmp_path, scores):
    save(tmp_path / "s.h5", scores)
    with pytest.raises(ZeroDivisionError), io.opened(tmp_path / "s.h5"):
        1 / 0  # noqa: B018


def test_later_formats_are_refused(tmp_path, scores):
    save(tmp_path / "s.h5", scores)
    with h5py.File(tmp_path / "s.h5", "a") as file:
        file.attrs["format_version"] += 1
    with pytest.raises(UserError, match=r"s\.h5 was written by a later version of brain-model-rsa; upgrade"):
        load_scores(tmp_path / "s.h5")


# -------------------------------------------------------------------------------- whole or not at all


def test_an_error_leaves_the_old_file(tmp_path):
    save_text(tmp_path / "a.txt", "old")
    with pytest.raises(ZeroDivisionError), writing(tmp_path / "a.txt") as temporary:  # noqa: PT012
        temporary.write_text("half of the n")
        raise ZeroDivisionError
    assert (tmp_path / "a.txt").read_text() == "old"
    assert leftovers(tmp_path) == []
    with pytest.raises(KeyboardInterrupt), writing(tmp_path / "b.txt") as temporary:  # noqa: PT012
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_an_error_of_the_system_inside_is_not_called_a_full_disk(tmp_path):
    with pytest.raises(PermissionError, match="not yours"), writing(tmp_path / "a.txt"):
        raise PermissionError("not yours")


def test_folders_are_made_and_the_umask_is_kept(tmp_path):
    save_text(tmp_path / "new" / "folder" / "a.txt", "text")
    (tmp_path / "plain.txt").write_text("text")
    modes = {stat.S_IMODE(os.stat(path).st_mode) for path in (tmp_path / "new/folder/a.txt", tmp_path / "plain.txt")}
    assert len(modes) == 1, "as if the file had been opened directly"


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nii", "a.h5", "a", "sub-01_v1.2_map.nii.gz"])
def test_the_temporary_file_has_the_suffix_that_writers_look_at(tmp_path, name):
    with writing(tmp_path / name) as temporary:
        assert temporary.parent == tmp_path
        assert temporary.name.endswith(".nii.gz") == name.endswith(".nii.gz")
        assert temporary.suffix == (tmp_path / name).suffix
        assert not (tmp_path / name).exists()
        temporary.write_text("x")
    assert (tmp_path / name).read_text() == "x"


def test_a_folder_that_is_a_file_is_told(tmp_path):
    save_text(tmp_path / "a", "text")
    with pytest.raises(UserError, match=r"Cannot write .*/a/b\.txt: (File exists|Not a directory)"):
        save_text(tmp_path / "a" / "b.txt", "text")


def run_python(code, *arguments, **options):
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def test_a_killed_job_leaves_nothing_and_runs_again(tmp_path, scores):
    path = tmp_path / "s.h5"
    code = """
        import sys, time, h5py
        from rsa.files.io import writing
        with writing(sys.argv[1]) as temporary, h5py.File(temporary, "w") as file:
            file["values"] = [1.0] * 1000
            file.flush()
            print("half", flush=True)
            time.sleep(60)
    """
    with run_python(code, path) as job:
        assert job.stdout.readline() == "half\n"
        assert len(leftovers(tmp_path)) == 1, "the job is in the middle of writing"
        assert not path.exists()
        job.send_signal(signal.SIGKILL)
        assert job.wait() == -signal.SIGKILL
    assert not path.exists()
    save(path, scores)
    np.testing.assert_array_equal(load_scores(path).values, scores.values)


FULL_DISK = """
    import resource, sys
    import nibabel as nib, numpy as np, pandas as pd
    from rsa.core import RDMs, Volume
    from rsa.errors import UserError
    from rsa.files.io import save, save_json, save_nifti, save_table

    rng = np.random.default_rng(0)
    path, n = sys.argv[1], 5_000
    tall = RDMs(rng.random((n, 3)), ["a", "b", "c"], pd.DataFrame({"layer": np.arange(n)}))
    wide = RDMs(rng.random((3, 499_500)), np.arange(1000), pd.DataFrame({"layer": np.arange(3)}))
    volume = Volume(np.ones((40, 40, 40)), np.eye(4))
    write = {
        "h5": lambda: save(path, wide if "wide" in path else tall),
        "gz": lambda: save_nifti(path, volume.to_image(rng.random(volume.n_voxels)), {"unit": "r"}),
        "nii": lambda: save_nifti(path, volume.to_image(rng.random(volume.n_voxels)), {"unit": "r"}),
        "tsv": lambda: save_table(path, pd.DataFrame({"x": rng.random(20_000)}), {"x": "a number"}),
        "json": lambda: save_json(path, {"x": "y" * 200_000}),
    }[path.rsplit(".")[-1]]
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
    try:
        write()
    except UserError as error:
        print(error)
        sys.exit(2)
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tall.h5", "wide.h5", "a.nii.gz", "a.nii", "a.tsv", "a.json"])
@pytest.mark.parametrize("had_one", [False, True])
def test_a_full_disk_is_told_and_leaves_what_was_there(tmp_path, name, had_one):
    if had_one:
        (tmp_path / name).write_text("old")
    with run_python(FULL_DISK, tmp_path / name) as job:
        said, traceback = job.communicate()
    assert (job.returncode, traceback) == (2, "")
    assert said == f"Cannot write {tmp_path / name}: the disk is full. Make room and run again; nothing is lost.\n"
    assert [path.name for path in tmp_path.iterdir()] == ([name] if had_one else []), "no half file, no sidecar"
    assert not had_one or (tmp_path / name).read_text() == "old"


# ------------------------------------------------------------------------------------------------ NIfTI


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_maps_for_people(tmp_path, scores, suffix):
    path = tmp_path / f"sub-01_stat-spearman_statmap{suffix}"
    save_nifti(path, scores.to_nifti(layer="fc"), {"statistic": "spearman", "radius_mm": 8})
    image = nib.load(path)
    assert image.shape == (4, 3, 2)
    assert (int(image.header["sform_code"]), int(image.header["qform_code"])) == (4, 2)
    np.testing.assert_allclose(image.get_sform(), OBLIQUE, atol=1e-5)
    np.testing.assert_allclose(image.get_qform(), OBLIQUE, atol=1e-4)
    assert image.header.get_xyzt_units() == ("mm", "sec")
    values = np.asarray(image.dataobj)
    np.testing.assert_array_equal(values[scores.volume.mask], scores.values[1])
    assert np.isnan(values[~scores.volume.mask]).all()
    sidecar = json.loads((tmp_path / "sub-01_stat-spearman_statmap.json").read_text())
    assert sidecar == {"statistic": "spearman", "radius_mm": 8}
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"sub-01_stat-spearman_statmap{s}" for s in (".json", suffix)]


def test_no_sidecar_unless_asked(tmp_path, scores):
    save_nifti(tmp_path / "a.nii.gz", scores.to_nifti())
    assert [path.name for path in tmp_path.iterdir()] == ["a.nii.gz"]
    assert load_image(tmp_path / "a.nii.gz").shape == (4, 3, 2, 2)


def test_images_that_cannot_be_read(tmp_path):
    with pytest.raises(UserError, match=r"There is no image .*none\.nii"):
        load_image(tmp_path / "none.nii")
    (tmp_path / "a.nii").write_text("no image")
    with pytest.raises(UserError, match=r"a\.nii is not a readable NIfTI image"):
        load_image(tmp_path / "a.nii")
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(bytes(1000))[:12])
    with pytest.raises(UserError, match=r"a\.nii\.gz is not a readable NIfTI image"):
        load_image(tmp_path / "a.nii.gz")


def test_names_that_do_not_say_whether_an_image_is_compressed(tmp_path):
    nib.save(nib.Nifti1Image(np.ones((2, 2, 2), np.uint8), np.eye(4)), tmp_path / "a.nii")
    packed = gzip.compress((tmp_path / "a.nii").read_bytes())
    (tmp_path / "a.nii").rename(tmp_path / "plain.nii.gz")
    (tmp_path / "packed.nii").write_bytes(packed)
    with pytest.raises(UserError, match=r"plain\.nii\.gz .*\. It is not compressed; take \.gz off its name\."):
        load_image(tmp_path / "plain.nii.gz")
    with pytest.raises(UserError, match=r"packed\.nii .*\. It is compressed; end its name in \.gz\."):
        load_image(tmp_path / "packed.nii")


def test_compressed_files_are_read_to_their_end(tmp_path):
    path, content = tmp_path / "a.tsv.gz", bytes(range(256)) * 400
    members = gzip.compress(content) + gzip.compress(b"more")
    for whole in (members, members + bytes(512), gzip.compress(b"")):
        rewritten(path, whole)
        require_whole(path)
        assert content_hash(path) == hashlib.sha256(whole).hexdigest()
    reserved = members[:3] + bytes([members[3] | 0x80]) + members[4:]
    for broken in (members[:-1], members + b"x", members[:-1] + b"x", content, b"", reserved):
        rewritten(path, broken)
        with pytest.raises(UserError, match=r"a\.tsv\.gz is damaged, its data cannot be read to their end: .*again\."):
            require_whole(path)
        with pytest.raises(UserError, match=r"a\.tsv\.gz is damaged"):
            provenance([path])
    with pytest.raises(UserError, match=r"Cannot read .*none\.gz: No such file"):
        require_whole(tmp_path / "none.gz")


def test_a_compressed_file_is_unpacked_again_only_if_it_changed(tmp_path, monkeypatch):
    unpacked = []
    monkeypatch.setattr(io, "_unpack_gzip", unpacked.append)
    path = tmp_path / "a.gz"
    for content in (b"one", b"three"):
        path.write_bytes(gzip.compress(content))
        require_whole(path)
        require_whole(path)
    assert unpacked == [str(path)] * 2


# ----------------------------------------------------------------------------------------------- tables


def test_tables_keep_labels_as_text(tmp_path):
    text = "\ufeffsubject\trun\tcondition\tcode\tonset\n01\t001\t7\t08\t1.5\n02\t002\té\t09\tn/a\n"
    (tmp_path / "t.tsv").write_text(text, encoding="utf-8")
    table = load_table(tmp_path / "t.tsv", ["code"])
    assert table[["subject", "run", "condition", "code"]].values.tolist() == [
        ["01", "001", "7", "08"],
        ["02", "002", "é", "09"],
    ]
    assert table["onset"].tolist()[0] == 1.5
    assert np.isnan(table["onset"][1])
    (tmp_path / "t.csv").write_text('condition,x\n"a, b",1\n')
    assert load_table(tmp_path / "t.csv")["condition"][0] == "a, b"
    (tmp_path / "fits.tsv").write_text("region\tmodel\tlayer\n1\t02\t3\n1\tx\tn/a\n")
    fits = load_table(tmp_path / "fits.tsv").fillna("")
    assert fits.values.tolist() == [["1", "02", "3"], ["1", "x", ""]]


@pytest.mark.parametrize(
    ("content", "required", "message"),
    [
        ("a\tb\n1\t2\n", ["condition", "b", "file"], r"has no column 'condition', 'file'; its columns are 'a', 'b'\."),
        ("condition\tb\nx\t1\n\t2\n", ["condition"], r"has no value in column 'condition' on line 3\."),
        ("condition\tb\nx\t1\ny\tn/a\n", ["condition", "b"], r"has no value in column 'b' on line 3\."),
        ("", [], r"t\.tsv is not a readable table: No columns"),
        ("a\tb\n1\t2\t\n\n1\t2\t3\n", [], r"not a readable table: line 4 has 3 cells, and the header names 2 columns"),
        ('a\tb\tc\n1\t"two\nlines"\t3\n', [], r"line 2 has 2 cells, and the header names 3 columns\. Take tabs and"),
        ('condition\tb\n"x\ty"\t1\n', [], r"line 2 has 3 cells, and the header names 2 columns\. Take tabs and line"),
        ("condition\tcondition\nx\ty\n", [], r"t\.tsv has 2 columns 'condition'; rename all but one\."),
        ("a\0b\0\n", [], r"t\.tsv is not a readable table: it holds null bytes\. Save it as text in UTF-8\."),
    ],
)
def test_tables_that_lack_something(tmp_path, content, required, message):
    (tmp_path / "t.tsv").write_text(content)
    with pytest.raises(UserError, match=message):
        load_table(tmp_path / "t.tsv", required)


def test_tables_that_cannot_be_read(tmp_path):
    with pytest.raises(UserError, match=r"There is no table .*none\.tsv"):
        load_table(tmp_path / "none.tsv")
    (tmp_path / "t.tsv").write_bytes("condition\nb\n".encode("utf-16")[:-1])
    with pytest.raises(UserError, match=r"t\.tsv is not a readable table: .*utf-16"):
        load_table(tmp_path / "t.tsv")
    with pytest.raises(UserError, match=r"is not a readable table: .*directory"):
        load_table(tmp_path)


QUOTES = ['"umm I saw', "b", '"maybe', "", 'say "no"', '5"', '"', '"left, or right"', '""', '"a" and "b"']
"""Cells of which some begin with a quotation mark: not one of them opens anything."""


def test_a_quotation_mark_in_a_tab_separated_table_is_text_and_no_row_vanishes(tmp_path):
    rows = [f"{i}\t{text}\t{i:02d}" for i, text in enumerate(QUOTES)]
    (tmp_path / "t.tsv").write_text("\n".join(["onset\ttext\tcondition", *rows]))
    table = load_table(tmp_path / "t.tsv", optional=["text"])
    assert table["condition"].tolist() == [f"{i:02d}" for i in range(len(QUOTES))]
    assert table["onset"].tolist() == list(range(len(QUOTES)))
    expected = [*QUOTES[:3], np.nan, *QUOTES[4:7], "left, or right", np.nan, '"a" and "b"']
    pd.testing.assert_series_equal(table["text"], pd.Series(expected, name="text"), check_dtype=False)


def test_tables_that_other_programs_quote_hold_what_those_wrote(tmp_path):
    """R and spreadsheets put quotation marks around text; R also gives the rows numbers in a column without a name."""
    (tmp_path / "r.tsv").write_text('"onset"\t"condition"\n"1"\t0.5\t"a ""b"""\n"2"\t7\t"NA"\n')
    table = load_table(tmp_path / "r.tsv", ["condition"])
    assert table.to_dict("list") == {"onset": [0.5, 7.0], "condition": ['a "b"', "NA"]}
    (tmp_path / "tabs.tsv").write_text("condition\trun\t\r\nx\t01\t\r\n\t\t\r\ny\t02\r\n")
    assert load_table(tmp_path / "tabs.tsv")[["condition", "run"]].values.tolist() == [["x", "01"], ["y", "02"]]
    (tmp_path / "ends.tsv").write_text("condition\tn\nx\t1\t\ny\t2\t\n")
    assert load_table(tmp_path / "ends.tsv").values.tolist() == [["x", 1], ["y", 2]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('a,b\n1,"umm I saw\n2,x\n3,"maybe\n', "a quotation mark on line 2 is not closed as in CSV"),
        ('a,b\n1,"umm I saw\n2,x\n', "a quotation mark on line 2 is not closed as in CSV"),
        (
            'a,b\n1,"umm I saw\n2,maybe"\n',
            "a quotation mark on line 2 is closed on line 3 only, with whole rows between",
        ),
        ('a,b,c\n1,"umm,x\n2,y,z\n3,w",q\n', "a quotation mark on line 2 is closed on line 4 only, with whole rows"),
        ('condition,b,c\n"x\ny",2,3\n', "has a tab or a line break in column 'condition' on line 2: 'x.ny'"),
    ],
)
def test_a_quotation_mark_that_swallows_rows_of_a_csv_is_found(tmp_path, content, message):
    (tmp_path / "t.csv").write_text(content)
    with pytest.raises(UserError, match=message):
        load_table(tmp_path / "t.csv")


def test_a_csv_keeps_its_quoting(tmp_path):
    (tmp_path / "t.csv").write_text('condition,text\n"a, ""b""","two\nlines"\nc,say "no"\n')
    assert load_table(tmp_path / "t.csv").values.tolist() == [['a, "b"', "two\nlines"], ["c", 'say "no"']]


def test_only_n_a_is_no_value_of_a_label_or_it_is_said(tmp_path, caplog):
    words = ["NA", "None", "null", "NULL", "N/A", "<NA>", "#N/A", "-", "True", "inf", "1e5", "0x1"]
    (tmp_path / "t.tsv").write_text("\n".join(["condition\tonset", *(f"{word}\tnan" for word in words)]))
    table = load_table(tmp_path / "t.tsv", ["condition"])
    assert table["condition"].tolist() == words
    assert not caplog.records
    (tmp_path / "t.tsv").write_text("condition\tduration\nnan\tnan\ndad\t1\nn/a\tn/a\n")
    table = load_table(tmp_path / "t.tsv", optional=["condition", "duration"])
    assert table["condition"].isna().tolist() == [True, False, True]
    (record,) = caplog.records
    assert record.getMessage().endswith(
        "t.tsv: 'nan' in column 'condition' (1 lines, first line 2) counts as no value, as n/a does; if it is a label, "
        "rename it"
    )


def test_labels_that_look_like_numbers_stay_text_in_all_tables(tmp_path):
    names = ("condition", "neighbour", "network", "heat_map", "unit_name", "preferred_before", "preferred_after")
    table = pd.DataFrame({name: ["01", "1"] for name in (*names, "category_a", "category_b", "model_a")}).assign(
        n=[1, 2]
    )
    save_table(tmp_path / "labels.tsv", table)
    pd.testing.assert_frame_equal(load_table(tmp_path / "labels.tsv"), table)


def test_a_row_that_is_too_short_is_read_and_said(tmp_path, caplog):
    (tmp_path / "t.tsv").write_text("condition\ta\tb\nx\t1\t2\ny\n")
    assert load_table(tmp_path / "t.tsv")["a"].isna().tolist() == [False, True]
    assert "1 lines have fewer cells than there are columns, first line 3; the others count" in caplog.text


@settings(quick, max_examples=100)
@given(st.lists(st.text(st.characters(exclude_characters="\t\r\n\0", codec="utf-8"), min_size=1), min_size=1))
def test_labels_of_tables_survive(labels):
    labels = [label for label in labels if label.strip() and label not in ("n/a", "nan", "NaN")]
    with tempfile.TemporaryDirectory() as folder:
        save_table(Path(folder, "t.tsv"), pd.DataFrame({"layer": labels, "n": range(len(labels))}))
        assert load_table(Path(folder, "t.tsv"))["layer"].tolist() == labels


def test_labels_that_no_cell_can_hold_are_refused_and_the_old_table_stays(tmp_path):
    save_table(tmp_path / "t.tsv", pd.DataFrame({"layer": ['"a"', "b"]}))
    before = (tmp_path / "t.tsv").read_text()
    assert before == 'layer\n"""a"""\nb\n'
    for label in ("a\tb", "a\nb", "a\rb"):
        with pytest.raises(
            UserError, match="has a tab or a line break, which no cell of a tab-separated table can hold"
        ):
            save_table(tmp_path / "t.tsv", pd.DataFrame({"layer": [label]}))
    assert (tmp_path / "t.tsv").read_text() == before


# ------------------------------------------------------------------------------------- text and pointers


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "utf-16-le"])
def test_unicode_text_is_read_in_every_encoding_that_tells_itself(tmp_path, caplog, encoding):
    mark = codecs.BOM_UTF16_LE if encoding == "utf-16-le" else b""
    (tmp_path / "t.tsv").write_bytes(mark + "condition\nGrüße\n猫\n".encode(encoding))
    assert load_table(tmp_path / "t.tsv")["condition"].tolist() == ["Grüße", "猫"]
    assert not caplog.records


def test_text_that_is_not_unicode_is_read_line_by_line_and_named_once(tmp_path, caplog):
    lines = [b"condition\tcomment", "a\tcassé, “non”".encode("cp1252"), "猫\té".encode()]
    (tmp_path / "t.tsv").write_bytes(b"\n".join(lines))
    for _ in range(2):
        assert load_table(tmp_path / "t.tsv").values.tolist() == [["a", "cassé, “non”"], ["猫", "é"]]
    (record,) = caplog.records
    assert record.getMessage().endswith(
        "t.tsv is not in UTF-8: 1 lines are read as Windows-1252 (Latin-1), the first, line 2, with 'cassé', '“non”'; "
        "if that is wrong, save the file as UTF-8"
    )


def pointers(folder):
    """Write a file of each kind whose content is elsewhere; return them with what has to be said."""
    key = "MD5E-s12--0123456789abcdef0123456789abcdef.tsv"
    (folder / "unlocked.tsv").write_text(f"/annex/objects/{key}\n")
    (folder / "no links.tsv").write_text(f"../.git/annex/objects/2p/Xz/{key}/{key}")
    (folder / "link.tsv").symlink_to(f".git/annex/objects/2p/Xz/{key}/{key}")
    (folder / "link to link.tsv").symlink_to("link.tsv")
    (folder / "lfs.tsv").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0a\nsize 12\n")
    (folder / "lost.tsv").symlink_to("nowhere.tsv")
    (folder / "folder").symlink_to("nowhere")
    return {
        "unlocked.tsv": r"git-annex has only the name\. Get it: `datalad get \"?/[^\"]+unlocked.tsv\"?`, or `git annex",
        "no links.tsv": r"git-annex has only the name\. Get it: `datalad get \"[^\"]+no links.tsv\"`",
        "link.tsv": r"git-annex has only the name\. Get it: `datalad get ",
        "link to link.tsv": r"git-annex has only the name\. Get it: `datalad get ",
        "lfs.tsv": r"Git LFS has only a pointer\. Get it: `git lfs pull --include \"[^\"]+lfs.tsv\"`\.$",
        "lost.tsv": r"there is only a link to where nothing is\. Mend the link, or bring what it leads to\.$",
        "folder/t.tsv": r"there is only a link to where nothing is\. Mend the link",
    }


def test_files_whose_content_is_elsewhere_say_how_to_get_it(tmp_path):
    for name, message in pointers(tmp_path).items():
        for read in (load_table, load_image, content_hash, load_patterns):
            with pytest.raises(NoContentError, match=message) as raised:
                read(tmp_path / name)
            assert "\n" not in str(raised.value)
    table = tmp_path / "paths.tsv"
    table.write_text("file\n.git/annex/objects/a.png\n")
    sidecar = tmp_path / "a.json"
    sidecar.write_text('{"Sources": ["/data/.git/annex/objects/2p/Xz/k/k"]}')
    for path in (table, sidecar, tmp_path, tmp_path / "none"):
        require_content(path)


def test_many_files_whose_content_is_elsewhere_are_a_line_for_each_place(tmp_path):
    there = [tmp_path / name for name in pointers(tmp_path)]
    lines = problems_of_content([*there, *there, tmp_path / "none"])
    assert len(lines) == 3
    assert lines[0].startswith(
        f"The content of 4 of 8 files ({str(there[0])!r}, {str(there[1])!r}, {str(there[2])!r} and 1"
    )
    place = f'"{tmp_path}"' if " " in str(tmp_path) else tmp_path
    assert lines[0].endswith(f"git-annex has only the name. Get it: `datalad get {place}`, or `git annex get {place}`.")
    assert lines[1].startswith(f"The content of {tmp_path}/lfs.tsv is not on this machine, Git LFS has only a pointer.")
    assert lines[2].startswith("The content of 2 of 8 files (")


def test_tables_are_written_with_their_dictionary(tmp_path):
    table = pd.DataFrame({"layer": ["conv 1", "é"], "score": [1 / 3, np.nan]})
    save_table(tmp_path / "t.tsv", table, {"layer": "Name of the layer.", "score": "Spearman correlation."})
    assert (tmp_path / "t.tsv").read_text(encoding="utf-8") == "layer\tscore\nconv 1\t0.333333\né\tn/a\n"
    assert json.loads((tmp_path / "t.json").read_text())["score"] == {"Description": "Spearman correlation."}
    found = load_table(tmp_path / "t.tsv")
    assert np.isnan(found["score"][1])


def test_json_is_readable_and_ends_with_a_newline(tmp_path):
    save_json(tmp_path / "a.json", {"path": tmp_path, "n": 3})
    text = (tmp_path / "a.json").read_text()
    assert json.loads(text) == {"path": str(tmp_path), "n": 3}
    assert text.endswith("}\n")


def test_a_file_that_another_process_finishes_meanwhile_is_none_that_a_killed_job_left(tmp_path):
    (tmp_path / ".partial-a.txt-gone.txt").symlink_to(tmp_path / "renamed")  # it is listed, and no longer there
    with io.writing(tmp_path / "a.txt") as temporary:
        temporary.write_text("mine")
    assert (tmp_path / "a.txt").read_text() == "mine"
