"""What hypothesis draws from: grids in any orientation, masks full of holes, patterns and RDMs with every defect."""

from itertools import permutations

import numpy as np
import pandas as pd
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

from rsa.core import Patterns, RDMs, Volume

quick = settings(
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=True,
    database=None,
    max_examples=25,
    phases=(Phase.explicit, Phase.generate),
)
"""The settings of every property test: the same examples each time, few of them, as slow as the machine is."""

seeds = st.integers(0, 2**32 - 1)


def rotation(angles: tuple[float, float, float]) -> np.ndarray:
    """Turn about the three axes, one after the other."""
    (cx, cy, cz), (sx, sy, sz) = np.cos(angles), np.sin(angles)
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


@st.composite
def affines(draw: st.DrawFn) -> np.ndarray:
    """Oblique, sheared, flipped, anisotropic grids with permuted axes, anywhere in space."""
    zooms = draw(st.tuples(*[st.sampled_from([0.7, 1.0, 2.0, 3.0, 3.75])] * 3))
    flips = draw(st.tuples(*[st.sampled_from([-1, 1])] * 3))
    axes = draw(st.sampled_from(list(permutations(range(3)))))
    angles = draw(st.tuples(*[st.sampled_from([0.0, 0.1, 0.7])] * 3))
    shear = np.eye(3)
    shear[0, 1] = draw(st.sampled_from([0.0, 0.2]))
    affine = np.eye(4)
    affine[:3, :3] = rotation(angles) @ shear @ np.diag(np.multiply(zooms, flips))[:, axes]
    affine[:3, 3] = draw(st.tuples(*[st.floats(-100, 100)] * 3))
    return affine


@st.composite
def volumes(draw: st.DrawFn, n_min: int = 1, n_max: int = 7, filled: tuple[float, ...] = (0.3, 0.7, 1.0)):
    """Small grids with a mask full of holes."""
    shape = draw(st.tuples(*[st.integers(n_min, n_max)] * 3))
    mask = np.random.default_rng(draw(seeds)).random(shape) < draw(st.sampled_from(filled))
    mask[tuple(n // 2 for n in shape)] = True
    return Volume(mask, draw(affines()))


@st.composite
def label_orders(draw: st.DrawFn, n: int) -> list[str]:
    """Labels that sort otherwise than they count (img1, img10, img2), in any order."""
    return draw(st.permutations([f"img{number}" for number in range(1, n + 1)]))


@st.composite
def rdm_values(draw: st.DrawFn, n_conditions: int, n_rdms: int = 3) -> np.ndarray:
    """Dissimilarities with many ties, without any, with an offset, or all equal."""
    rng = np.random.default_rng(draw(seeds))
    shape = (n_conditions * (n_conditions - 1) // 2,)
    makers = {
        "continuous": lambda: rng.random(shape),
        "ties": lambda: rng.integers(0, 3, shape).astype(float),
        "offset": lambda: 1e4 + rng.random(shape),
        "negative": lambda: rng.standard_normal(shape),
        "constant": lambda: np.full(shape, 0.3),
    }
    kinds = draw(st.lists(st.sampled_from(sorted(makers)), min_size=n_rdms, max_size=n_rdms))
    return np.stack([makers[kind]() for kind in kinds])


@st.composite
def rdm_stacks(draw: st.DrawFn, conditions: list[str], n_rdms: int = 3) -> RDMs:
    """A stack of reference RDMs over these conditions, in an order of their own."""
    order = draw(st.permutations(conditions))
    values = draw(rdm_values(len(conditions), n_rdms))
    return RDMs(values, order, pd.DataFrame({"model": "m", "layer": [f"layer{n}" for n in range(n_rdms)]}))


@st.composite
def pattern_values(draw: st.DrawFn, n_conditions: int, n_voxels: int) -> np.ndarray:
    """Patterns in float32, with duplicated rows, tied values, an offset, NaN voxels or constant voxels."""
    rng = np.random.default_rng(draw(seeds))
    values = rng.standard_normal((n_conditions, n_voxels))
    defects = draw(st.sets(st.sampled_from(["tied", "duplicated", "offset", "nan", "constant"])))
    if "tied" in defects:
        values = np.round(values)
    if "duplicated" in defects:
        values[rng.integers(0, n_conditions, 3)] = values[0]
    if "offset" in defects:
        values = values + 1e4
    if "nan" in defects:
        values[rng.integers(0, n_conditions), rng.random(n_voxels) < 0.15] = np.nan
    if "constant" in defects:
        values[:, rng.random(n_voxels) < 0.15] = 2.0
    values[:, 0] = (1e4 if "offset" in defects else 0) + np.arange(n_conditions) % 3  # one voxel at least is usable
    return values.astype(np.float32)


@st.composite
def studies(draw: st.DrawFn, n_conditions: int = 7) -> tuple[Patterns, RDMs]:
    """Patterns over a small volume and references, the conditions of each in an order of its own."""
    volume = draw(volumes(3, 4, filled=(0.8, 1.0)))
    names = draw(label_orders(n_conditions))
    values = draw(pattern_values(n_conditions, volume.n_voxels))
    return Patterns(values, pd.DataFrame({"condition": names}), volume), draw(rdm_stacks(names))
