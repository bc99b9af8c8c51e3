"""Labels that a file holds say the order of its rows, whoever wrote it; what may be labels is never passed over."""

import json

import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.io
from array_files import write_arrays, write_cells_73, write_matlab_73
from scipy.spatial.distance import squareform

from rsa.core import RDMs
from rsa.datasets import Movies, Rdms
from rsa.errors import UserError
from rsa.files.io import save
from rsa.files.rdm_files import read_rdms
from rsa.files.rdm_labels import columns_of, labels_of_rows
from rsa.inputs.references import FileReference

NAMES = [f"img{i}" for i in range(1, 13)]
SORTED = sorted(NAMES)
"""img1, img10, ...: as rsatoolbox and folders have them."""


@pytest.fixture
def square(rng):
    """Draw an RDM of 12 conditions in the order of NAMES."""
    return squareform(rng.random(66))


def shuffled(square, order=SORTED):
    """Bring an RDM into another order."""
    place = [NAMES.index(name) for name in order]
    return square[np.ix_(place, place)]


def cells(names):
    return np.array([*names, None], dtype=object)[:-1]


# ------------------------------------------------------------------------------------------ who writes them


def rsatoolbox(path, rdm, names):
    rdms = pytest.importorskip("rsatoolbox").rdm
    others = {"conds": np.array(names), "category": ["face", "house"] * 6}
    rdms.RDMs(squareform(rdm)[None], pattern_descriptors=others, rdm_descriptors={"subject": ["s1"]}).save(
        str(path), file_type="hdf5"
    )


def structured(path, rdm, names):
    table = np.zeros(len(names), dtype=[("name", "U8"), ("size", float)])
    table["name"] = names
    np.savez(path, rdm=rdm, stimuli=table)


def fields_73(path, rdm, names):
    write_matlab_73(path, rdm=rdm)
    write_cells_73(path, "stimuli/name", names)


def letters_73(path, rdm, names):
    write_matlab_73(path, rdm=rdm)
    with h5py.File(path, "r+") as file:
        file["who"] = np.array([[ord(letter) for letter in name.ljust(8)] for name in names], dtype=np.uint16).T
        file["who"].attrs["MATLAB_class"] = np.bytes_("char")


def cells_73(path, rdm, names):
    write_matlab_73(path, rdm=rdm)
    write_cells_73(path, "labels", names)


def hdf5(path, rdm, names, *, where="labels", kind=None):
    with h5py.File(path, "w") as file:
        file["rdm"] = rdm
        file[where] = names if kind is None else np.array(names, dtype=kind)


def attribute(path, rdm, names):
    with h5py.File(path, "w") as file:
        file["rdm"] = rdm
        file["rdm"].attrs["stimuli"] = names


def netcdf_letters(path, rdm, names):
    with h5py.File(path, "w") as file:
        file["rdm"] = rdm
        file["stimulus"] = np.array(names, dtype="S6").view("S1").reshape(len(names), 6)


def text(path, rdm, names, **how):
    pd.DataFrame(rdm, index=names, columns=names).to_csv(path, sep="," if path.suffix == ".csv" else "\t", **how)


WRITERS = {
    "a.hdf5": rsatoolbox,
    "b.h5": rsatoolbox,
    "labels.npz": lambda path, rdm, names: np.savez(path, rdm=rdm, labels=names),
    "any_name.npz": lambda path, rdm, names: np.savez(path, rdm=rdm, who=np.array(names)[:, None]),
    "bytes.npz": lambda path, rdm, names: np.savez(path, rdm=rdm, conds=np.array(names, dtype="S")),
    "paths.npz": lambda path, rdm, names: np.savez(path, rdm=rdm, files=[f"stimuli/{name}.png" for name in names]),
    "structured.npz": structured,
    "letters.mat": lambda path, rdm, names: scipy.io.savemat(path, {"rdm": rdm, "stimuli": np.array(names)}),
    "cells.mat": lambda path, rdm, names: scipy.io.savemat(path, {"rdm": rdm, "labels": cells(names)}),
    "column.mat": lambda path, rdm, names: scipy.io.savemat(path, {"rdm": rdm, "labels": cells(names)[:, None]}),
    "field.mat": lambda path, rdm, names: scipy.io.savemat(path, {"rdm": rdm, "info": {"names": cells(names)}}),
    "fields.mat": lambda path, rdm, names: scipy.io.savemat(
        path, {"rdm": rdm, "info": np.array([(name, 1.0) for name in names], dtype=[("name", "O"), ("size", "O")])}
    ),
    "letters_73.mat": letters_73,
    "cells_73.mat": cells_73,
    "fields_73.mat": fields_73,
    "text.h5": hdf5,
    "bytes.h5": lambda path, rdm, names: hdf5(path, rdm, names, kind="S8"),
    "group.h5": lambda path, rdm, names: hdf5(path, rdm, names, where="meta/stimuli/name"),
    "attribute.h5": attribute,
    "letters.h5": netcdf_letters,
    "both.csv": text,
    "blanks.tsv": lambda path, rdm, names: text(path, rdm, [f" {name} " for name in names]),
    "first_line.csv": lambda path, rdm, names: text(path, rdm, names, index=False),
    "first_column.tsv": lambda path, rdm, names: text(path, rdm, names, header=False),
    "r_table.tsv": lambda path, rdm, names: path.write_text(
        "\n".join(
            ["\t".join(names), *("\t".join([n, *map(repr, row)]) for n, row in zip(names, rdm.tolist(), strict=True))]
        )
    ),
    "counted_columns.csv": lambda path, rdm, names: pd.DataFrame(rdm, index=names).to_csv(path),
    "counted_rows.csv": lambda path, rdm, names: pd.DataFrame(rdm, columns=names).to_csv(path),
    "nested.mat": lambda path, rdm, names: scipy.io.savemat(
        path, {"rdm": rdm, "labels": cells([cells([name]) for name in names])}
    ),
    "of_matlab.h5": cells_73,
}


@pytest.fixture(params=WRITERS)
def written(request, tmp_path, square):
    """Write the RDM in another order, with the labels of its rows, as somebody's program does."""
    path = tmp_path / request.param
    WRITERS[request.param](path, shuffled(square), SORTED)
    return path


def test_labels_in_the_file_win_over_places(written, square):
    values, labels = read_rdms(written, conditions=NAMES)
    assert labels == SORTED
    np.testing.assert_allclose(values, [squareform(shuffled(square))])


def test_a_reference_is_read_by_its_labels(written, square):
    reference = FileReference(name="r", file=str(written))
    table = pd.DataFrame({"condition": NAMES})
    assert reference.problems(table) == []
    np.testing.assert_allclose(reference.build(table).squares, [square])


def test_rdms_of_regions_are_read_by_their_labels(written, square):
    path = written.rename(written.with_name(f"IT{written.suffix}"))
    dataset = Rdms(subjects=["01"], regions=["IT"], file=str(path).replace("IT", "{region}"))
    assert dataset.problems(NAMES) == []
    np.testing.assert_allclose(dataset.load("01", NAMES).squares, [square])


@pytest.mark.parametrize("name", [name for name in WRITERS if not name.endswith(("csv", "tsv", "a.hdf5", "b.h5"))])
def test_movies_are_read_by_their_labels(tmp_path, rng, name):
    squares = np.stack([squareform(rng.random(66)) for _ in range(4)])
    WRITERS[name](tmp_path / name, np.stack([shuffled(square) for square in squares]), SORTED)
    movie = Movies(subjects=["01"], file=str(tmp_path / name), times={"start": 0, "step": 0.1, "unit": "s"})
    assert movie.problems(NAMES) == []
    np.testing.assert_allclose(movie.load("01", NAMES).squares, squares)


def test_a_movie_of_rsatoolbox(tmp_path, rng):
    rdms = pytest.importorskip("rsatoolbox").rdm
    squares = np.stack([squareform(rng.random(66)) for _ in range(4)])
    rdms.RDMs(
        np.stack([squareform(shuffled(square)) for square in squares]),
        pattern_descriptors={"conds": SORTED},
        rdm_descriptors={"time": [0.0, 0.1, 0.2, 0.3]},
    ).save(str(tmp_path / "movie.hdf5"), file_type="hdf5")
    times = {"key": "rdm_descriptors/time", "unit": "s"}
    movie = Movies(subjects=["01"], file=str(tmp_path / "movie.hdf5"), times=times)
    assert movie.problems(NAMES) == []
    np.testing.assert_allclose(movie.load("01", NAMES).squares, squares)


@pytest.mark.parametrize("name", [*WRITERS, "own.h5", "r.npy"])
def test_files_that_were_cut_are_one_line(tmp_path, square, name):
    """An RDM file that is empty, or of which a download or a full disk left a part."""
    path = tmp_path / name
    if name == "own.h5":
        save(path, RDMs(squareform(square), NAMES, pd.DataFrame({"layer": [""]})))
    elif name == "r.npy":
        np.save(path, square)
    else:
        WRITERS[name](path, square, NAMES)
    whole = path.read_bytes()
    reference = FileReference(name="r", file=str(path))
    movie = {"subjects": ["01"], "file": str(path), "times": {"start": 0, "step": 0.1, "unit": "s"}}
    for length in (0, 1, 100, len(whole) // 4, len(whole) // 2, len(whole) * 3 // 4):
        path.write_bytes(whole[:length])
        problems = reference.problems(pd.DataFrame({"condition": NAMES}))
        problems += Movies(**movie).problems(NAMES) if path.suffix not in (".csv", ".tsv") else ()
        assert problems
        assert all(name in text and "\n" not in text for text in problems)


# ------------------------------------------------------------------------------------- which are the labels


def read(path, conditions, **how):
    """Return the labels of the rows of the array `rdm`."""
    return read_rdms(path, "rdm", conditions, **how)[1]


@pytest.mark.parametrize(
    ("labels", "rows"),
    [
        ([3, 1, 2], ["3", "1", "2"]),
        ([3.0, 1.0, 2.0], ["03", "01", "02"]),
        (["3", "1", "2"], ["003", "001", "002"]),
        ([2951, 14, 3050], ["2951", "14", "3050"]),
        (["b/x.jpg", "c.png", "a.b.jpg"], ["x", "c", "a.b"]),
        (["d\\x", "d\\c", "d\\a"], ["x", "c", "a"]),
        (["cafe\u0301", "Ka\u0308se", "nin\u0303o"], ["caf\u00e9", "K\u00e4se", "ni\u00f1o"]),
        (["caf\u00e9", "K\u00e4se", "ni\u00f1o"], ["caf\u00e9", "K\u00e4se", "ni\u00f1o"]),
    ],
)
@pytest.mark.parametrize("suffix", [".npz", ".mat", "73.mat", ".h5"])
def test_numbers_and_names_of_files_are_labels(tmp_path, rng, suffix, labels, rows):
    path, rdm = tmp_path / f"r{suffix}", squareform(rng.random(3))
    if isinstance(labels[0], str) and suffix == "73.mat":
        write_matlab_73(path, rdm=rdm)
        write_cells_73(path, "image", labels)
    else:
        write_arrays(path, rdm=rdm, image=labels)
    assert read(path, sorted(rows)) == rows


@pytest.mark.parametrize("name", ["index", "order", "subject"])
def test_numbers_that_only_count_the_rows_say_nothing(tmp_path, square, name):
    for first in (0, 1):
        np.savez(tmp_path / "r.npz", rdm=square, **{name: np.arange(12) + first})
        assert read(tmp_path / "r.npz", NAMES) == NAMES
    np.savez(tmp_path / "r.npz", rdm=square, **{name: np.arange(12)[::-1]})
    with pytest.raises(UserError, match=rf"'{name}' beside .*share 0 of 24 .* Or, .* name that as `condition_order`"):
        read(tmp_path / "r.npz", NAMES)


def test_numbers_that_count_are_not_taken_for_labels_nor_passed_over(tmp_path, square):
    """Conditions 1, 10, 11, 12, 2, ... of a folder, and an index from 1 to 12: are these places or labels?"""
    numbers = [str(i + 1) for i in range(12)]
    np.savez(tmp_path / "r.npz", rdm=square, index=np.arange(12) + 1)
    assert read(tmp_path / "r.npz", numbers) == numbers
    with pytest.raises(UserError, match=r"'index' beside .* may be the labels of its rows or their places"):
        read(tmp_path / "r.npz", sorted(numbers))
    assert read(tmp_path / "r.npz", sorted(numbers), in_order=True) == sorted(numbers)
    np.savez(tmp_path / "r.npz", rdm=square, labels=np.arange(12) + 1)
    assert read(tmp_path / "r.npz", sorted(numbers)) == numbers


def test_of_several_texts_the_conditions_are_taken(tmp_path, square):
    others = {"category": ["face", "house"] * 6, "observer": [f"s{i}" for i in range(12)]}
    np.savez(tmp_path / "r.npz", rdm=square, who=SORTED, **others)
    assert read(tmp_path / "r.npz", NAMES) == SORTED
    np.savez(tmp_path / "r.npz", rdm=square, who=SORTED, same=SORTED, **others)
    assert read(tmp_path / "r.npz", NAMES) == SORTED
    np.savez(tmp_path / "r.npz", rdm=square, who=SORTED, other=NAMES, **others)
    with pytest.raises(
        UserError, match=r"names the rows in .*'(who|other)', '(who|other)', which are not the same; li"
    ):
        read(tmp_path / "r.npz", NAMES)
    assert read(tmp_path / "r.npz", SORTED, in_order=True) == SORTED
    np.savez(tmp_path / "r.npz", rdm=square, conditions=SORTED, other=NAMES, **others)
    assert read(tmp_path / "r.npz", NAMES) == SORTED


def test_labels_belong_to_the_array_beside_them(tmp_path, square):
    """In its group of an HDF5 file, or with a word of its name."""
    with h5py.File(tmp_path / "r.h5", "w") as file:
        for side, names in (("left", SORTED), ("right", NAMES)):
            file[f"{side}/rdm"], file[f"{side}/labels"] = square, names
            file[f"{side}/rsatoolbox/dissimilarities"] = squareform(square)
            file[f"{side}/rsatoolbox/pattern_descriptors/conds"] = names[::-1]
        file["labels"] = SORTED
    for side, names in (("left", SORTED), ("right", NAMES)):
        assert read_rdms(tmp_path / "r.h5", f"{side}/rdm", NAMES)[1] == names
        assert read_rdms(tmp_path / "r.h5", f"{side}/rsatoolbox/dissimilarities", NAMES)[1] == names[::-1]
    np.savez(tmp_path / "r.npz", rdm_EVC=square, rdm_IT=square, names_EVC=SORTED, names_IT=NAMES)
    assert read_rdms(tmp_path / "r.npz", "rdm_EVC", NAMES)[1] == SORTED
    assert read_rdms(tmp_path / "r.npz", "rdm_IT", SORTED)[1] == NAMES
    with h5py.File(tmp_path / "r.h5", "w") as file:
        file["data/rdm"], file["stimuli/name"] = square, SORTED
    assert read_rdms(tmp_path / "r.h5", "data/rdm", NAMES)[1] == SORTED


def test_a_wrong_label_beside_one_array_is_not_mended_by_those_of_another(tmp_path, square):
    wrong = ["img1", "img01", *SORTED[2:]]
    np.savez(tmp_path / "r.npz", rdm_EVC=square, rdm_IT=square, names_EVC=wrong, names_IT=NAMES)
    with pytest.raises(UserError, match=r"share 11 of 13 .*missing in 'names_EVC' beside .*: 'img10'"):
        read_rdms(tmp_path / "r.npz", "rdm_EVC", NAMES)


def test_names_of_rdms_are_not_those_of_rows(tmp_path, rng):
    squares = np.stack([squareform(rng.random(66)) for _ in range(12)])
    toolbox = pytest.importorskip("rsatoolbox").rdm
    subjects = [f"s{i}" for i in range(12)]
    rdms = toolbox.RDMs(squares, rdm_descriptors={"subject": subjects})
    rdms.save(str(tmp_path / "r.hdf5"), file_type="hdf5")
    assert read_rdms(tmp_path / "r.hdf5", None, NAMES)[1] == NAMES, "it has only an index"
    np.savez(tmp_path / "r.npz", rdm=squares[:3], regions=["V1", "V4", "IT"])
    assert read(tmp_path / "r.npz", NAMES) == NAMES


# --------------------------------------------------------------------------------- what is not passed over


def pickled(path, rdm, names):
    np.savez(path, rdm=rdm, labels=np.array(names, dtype=object))


def matlab_objects(path, rdm, names):
    write_matlab_73(path, rdm=rdm, labels=np.zeros((1, 6), dtype=np.uint32))
    with h5py.File(path, "r+") as file:
        file["labels"].attrs["MATLAB_class"] = np.bytes_("string")
        file["labels"].attrs["MATLAB_object_decode"] = 3


@pytest.mark.parametrize(("name", "write"), [("r.npz", pickled), ("r.mat", matlab_objects)])
def test_labels_that_cannot_be_read_are_refused(tmp_path, square, name, write):
    write(tmp_path / name, square, SORTED)
    message = (
        r"'labels' beside 'rdm' in .*/r\.(npz|mat) may be the labels .* stored as objects, not as text\. Save it as"
    )
    for conditions in (NAMES, None):
        with pytest.raises(UserError, match=message) as raised:
            read(tmp_path / name, conditions)
    assert "\n" not in str(raised.value)
    assert read(tmp_path / name, SORTED, in_order=True) == SORTED


def scalars(path, rdm, names):
    with h5py.File(path, "w") as file:
        file["rdm"] = rdm
        file.update({f"labels/{i}": name for i, name in enumerate(names)})


def attribute_of(labels):
    def write(path, rdm, names):
        with h5py.File(path, "w") as file:
            file["rdm"] = rdm
            file["rdm"].attrs["labels"] = labels(names)

    return write


OTHER_FORMS = {
    "line.npz": lambda path, rdm, names: np.savez(path, rdm=rdm, labels=",".join(names)),
    "line.mat": lambda path, rdm, names: scipy.io.savemat(path, {"rdm": rdm, "labels": ", ".join(names)}),
    "line.h5": attribute_of(json.dumps),
    "dates.npz": lambda path, rdm, names: np.savez(
        path, rdm=rdm, labels=pd.date_range("2020-01-01", periods=12).values
    ),
    "numbers.h5": attribute_of(lambda names: [int(name[3:]) for name in names]),
    "pickle.npz": lambda path, rdm, names: np.savez(path, rdm=rdm, about=np.array({"labels": names}, dtype=object)),
    "scalars.h5": scalars,
    "table.npz": lambda path, rdm, names: np.savez(path, rdm=rdm, stimuli=[[name, "face"] for name in names]),
    "table.h5": lambda path, rdm, names: hdf5(path, rdm, [names, ["face"] * 12], where="stimuli"),
    "one_more.npz": lambda path, rdm, names: np.savez(path, rdm=rdm, labels=[*names, "baseline"]),
}
"""Labels as no list of texts with one for each row: what cannot be told is not passed over."""


@pytest.mark.parametrize("name", OTHER_FORMS)
def test_labels_in_other_forms_are_refused(tmp_path, square, name):
    OTHER_FORMS[name](tmp_path / name, square, SORTED)
    with pytest.raises(UserError, match="`condition_order`"):
        read(tmp_path / name, NAMES)
    assert read(tmp_path / name, SORTED, in_order=True) == SORTED


def test_texts_about_an_rdm_are_no_labels(tmp_path, square):
    """Versions, settings and names of some conditions say nothing of the order of rows."""
    numbers = [str(i) for i in range(1, 4)]
    about = {"version": "1.2.3", "by": "me", "settings": np.array({"distance": "correlation"}, dtype=object)}
    np.savez(tmp_path / "r.npz", rdm=square[:3, :3], **about)
    assert read(tmp_path / "r.npz", numbers) == numbers
    np.savez(tmp_path / "r.npz", rdm=square, removed="img1 and img2")
    assert read(tmp_path / "r.npz", NAMES) == NAMES


@pytest.mark.parametrize(("name", "separator"), [("r.csv", ";"), ("r.csv", "\t"), ("r.tsv", ",")])
def test_cells_with_another_separator_are_told(tmp_path, square, name, separator):
    pd.DataFrame(square, NAMES, NAMES).to_csv(tmp_path / name, sep=separator, decimal="," if separator == ";" else ".")
    with pytest.raises(UserError, match=r"The cells of .* are separated by (semicolons|tabs|commas), where"):
        read_rdms(tmp_path / name, None, NAMES)


@pytest.mark.parametrize("name", [name for name in WRITERS if not name.startswith("paths")])
def test_labels_that_are_not_the_conditions_are_refused(tmp_path, square, name):
    """Other names in the file: an error that names them, and `condition_order` decides."""
    path = tmp_path / name
    WRITERS[name](path, square, [f"s{i:02}" for i in range(12)])
    reference = FileReference(name="r", file=str(path))
    (problem,) = reference.problems(pd.DataFrame({"condition": NAMES}))
    assert "share 0 of 24 conditions" in problem
    assert "'s00'" in problem
    assert "'img1'" in problem
    assert problem.endswith(
        "list the conditions in the order of its rows in a file, and name that as `condition_order`."
    )
    (tmp_path / "order.txt").write_text("\n".join(NAMES[::-1]))
    told = FileReference(name="r", file=str(path), condition_order=str(tmp_path / "order.txt"))
    np.testing.assert_allclose(told.build(pd.DataFrame({"condition": NAMES})).squares, [square[::-1, ::-1]])


def test_texts_that_name_rows_more_than_once_are_no_labels(tmp_path, square):
    np.savez(tmp_path / "r.npz", rdm=square, category=["face", "house"] * 6)
    with pytest.raises(UserError, match=r"missing in 'category' beside .*`condition_order`\.$"):
        read(tmp_path / "r.npz", NAMES)
    with pytest.raises(UserError, match=r"'category' beside .* names rows more than once, so it is not their labels"):
        read(tmp_path / "r.npz", None)
    assert read(tmp_path / "r.npz", NAMES, in_order=True) == NAMES


def test_labels_and_condition_order_must_not_contradict(tmp_path, square):
    np.savez(tmp_path / "r.npz", rdm=square, labels=SORTED)
    assert read(tmp_path / "r.npz", SORTED, in_order=True) == SORTED
    with pytest.raises(
        UserError, match=r"has the conditions in 'labels', in another order than `condition_order`; leave"
    ):
        read(tmp_path / "r.npz", NAMES, in_order=True)
    np.savez(tmp_path / "r.npz", rdm=square, labels=[*SORTED[:11], "img99"])
    with pytest.raises(UserError, match=r"`condition_order` and 'labels' beside .* share 11 of 13 conditions"):
        read(tmp_path / "r.npz", NAMES, in_order=True)


def test_without_conditions_the_labels_of_the_file_are_the_conditions(tmp_path, square):
    np.savez(tmp_path / "r.npz", rdm=square, who=SORTED, index=np.arange(12))
    assert read(tmp_path / "r.npz", None) == SORTED
    np.savez(tmp_path / "r.npz", rdm=square, label=np.arange(12) * 3)
    assert read(tmp_path / "r.npz", None) == [str(3 * i) for i in range(12)]
    np.savez(tmp_path / "r.npz", rdm=square, index=np.arange(12))
    with pytest.raises(UserError, match=r"'rdm' in .* holds no labels, so the order of its conditions is not known"):
        read(tmp_path / "r.npz", None)


def test_a_matrix_of_text_without_labels_has_none(tmp_path, square):
    np.savetxt(tmp_path / "r.csv", square, delimiter=",")
    values, labels = read_rdms(tmp_path / "r.csv", conditions=NAMES)
    np.testing.assert_allclose(values, [squareform(square)])
    assert labels == NAMES


def test_nothing_is_read_of_what_has_no_names(tmp_path, square):
    np.save(tmp_path / "r.npy", square)
    assert columns_of(tmp_path / "r.npy") == []
    assert labels_of_rows([], "", square.shape, NAMES, "r.npy") == NAMES
