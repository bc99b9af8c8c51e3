"""Parts of a picture covered one after the other, and what units answer then."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from rsa.core import Array
from rsa.errors import UserError
from rsa.units.watched import Watched

if TYPE_CHECKING:
    import torch

__all__ = [
    "Box",
    "Occluders",
    "answers_to_covered",
    "grey",
    "problem_of_occluder",
    "random_pixels",
    "require_occluder",
]

Box = tuple[int, int, int, int]
"""A part of a picture: first row, first column, and one behind the last of each."""


@dataclass(frozen=True)
class Occluders:
    """The places of a square patch on a grid over a picture.

    Patches at the border are cut by it: the first patch of a row shows its last `stride` pixels alone, and the last one
    its first pixels. So each pixel is under as many patches as any other, but for one where the side of the patch is no
    multiple of the stride.

    Parameters
    ----------
    input_px : tuple of int
        Height and width of the picture.
    patch, stride : int
        Side of the patch, and how far it is from a place to the next, in pixels.

    Examples
    --------
    >>> Occluders((6, 4), patch=3, stride=2).rows
    array([[0, 2],
           [1, 4],
           [3, 6],
           [5, 6]])
    """

    input_px: tuple[int, int]
    patch: int
    stride: int

    def _along(self, size: int) -> Array:
        starts = np.arange(self.stride - self.patch, size, self.stride)
        return np.stack([np.maximum(starts, 0), np.minimum(starts + self.patch, size)], axis=1)

    @cached_property
    def rows(self) -> Array:
        """First row, and one behind the last, of the patches of a column: (n_down, 2)."""
        return self._along(self.input_px[0])

    @cached_property
    def columns(self) -> Array:
        """First column, and one behind the last, of the patches of a row: (n_across, 2)."""
        return self._along(self.input_px[1])

    @property
    def shape(self) -> tuple[int, int]:
        """Number of places down and across."""
        return len(self.rows), len(self.columns)

    def box(self, row: int, column: int) -> Box:
        """Return what the patch at a place of the grid covers."""
        (first_row, last_row), (first_column, last_column) = self.rows[row], self.columns[column]
        return int(first_row), int(first_column), int(last_row), int(last_column)

    def touching(self, field: Box) -> Array:
        """Return which patches cover a pixel of a part of the picture: (n_down, n_across)."""
        first_row, first_column, last_row, last_column = field
        down = (self.rows[:, 0] < last_row) & (self.rows[:, 1] > first_row)
        across = (self.columns[:, 0] < last_column) & (self.columns[:, 1] > first_column)
        return np.asarray(down[:, None] & across)

    def mean_map(self, values: Array) -> Array:
        """Give each pixel the mean over the patches that cover it.

        Parameters
        ----------
        values : array, shape (n_down, n_across)
            One for each patch; NaN where it is not known.

        Returns
        -------
        array, shape (height, width)
            NaN where none is known.
        """
        down, across = (
            _covers(edges, size) for edges, size in zip((self.rows, self.columns), self.input_px, strict=True)
        )
        known = np.isfinite(values)
        total = down.T @ np.where(known, values, 0) @ across  # (height, width)
        n_known = down.T @ known.astype(float) @ across
        return np.asarray(np.divide(total, n_known, out=np.full(self.input_px, np.nan), where=n_known > 0))

    def reach(self, changed: Array) -> Box | None:
        """Return how far a unit must see, as some patches change its response: top, left, bottom and right pixel.

        Each of these patches covers a pixel that the unit sees. So it sees up to the last row of the uppermost of them
        at least, and down to the first row of the lowest. At a stride of 1 no more is seen, whatever the patch. Where
        all of them share a row, the bottom may lie above the top, and one row of these is seen at least.

        Parameters
        ----------
        changed : array of bool, shape (n_down, n_across)
            Which patches change the response.

        Returns
        -------
        tuple of int, or None
            None where no patch changes it.
        """
        if not changed.any():
            return None
        down, across = self.rows[changed.any(axis=1)], self.columns[changed.any(axis=0)]
        return int(down[:, 1].min()) - 1, int(across[:, 1].min()) - 1, int(down[:, 0].max()), int(across[:, 0].max())

    def together(self, fields: Sequence[Box]) -> list[list[tuple[int, int]]]:
        """Share out the patches that touch some fields over as few inputs as may be: the places of those of each input.

        Two patches are in one input if they are so far apart that no field can touch both; a unit then answers as if
        its own patch were alone. The response of a unit counts for the one patch that touches its field.
        """
        wanted = np.any([self.touching(field) for field in fields], axis=0)
        tall = max(bottom - top for top, _, bottom, _ in fields)
        wide = max(right - left for _, left, _, right in fields)
        down, across = (-(-(side + self.patch - 1) // self.stride) for side in (tall, wide))
        found: dict[tuple[int, int], list[tuple[int, int]]] = {}
        for row, column in np.argwhere(wanted):
            found.setdefault((row % down, column % across), []).append((int(row), int(column)))
        return list(found.values())


def _covers(edges: Array, size: int) -> Array:
    """Return which pixels of a row each patch covers, as 0 and 1: (n_places, size)."""
    pixels = np.arange(size)
    return ((edges[:, :1] <= pixels) & (pixels < edges[:, 1:])).astype(float)


def problem_of_occluder(patch: int, stride: int, input_px: tuple[int, int]) -> str:
    """Return what is wrong with a patch and its stride, in one line; "" if nothing is."""
    if patch > min(input_px):
        height, width = input_px
        return f"`patch_px: {patch}` is larger than the network's input, {height} x {width} pixels; set a smaller one."
    if stride > patch:
        return (
            f"`stride_px: {stride}` is larger than the patch, {patch} pixels, so that some pixels would never be "
            "covered; set a stride of at most the patch."
        )
    return ""


def require_occluder(patch: int, stride: int, input_px: tuple[int, int], where: str) -> None:
    """Raise a `UserError` if a patch or its stride cannot be."""
    if problem := problem_of_occluder(patch, stride, input_px):
        raise UserError(f"{where}: {problem}")


# ------------------------------------------------------------------------------------------ what covers


def random_pixels(watched: Watched, picture: int, seed: int) -> "torch.Tensor":
    """Return a picture of random pixels, between black and white in each colour, shape (n_colours, height, width).

    A patch at a place shows what this picture has there. So a patch is another one at each place, as its own pattern
    must not count, and each pixel of the input has one value under all patches; nothing depends on the order in which
    places are covered. Each picture is covered by random pixels of its own.
    """
    import torch

    shares = np.random.default_rng([seed, picture]).random(watched.input_shape, dtype=np.float32)
    return watched.black + torch.from_numpy(shares) * (watched.white - watched.black)


def grey(watched: Watched) -> "torch.Tensor":
    """Return a picture of the mid grey between black and white, shape (n_colours, height, width)."""
    return ((watched.black + watched.white) / 2).expand(watched.input_shape)


# ------------------------------------------------------------------------------------------ the passes


def answers_to_covered(
    watched: Watched,
    picture: int,
    cover: "torch.Tensor",
    inputs: Sequence[Sequence[Box]],
    layers: Sequence[str],
    pick: "Callable[[str, torch.Tensor], torch.Tensor]",
    advance: Callable[[int], None],
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Return what layers answer to a picture, and to the same picture with parts of it covered.

    Parameters
    ----------
    watched : Watched
        The network.
    picture : int
        Number of the picture.
    cover : tensor, shape (n_colours, height, width)
        What is seen where it is covered.
    inputs : sequence of sequences of Box
        The parts that are covered at once, for each input.
    layers : sequence of str
        Names of layers.
    pick : callable
        ``layer, maps -> responses``: what is kept of a layer, with a row for each input.
    advance : callable
        Is told how many inputs have passed.

    Returns
    -------
    intact, covered : dict
        Layer -> array: of the picture itself, (...), and of each input, (n_inputs, ...).

    Raises
    ------
    UserError
        If a response is NaN or infinite.
    """
    intact = watched.input_of(picture)
    parts: dict[str, list[Array]] = {layer: [] for layer in layers}
    batches = _batches(intact, cover, [(), *inputs], watched.settings.size)
    for _, answers in watched.responses(batches, layers, pick):
        for layer, answer in answers.items():
            parts[layer].append(answer.numpy())
        advance(len(next(iter(answers.values()))))
    found = {layer: np.concatenate(own) for layer, own in parts.items()}
    for layer, responses in found.items():
        if not np.isfinite(responses).all():
            where = " where a part of it is covered" if np.isfinite(responses[0]).all() else ""
            raise watched.no_number(layer, picture, where)
    return {layer: own[0] for layer, own in found.items()}, {layer: own[1:] for layer, own in found.items()}


def _batches(
    intact: "torch.Tensor", cover: "torch.Tensor", inputs: Sequence[Sequence[Box]], size: int
) -> "Iterator[tuple[int, torch.Tensor]]":
    for start in range(0, len(inputs), size):
        some = inputs[start : start + size]
        batch = intact.repeat(len(some), 1, 1, 1)
        for one, boxes in zip(batch, some, strict=True):
            for top, left, bottom, right in boxes:
                one[:, top:bottom, left:right] = cover[:, top:bottom, left:right]
        yield start, batch
