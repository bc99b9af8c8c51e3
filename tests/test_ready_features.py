import re
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pymatreader
import pytest
from pydantic import ValidationError
from scipy.io import savemat
from scipy.spatial.distance import pdist

from rsa.core import RDMs, align
from rsa.distances import DISTANCES, rdm_vectors
from rsa.errors import UserError
from rsa.files.io import load_rdms
from rsa.inputs.stimuli import Stimuli
from rsa.models import Features
from rsa.models.arrays import rows_of
from rsa.models.catalogue import by_name, layers_of
from rsa.pipeline import stages

CONDITIONS = ["img1", "img10", "img2"]
STIMULI = pd.DataFrame({"condition": CONDITIONS, "file": [f"pictures/{name}.png" for name in CONDITIONS]})


@pytest.fixture
def layers(rng) -> dict[str, np.ndarray]:
    """Return responses of two layers to three conditions."""
    return {"conv2": rng.standard_normal((3, 4, 2, 2)).astype(np.float32), "conv10": rng.standard_normal((3, 5))}


def read(model: Features, stimuli: pd.DataFrame | None = STIMULI) -> dict[str, np.ndarray]:
    ready = model.responses(stimuli)
    found = {layer: ready.of(layer)[:] for layer in model.layer_names()}
    return {
        layer: values[[list(ready.conditions).index(name) for name in CONDITIONS]] for layer, values in found.items()
    }


def write(path, layers: dict[str, np.ndarray], **labels) -> str:
    """Write arrays to a file of any kind."""
    if path.suffix == ".npz":
        np.savez(path, **layers, **labels)
    elif path.suffix == ".h5":
        with h5py.File(path, "w") as file:
            for name, values in {**layers, **labels}.items():
                array = np.asarray(values)
                text = {"dtype": h5py.string_dtype()} if array.dtype.kind == "U" else {}
                file.create_dataset(name, data=array.astype(object) if text else array, **text)
    elif path.name.endswith("v73.mat"):  # as MATLAB writes it: the axes in reverse
        with h5py.File(path, "w") as file:
            for name, values in layers.items():
                file.create_dataset(name, data=np.asarray(values).T).attrs["MATLAB_class"] = np.bytes_("double")
    else:
        texts = {name: np.array(values, dtype=object)[:, None] for name, values in labels.items()}
        savemat(path, {**layers, **texts})
    return str(path)


# ------------------------------------------------------------------------------------------- formats


@pytest.mark.parametrize("name", ["features.npz", "features.h5", "features.mat", "features_v73.mat"])
def test_arrays_of_a_file_are_layers_flattened_with_the_last_axis_fastest(tmp_path, layers, name):
    model = Features(file=write(tmp_path / name, layers))
    table = model.describe()
    assert list(table["layer"]) == ["conv2", "conv10"]
    assert list(table["shape"]) == ["4x2x2", "5"]
    assert list(table["n_units"]) == [16, 5]
    for layer, values in read(model).items():
        np.testing.assert_array_equal(values, layers[layer].reshape(3, -1))


def test_files_of_matlab_are_read_as_pymatreader_does(tmp_path, layers):
    theirs = pymatreader.read_mat(write(tmp_path / "features.mat", layers))
    model = Features(file=str(tmp_path / "features.mat"))
    for layer, values in read(model).items():
        np.testing.assert_array_equal(values, theirs[layer].reshape(3, -1))


@pytest.mark.parametrize("name", ["features.npz", "features.h5", "features.mat", "features_v73.mat"])
def test_blocks_of_columns_are_those_of_the_whole(tmp_path, layers, name):
    ready = Features(file=write(tmp_path / name, layers)).responses(STIMULI)
    for layer, whole in layers.items():
        one = ready.of(layer)
        assert one.shape == (3, whole[0].size) == (len(one), one.shape[1])
        for start in range(one.shape[1]):
            for stop in range(start, one.shape[1] + 3):
                np.testing.assert_array_equal(one[:, start:stop], whole.reshape(3, -1)[:, start:stop])


def test_of_large_files_only_what_is_asked_for_is_read(tmp_path, layers, monkeypatch):
    model = Features(file=write(tmp_path / "features.h5", layers))
    taken = []
    whole = h5py.Dataset.__getitem__

    def counted(dataset, key, *more):
        values = whole(dataset, key, *more)
        taken.append(np.size(values))
        return values

    ready = model.responses(STIMULI)
    monkeypatch.setattr(h5py.Dataset, "__getitem__", counted)
    ready.of("conv2")[:, 0:4]
    assert taken == [12], "the first of four channels"


def test_one_layer_in_a_npy_file_is_mapped(tmp_path, layers):
    np.save(tmp_path / "fc.npy", layers["conv10"])
    model = Features(file=str(tmp_path / "fc.npy"))
    assert model.layer_names() == ["fc"]
    assert isinstance(rows_of(model.responses(STIMULI).of("fc").stored), np.memmap)
    np.testing.assert_array_equal(read(model)["fc"], layers["conv10"])


def test_a_file_for_each_layer_in_natural_order(tmp_path, layers):
    (tmp_path / "[1] net").mkdir()
    for layer, values in layers.items():
        np.savez(tmp_path / f"[1] net/net_{layer}.npz", features=values, other=values)
    np.savez(tmp_path / "[1] net/other.npz", features=layers["conv2"])
    model = Features(file=str(tmp_path / "[1] net/net_{layer}.npz"), key="features")
    assert model.layer_names() == ["conv2", "conv10"]
    assert [path.name for path in model.files()] == ["net_conv2.npz", "net_conv10.npz"]
    for layer, values in read(model).items():
        np.testing.assert_array_equal(values, layers[layer].reshape(3, -1))
    with pytest.raises(UserError, match=r"should hold one array of numbers, and there are 'features', 'other'; say by"):
        Features(file=model.file).layer_names()
    with pytest.raises(UserError, match=r"should hold an array 'features2' of numbers, and there are 'features', 'oth"):
        Features(file=model.file, key="features2").layer_names()


def test_half_precision_is_brought_to_single(tmp_path, layers):
    model = Features(file=write(tmp_path / "features.npz", {"fc": layers["conv10"].astype(np.float16)}))
    assert read(model)["fc"].dtype == np.float32


# ---------------------------------------------------------------------------------- which row is which


@pytest.mark.parametrize("name", ["features.npz", "features.h5", "features.mat"])
@pytest.mark.parametrize("ending", ["", ".png"])
def test_labels_in_the_file_win_over_positions(tmp_path, layers, name, ending):
    order = [2, 0, 1]
    labels = [CONDITIONS[n] + ending for n in order]
    model = Features(
        file=write(tmp_path / name, {layer: values[order] for layer, values in layers.items()}, stim=labels)
    )
    assert model.layer_names() == ["conv2", "conv10"]
    for layer, values in read(model).items():
        np.testing.assert_array_equal(values, layers[layer].reshape(3, -1))


def test_labels_in_the_file_do_without_stimuli_and_rows_without_labels_do_not(tmp_path, layers):
    labelled = Features(file=write(tmp_path / "a.npz", layers, conditions=CONDITIONS))
    assert list(labelled.load().conditions) == CONDITIONS
    bare = Features(file=write(tmp_path / "b.npz", layers))
    with pytest.raises(UserError, match=r"'conv2' in .*b\.npz holds no labels, so the order of its conditions is not"):
        bare.load()
    (tmp_path / "order.txt").write_text("img2\nimg1\nimg10\n")
    told = Features(file=bare.file, condition_order=str(tmp_path / "order.txt"))
    assert list(told.load().conditions) == ["img2", "img1", "img10"]
    assert told.files()[-1].name == "order.txt"


def test_sorted_and_told_orders(tmp_path, layers):
    shown = STIMULI.iloc[[2, 0, 1]]
    file = write(tmp_path / "a.npz", layers)
    by_name = Features(file=file, condition_order="sorted")
    np.testing.assert_array_equal(read(by_name, shown)["conv10"], layers["conv10"])
    as_shown = Features(file=file).responses(shown)
    assert list(as_shown.conditions) == ["img2", "img1", "img10"]
    assert Features.model_validate(
        {"file": "a.npz", "condition_order": "o.txt"}, context={"data_root": "/d"}
    ) == Features(file="/d/a.npz", condition_order="/d/o.txt")
    contradicting = Features(file=write(tmp_path / "b.npz", layers, stim=CONDITIONS[::-1]), condition_order="sorted")
    with pytest.raises(UserError, match=r"its file has the conditions in 'stim', in another order than `condition_ord"):
        contradicting.responses(STIMULI)


def test_layers_whose_rows_differ_are_brought_into_one_order(tmp_path, layers):
    for layer, order in {"conv2": [0, 1, 2], "conv10": [2, 1, 0]}.items():
        np.savez(tmp_path / f"{layer}.npz", features=layers[layer][order], stim=[CONDITIONS[n] for n in order])
    model = Features(file=str(tmp_path / "{layer}.npz"))
    for layer, values in read(model, None).items():
        np.testing.assert_array_equal(values, layers[layer].reshape(3, -1))


def test_rows_of_pictures_are_averaged_for_their_conditions(tmp_path, rng):
    stimuli = pd.DataFrame({"condition": ["b", "a", "b", "a"], "file": [f"{n}.png" for n in "wxyz"]})
    values = rng.standard_normal((4, 6))
    expected = np.stack([values[[0, 2]].mean(axis=0), values[[1, 3]].mean(axis=0)])
    np.savez(tmp_path / "a.npz", fc=values)
    ready = Features(file=str(tmp_path / "a.npz")).responses(stimuli)
    assert list(ready.conditions) == ["b", "a"]
    np.testing.assert_allclose(ready.of("fc")[:], expected)
    np.savez(tmp_path / "b.npz", fc=values[::-1], images=["z", "y", "x", "w"])
    np.testing.assert_allclose(
        Features(file=str(tmp_path / "b.npz")).responses(stimuli).of("fc")[:, 2:4], expected[:, 2:4]
    )
    with pytest.raises(UserError, match=r"has a row for each picture, and 'w\.png' is the name of several"):
        Features(file=str(tmp_path / "a.npz")).responses(stimuli.assign(file=["1/w.png", "x.png", "2/w.png", "z.png"]))


def test_rows_of_pictures_may_be_labelled_with_their_conditions(tmp_path, rng):
    stimuli = pd.DataFrame({"condition": ["b", "a", "b", "a", "a"], "file": [f"{n}.png" for n in "vwxyz"]})
    values = rng.standard_normal((5, 6))
    expected = np.stack([values[[1, 4]].mean(axis=0), values[[0, 2, 3]].mean(axis=0)])

    def read_labelled(n=5, **labels):
        np.savez(tmp_path / "a.npz", fc=values[:n], **labels)
        return Features(file=str(tmp_path / "a.npz")).responses(stimuli)

    for name in ("conditions", "labels", "names"):
        ready = read_labelled(**{name: list("abaab")})
        assert list(ready.conditions) == ["b", "a"]
        np.testing.assert_allclose(ready.of("fc")[:], expected)
    with pytest.raises(UserError, match=r"rows of 'fc' in .* that 'labels' calls 'b': 3, and the stimuli have 2"):
        read_labelled(labels=list("bbaab"))
    with pytest.raises(UserError, match=r"'labels', 'names' label its rows with different conditions; keep one"):
        read_labelled(labels=list("abaab"), names=list("abbaa"))
    with pytest.raises(UserError, match=r"that 'labels' calls 'b': 1, and the stimuli have 2 pictures of it"):
        read_labelled(n=4, labels=list("abaa"))


def test_what_thingsvision_writes(tmp_path, layers):
    """An array of NumPy, and the names of the pictures' files, sorted."""
    np.save(tmp_path / "features.npy", layers["conv10"])
    names = ["pictures/img10.png", "pictures/img1.png", "pictures/img2.png"]
    (tmp_path / "file_names.txt").write_text("\n".join(names))
    model = Features(file=str(tmp_path / "features.npy"))
    np.testing.assert_array_equal(read(model)["features"], layers["conv10"][[1, 0, 2]])
    assert [path.name for path in model.files()] == ["features.npy", "file_names.txt"]


# --------------------------------------------------------------------------------------------- stages


@pytest.mark.parametrize("settings", [{}, {"units": "mean"}])
def test_rdms_are_the_same_in_one_stage_and_through_a_file(tmp_path, layers, settings):
    order = [2, 0, 1]
    moved = {layer: values[order] for layer, values in layers.items()}
    labels = [CONDITIONS[n] for n in order]
    model = Features(file=write(tmp_path / "a.npz", moved, stim=labels), name="mine", **settings)
    pd.DataFrame({"condition": CONDITIONS}).to_csv(tmp_path / "stimuli.tsv", sep="\t", index=False)
    for stimuli in (Stimuli(table=str(tmp_path / "stimuli.tsv")), None):
        stages.model_rdms(model, tmp_path / "b.h5", stimuli, "euclidean")
        stages.extract(model, tmp_path / "c.h5", stimuli)
        stages.layer_rdms(tmp_path / "c.h5", tmp_path / "d.h5", "euclidean")
        made, through = load_rdms(tmp_path / "b.h5"), load_rdms(tmp_path / "d.h5")
        assert made.conditions == through.conditions == tuple(CONDITIONS if stimuli else labels)
        np.testing.assert_allclose(made.values, through.values, rtol=1e-6)
        assert made.table.equals(through.table)
        means = layers["conv2"].mean(axis=(2, 3)) if settings else layers["conv2"].reshape(3, -1)
        expected = align(made.conditions, RDMs(pdist(means)[None], CONDITIONS, made.table[:1]), "a", "b")
        np.testing.assert_allclose(made.values[0], expected.values[0], rtol=1e-5)


# ------------------------------------------------------------------------------------------ real data


def test_features_of_alexnet_for_cichy92(data):
    model = Features(file=str(data / "alexnet_features92/{layer}.npz"), name="alexnet")
    stimuli = Stimuli(folder=str(data / "cichy92/stimuli")).load()
    assert model.layer_names() == ["conv3", "conv4", "conv5", "fc6", "fc7", "fc8"]
    assert model.describe().set_index("layer").loc["conv3", "shape"] == "384x13x13"
    ready = model.responses(stimuli)
    fc7 = np.load(data / "alexnet_features92/fc7.npz")["features"]
    np.testing.assert_array_equal(ready.of("fc7")[:, 5:9], fc7[:, 5:9])
    rdm = rdm_vectors(ready.of("fc7")[:].astype(float), DISTANCES["correlation"])
    theirs = 1 - np.corrcoef(fc7.astype(float))[np.triu_indices(92, 1)]
    np.testing.assert_allclose(rdm, theirs, atol=1e-12)
    assert ready.weights_sha256() == model.responses(stimuli).weights_sha256()


# ----------------------------------------------------------------------------------------- bad input


def test_rows_that_are_not_the_conditions(tmp_path, layers):
    other = Features(file=write(tmp_path / "a.npz", layers, stim=["img1", "img3", "img2"]))
    (problem,) = other.problems_of_rows(STIMULI)
    assert re.search(r"share 2 of 4 conditions; missing in 'stim' beside 'conv2' in .*a\.npz: 'img10'", problem)
    few = Features(file=write(tmp_path / "b.npz", {"fc": layers["conv10"][:2]}))
    (problem,) = few.problems_of_rows(STIMULI)
    assert re.search(r"'fc' in .*b\.npz has 2 rows, and there are 3 conditions, 'img1', 'img10', 'img2'", problem)
    both = Features(file=write(tmp_path / "c.npz", {"a": layers["conv10"], "b": layers["conv10"][:2]}))
    assert "'b' in" in both.problems_of_rows(STIMULI)[0]
    (tmp_path / "order.txt").write_text("img1\nimg10\nimg3\n")
    told = Features(file=both.file, layers="a", condition_order=str(tmp_path / "order.txt"))
    assert re.search(r"missing in .*order\.txt: 'img2'", told.problems_of_rows(STIMULI)[0])


def test_files_that_hold_no_features(tmp_path, layers):
    whole = Path(write(tmp_path / "a.npz", layers)).read_bytes()
    for name, content in {
        "empty.npz": b"",
        "cut.npz": whole[: len(whole) // 2],
        "text.h5": b"hi",
        "b.npy": b"hi",
    }.items():
        (tmp_path / name).write_bytes(content)
    np.savez(tmp_path / "pickled.npz", fc=np.array([{}, {}], dtype=object))
    np.savez(tmp_path / "flat.npz", fc=np.zeros(3))
    expected = {
        "no.npz": r"There is no file .*no\.npz\.",
        "empty.npz": r"empty\.npz cannot be read as a \.npz file of numbers",
        "cut.npz": r"cut\.npz cannot be read as a \.npz file of numbers",
        "text.h5": r"text\.h5 cannot be read as a \.h5 file of numbers",
        "b.npy": r"b\.npy cannot be read as a \.npy file of numbers",
        "pickled.npz": r"pickled\.npz holds no array of numbers with rows of conditions",
        "flat.npz": r"flat\.npz holds no array of numbers with rows of conditions",
        "net.pth": r"net\.pth is none of the files that features are read from: \.npz, \.npy, \.h5",
        "{layer}.pkl.npz": r"There is no file .*, whatever stands for \{layer\}\.",
    }
    for name, message in expected.items():
        (problem,) = Features(file=str(tmp_path / name)).problems()
        assert re.search(message, problem), problem
        assert "\n" not in problem


def test_settings_that_do_not_fit(tmp_path, layers):
    file = write(tmp_path / "a.npz", layers)
    assert "choose layers of" in Features(file=file, key="conv2").problems()[0]
    assert re.search(r"has no layer 'conv3'\. Did you mean 'conv2'", Features(file=file, layers="conv3").problems()[0])
    with pytest.raises(ValidationError, match=r"there is no \{subject\} in the name of a file of features, only"):
        Features(file="{subject}.npz")
    with pytest.raises(UserError, match="`condition_order: sorted` needs the conditions"):
        Features(file=file, condition_order="sorted").load()


def test_what_is_said(tmp_path, layers):
    model = Features(file=write(tmp_path / "my-net.npz", layers), origin="AlexNet")
    assert model.label == "mynet"
    assert Features(file="nets/{layer}.npz").label == "features"
    assert model.about() == "ready responses of AlexNet"
    assert "layers of mynet (AlexNet) had been computed beforehand" in model.methods()[0]


def test_layers_of_a_file_are_listed_by_its_name(tmp_path, layers):
    table = layers_of(by_name(write(tmp_path / "a.npz", layers)))
    assert table["layer"].tolist() == ["conv2", "conv10"]
