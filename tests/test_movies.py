"""RDM movies in files of any order of axes arrive as they were planted, and what cannot be told apart is refused."""

import numpy as np
import pandas as pd
import pytest
import scipy.io
from array_files import write_arrays, write_matlab_73
from pydantic import ValidationError
from scipy.spatial.distance import squareform

from rsa.core import RDMs
from rsa.datasets.movies import Movies
from rsa.errors import UserError
from rsa.files.io import save

LABELS = [f"c{i}" for i in range(6)]
N_SUBJECTS, N_TIMES, N, N_PAIRS = 3, 8, 6, 15
SUBJECTS = ["01", "02", "03"]
EVERY_10_MS = {"start": -20, "step": 10, "unit": "ms"}
TIMES_S = np.arange(-20, 60, 10) / 1000


@pytest.fixture
def vectors(rng):
    """Draw the movies of 3 subjects, (n_subjects, n_times, n_pairs)."""
    return rng.random((N_SUBJECTS, N_TIMES, N_PAIRS))


@pytest.fixture
def squares(vectors):
    return np.array([[squareform(vector) for vector in movie] for movie in vectors])


def write(path, values, name="rdms", **others):
    """Write an array in the format of the suffix."""
    write_arrays(path, **{name: values, **others})
    return path


def settings(path, **changes):
    return Movies(**({"subjects": SUBJECTS, "file": str(path), "times": EVERY_10_MS} | changes))


def assert_is(rdms, expected, subject="01", times_s=TIMES_S):
    np.testing.assert_allclose(rdms.values, expected, rtol=1e-12)
    np.testing.assert_allclose(rdms.table["time_s"], times_s, atol=1e-12)
    assert set(rdms.table["subject"]) == {subject}
    assert rdms.conditions == tuple(LABELS)


# -------------------------------------------------------------------------------------- orders of axes


@pytest.mark.parametrize("suffix", [".npz", ".npy", ".mat", "73.mat", ".h5", ".hdf5"])
@pytest.mark.parametrize("order", [(0, 1, 2, 3), (1, 0, 2, 3), (2, 3, 1, 0), (3, 2, 0, 1)])
def test_square_movies_of_all_subjects_are_read_in_any_order(tmp_path, squares, vectors, suffix, order):
    path = write(tmp_path / f"movie{suffix}", squares.transpose(order))
    source = settings(path)
    assert source.problems(LABELS) == []
    for place, subject in enumerate(SUBJECTS):
        assert_is(source.load(subject, LABELS), vectors[place], subject)


@pytest.mark.parametrize("suffix", [".npy", ".mat", "73.mat", ".h5"])
@pytest.mark.parametrize("order", [(0, 1, 2), (1, 2, 0)])
def test_square_movies_in_files_of_their_own_are_read_in_both_orders(tmp_path, squares, vectors, suffix, order):
    for place, subject in enumerate(SUBJECTS):
        write(tmp_path / f"sub-{subject}_{suffix}", squares[place].transpose(order))
    source = settings(tmp_path / f"sub-{{subject}}_{suffix}")
    assert source.problems(LABELS) == []
    assert_is(source.load("02", LABELS), vectors[1], "02")
    assert source.files("02") == [tmp_path / f"sub-02_{suffix}"]


@pytest.mark.parametrize("suffix", [".npy", ".mat", "73.mat"])
@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2), (2, 1, 0), (2, 0, 1)])
def test_condensed_movies_are_read_in_any_order(tmp_path, vectors, suffix, order):
    source = settings(write(tmp_path / f"movie{suffix}", vectors.transpose(order)))
    assert_is(source.load("03", LABELS), vectors[2], "03")
    for place, subject in enumerate(SUBJECTS):
        write(tmp_path / f"{subject}{suffix}", vectors[place] if order[0] == 0 else vectors[place].T)
    assert_is(settings(tmp_path / f"{{subject}}{suffix}").load("02", LABELS), vectors[1], "02")


def test_as_many_times_as_conditions_are_told_apart_by_symmetry(tmp_path, squares, vectors):
    for order in ((0, 1, 2), (1, 2, 0)):
        write(tmp_path / "sub-01.npy", squares[0, :N].transpose(order))
        source = settings(tmp_path / "sub-{subject}.npy", subjects=["01"])
        assert_is(source.load("01", LABELS), vectors[0, :N], times_s=TIMES_S[:N])


def test_what_sizes_cannot_tell_apart_has_to_be_named(tmp_path, squares, vectors):
    path = write(tmp_path / "movie.npy", squares[:, :3])
    source = settings(path)
    (problem,) = source.problems(LABELS)
    assert "(3, 3, 6, 6), which may be 'subject time condition condition' or 'time subject condition" in problem
    with pytest.raises(UserError, match="say which by `axes`"):
        source.load("01", LABELS)
    told = settings(path, axes="subject time condition condition")
    assert_is(told.load("02", LABELS), vectors[1, :3], "02", TIMES_S[:3])
    other = settings(path, axes="time subject condition condition")
    assert_is(other.load("02", LABELS), vectors[:, 1], "02", TIMES_S[:3])
    write(tmp_path / "01.npy", np.random.default_rng(1).random((N_PAIRS, N_PAIRS)))
    with pytest.raises(UserError, match="may be 'time pair' or 'pair time'; say which by `axes`"):
        settings(tmp_path / "{subject}.npy").load("01", LABELS)


def test_the_number_of_times_tells_axes_apart(tmp_path, rng):
    vectors = rng.random((3, 3, N_PAIRS))
    times = np.array([10.0, 20.0, 30.0])
    path = write(tmp_path / "movie.npz", vectors[:, :2], times=times[:2])
    source = settings(path, times={"key": "times", "unit": "ms"})
    assert_is(source.load("03", LABELS), vectors[2, :2], "03", [0.01, 0.02])


# ---------------------------------------------------------------------------------------- public layouts


def filled(squares, how):
    """Leave an empty triangle, or a diagonal, as public files have them."""
    rows, columns = np.triu_indices(squares.shape[-1], k=1)
    changed = squares.copy()
    diagonal = np.arange(squares.shape[-1])
    if how != "upper, zeros":
        changed[..., diagonal, diagonal] = np.nan
    if how.startswith("upper"):
        changed[..., columns, rows] = 0 if how.endswith("zeros") else np.nan
    elif how.startswith("lower"):
        changed[..., rows, columns] = np.nan
    return changed


@pytest.mark.parametrize("how", ["upper, NaN", "upper, zeros", "lower, NaN", "both, NaN on the diagonal"])
@pytest.mark.parametrize("suffix", [".mat", "73.mat"])
def test_decoding_accuracies_with_an_empty_triangle_are_mirrored(tmp_path, squares, vectors, how, suffix):
    accuracies = filled(40 + 60 * squares * (1 - np.eye(N)), how)
    if how == "upper, zeros":
        accuracies = np.triu(accuracies, k=1)
    path = write(tmp_path / f"movie{suffix}", accuracies, "MEG_decoding_RDMs")
    assert settings(path).problems(LABELS) == []
    assert_is(settings(path, key="MEG_decoding_RDMs").load("02", LABELS), 40 + 60 * vectors[1], "02")


@pytest.fixture
def cichy92(tmp_path, rng):
    """Write the layout of the 92 images of Cichy et al. (2014): subjects x sessions x times x 92 x 92, MATLAB 7.3."""
    sessions = rng.random((2, 2, 5, 92 * 91 // 2)).astype(np.float32) * 50 + 50
    squares = np.array([[[squareform(x, checks=False) for x in t] for t in s] for s in sessions])
    squares[..., np.arange(92), np.arange(92)] = np.nan
    write_matlab_73(tmp_path / "MEG_decoding_RDMs.mat", MEG_decoding_RDMs=squares)
    return tmp_path / "MEG_decoding_RDMs.mat", sessions


def test_the_published_movies_of_92_images_are_averaged_over_sessions(cichy92):
    path, sessions = cichy92
    labels = [f"image{i:02}" for i in range(92)]
    times = {"start": -100, "step": 1, "unit": "ms"}
    axes = "subject session time condition condition"
    source = settings(path, subjects=["01", "02"], times=times, axes=axes)
    assert source.problems(labels) == []
    rdms = source.load("02", labels)
    np.testing.assert_allclose(rdms.values, sessions[1].mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(rdms.table["time_s"], [-0.1, -0.099, -0.098, -0.097, -0.096])
    assert len(rdms.conditions) == 92


def test_sessions_that_are_not_named_are_not_guessed(cichy92):
    with pytest.raises(
        UserError, match=r"has shape \(2, 2, 5, 92, 92\), and there are 92 conditions, 2 subjects .*`ax"
    ):
        settings(cichy92[0], subjects=["01", "02"]).load("01", [f"image{i}" for i in range(92)])


def test_the_published_movies_of_118_images_have_one_session(tmp_path, rng):
    vectors = rng.random((2, 4, 118 * 117 // 2))
    squares = np.array([[squareform(x) for x in movie] for movie in vectors])[:, None]
    scipy.io.savemat(tmp_path / "MEG_decoding_RDMs.mat", {"MEG_decoding_RDMs": squares})
    source = settings(
        tmp_path / "MEG_decoding_RDMs.mat",
        subjects=["01", "02"],
        axes="subject session time condition condition",
        times={"start": -100, "step": 1, "unit": "ms"},
    )
    rdms = source.load("02", [str(i) for i in range(118)])
    np.testing.assert_allclose(rdms.values, vectors[1], rtol=1e-12)


# --------------------------------------------------------------------------------------- times and labels


def test_times_are_given_by_a_file_or_an_array_in_their_unit(tmp_path, squares, vectors):
    uneven = np.array([-0.05, 0.0, 0.02, 0.03, 0.07, 0.1, 0.2, 0.4])
    path = write(tmp_path / "movie.npz", squares, times=uneven)
    for changes in ({"times": {"key": "times", "unit": "s"}}, {"times": {"file": "times.txt", "unit": "ms"}}):
        if "file" in changes["times"]:
            np.savetxt(tmp_path / "times.txt", uneven * 1000)
            changes["times"]["file"] = str(tmp_path / "times.txt")
            changes["key"] = "rdms"
        source = settings(path, **changes)
        assert_is(source.load("01", LABELS), vectors[0], times_s=uneven)
    assert source.files("01") == [path, tmp_path / "times.txt"]
    write_matlab_73(tmp_path / "m73.mat", rdms=squares, t=uneven[:, None])
    assert_is(
        settings(tmp_path / "m73.mat", times={"key": "t", "unit": "s"}).load("01", LABELS), vectors[0], times_s=uneven
    )


def test_some_times_are_kept_with_their_own_rdms(tmp_path, squares, vectors):
    for suffix in (".npy", "73.mat"):
        path = write(tmp_path / f"movie{suffix}", squares)
        rdms = settings(path, tmin_s=-0.01, tmax_s=0.05, decimate=2).load("01", LABELS)
        assert_is(rdms, vectors[0, [2, 4, 6]], times_s=[0, 0.02, 0.04])
    message = r"tmin_s, tmax_s and decimate leave no time of .*, which has -0.02 to 0.05 s"
    with pytest.raises(UserError, match=message):
        settings(path, tmin_s=0.5).load("01", LABELS)


def test_conditions_are_put_into_the_order_of_the_stimuli_by_label(tmp_path, squares, rng):
    order = rng.permutation(N)
    shuffled = [LABELS[i] for i in order]
    (tmp_path / "order.txt").write_text("\n".join(shuffled))
    path = write(tmp_path / "movie.mat", squares[:, :, order][:, :, :, order])
    source = settings(path, condition_order=str(tmp_path / "order.txt"))
    assert source.conditions("01") == shuffled
    rdms = source.load("02", LABELS)
    assert rdms.conditions == tuple(LABELS)
    np.testing.assert_allclose(rdms.squares, squares[1])
    labelled = write(tmp_path / "movie.h5", squares[:, :, order][:, :, :, order], conditions=shuffled)
    np.testing.assert_allclose(settings(labelled).load("02", LABELS).squares, squares[1])
    assert settings(labelled).conditions("01") is None


def test_a_movie_of_this_pipeline_tells_its_times(tmp_path, vectors):
    table = pd.DataFrame({"subject": np.repeat(SUBJECTS, N_TIMES), "time_s": np.tile(TIMES_S, 3)})
    save(tmp_path / "movies.h5", RDMs(vectors.reshape(-1, N_PAIRS), LABELS, table, "crossnobis"))
    source = settings(tmp_path / "movies.h5", times=None, decimate=2)
    assert source.problems(LABELS) == []
    rdms = source.load("02", LABELS)
    assert_is(rdms, vectors[1, ::2], "02", TIMES_S[::2])
    assert rdms.distance == "crossnobis"
    save(tmp_path / "other.h5", RDMs(vectors[0], LABELS, pd.DataFrame({"layer": list("abcdefgh")})))
    with pytest.raises(UserError, match="holds RDMs without a time; its table has 'layer'"):
        settings(tmp_path / "other.h5").load("01", LABELS)


# ----------------------------------------------------------------------------------------- what is wrong


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"file": "{run}.npy"}, "unknown placeholder 'run': file takes {subject}"),
        ({"file": "movie.csv"}, "movies are read from files '.npz', '.npy', '.mat', '.h5', '.hdf5', and file is"),
        ({"axes": "subject condition condition"}, "name time once and others of 'subject', 'session'"),
        ({"axes": "time times pair"}, "name time once and others of 'subject', 'session'"),
        ({"axes": "time condition"}, "name condition twice, or pair once for condensed RDMs"),
        ({"tmin_s": 1, "tmax_s": 0}, "tmin_s is 1 and tmax_s is 0; the first has to be earlier"),
        ({"times": {"start": 0, "unit": "s"}}, "start and step belong together; give both"),
        ({"times": {"unit": "s"}}, "times come from start and step, from a key or from a file, and none is given"),
        ({"times": {"start": 0, "step": 1, "key": "t", "unit": "s"}}, "and 'start', 'key' is given; give one"),
        ({"times": {"start": 0, "step": 1}}, "unit"),
    ],
)
def test_settings_that_cannot_be_are_refused(changes, message):
    with pytest.raises(ValidationError) as error:
        settings(**({"path": "movie.npy"} | changes))
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"file": "none.npy"}, "There is no file none.npy"),
        ({"times": None}, "does not tell the times of its RDMs; set `times`."),
        ({"times": {"key": "t", "unit": "s"}}, "has no array 't' of times; see `times.key`."),
        ({"times": {"file": "none.txt", "unit": "s"}}, "There is no file none.txt"),
        ({"subjects": ["01", "02"]}, "(3, 8, 6, 6), and there are 6 conditions, 2 subjects (15 pairs); name its axes"),
        (
            {"axes": "time subject condition condition"},
            "which is not 'time subject condition condition', and there are",
        ),
        ({"key": "rdm"}, "has no array 'rdm'. Did you mean 'rdms'?"),
    ],
)
def test_what_is_wrong_with_files_is_told_in_one_line(tmp_path, squares, changes, message):
    path = write(tmp_path / "movie.npz", squares)
    source = settings(**({"path": path} | changes))
    (problem,) = source.problems(LABELS)
    assert message in problem
    with pytest.raises(UserError):
        source.load("01", LABELS)


def test_times_that_do_not_fit_are_refused(tmp_path, squares):
    for subject in SUBJECTS:
        write(tmp_path / f"{subject}.npz", squares[0], t=np.arange(7.0), u=np.zeros(8))
    file = tmp_path / "{subject}.npz"
    with pytest.raises(UserError, match=r"has shape \(8, 6, 6\), and there are 6 conditions, 7 times \(15 pairs\)"):
        settings(file, key="rdms", times={"key": "t", "unit": "s"}).load("01", LABELS)
    with pytest.raises(UserError, match="do not ascend; see `times`"):
        settings(file, key="rdms", times={"key": "u", "unit": "s"}).load("01", LABELS)


def test_what_is_no_rdm_is_refused(tmp_path, squares, rng):
    similar = write(tmp_path / "similar.npy", 1 - squares)
    assert "has ones on its diagonal, so it holds similarities" in settings(similar).problems(LABELS)[0]
    skewed = write(tmp_path / "skewed.npy", squares + rng.random(squares.shape) * (1 - np.eye(N)))
    assert "is not symmetric" in settings(skewed).problems(LABELS)[0]
    squares[1, 5, 2, 3] = squares[1, 5, 3, 2] = np.nan
    holed = write(tmp_path / "holed.npy", squares)
    with pytest.raises(UserError, match="is NaN or infinite in 2 places, first between 'c2' and 'c3' of RDM 5"):
        settings(holed).load("02", LABELS)


def test_labels_that_differ_are_named(tmp_path, squares):
    path = write(tmp_path / "movie.h5", squares, conditions=LABELS)
    (problem,) = settings(path).problems([*LABELS[:5], "dog"])
    assert "share 5 of 7 conditions" in problem
    assert "subjects '01', '02', '03': " in problem
    with pytest.raises(UserError, match="holds no labels, so the order of its conditions is not known"):
        settings(write(tmp_path / "bare.npy", squares)).load("01")


def test_subjects_with_other_times_are_named(tmp_path, squares):
    for place, subject in enumerate(SUBJECTS):
        write(tmp_path / f"{subject}.npy", squares[place, : 8 - place // 2])
    (problem,) = settings(tmp_path / "{subject}.npy").problems(LABELS)
    assert problem == (
        "times differ: subject '01' has 8 from -0.02 to 0.05 s, subject '03' 7 from -0.02 to 0.04 s; cut and sample "
        "all alike."
    )


def test_damaged_files_are_named(tmp_path):
    for suffix in (".npz", ".npy", ".mat", ".h5"):
        (tmp_path / f"movie{suffix}").write_bytes(b"junk" * 200)
        (problem,) = settings(tmp_path / f"movie{suffix}").problems(LABELS)
        assert f"movie{suffix} cannot be read as a {suffix} file of numbers" in problem
