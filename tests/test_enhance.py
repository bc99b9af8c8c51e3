"""Enhanced maps are those of slow loops over heights, of scipy's labels, and of other packages."""

from concurrent.futures import ThreadPoolExecutor

import mne
import numpy as np
import oracles
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mne.stats.cluster_level import _find_clusters
from nilearn.mass_univariate._utils import calculate_cluster_measures, calculate_tfce
from scipy.ndimage import gaussian_filter, generate_binary_structure, label
from scipy.sparse import csr_array
from strategies import quick, seeds

from rsa.core import Volume
from rsa.datasets.sensors import neighbours_of
from rsa.errors import UserError
from rsa.inference.enhance import ENHANCEMENTS, components, enhance, highest
from rsa.inference.graph import Graph, graph_of, no_edges, voxel_graph
from rsa.papers import PAPERS

KINDS = {"tfce": 0.0, "cluster_mass": 0.6, "cluster_size": 0.6}
RANKS = {6: 1, 18: 2, 26: 3}
SHAPES = {
    "smooth": lambda rng, shape: gaussian_filter(rng.standard_normal(shape), (0.5, 1)),
    "noise": lambda rng, shape: rng.standard_normal(shape),
    "ties": lambda rng, shape: np.round(2 * gaussian_filter(rng.standard_normal(shape), (0.5, 1))) / 2,
    "plateaus": lambda rng, shape: rng.integers(-1, 3, shape).astype(float),
    "holes": lambda rng, shape: np.where(rng.random(shape) < 0.3, np.nan, rng.standard_normal(shape)),
    "tiny differences": lambda rng, shape: 1 + 1e-6 * rng.standard_normal(shape),
    "negative": lambda rng, shape: -rng.random(shape),
    "nothing": lambda rng, shape: np.full(shape, np.nan),
    "zero": lambda rng, shape: np.zeros(shape),
}


def neighbours_in(graph: Graph) -> list[list[int]]:
    return [part.tolist() for part in np.split(graph.indices, graph.indptr[1:-1])]


def a_volume(rng, shape=(5, 6, 4), share=0.8) -> Volume:
    mask = rng.random(shape) < share
    mask[0, 0, 0] = True
    return Volume(mask, np.diag([3.0, 2.0, 2.0, 1.0]))


def smooth_map(rng, volume: Volume, sigma: float = 1.0) -> np.ndarray:
    noise = gaussian_filter(rng.standard_normal(volume.shape), sigma)
    return (noise / noise.std())[volume.mask][None]


def some_graph(rng, kind: str) -> Graph:
    if kind == "voxels":
        return voxel_graph(a_volume(rng, (3, 4, 3)), 18)
    if kind == "random":
        return graph_of([rng.integers(0, 20, rng.integers(0, 4)) for _ in range(20)], "random")
    return {"alone": no_edges(1), "apart": no_edges(7), "empty": no_edges(0)}[kind]


# ------------------------------------------------------------------------------------------------ graphs


@pytest.mark.parametrize("connectivity", RANKS)
def test_voxels_are_neighbours_as_scipy_says(connectivity, rng):
    volume = a_volume(rng)
    graph = voxel_graph(volume, connectivity)
    apart = np.abs(volume.indices[:, None] - volume.indices)  # (n_voxels, n_voxels, 3)
    expected = (apart.max(axis=2) == 1) & (apart.sum(axis=2) <= RANKS[connectivity])
    assert graph.n_places == volume.n_voxels
    assert neighbours_in(graph) == [np.flatnonzero(row).tolist() for row in expected]
    assert graph.words == f"{connectivity} neighbours of each voxel"
    assert graph.indices.dtype == np.int32


def test_a_voxel_has_no_other_number_of_neighbours(rng):
    with pytest.raises(UserError, match="6, 18 or 26 neighbours, not 8"):
        voxel_graph(a_volume(rng), 8)


def test_sensors_are_neighbours_as_mne_says_and_both_ways():
    montage = mne.channels.make_standard_montage("biosemi32")
    info = mne.create_info(montage.ch_names, 100.0, "eeg").set_montage(montage)
    lists = neighbours_of(info)
    graph = graph_of(lists, "sensors")
    assert neighbours_in(graph) == [[j for j in one if j != i] for i, one in enumerate(lists)]
    one_way = graph_of([one[one >= i] for i, one in enumerate(lists)], "sensors")
    assert neighbours_in(one_way) == neighbours_in(graph)


def test_regions_have_no_neighbours():
    assert neighbours_in(no_edges(3)) == [[], [], []]
    assert no_edges(0).n_places == 0
    assert graph_of([], "none").n_places == 0


@pytest.mark.parametrize(
    ("indptr", "indices"),
    [
        ([0, 1, 1], [1]),
        ([0, 1, 2], [0, 1]),
        ([0, 2, 3, 4], [2, 1, 0, 0]),
        ([0, 2, 4], [1, 1, 0, 0]),
        ([0, 1, 2], [1, 2]),
        ([0, 1, 2], [-1, 0]),
        ([0, 1], [1, 0]),
        ([0, 2, 1, 2], [1, 0]),
        ([], []),
    ],
    ids=["one way", "itself", "descending", "twice", "no place", "below 0", "lengths", "falling", "no end"],
)
def test_a_graph_refuses_what_is_none(indptr, indices):
    with pytest.raises(UserError, match="Make the graph by `graph_of`"):
        Graph(np.array(indptr, int), np.array(indices, int), "wrong")


@pytest.mark.parametrize("neighbour", [-1, 2])
def test_a_neighbour_is_a_place(neighbour):
    with pytest.raises(UserError, match=f"positions from 0 to 1, and one is {neighbour}"):
        graph_of([np.array([neighbour]), np.array([0])], "wrong")


# --------------------------------------------------------------------------------------- against slow loops


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("places", ["voxels", "random", "alone", "apart", "empty"])
@pytest.mark.parametrize("n_times", [1, 4])
def test_enhanced_maps_are_those_of_slow_loops(kind, shape, places, n_times, rng):
    graph, threshold = some_graph(rng, places), KINDS[kind]
    values = SHAPES[shape](rng, (n_times, graph.n_places)).astype(np.float32)
    around = neighbours_in(graph)
    slow = oracles.tfce(values, around) if kind == "tfce" else oracles.cluster_numbers(values, around, kind, threshold)
    found = enhance(values, graph, kind, threshold=threshold)
    np.testing.assert_allclose(found, slow, rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(values))
    assert highest(values, graph, kind, threshold=threshold) == np.nanmax(found, initial=0.0)


@given(seeds, st.sampled_from(sorted(SHAPES)), st.sampled_from(["voxels", "random"]), st.integers(1, 3))
@settings(quick)
def test_of_any_graph(seed, shape, places, n_times):
    rng = np.random.default_rng(seed)
    graph = some_graph(rng, places)
    values = SHAPES[shape](rng, (n_times, graph.n_places))
    around = neighbours_in(graph)
    np.testing.assert_allclose(enhance(values, graph, "tfce"), oracles.tfce(values, around), rtol=1e-12, atol=1e-15)
    np.testing.assert_array_equal(components(values > 0, graph), oracles.clusters(values > 0, around))


def test_tfce_is_what_a_sum_over_small_steps_comes_to(rng):
    volume = a_volume(rng, (4, 4, 4))
    graph, values = voxel_graph(volume), smooth_map(rng, volume)
    stepped = oracles.tfce(values, neighbours_in(graph), n_steps=10_000)
    found = enhance(values, graph, "tfce")
    np.testing.assert_allclose(found, stepped, atol=2e-4 * found.max())
    assert found.max() > 0.1


@pytest.mark.parametrize("connectivity", RANKS)
@pytest.mark.parametrize("n_times", [1, 5])
def test_clusters_of_space_and_time_are_those_of_scipy(connectivity, n_times, rng):
    volume = a_volume(rng, (8, 9, 7), 0.7)
    graph = voxel_graph(volume, connectivity)
    values = gaussian_filter(rng.standard_normal((n_times, *volume.shape)), (0.5, 0.7, 0.7, 0.7))[:, volume.mask]
    structure = np.zeros((3, 3, 3, 3), dtype=bool)
    structure[1] = generate_binary_structure(3, RANKS[connectivity])
    structure[:, 1, 1, 1] = True
    grid = np.zeros((n_times, *volume.shape), dtype=bool)
    grid[:, volume.mask] = values > 0.25
    expected = label(grid, structure)[0][:, volume.mask]
    labels = components(values > 0.25, graph)
    assert labels.max() == expected.max() > 1
    assert len(set(zip(labels.ravel(), expected.ravel(), strict=True))) == labels.max() + 1
    firsts = [np.flatnonzero(labels.ravel() == number)[0] for number in range(1, labels.max() + 1)]
    assert firsts == sorted(firsts)
    sizes = np.bincount(labels.ravel(), minlength=1)[labels] * (labels > 0)
    np.testing.assert_array_equal(enhance(values, graph, "cluster_size", threshold=0.25), sizes)


# ------------------------------------------------------------------------------------ what changes no bit


@pytest.mark.parametrize("shape", ["smooth", "ties", "plateaus", "tiny differences"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_order_of_places_and_times_and_of_ties_changes_no_bit(kind, shape, dtype, rng):
    graph = voxel_graph(a_volume(rng, (8, 7, 6)))
    values = SHAPES[shape](rng, (6, graph.n_places)).astype(dtype)
    found = enhance(values, graph, kind, threshold=KINDS[kind])
    around = neighbours_in(graph)
    for _ in range(3):
        order = rng.permutation(graph.n_places)
        place = np.argsort(order)
        shuffled = graph_of([place[around[old]] for old in order], "shuffled")
        again = enhance(values[::-1, order], shuffled, kind, threshold=KINDS[kind])
        np.testing.assert_array_equal(again[::-1, place], found)


@pytest.mark.parametrize("kind", KINDS)
def test_single_and_double_precision_agree(kind, rng):
    graph = voxel_graph(a_volume(rng))
    values = rng.standard_normal((3, graph.n_places)).astype(np.float32)
    single, double = (enhance(values.astype(one), graph, kind) for one in (np.float32, np.float64))
    np.testing.assert_array_equal(single, double)
    assert single.dtype == np.float64


@pytest.mark.parametrize("dtype", [">f4", ">f8", np.int16, np.float16])
def test_values_of_any_kind_of_number(dtype, rng):
    graph = voxel_graph(a_volume(rng))
    values = rng.integers(-3, 4, (2, graph.n_places))
    for kind in KINDS:
        np.testing.assert_array_equal(enhance(values.astype(dtype), graph, kind), enhance(values * 1.0, graph, kind))


def test_threads_change_nothing(rng):
    graph = voxel_graph(a_volume(rng, (12, 12, 12)))
    maps = [rng.standard_normal((2, graph.n_places)).astype(np.float32) for _ in range(20)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda values: highest(values, graph, "tfce"), maps))
    assert found == [highest(values, graph, "tfce") for values in maps]


def test_values_in_columns_of_a_larger_array(rng):
    graph = voxel_graph(a_volume(rng))
    values = rng.standard_normal((3, 2 * graph.n_places))
    found = enhance(values[:, ::2], graph, "tfce")
    np.testing.assert_array_equal(found, enhance(values[:, ::2].copy(), graph, "tfce"))


# ------------------------------------------------------------------------------------------------- limits


def test_one_node_alone_has_a_third_of_its_cube():
    values = np.array([[3.0, -3.0]])
    np.testing.assert_allclose(enhance(values, no_edges(2), "tfce"), [[9.0, 0.0]])


def test_an_infinite_value_leaves_the_nodes_around_it_finite():
    chain = graph_of([np.array([1]), np.array([2]), np.array([], int)], "a chain")
    values = np.array([[np.inf, 3.0, -np.inf]])
    np.testing.assert_allclose(enhance(values, chain, "tfce"), [[np.inf, 9 * np.sqrt(2), 0.0]])
    np.testing.assert_array_equal(enhance(values, chain, "cluster_mass", threshold=1.0), [[np.inf, np.inf, 0.0]])
    np.testing.assert_array_equal(enhance(values, chain, "cluster_size", threshold=1.0), [[2, 2, 0]])


def test_the_threshold_itself_is_not_above_it():
    values = np.array([[2.0, np.nextafter(2.0, 3.0)]])
    np.testing.assert_array_equal(enhance(values, no_edges(2), "cluster_size", threshold=2.0), [[0, 1]])


@pytest.mark.parametrize(
    ("kind", "threshold", "said"),
    [
        ("tfce", 2.0, "threshold of tfce is 0, not 2.0"),
        ("cluster_size", -1.0, "threshold of cluster_size is 0 or more, not -1.0"),
        ("cluster_mass", np.nan, "threshold of cluster_mass is 0 or more, not nan"),
        ("tcfe", 0.0, "Unknown enhancement 'tcfe'. Did you mean 'tfce'"),
    ],
)
def test_what_is_no_threshold_or_kind_is_refused(kind, threshold, said):
    for function in (enhance, highest):
        with pytest.raises(UserError, match=said):
            function(np.zeros((1, 3)), no_edges(3), kind, threshold=threshold)


@pytest.mark.parametrize("shape", [(3,), (1, 4), (3, 1)])
def test_values_of_other_places_are_refused(shape):
    with pytest.raises(UserError, match=r"the shape \(n_times, 3\), not"):
        enhance(np.zeros(shape), no_edges(3), "tfce")
    with pytest.raises(UserError, match=r"the shape \(n_times, 3\), not"):
        components(np.zeros(shape, bool), no_edges(3))


@pytest.mark.parametrize("name", ENHANCEMENTS)
def test_an_enhancement_says_what_it_is(name):
    entry = ENHANCEMENTS[name]
    assert entry.paper in PAPERS
    assert entry.needs_threshold == name.startswith("cluster")
    assert entry.summary
    assert entry.words
    assert "\n" not in entry.summary + entry.words
    assert entry.statistic == name.removeprefix("cluster_")


# --------------------------------------------------------------------------------------- other packages


@pytest.mark.parametrize("connectivity", RANKS)
@pytest.mark.parametrize("threshold", [0.5, 1.5])
def test_largest_clusters_are_those_of_nilearn(connectivity, threshold, rng):
    volume = a_volume(rng, (9, 8, 10))
    graph = voxel_graph(volume, connectivity)
    for sign in (1, -1):
        values = sign * smooth_map(rng, volume)
        grid = np.nan_to_num(volume.unmask(values[0])).astype(np.float64)[..., None]
        structure = generate_binary_structure(3, RANKS[connectivity])
        ((size,), (mass,)) = calculate_cluster_measures(grid, threshold, structure)
        assert highest(values, graph, "cluster_size", threshold=threshold) == size
        assert highest(values, graph, "cluster_mass", threshold=threshold) == pytest.approx(mass, rel=1e-5)
        assert size > 1


def test_tfce_is_that_of_nilearn_but_for_its_steps(rng):
    """nilearn sums extent^.5 height^2 at 1,000 heights and leaves out the step between them."""
    volume = a_volume(rng, (9, 8, 10))
    values = smooth_map(rng, volume)
    grid = np.nan_to_num(volume.unmask(values[0])).astype(np.float64)[..., None]
    step = values.max() / 1000
    summed = calculate_tfce(grid, generate_binary_structure(3, 3), dh=step, two_sided_test=False)[..., 0][volume.mask]
    found = enhance(values, voxel_graph(volume, 26), "tfce")[0]
    np.testing.assert_allclose(summed * step, found, atol=5e-3 * found.max())


@pytest.mark.parametrize("n_times", [1, 6])
def test_clusters_over_space_and_time_are_those_of_mne(n_times, rng):
    volume = a_volume(rng, (6, 5, 6))
    graph = voxel_graph(volume, 26)
    values = np.concatenate([smooth_map(rng, volume) for _ in range(n_times)])
    matrix = csr_array((np.ones(len(graph.indices)), graph.indices, graph.indptr), shape=(graph.n_places,) * 2)
    adjacency = mne.stats.combine_adjacency(n_times, matrix) if n_times > 1 else matrix.tocoo()
    found, sums = _find_clusters(values.ravel(), 0.5, tail=1, adjacency=adjacency)
    mass, size = (enhance(values, graph, kind, threshold=0.5).ravel() for kind in ("cluster_mass", "cluster_size"))
    assert len(found) > 1
    for nodes, total in zip(found, sums, strict=True):
        np.testing.assert_array_equal(size[nodes], np.count_nonzero(nodes) if nodes.dtype == bool else len(nodes))
        np.testing.assert_allclose(mass[nodes], total - 0.5 * size[nodes], rtol=1e-10)
    _, summed = _find_clusters(values.ravel(), {"start": 0.0, "step": 0.01}, tail=1, adjacency=adjacency)
    enhanced = enhance(values, graph, "tfce").ravel()
    np.testing.assert_allclose(summed, enhanced, atol=0.02 * enhanced.max())


@pytest.mark.parametrize("connectivity", RANKS)
def test_tfce_is_that_of_the_package_tfce(connectivity, rng):
    tfce = pytest.importorskip("tfce").tfce
    volume = a_volume(rng, (12, 11, 10))
    values = smooth_map(rng, volume).astype(np.float32)
    grid = np.nan_to_num(volume.unmask(values[0]))
    theirs = tfce(grid, connectivity=connectivity, two_sided=False)[volume.mask]
    np.testing.assert_allclose(enhance(values, voxel_graph(volume, connectivity), "tfce")[0], theirs, rtol=1e-4)


def test_tfce_over_space_and_time_is_that_of_the_package_tfce(rng):
    tfce = pytest.importorskip("tfce").tfce
    volume, n_times = a_volume(rng, (7, 6, 8)), 5
    graph = voxel_graph(volume)
    values = np.concatenate([smooth_map(rng, volume) for _ in range(n_times)]).astype(np.float32)
    matrix = csr_array((np.ones(len(graph.indices)), graph.indices, graph.indptr), shape=(graph.n_places,) * 2)
    adjacency = mne.stats.combine_adjacency(n_times, matrix).tocsr()
    theirs = tfce(values.ravel(), adjacency=adjacency, two_sided=False)
    np.testing.assert_allclose(enhance(values, graph, "tfce").ravel(), theirs, rtol=1e-4, atol=1e-6)
