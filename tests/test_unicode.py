"""A label is one label whether its accents are letters of their own (NFD, file names of a Mac) or not (NFC, tables)."""

from itertools import product
from unicodedata import normalize

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from bids_tree import build_bids
from layouts import pictures
from meeg_files import make_epochs, trials, write_eeglab, write_fif
from scipy.spatial.distance import squareform

from rsa.core import Epochs, Patterns, RDMs, align, as_label, concatenate, difference_of_conditions
from rsa.datasets import Bids, EpochFiles, Maps, Movies, Rdms
from rsa.errors import UserError
from rsa.files.rdm_files import read_conditions
from rsa.files.sources import as_on_disk
from rsa.inputs.references import FileReference, TableReference
from rsa.inputs.stimuli import Stimuli

NAMES = ["café", "Käse", "niño", "house"]
FORMS = ("NFC", "NFD")
BOTH = pytest.mark.parametrize(("ours", "theirs"), list(product(FORMS, repeat=2)))


def spelled(form, names=NAMES):
    return [normalize(form, name) for name in names]


def test_the_forms_differ_and_labels_do_not():
    assert set(spelled("NFC")) & set(spelled("NFD")) == {"house"}
    assert [as_label(name) for name in spelled("NFD")] == [as_label(name) for name in spelled("NFC")] == spelled("NFC")


@BOTH
def test_types_of_the_engine(rng, ours, theirs):
    patterns = Patterns(rng.normal(size=(4, 5)), pd.DataFrame({"condition": spelled(ours)}))
    assert patterns.in_order(spelled(theirs)[::-1]).conditions == spelled("NFC")[::-1]
    vectors = rng.random((1, 6))
    rdms = RDMs(vectors, spelled(ours), pd.DataFrame({"layer": ["a"]}))
    turned = align(spelled(theirs)[::-1], rdms)
    np.testing.assert_array_equal(turned.squares, rdms.squares[:, ::-1, ::-1])
    assert turned.conditions == tuple(spelled("NFC")[::-1])
    assert len(concatenate([rdms, RDMs(vectors, spelled(theirs), pd.DataFrame({"layer": ["b"]}))])) == 2
    assert difference_of_conditions(spelled(ours), spelled(theirs), "a", "b") == ""
    channels = pd.DataFrame({"name": ["1"], "type": ["eeg"]})
    table = pd.DataFrame({"condition": spelled(ours)})
    assert Epochs(np.zeros((4, 1, 2)), table, np.array([0, 1]), channels).conditions == spelled("NFC")
    with pytest.raises(UserError, match="same condition twice"):
        RDMs(vectors, [*spelled("NFD", ["é"]), *spelled("NFC", ["é"]), "a", "b"], pd.DataFrame({"layer": ["a"]}))


@BOTH
def test_pictures_of_a_folder_and_of_a_table_open_as_they_are_on_disk(tmp_path, ours, theirs):
    pictures(tmp_path / normalize(ours, "Fotos für alle"), [f"{name}.png" for name in spelled(ours)])
    folder = Stimuli(folder=str(tmp_path / normalize(ours, "Fotos für alle")))
    assert (folder.problems(), sorted(folder.conditions())) == ([], sorted(spelled("NFC")))
    files = [f"{normalize(theirs, 'Fotos für alle')}/{name}.png" for name in spelled(theirs)]
    table = pd.DataFrame({"condition": spelled(theirs), "file": files})
    table.to_csv(tmp_path / "stimuli.tsv", sep="\t", index=False)
    listed = Stimuli(table=str(tmp_path / "stimuli.tsv"))
    assert (listed.problems(), listed.conditions()) == ([], spelled("NFC"))
    assert {str(path) for path in listed.files()[1:]} == {str(path) for path in folder.files()}
    pattern = Stimuli(folder=folder.folder, condition_pattern=normalize(theirs, "(café|.*)[.]png"))
    assert sorted(pattern.conditions()) == sorted(spelled("NFC"))


def test_two_files_of_one_label_are_two_pictures(tmp_path):
    pictures(tmp_path, [f"{name}.png" for name in [*spelled("NFC"), *spelled("NFD", ["café"])]])
    (problem,) = Stimuli(folder=str(tmp_path)).problems()
    assert "share a name, so a condition" in problem
    other = tmp_path / normalize("NFD", "Käse.png")
    assert as_on_disk([other, tmp_path / "nöne.png"]) == [tmp_path / "Käse.png", tmp_path / "nöne.png"]


def test_a_category_is_one_category():
    table = pd.DataFrame(
        {"condition": list("abcd"), "kind": [*spelled("NFC", ["Tür"] * 2), *spelled("NFD", ["Tür"]), "x"]}
    )
    np.testing.assert_array_equal(TableReference(name="kind", column="kind").build(table).values, [[0, 0, 1, 0, 1, 1]])


@BOTH
def test_rdms_of_others(tmp_path, rng, ours, theirs):
    square = squareform(rng.random(6))
    stimuli = pd.DataFrame({"condition": spelled(ours)})
    np.savez(tmp_path / "IT.npz", IT=square[::-1, ::-1], names=spelled(theirs)[::-1])
    np.save(tmp_path / "r.npy", square[::-1, ::-1])
    (tmp_path / "order.txt").write_text("\n".join(spelled(theirs)[::-1]), encoding="utf-8")
    pd.DataFrame({"condition": spelled(theirs)[::-1]}).to_csv(tmp_path / "order.csv", index=False)
    for changes in ({"file": "IT.npz"}, *({"file": "r.npy", "condition_order": f"order.{x}"} for x in ("txt", "csv"))):
        reference = FileReference(name="r", **{name: str(tmp_path / value) for name, value in changes.items()})
        assert reference.problems(stimuli) == []
        np.testing.assert_array_equal(reference.build(stimuli).squares, [square])
    assert read_conditions(tmp_path / "order.txt") == spelled("NFC")[::-1]
    brain = Rdms(subjects=["1"], regions=["IT"], file=str(tmp_path / "IT.npz"))
    np.testing.assert_array_equal(brain.load("1", spelled(ours)).squares, [square])
    np.savez(tmp_path / "m.npz", rdm=np.stack([square[::-1, ::-1]] * 5), names=spelled(theirs)[::-1])
    movie = Movies(subjects=["1"], file=str(tmp_path / "m.npz"), times={"start": 0, "step": 0.1, "unit": "s"})
    assert movie.problems(spelled(ours)) == []
    np.testing.assert_array_equal(movie.load("1", spelled(ours)).squares, [square] * 5)


def image(path, values):
    nib.save(nib.Nifti1Image(values.astype(np.float32), np.diag([3.0, 3, 3, 1])), path)


@BOTH
def test_images_with_a_table_or_a_name(tmp_path, rng, ours, theirs):
    values = rng.normal(size=(4, 4, 4, 5))
    image(tmp_path / "betas.nii.gz", values)
    rows = pd.DataFrame({"condition": [*spelled(theirs), normalize(theirs, "Pause über")]})
    rows.to_csv(tmp_path / "betas.tsv", sep="\t", index=False)
    for place, name in enumerate(rows["condition"]):
        image(tmp_path / f"beta_{name}.nii", values[..., place])
    exclude = [normalize(ours, "Pause über")]
    files = {"images": str(tmp_path / "betas.nii.gz"), "table": str(tmp_path / "betas.tsv")}
    for where in (files, {"images": str(tmp_path / "beta_{condition}.nii")}):
        dataset = Maps(subjects=["1"], exclude=exclude, **where)
        assert dataset.problems(spelled(ours)) == []
        assert sorted(dataset.conditions("1")) == sorted(spelled("NFC"))
        assert all(path.exists() for path in dataset.files("1", spelled(ours)))
        patterns = dataset.load("1", spelled(ours)).in_order(spelled(ours))
        np.testing.assert_allclose(patterns.values, values[..., :4].reshape(-1, 4).T, rtol=1e-6)


def test_two_images_of_one_label_are_refused(tmp_path, rng):
    for name in [*spelled("NFC"), *spelled("NFD", ["café"])]:
        image(tmp_path / f"beta_{name}.nii", rng.normal(size=(3, 3, 3)))
    (problem,) = Maps(subjects=["1"], images=str(tmp_path / "beta_{condition}.nii")).problems()
    assert "differ only in how accents are stored" in problem


@BOTH
def test_events_of_bids(tmp_path, ours, theirs):
    tree = build_bids(tmp_path, subjects=("01",), conditions=spelled(theirs))
    dataset = Bids(**tree.settings, exclude=[normalize(ours, "niño")])
    wanted = [name for name in spelled(ours) if normalize("NFC", name) != "niño"]
    assert dataset.problems(wanted) == []
    assert set(dataset.conditions("01")) == {"café", "Käse", "house"}
    chosen = Bids(**tree.settings, where={"trial_type": wanted})
    assert chosen.problems(wanted) == []


@BOTH
def test_epochs(tmp_path, rng, ours, theirs):
    events = [*spelled(theirs), normalize(theirs, "Pause über")] * 2
    write_eeglab(tmp_path / "e.set", rng.normal(size=(10, 3, 40)), events, tmin_s=-0.1, names=["A", "B", "C"])
    write_fif(tmp_path / "e_epo.fif", make_epochs(trials(rng, 10), ["x"] * 10, metadata={"name": events}))
    for changes in ({"file": "e.set"}, {"file": "e_epo.fif", "condition": "name"}):
        settings = {**changes, "file": str(tmp_path / changes["file"])}
        dataset = EpochFiles(subjects=["1"], exclude=[normalize(ours, "Pause über")], **settings)
        assert dataset.problems(spelled(ours)) == []
        assert dataset.load("1", spelled(ours)).conditions == spelled("NFC")
