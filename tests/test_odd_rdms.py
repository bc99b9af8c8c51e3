"""RDMs that cannot be meant are refused or told: few conditions, no differences, similarities, another unit of time."""

import logging

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image
from scipy.spatial.distance import pdist, squareform

from rsa.core import RDMs, require_enough
from rsa.datasets import Movies, Rdms
from rsa.datasets.movies import oddities_of_times
from rsa.errors import UserError
from rsa.files.rdm_files import oddities_of
from rsa.inputs.references import FileReference, PixelReference, TableReference
from rsa.pipeline.checks import problems_of, warnings_of
from rsa.pipeline.cli import main
from rsa.pipeline.config import load_study, read_yaml
from rsa.rdm import compare_stacks, noise_ceiling

REFERENCES = {
    "pixels": {"kind": "pixels", "name": "p"},
    "table": {"kind": "table", "name": "t", "column": "kind"},
    "file": {"kind": "file", "name": "f", "file": "r.npz"},
}
DATA = {
    "maps": {"brain": {"kind": "maps", "subjects": ["01"], "images": "b.nii.gz", "table": "stimuli.tsv"}},
    "rdms": {"brain": {"kind": "rdms", "subjects": ["01"], "file": "r.npz", "regions": ["IT"]}},
    "movie": {
        "meeg": {"kind": "movie", "subjects": ["01"], "file": "m.npz", "times": {"start": 0, "step": 0.1, "unit": "s"}}
    },
}


def study(folder, rng, n, reference="file", data="rdms", *, stimuli=True, **changes):
    """Write a study of n conditions; return the path of its configuration."""
    names = [f"c{i}" for i in range(n)]
    for name in names:
        Image.fromarray(rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(folder / f"{name}.png")
    kinds = ["a", "b", "a", "c", "b", "a"][:n]
    table = pd.DataFrame({"condition": names, "file": [f"{name}.png" for name in names], "kind": kinds})
    table.to_csv(folder / "stimuli.tsv", sep="\t", index=False)
    nib.save(
        nib.Nifti1Image(rng.normal(size=(5, 5, 5, n)).astype(np.float32), np.diag([3.0, 3, 3, 1])), folder / "b.nii.gz"
    )
    square = np.zeros((n, n))
    square[np.triu_indices(n, k=1)] = rng.random(n * (n - 1) // 2)
    np.savez(folder / "r.npz", IT=square + square.T)
    np.savez(folder / "m.npz", m=np.stack([square + square.T] * 4))
    settings = {
        "study": "few",
        "data_root": str(folder),
        "references": [REFERENCES[reference]],
        **DATA[data],
        **changes,
    }
    settings |= {"stimuli": {"table": "stimuli.tsv"}} if stimuli else {}
    settings |= {"searchlight": {"radius_mm": 6, "min_voxels": 5}} if data == "maps" else {}
    (folder / "study.yaml").write_text(yaml.safe_dump(settings))
    return folder / "study.yaml"


def loaded(path):
    return load_study(read_yaml(path))


# ------------------------------------------------------------------------------------------ few conditions


@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("reference", REFERENCES)
@pytest.mark.parametrize("n", [1, 2])
def test_one_or_two_conditions_are_one_line_in_the_check(tmp_path, rng, capsys, n, reference, data):
    assert main(["check", str(study(tmp_path, rng, n, reference, data))]) == 2
    message = "RSA compares the dissimilarities of pairs, so it needs 3 conditions or more, and the stimuli have"
    assert capsys.readouterr().err == f"error: The configuration has a problem: {message} {n}.\n"


@pytest.mark.parametrize("n", [1, 2])
def test_one_or_two_conditions_of_data_without_stimuli(tmp_path, rng, n):
    (problem,) = problems_of(loaded(study(tmp_path, rng, n, "file", "maps", stimuli=False)))
    assert problem.endswith(f"needs 3 conditions or more, and the data have {n}.")


@pytest.mark.parametrize("n", [1, 2])
def test_one_or_two_conditions_in_the_library(tmp_path, rng, n):
    study(tmp_path, rng, n)
    table = pd.read_csv(tmp_path / "stimuli.tsv", sep="\t")
    table["file"] = [str(tmp_path / name) for name in table["file"]]
    rdms = RDMs(rng.random((2, n * (n - 1) // 2)), list(table["condition"]), pd.DataFrame({"layer": ["a", "b"]}))
    calls = [
        lambda: compare_stacks(rdms, rdms, "spearman"),
        lambda: noise_ceiling(rdms, "spearman"),
        lambda: TableReference(name="t", column="kind").build(table),
        lambda: PixelReference(name="p").build(table),
        lambda: FileReference(name="f", file=str(tmp_path / "r.npz")).build(table),
        lambda: Rdms(subjects=["1"], regions=["IT"], file=str(tmp_path / "r.npz")).load("1", list(table["condition"])),
    ]
    for call in calls:
        with pytest.raises(UserError, match=rf"needs 3 conditions or more, and .* have {n}\.$"):
            call()
    require_enough(["a", "b", "c"], "the data")


def test_three_conditions_are_told(tmp_path, rng, caplog, capsys):
    path = study(tmp_path, rng, 3)
    assert problems_of(loaded(path)) == []
    with caplog.at_level(logging.WARNING):
        assert main(["check", str(path)]) == 0
    assert "there are 3 conditions, so 3 dissimilarities, whose ranks have 6 orders" in capsys.readouterr().err
    assert warnings_of(loaded(study(tmp_path, rng, 4))) == []


# ---------------------------------------------------------------------------------------- no differences


@pytest.mark.parametrize(
    "rdm", [1 - np.eye(5), np.zeros((5, 5)), 0.3 * (1 - np.eye(5)) + 1e-15 * squareform(np.arange(10))]
)
def test_rdms_that_are_the_same_for_all_pairs_are_refused(tmp_path, rng, rdm):
    path = study(tmp_path, rng, 5, data="movie")
    np.savez(tmp_path / "m.npz", m=np.stack([rdm] * 4))
    (problem,) = problems_of(loaded(path))
    assert "the RDMs at all times of" in problem
    assert "for all pairs of 5 conditions, so no score is defined" in problem
    path = study(tmp_path, rng, 5)
    np.savez(tmp_path / "r.npz", IT=rdm)
    first, second = problems_of(loaded(path))
    assert "the RDMs of the reference 'f' (" in first
    assert "the RDMs of 'IT' in" in second


def test_some_rdms_of_a_file_may_be_the_same_for_all_pairs(tmp_path, rng):
    path = study(tmp_path, rng, 5, data="movie")
    squares = np.stack([squareform(rng.random(10)) for _ in range(4)])
    squares[0] = 1 - np.eye(5)
    np.savez(tmp_path / "m.npz", m=squares)
    np.savez(tmp_path / "r.npz", IT=squares)
    assert problems_of(loaded(path)) == []
    (warning,) = warnings_of(loaded(path))
    assert warning.startswith("Reference 'f' (")
    assert warning.endswith("1 of 4 RDMs are the same for all pairs, so they have no score.")


# ------------------------------------------------------------------------------------------ similarities


def rdms_of(vector, distance="unknown"):
    n = len(squareform(vector))
    return RDMs(vector, [str(i) for i in range(n)], pd.DataFrame({"layer": [""]}), distance)


@pytest.fixture
def patterns(rng):
    """Draw 24 patterns of 3 categories."""
    return rng.normal(size=(24, 100)) + rng.normal(size=(3, 100))[np.arange(24) % 3]


@pytest.mark.parametrize("measure", ["correlation", "cosine"])
@pytest.mark.parametrize("least", [None, 0.0])
def test_similarities_without_a_diagonal_are_told(patterns, measure, least):
    """Of activations that are never negative, similarities are positive: their size says nothing, their order does."""
    activations = patterns if least is None else np.maximum(patterns, least)
    distances = pdist(activations, measure)
    assert oddities_of(rdms_of(distances)) == []
    (text,) = oddities_of(rdms_of(1 - distances))
    assert "save 1 - them" in text


def test_distances_of_all_kinds_are_not_odd(patterns, rng):
    categories = pdist((np.arange(24) % 3)[:, None], "hamming")
    for distances in (
        pdist(patterns),
        pdist(patterns, "sqeuclidean"),
        categories,
        pdist(rng.random((24, 1)), "cityblock"),
    ):
        assert oddities_of(rdms_of(distances)) == []
        noisy = distances / distances.std() + rng.normal(size=distances.shape)
        assert not any("as similarities do" in text for text in oddities_of(rdms_of(noisy)))
    assert oddities_of(rdms_of(rng.normal(size=276), "crossnobis")) == []
    (text,) = oddities_of(rdms_of(pdist(patterns, "sqeuclidean") - pdist(patterns, "sqeuclidean").mean()))
    assert "of the values are below 0, as of cross-validated distances; if they are, say so" in text


def test_published_rdms_are_not_odd_and_their_similarities_are(data):
    with np.load(data / "cichy92" / "fmri_rdms.npz") as file:
        for region in file.files:
            vector = squareform(file[region].mean(axis=0), checks=False)
            assert oddities_of(rdms_of(vector)) == []
            assert "save 1 - them" in oddities_of(rdms_of(1 - vector))[0]


def test_the_check_tells_of_similarities(tmp_path, patterns, capsys):
    conditions = [f"c{i}" for i in range(24)]
    (tmp_path / "stimuli.tsv").write_text("condition\n" + "\n".join(conditions) + "\n")
    np.savez(tmp_path / "r.npz", IT=1 - pdist(patterns, "correlation"))
    settings = {"study": "s", "data_root": str(tmp_path), "stimuli": {"table": "stimuli.tsv"}, **DATA["rdms"]}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump({**settings, "references": [REFERENCES["file"]]}))
    assert main(["check", str(tmp_path / "study.yaml")]) == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if "as similarities do" in line]
    assert [line.split(":")[0] for line in lines] == [f"Reference 'f' ({tmp_path}/r.npz)", "subject '01'"]


def test_the_check_tells_of_similarities_over_time(tmp_path, rng, patterns):
    movie = [1 - pdist(patterns + rng.normal(size=patterns.shape), "correlation") for _ in range(7)]
    np.savez(tmp_path / "m.npz", m=movie)
    times = {"start": 0, "step": 0.1, "unit": "s"}
    source = Movies(subjects=["01"], file=str(tmp_path / "m.npz"), times=times)
    (text,) = source.oddities([f"c{i}" for i in range(24)])
    assert text.startswith("subject '01': mean of the M/EEG RDMs over time: ")
    assert "save 1 - them" in text
    np.savez(tmp_path / "m.npz", m=1 - np.array(movie))
    assert source.oddities([f"c{i}" for i in range(24)]) == []


# -------------------------------------------------------------------------------------- another unit of time


@pytest.mark.parametrize("step", [1, 2, 5, 10])
def test_times_in_another_unit_are_told(tmp_path, rng, step):
    """From -100 to 800 ms at 1000 to 100 Hz, and the same in s."""
    times_ms = np.arange(-100, 800, step)
    assert oddities_of_times(times_ms / 1e3) == []
    (text,) = oddities_of_times(times_ms.astype(float))
    assert text.endswith("which is long: are they given in ms (`times: unit: ms`)?")
    (text,) = oddities_of_times(times_ms / 1e6)
    assert text.endswith("which is short: are they given in s (`times: unit: s`)?")
    assert oddities_of_times(np.array([0.1])) == []


def test_the_check_tells_of_times_in_another_unit(tmp_path, rng):
    path = study(tmp_path, rng, 5, data="movie")
    assert warnings_of(loaded(path)) == []
    meeg = {**DATA["movie"]["meeg"], "times": {"start": -100, "step": 100, "unit": "s"}}
    (warning,) = warnings_of(loaded(study(tmp_path, rng, 5, data="movie", meeg=meeg)))
    assert "times of M/EEG go from -100 to 200 s in steps of 100 s, which is long" in warning
