"""RDMs of others keep their labels and their order; what is no RDM is refused with the reason."""

from itertools import permutations
from typing import get_args

import h5py
import numpy as np
import oracles
import pandas as pd
import pytest
from array_files import write_arrays
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import TypeAdapter, ValidationError
from scipy.spatial.distance import pdist, squareform
from scipy.stats import spearmanr
from strategies import quick

from rsa.core import RDMs
from rsa.errors import UserError
from rsa.files.io import load_table, save
from rsa.files.rdm_files import READERS, read_conditions, read_rdms
from rsa.inputs import gabor, hmax
from rsa.inputs.references import (
    REFERENCES,
    FileReference,
    GaborReference,
    HmaxReference,
    PixelReference,
    Reference,
    TableReference,
)
from rsa.inputs.stimuli import Stimuli
from rsa.settings import descriptions

LABELS = ["img1", "img10", "img2", "img3", "img4"]


@pytest.fixture
def squares(rng):
    """Make 3 RDMs of 5 conditions."""
    return np.stack([squareform(rng.random(10)) for _ in range(3)])


@pytest.fixture
def vectors(squares):
    return np.stack([squareform(square) for square in squares])


def write(path, **arrays):
    """Write arrays in the format of the suffix; .csv and .tsv take the first one, as a square with labels."""
    if path.suffix in (".csv", ".tsv"):
        separator = "," if path.suffix == ".csv" else "\t"
        first = next(iter(arrays.values()))
        pd.DataFrame(first, index=LABELS, columns=LABELS).to_csv(path, sep=separator)
    else:
        write_arrays(path, **arrays)
    return path


# -------------------------------------------------------------------------------------------- formats


@pytest.mark.parametrize("name", ["r.npz", "r.npy", "r.mat", "r73.mat", "r.h5", "r.hdf5", "r.csv", "r.tsv"])
def test_every_format_gives_the_same_rdm(tmp_path, squares, vectors, name):
    path = write(tmp_path / name, rdm=squares[0])
    values, labels = read_rdms(path, conditions=LABELS)
    np.testing.assert_allclose(values, vectors[:1], rtol=1e-15)
    assert (labels, values.dtype) == (LABELS, np.float64)


def test_every_reader_is_tested():
    assert {*READERS} == {".npz", ".npy", ".mat", ".h5", ".hdf5", ".csv", ".tsv"}


@pytest.mark.parametrize("name", ["r.npz", "r.npy", "r.mat", "r73.mat", "r.h5"])
@pytest.mark.parametrize("shape", ["k n n", "n n k", "k pairs", "n n", "pairs", "1 pairs", "pairs 1", "1 n n"])
def test_every_shape_gives_the_same_vectors(tmp_path, squares, vectors, name, shape):
    arrays = {
        "k n n": squares,
        "n n k": np.moveaxis(squares, 0, -1),
        "k pairs": vectors,
        "n n": squares[0],
        "pairs": vectors[0],
        "1 pairs": vectors[:1],
        "pairs 1": vectors[:1].T,
        "1 n n": squares[:1],
    }
    values, _ = read_rdms(write(tmp_path / name, a=arrays[shape]), None if name == "r.npy" else "a", LABELS)
    np.testing.assert_array_equal(values, vectors if "k" in shape else vectors[:1])


@settings(quick, max_examples=60)
@given(
    n=st.integers(2, 6),
    n_rdms=st.integers(1, 7),
    form=st.sampled_from(["first", "last", "condensed"]),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_number_of_rdms_and_conditions(tmp_path_factory, n, n_rdms, form, seed):
    vectors = np.random.default_rng(seed).random((n_rdms, n * (n - 1) // 2)) + 0.1
    squares = np.stack([squareform(vector) for vector in vectors])
    array = {"first": squares, "last": np.moveaxis(squares, 0, -1), "condensed": vectors}[form]
    path = tmp_path_factory.mktemp("any") / "r.npy"
    np.save(path, array)
    labels = [f"c{i}" for i in range(n)]
    values, _ = read_rdms(path, conditions=labels)
    np.testing.assert_array_equal(values, vectors)


def test_as_many_rdms_as_conditions_are_told_apart_by_symmetry(tmp_path, rng):
    squares = np.stack([squareform(rng.random(10)) for _ in range(5)])
    for array in (squares, np.moveaxis(squares, 0, -1)):
        np.save(tmp_path / "r.npy", array)
        values, _ = read_rdms(tmp_path / "r.npy", conditions=LABELS)
        np.testing.assert_array_equal(values, [squareform(square) for square in squares])


def test_a_stack_that_is_symmetric_both_ways_reads_the_same_both_ways(tmp_path):
    cube = np.zeros((3, 3, 3))
    for i, j, k in permutations(range(3)):
        cube[i, j, k] = 2.5
    np.save(tmp_path / "r.npy", cube)
    values, _ = read_rdms(tmp_path / "r.npy", conditions=["a", "b", "c"])
    for axis in range(3):
        np.testing.assert_array_equal(values, [squareform(square) for square in np.moveaxis(cube, axis, 0)])


def test_subjects_by_conditions_in_matlab_7_3(tmp_path, squares, vectors):
    """MATLAB's (subjects, n, n) is (n, n, subjects) to HDF5; an asymmetric marker shows which way it was read."""
    path = write(tmp_path / "r73.mat", it=squares)
    with h5py.File(path) as file:
        assert file["it"].shape == (5, 5, 3)
    values, _ = read_rdms(path, conditions=LABELS)
    np.testing.assert_array_equal(values, vectors)


def test_groups_of_hdf5(tmp_path, squares, vectors):
    with h5py.File(tmp_path / "r.h5", "w") as file:
        file["left/IT"], file["right/IT"] = squares[0], squares[1]
    values, _ = read_rdms(tmp_path / "r.h5", "right/IT", LABELS)
    np.testing.assert_array_equal(values, vectors[1:2])


def test_missing_values_and_numbers_in_text(tmp_path, squares, vectors):
    square = pd.DataFrame(squares[0], index=LABELS, columns=LABELS).astype(object)
    for i, empty in enumerate(["", "nan", "n/a", "NaN", "0"]):
        square.iloc[i, i] = empty
    square.to_csv(tmp_path / "r.tsv", sep="\t")
    values, labels = read_rdms(tmp_path / "r.tsv")
    np.testing.assert_allclose(values, vectors[:1])
    assert labels == LABELS
    square.iloc[0, 1] = "high"
    square.to_csv(tmp_path / "r.tsv", sep="\t")
    with pytest.raises(UserError, match=r"r\.tsv cannot be read as a \.tsv file of numbers: .*'high'"):
        read_rdms(tmp_path / "r.tsv")


# --------------------------------------------------------------------------------------------- labels


@pytest.mark.parametrize("name", ["r.npz", "r.h5"])
def test_labels_in_the_file_say_the_order(tmp_path, squares, vectors, name):
    labels = np.array(LABELS) if name == "r.npz" else np.array(LABELS, dtype="S")
    path = write(tmp_path / name, rdm=squares[0], conditions=labels)
    for given_labels in (None, LABELS[::-1]):
        values, found = read_rdms(path, conditions=given_labels)
        np.testing.assert_array_equal(values, vectors[:1])
        assert found == LABELS, "those of the file, whatever the order of the stimulus table"
    with pytest.raises(UserError, match=r"share 4 of 6 conditions; missing in .*: 'other'.*: 'img4'"):
        read_rdms(path, conditions=[*LABELS[:4], "other"])


def test_files_of_this_pipeline(tmp_path, vectors):
    table = pd.DataFrame({"layer": ["conv1", "fc", "pool"]})
    save(tmp_path / "r.h5", RDMs(vectors, LABELS, table, "correlation"))
    values, labels = read_rdms(tmp_path / "r.h5")
    np.testing.assert_array_equal(values, vectors)
    assert labels == LABELS
    vectors[2, 4] = np.nan
    save(tmp_path / "r.h5", RDMs(vectors, LABELS, table, "correlation"))
    with pytest.raises(UserError, match="NaN or infinite in pair 4 of RDM 2"):
        read_rdms(tmp_path / "r.h5")


def test_three_condensed_rdms_of_three_conditions_in_a_file_of_this_pipeline(tmp_path):
    values = np.array([[0, 1, 2], [1, 0, 3], [2, 3, 0.0]])  # looks like one square RDM
    save(tmp_path / "r.h5", RDMs(values, ["a", "b", "c"], pd.DataFrame({"layer": ["x", "y", "z"]})))
    np.testing.assert_array_equal(read_rdms(tmp_path / "r.h5")[0], values)


def test_without_labels_the_order_must_be_given(tmp_path, squares):
    np.save(tmp_path / "r.npy", squares)
    with pytest.raises(UserError, match=r"holds no labels, so the order .* as `condition_order`, or give a stimulus"):
        read_rdms(tmp_path / "r.npy")


def test_conditions_from_files(tmp_path):
    (tmp_path / "order.txt").write_text("\ufeffb\na a\n\n01\n", encoding="utf-8")
    assert read_conditions(tmp_path / "order.txt") == ["b", "a a", "01"]
    (tmp_path / "order.tsv").write_text("x\tname\n1\t01\n2\tb\n")
    assert read_conditions(tmp_path / "order.tsv", "name") == ["01", "b"]
    with pytest.raises(UserError, match="has no column 'condition'"):
        read_conditions(tmp_path / "order.tsv")
    (tmp_path / "order.txt").write_text("b\na\nb\n")
    with pytest.raises(UserError, match=r"order\.txt names 'b' more than once; an RDM has each condition once"):
        read_conditions(tmp_path / "order.txt")
    with pytest.raises(UserError, match=r"There is no list of conditions .*none\.txt"):
        read_conditions(tmp_path / "none.txt")


# ------------------------------------------------------------------------------------- what is no RDM


def changed(square, **places):
    square = square.copy()
    for place, value in places.items():
        square[int(place[1]), int(place[2])] = value
    return square


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda s: changed(s[0], _12=s[0].max() * 1.5), "is not symmetric: mirrored entries differ by up to"),
        (lambda s: changed(s[0], _12=s[0][2, 1] + 1e-4), "is not symmetric"),
        (lambda s: 1 - s[0], "has ones on its diagonal, so it holds similarities; save dissimilarities, 1 - them"),
        (lambda s: changed(s[0], _33=0.25), "has up to 0.25 on its diagonal; a condition differs by 0 from itself"),
        (lambda s: changed(s[0], _12=np.nan), "NaN or infinite in 1 places, first between 'img10' and 'img2' of RDM 0"),
        (lambda s: changed(s[0], _33=np.inf), "NaN or infinite in 1 places"),
        (lambda s: s[:, :4, :4], "has 4 conditions (shape (3, 4, 4)), but there are 5 labels; give one for each"),
        (lambda s: s[0, :4, :4], "has 4 conditions (shape (4, 4)), but there are 5 labels"),
        (lambda s: np.ones((2, 6)), "has 4 conditions (shape (2, 6)), but there are 5 labels"),
        (lambda s: np.ones((2, 7)), "7 is not the number of pairs"),
        (lambda s: np.full((2, 10), np.inf), "NaN or infinite in pair 0 of RDM 0"),
        (lambda s: np.ones((3, 4, 5)), "a stack of RDMs has shape (n_rdms, n, n) or (n, n, n_rdms)"),
        (lambda s: s[None], "RDMs come as (n, n), (n_rdms, n, n)"),
        (lambda s: np.array("text"), "not the numbers of an RDM"),
        (lambda s: s[0] + 0j, "holds complex128, not the numbers of an RDM"),
    ],
)
def test_what_is_no_rdm_is_refused(tmp_path, squares, make, message):
    path = write(tmp_path / "r.npz", it=make(squares))
    with pytest.raises(UserError) as raised:
        read_rdms(path, "it", LABELS)
    assert message in str(raised.value)
    assert "r.npz" in str(raised.value) or "pairs" in message
    assert "\n" not in str(raised.value)


def test_rounding_and_a_diagonal_of_nan_are_accepted(tmp_path, squares, vectors):
    square = squares[0].copy()
    square[1, 0] *= 1 + 5e-7
    np.fill_diagonal(square, np.nan)
    np.save(tmp_path / "r.npy", square)
    np.testing.assert_array_equal(read_rdms(tmp_path / "r.npy", conditions=LABELS)[0], vectors[:1])
    np.save(tmp_path / "r.npy", squares[0].astype(np.float32))
    np.testing.assert_allclose(read_rdms(tmp_path / "r.npy", conditions=LABELS)[0], vectors[:1], rtol=1e-6)


@pytest.mark.parametrize("alike", [0.0, 0.9, 0.999])
def test_rdms_computed_in_single_precision_are_accepted(tmp_path, rng, alike):
    """Rounding is that of r, of numbers up to 1, however small all distances are: 1 - r, made as networks' RDMs are."""
    shared = rng.normal(size=2000)
    patterns = (np.sqrt(alike) * shared + np.sqrt(1 - alike) * rng.normal(size=(30, 2000))).astype(np.float32)
    patterns -= patterns.mean(axis=1, keepdims=True)
    patterns /= np.sqrt((patterns * patterns).sum(axis=1, keepdims=True))
    r = np.array([[(a * b).sum() for a in patterns] for b in patterns])
    r += np.tril(rng.choice([-4, 0, 4], r.shape)).astype(np.float32) * np.float32(2**-23)  # as other kernels round
    labels = [str(i) for i in range(30)]
    for dtype in (np.float32, np.float64):
        np.save(tmp_path / "r.npy", (1 - r).astype(dtype))
        values, _ = read_rdms(tmp_path / "r.npy", conditions=labels)
        np.testing.assert_allclose(values[0], pdist(patterns, "correlation"), atol=2e-6)


def test_distances_in_single_precision_have_a_diagonal_of_rounding(tmp_path, rng):
    """A root of differences of sums of squares: the diagonal is the root of their rounding."""
    patterns = rng.normal(size=(10, 500)).astype(np.float32)
    energies = (patterns * patterns).sum(axis=1)
    squared = energies[:, None] + energies - 2 * (patterns @ patterns.T)
    np.fill_diagonal(squared, energies.max() * 2**-22)  # two units in the last place of the sums
    np.save(tmp_path / "r.npy", np.sqrt(squared))
    values, _ = read_rdms(tmp_path / "r.npy", conditions=[str(i) for i in range(10)])
    np.testing.assert_allclose(values[0], pdist(patterns), rtol=1e-5)
    np.save(tmp_path / "r.npy", squareform(pdist(patterns)).astype(np.float16))
    assert read_rdms(tmp_path / "r.npy", conditions=[str(i) for i in range(10)])[0].dtype == np.float64


def test_small_dissimilarities_that_are_not_symmetric_are_refused(tmp_path, squares):
    small = squares[0] * 1e-26
    small[1, 2] += 0.02 * small.max()
    np.save(tmp_path / "r.npy", small)
    with pytest.raises(UserError, match=r"is not symmetric: mirrored entries differ by up to 0\.02 of the largest"):
        read_rdms(tmp_path / "r.npy", conditions=LABELS)


def test_negative_dissimilarities_are_kept(tmp_path, squares):
    np.save(tmp_path / "r.npy", squares - squares.mean() * (1 - np.eye(5)))
    assert read_rdms(tmp_path / "r.npy", conditions=LABELS)[0].min() < 0


# -------------------------------------------------------------------------------------- keys and files


@pytest.mark.parametrize("name", ["r.npz", "r.mat", "r73.mat", "r.h5"])
def test_keys_are_listed(tmp_path, squares, name):
    path = write(tmp_path / name, EVC=squares[0], IT=squares[1])
    with pytest.raises(UserError, match=r"has no array 'ITT'\. Did you mean 'IT'\? It has 'EVC', 'IT'\."):
        read_rdms(path, "ITT", LABELS)
    with pytest.raises(UserError, match=r"holds 2 arrays, so a key is needed; give one of 'EVC', 'IT'\."):
        read_rdms(path, None, LABELS)


def test_keys_of_formats_without_names(tmp_path, squares):
    for name in ("r.npy", "r.csv"):
        path = write(tmp_path / name, rdm=squares[0])
        with pytest.raises(UserError, match=r"holds one array without a name, so there is no 'IT' .*; leave the key"):
            read_rdms(path, "IT", LABELS)


@pytest.mark.parametrize("suffix", sorted(READERS))
def test_damaged_and_missing_files(tmp_path, suffix):
    path = tmp_path / f"r{suffix}"
    with pytest.raises(UserError, match=r"There is no file .*/r\."):
        read_rdms(path, None, LABELS)
    path.write_bytes(b"\x80\x81 this is not what the name says" * 10)
    with pytest.raises(
        UserError, match=rf"cannot be read as a \{suffix} file of numbers|needs the same labels|it is empty"
    ):
        read_rdms(path, None, LABELS)
    path.write_bytes(b"")
    with pytest.raises(
        UserError, match=rf"cannot be read as a \{suffix} file of numbers|needs the same labels|it is empty"
    ):
        read_rdms(path, None, LABELS)


def test_other_formats_are_listed(tmp_path):
    with pytest.raises(UserError, match=r"r\.pkl is none of the files that RDMs are read from: \.npz, \.npy, \.mat"):
        read_rdms(tmp_path / "r.pkl")


def test_pickled_objects_are_never_loaded(tmp_path):
    np.savez(tmp_path / "r.npz", rdm=np.array([{"a": 1}], dtype=object))
    with pytest.raises(UserError, match="cannot be read"):
        read_rdms(tmp_path / "r.npz", "rdm", LABELS)


def test_labels_of_text_must_agree(tmp_path, squares):
    pd.DataFrame(squares[0], index=LABELS, columns=LABELS[::-1]).to_csv(tmp_path / "r.csv")
    with pytest.raises(UserError, match="needs the same labels in its first line and in its first column"):
        read_rdms(tmp_path / "r.csv")


# ---------------------------------------------------------------------------------------- references

TABLE = pd.DataFrame(
    {
        "condition": ["img1", "img2", "img3", "img10"],
        "category": ["face", "house", "face", "tool"],
        "size_cm": [1.0, 4.0, 2.5, 10.0],
        "all": ["x"] * 4,
        "gap": ["a", None, "b", "b"],
    }
)


def test_references_and_union_hold_the_same_kinds():
    union = get_args(get_args(Reference)[0])
    assert set(REFERENCES.values()) == set(union)
    for name, kind in REFERENCES.items():
        assert kind.model_fields["kind"].default == name
        assert descriptions(kind).keys() == kind.model_fields.keys(), "the docstring is the help"
    with pytest.raises(ValidationError, match=r"Unknown rule 'same'\. Choose one of: different, difference"):
        TableReference(name="a", column="b", rule="same")
    with pytest.raises(ValidationError, match=r"Unknown distance 'cosin'\. Did you mean 'cosine'"):
        PixelReference(name="a", distance="cosin")


def test_kind_decides_which_reference_is_read():
    adapter = TypeAdapter(Reference)
    assert type(adapter.validate_python({"kind": "table", "name": "a", "column": "b"})) is TableReference
    assert type(adapter.validate_python({"kind": "file", "name": "a", "file": "b.npz"})) is FileReference
    with pytest.raises(ValidationError, match="only letters and digits"):
        TableReference(name="my model", column="b")


def test_categories_differ_or_not():
    reference = TableReference(name="category", column="category")
    assert (reference.problems(TABLE), reference.files()) == ([], [])
    rdms = reference.build(TABLE)
    assert rdms.conditions == ("img1", "img2", "img3", "img10")
    expected = [[a != b for b in TABLE["category"]] for a in TABLE["category"]]
    np.testing.assert_array_equal(rdms.squares[0], expected)
    assert rdms.table.to_dict("list") == {"model": ["category"], "layer": [""]}
    assert rdms.distance == "different"


@pytest.mark.parametrize("dtype", [float, str])
def test_numbers_differ_by_their_absolute_difference(dtype):
    reference = TableReference(name="size", column="size_cm", rule="difference")
    rdms = reference.build(TABLE.assign(size_cm=TABLE["size_cm"].astype(dtype)))
    expected = [[abs(a - b) for b in TABLE["size_cm"]] for a in TABLE["size_cm"]]
    np.testing.assert_array_equal(rdms.squares[0], expected)


@pytest.mark.parametrize(
    ("column", "rule", "message"),
    [
        ("categry", "different", "has no column 'categry'. Did you mean 'category'? Its columns are 'condition'"),
        ("category", "difference", "'face' is not a number, and the rule 'difference' needs numbers; use 'different'"),
        ("gap", "different", "column 'gap' has no value for 'img2'; fill it in"),
        ("all", "different", "'all' has 1 values in 4 conditions, so all pairs differ alike and no score is defined"),
        ("condition", "different", "'condition' has 4 values in 4 conditions, so all pairs differ alike"),
    ],
)
def test_columns_that_are_no_reference(column, rule, message):
    reference = TableReference(name="model", column=column, rule=rule)
    with pytest.raises(UserError) as raised:
        reference.build(TABLE)
    assert message in str(raised.value)
    assert "'model'" in str(raised.value)
    assert reference.problems(TABLE) == [str(raised.value)]


def test_columns_need_a_table():
    with pytest.raises(UserError, match="'a' needs a stimulus table with the column 'b'"):
        TableReference(name="a", column="b").build(None)


def test_rdms_in_a_file_become_numbered_references(tmp_path, rng):
    vectors = rng.random((3, 6))
    np.save(tmp_path / "r.npy", vectors)
    reference = FileReference(name="meg", file=str(tmp_path / "r.npy"), distance="correlation")
    rdms = reference.build(TABLE)
    assert rdms.table.to_dict("list") == {"model": ["meg"] * 3, "layer": ["1", "2", "3"]}
    np.testing.assert_array_equal(rdms.values, vectors)
    assert (rdms.conditions, rdms.distance) == (tuple(TABLE["condition"]), "correlation")
    np.save(tmp_path / "r.npy", vectors[0])
    assert list(reference.build(TABLE).table["layer"]) == [""]
    assert reference.files() == [tmp_path / "r.npy"]
    assert "holds no labels" in reference.problems(None)[0]


def test_order_from_a_file_is_brought_to_that_of_the_stimuli(tmp_path, rng):
    square = squareform(rng.random(6))
    np.savez(tmp_path / "r.npz", a=square, b=square * 2)
    order = ["img10", "img3", "img2", "img1"]
    pd.DataFrame({"name": order}).to_csv(tmp_path / "order.tsv", index=False)
    reference = FileReference(
        name="behaviour",
        file=str(tmp_path / "r.npz"),
        key="a",
        condition_order=str(tmp_path / "order.tsv"),
        condition_column="name",
    )
    assert reference.files() == [tmp_path / "r.npz", tmp_path / "order.tsv"]
    place = [order.index(name) for name in TABLE["condition"]]
    np.testing.assert_array_equal(reference.build(TABLE).squares[0], square[np.ix_(place, place)])
    np.testing.assert_array_equal(reference.build(None).squares[0], square)
    (problem,) = reference.problems(TABLE.replace("img3", "img4"))
    assert "the reference 'behaviour' share 3 of 5 conditions" in problem


def test_layers_of_a_file_of_this_pipeline_keep_their_names(tmp_path, rng):
    stack = RDMs(rng.random((2, 6)), TABLE["condition"][::-1], pd.DataFrame({"layer": ["conv", "fc"]}), "cosine")
    save(tmp_path / "r.h5", stack)
    reference = FileReference(name="other", file=str(tmp_path / "r.h5"))
    rdms = reference.build(TABLE)
    assert rdms.table.to_dict("list") == {"model": ["other"] * 2, "layer": ["conv", "fc"]}
    np.testing.assert_array_equal(rdms.squares, stack.squares[:, ::-1, ::-1])
    assert rdms.distance == "cosine"
    assert list(reference.build(None).conditions) == list(stack.conditions)
    save(tmp_path / "r.h5", RDMs(stack.values, stack.conditions, pd.DataFrame({"time_s": [0.1, 0.2]})))
    assert list(reference.build(TABLE).table["layer"]) == ["1", "2"]


def test_published_models_and_categories(data):
    folder = data / "kriegeskorte92"
    table = load_table(folder / "conditions.tsv")
    table = table.assign(condition=table["file"])
    with np.load(folder / "model_rdms.npz") as file:
        published = file["animacy"]
        n_models = len(file.files)
    read = FileReference(name="animacy", file=str(folder / "model_rdms.npz"), key="animacy").build(table)
    np.testing.assert_array_equal(read.squares[0], published)
    made = TableReference(name="animacy", column="animal").build(table)
    animate = table["animal"].to_numpy()
    np.testing.assert_array_equal(made.squares[0], animate[:, None] != animate[None])
    (problem,) = FileReference(name="none", file=str(folder / "model_rdms.npz")).problems(table)
    assert f"holds {n_models} arrays, so a key is needed; give one of" in problem
    behaviour = FileReference(name="judgement", file=str(folder / "behaviour_rdms.npz"), key="similarity_judgement")
    assert len(behaviour.build(table)) == 16


def test_a_table_with_several_rows_per_condition_counts_the_first():
    twice = pd.concat([TABLE, TABLE.assign(category="other")], ignore_index=True)
    expected = TableReference(name="category", column="category").build(TABLE)
    again = TableReference(name="category", column="category").build(twice)
    assert again.conditions == expected.conditions
    np.testing.assert_array_equal(again.values, expected.values)


# -------------------------------------------------------------------------------------------- pixels


def block_means(picture, size):
    """Average the blocks of a picture whose sides are multiples of the size: (h, w, ...) -> (size, size, ...)."""
    rows, columns = picture.shape[0] // size, picture.shape[1] // size
    return picture.reshape(size, rows, size, columns, *picture.shape[2:]).mean(axis=(1, 3))


def plain_pixels(path, size, colour):
    """Read a picture the plain way: luma by its definition, block means."""
    picture = np.asarray(Image.open(path), dtype=float) / 255
    return block_means(picture if colour else picture @ [0.299, 0.587, 0.114], size).ravel()


@pytest.fixture
def pictures(tmp_path, rng):
    """Draw 5 pictures of 4 conditions, the second of which has two; return the stimulus table."""
    names = ["img1", "img2", "img10", "img2", "img3"]
    for number, width in enumerate((12, 24, 12, 12, 12)):
        values = rng.integers(0, 256, (24, width, 3), dtype=np.uint8)
        Image.fromarray(values).save(tmp_path / f"{number}.png")
    files = [f"{number}.png" for number in range(5)]
    pd.DataFrame({"condition": names, "file": files}).to_csv(tmp_path / "stimuli.tsv", sep="\t", index=False)
    return Stimuli(table=str(tmp_path / "stimuli.tsv")).load()


@pytest.mark.parametrize("colour", [False, True])
@pytest.mark.parametrize("distance", oracles.DISTANCES)
def test_pixels_are_those_of_scipy_on_block_means(pictures, distance, colour):
    reference = PixelReference(name="pixels", size=6, colour=colour, distance=distance)
    assert (reference.problems(pictures), reference.files()) == ([], [])
    rdms = reference.build(pictures)
    each = {path: plain_pixels(path, 6, colour) for path in pictures["file"]}
    means = [
        np.mean([each[path] for path in rows["file"]], axis=0) for _, rows in pictures.groupby("condition", sort=False)
    ]
    np.testing.assert_allclose(rdms.values[0], pdist(means, distance), atol=1e-6)
    assert rdms.conditions == ("img1", "img2", "img10", "img3")
    assert rdms.table.to_dict("list") == {"model": ["pixels"], "layer": [""]}
    assert rdms.distance == distance


def test_pixels_of_pictures_of_different_forms(tmp_path):
    """A transparent ground is white, grey pictures are their own luma, and any picture is brought to a square."""
    half = np.zeros((8, 16), dtype=np.uint8)
    half[:, 8:] = 255
    Image.fromarray(half).save(tmp_path / "a.png")
    Image.fromarray(half[:, ::-1].copy()).save(tmp_path / "b.png")
    layers = np.dstack([np.zeros((4, 4, 3), dtype=np.uint8), 255 - half[::2, ::4]])
    Image.fromarray(layers).save(tmp_path / "c.png")
    rdms = PixelReference(name="pixels", size=4, distance="euclidean").build(Stimuli(folder=str(tmp_path)).load())
    np.testing.assert_allclose(rdms.values[0], [4, 0, 4], atol=1e-6)


@pytest.mark.parametrize("stimuli", [None, TABLE])
def test_pixels_need_pictures(stimuli):
    reference = PixelReference(name="low")
    message = "Reference 'low' needs pictures: set `stimuli` to a folder, or to a table with a column that names their"
    with pytest.raises(UserError, match=message) as raised:
        reference.build(stimuli)
    assert reference.problems(stimuli) == [str(raised.value)]


def test_pictures_that_make_no_pixel_reference(pictures, tmp_path):
    def fill(colour, *numbers):
        for number in numbers:
            Image.new("RGB", (9, 9), colour).save(tmp_path / f"{number}.png")

    fill("gray", 0, 4)
    with pytest.raises(
        UserError, match="pictures of 'img1', 'img3' have one value in all pixels, for which correlation"
    ):
        PixelReference(name="pixels").build(pictures)
    assert np.isfinite(PixelReference(name="pixels", distance="euclidean").build(pictures).values).all()
    fill("gray", *range(5))
    message = "Reference 'pixels': all pairs of 4 conditions differ alike at 32 x 32 pixels, so no score is defined"
    with pytest.raises(UserError, match=message):
        PixelReference(name="pixels", distance="euclidean").build(pictures)
    (tmp_path / "3.png").write_bytes((tmp_path / "3.png").read_bytes()[:40])
    with pytest.raises(UserError, match=r"3\.png is not a readable image \(.*\); replace it by an intact copy"):
        PixelReference(name="pixels").build(pictures)
    (tmp_path / "3.png").unlink()
    with pytest.raises(UserError, match=r"There is no image .*3\.png"):
        PixelReference(name="pixels").build(pictures)


def test_pixels_of_real_pictures(data):
    """The RDM is that of plainly loaded arrays; the default size changes little."""
    stimuli = Stimuli(folder=str(data / "cichy92" / "stimuli")).load()
    rdms = PixelReference(name="pixels", size=35).build(stimuli)
    plain = [plain_pixels(path, 35, colour=False) for path in stimuli["file"]]
    np.testing.assert_allclose(rdms.values[0], pdist(plain, "correlation"), atol=1e-6)
    assert rdms.conditions[:2] == ("image_01", "image_02")
    usual = PixelReference(name="pixels").build(stimuli).values[0]
    assert np.corrcoef(usual, rdms.values[0])[0, 1] > 0.99


# ---------------------------------------------------------------------------------- Gabor energy and HMAX


def plain_grey(path, size):
    """Read the luma of a picture of few pixels, each of which becomes a block of several."""
    luma = np.asarray(Image.open(path), dtype=float) / 255 @ [0.299, 0.587, 0.114]
    return np.kron(luma, np.ones((size // luma.shape[0], size // luma.shape[1])))


def condition_means(pictures, patterns):
    return [np.mean(patterns[rows], axis=0) for rows in pictures.groupby("condition", sort=False).indices.values()]


@pytest.mark.parametrize("cells", gabor.CELLS)
@pytest.mark.parametrize("distance", ["correlation", "euclidean"])
def test_gabor_patterns_are_means_over_the_pictures_of_a_condition(pictures, cells, distance):
    reference = GaborReference(name="v1", size=24, frequencies=(2, 4), orientations=3, cells=cells, distance=distance)
    assert reference.problems(pictures) == []
    rdms = reference.build(pictures)
    bank = gabor.scales(24, (2, 4), 3)
    each = [gabor.CELLS[cells].respond(gabor.pair_responses(plain_grey(path, 24), bank)) for path in pictures["file"]]
    np.testing.assert_allclose(rdms.values[0], pdist(condition_means(pictures, np.array(each)), distance), atol=1e-6)
    assert reference.n_features == len(each[0]) == {"complex": 60, "simple": 240, "both": 300}[cells]
    assert (rdms.conditions, rdms.distance) == (("img1", "img2", "img10", "img3"), distance)
    assert rdms.table.to_dict("list") == {"model": ["v1"], "layer": [""]}


def test_hmax_patterns_are_means_over_the_pictures_of_a_condition(pictures):
    reference = HmaxReference(name="c2", size=120, n_patches=3, seed=5)
    assert reference.problems(pictures) == []
    rdms = reference.build(pictures)
    greys = [plain_grey(path, 120) for path in pictures["file"]]
    order = [row for rows in pictures.groupby("condition", sort=False).indices.values() for row in rows]
    places = hmax.draw_places(5, 120, 3, np.random.default_rng(5))
    sources = [hmax.c1_map(greys[row], hmax.SOURCE) for row in order]
    patches = {size: np.stack([hmax.patch_at(sources[i], y, x, size) for i, y, x in at]) for size, at in places.items()}
    each = np.array([hmax.c2([hmax.c1_map(one, band) for band in hmax.BANDS], patches) for one in greys])
    assert reference.n_features == each.shape[1] == 12
    assert (each.max(axis=0) == 1).all(), "each patch is in one of the pictures"
    np.testing.assert_allclose(rdms.values[0], pdist(condition_means(pictures, each), "euclidean"), atol=1e-6)
    assert (rdms.distance, rdms.conditions) == ("euclidean", ("img1", "img2", "img10", "img3"))
    np.testing.assert_array_equal(reference.build(pictures).values, rdms.values)
    other = HmaxReference(name="c2", size=120, n_patches=3, seed=6).build(pictures)
    assert not np.allclose(other.values, rdms.values)


@pytest.mark.parametrize("kind", [GaborReference, HmaxReference])
def test_models_of_vision_need_pictures_that_differ(pictures, tmp_path, kind):
    reference = kind(name="low")
    for stimuli in (None, TABLE):
        (problem,) = reference.problems(stimuli)
        assert problem.startswith("Reference 'low' needs pictures: set `stimuli` to a folder")
    for number in range(5):
        Image.new("RGB", (9, 9), "gray").save(tmp_path / f"{number}.png")
    message = (
        r"Reference 'low': (all pairs of 4 conditions differ alike|pictures of .* have no contrast, for which correl)"
    )
    with pytest.raises(UserError, match=message):
        reference.build(pictures)
    (tmp_path / "3.png").write_bytes((tmp_path / "3.png").read_bytes()[:40])
    with pytest.raises(UserError, match=r"3\.png is not a readable image"):
        reference.build(pictures)


def test_a_blank_picture_is_a_pattern_of_gabor_energy_by_euclidean_distance(pictures, tmp_path):
    Image.new("RGB", (9, 9), "gray").save(tmp_path / "0.png")
    message = (
        "Reference 'v1': pictures of 'img1' have no contrast, for which correlation is not defined; set `distance: eucl"
    )
    with pytest.raises(UserError, match=message):
        GaborReference(name="v1").build(pictures)
    values = GaborReference(name="v1", distance="euclidean").build(pictures).values
    assert (values > 0).all()


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        (
            GaborReference(name="v1", size=64),
            "Reference 'v1': Gabor filters of 32 cycles per image are too fine for 64 x",
        ),
        (
            HmaxReference(name="c2", size=64),
            "Reference 'c2': HMAX takes patches of up to 16 x 16 C1 units, and pictures of",
        ),
        (
            HmaxReference(name="c2", n_patches=406),
            "406 patches of each size are asked for, and 5 pictures have 405 places",
        ),
    ],
)
def test_settings_that_do_not_fit_the_pictures_are_found_before_any_is_read(pictures, tmp_path, reference, message):
    for number in range(5):
        (tmp_path / f"{number}.png").unlink()
    (problem,) = reference.problems(pictures)
    assert message in problem


@pytest.mark.slow
def test_models_of_vision_on_real_pictures(data):
    """Gabor energy fits early visual cortex better than pixels; C2 is like the published RDM of HMAX."""
    stimuli = Stimuli(folder=str(data / "cichy92" / "stimuli")).load()
    brain = np.load(data / "cichy92" / "fmri_rdms.npz")
    vectors = {
        kind: REFERENCES[kind](name=kind, **settings).build(stimuli).values[0]
        for kind, settings in {"pixels": {}, "gabor": {}, "hmax": {"n_patches": 60}}.items()
    }
    fits = {
        (kind, region): np.mean([spearmanr(vector, squareform(one, checks=False)).statistic for one in brain[region]])
        for kind, vector in vectors.items()
        for region in ("EVC", "IT")
    }
    assert fits["gabor", "EVC"] > fits["pixels", "EVC"] > 0.18
    assert fits["gabor", "EVC"] > fits["gabor", "IT"]
    assert fits["hmax", "IT"] > fits["hmax", "EVC"]
    published = squareform(np.load(data / "kriegeskorte92" / "model_rdms.npz")["HMAX"], checks=False)
    assert spearmanr(vectors["hmax"], published).statistic > 0.4


# ------------------------------------------------------------------------------------------ of each subject


def test_files_of_subjects_make_references_of_their_own(tmp_path, rng):
    names = ["a", "b", "c", "d"]
    own = {subject: rng.random(6) for subject in ("01", "02")}
    for subject, vector in own.items():
        np.savez(tmp_path / f"{subject}.npz", rdms=squareform(vector), conditions=names[::-1])
    reference = FileReference(name="order", file=str(tmp_path / "{subject}.npz"), subjects=("01", "02"))
    assert reference.files() == [tmp_path / "01.npz", tmp_path / "02.npz"]
    rdms = reference.build(pd.DataFrame({"condition": names}))
    assert rdms.table.to_dict("list") == {"model": ["order"] * 2, "layer": [""] * 2, "subject": ["01", "02"]}
    assert list(rdms.conditions) == names
    for row, vector in zip(rdms.values, own.values(), strict=True):
        np.testing.assert_array_equal(row, squareform(squareform(vector)[::-1, ::-1]))
    np.savez(tmp_path / "02.npz", rdms=np.stack([squareform(own["02"])] * 2), conditions=names)
    with pytest.raises(UserError, match=r"subjects have different numbers of RDMs, {'01': 1, '02': 2}"):
        reference.build()
    for wrong in ({"file": "{subject}.npz"}, {"file": "all.npz", "subjects": ("01",)}):
        with pytest.raises(ValidationError, match=r"subjects and {subject} in file belong together"):
            FileReference(name="order", **wrong)
