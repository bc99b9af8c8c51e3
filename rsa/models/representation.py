"""What of a layer's output counts: all units, or their mean, maximum or centre over space, a token, or a projection."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import isqrt, log, prod
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from rsa.core import Array
from rsa.distances import CrossProducts, Distance, rdm_vectors
from rsa.errors import UserError

if TYPE_CHECKING:
    import torch

__all__ = ["UNITS", "Axes", "ProjectionError", "Representation", "Units", "axes_of", "of_principal_components"]


class Axes(NamedTuple):
    """Which axes of a layer's output for one picture go over space, and which over channels.

    Where `channels` is None, all axes that do not go over space are of channels.
    """

    space: tuple[int, ...]
    channels: int | None


def axes_of(
    shape: Sequence[int], is_channels_last: bool = False, aspect: float = 1.0, tokens: Collection[int] = ()
) -> Axes:
    """Tell the axes of an output apart.

    Of three axes, the two that are equal go over space: channels are first in most networks, and last in some
    transformers; where all are equal they are first, unless other layers tell that they are last. Of pictures that are
    not square, the two go over space whose lengths have the `aspect` of maps, height over width. Queries, keys and
    weights of attention have three axes of which none is of a map: heads, tokens, and channels or tokens again. They
    are known by the second, which is as long as a number of `tokens` that other outputs have. Of two axes, the first
    goes over tokens, the second over channels. One axis has no space, nor have four.

    Examples
    --------
    >>> axes_of((64, 55, 55))
    Axes(space=(1, 2), channels=0)
    >>> axes_of((56, 56, 96))
    Axes(space=(0, 1), channels=2)
    >>> axes_of((16, 16, 32), aspect=0.5)
    Axes(space=(1, 2), channels=0)
    >>> axes_of((12, 197, 64), tokens={197})
    Axes(space=(1,), channels=None)
    >>> axes_of((197, 768))
    Axes(space=(0,), channels=1)
    >>> axes_of((1000,))
    Axes(space=(), channels=0)
    """
    if len(shape) == 3 and shape[1] in tokens:
        return Axes((1,), None)
    if len(shape) == 3:
        if aspect == 1:
            is_last = shape[0] == shape[1] and (shape[1] != shape[2] or is_channels_last)
        else:
            first, last = (abs(log(a / b / aspect)) for a, b in (shape[1:], shape[:2]))
            is_last = last < first and tuple(shape[1:]) != (1, 1)
        return Axes((0, 1), 2) if is_last else Axes((1, 2), 0)
    if len(shape) == 2:
        return Axes((0,), 1)
    return Axes((), 0 if len(shape) == 1 else None)


# ------------------------------------------------------------------------------------------------ units


@dataclass(frozen=True)
class Units:
    """Which numbers of an output count.

    Parameters
    ----------
    reduce : callable
        ``output (n_pictures, ...), axes, number of tokens before those of space -> (n_pictures, ...)``.
    needs : {"", "space", "tokens"}
        What the output has to have.
    words : str
        What the methods text says of it.
    """

    reduce: "Callable[[torch.Tensor, Axes, int], torch.Tensor]"
    needs: str
    words: str


def _all(output: "torch.Tensor", axes: Axes, n_before: int) -> "torch.Tensor":
    return output


def _mean(output: "torch.Tensor", axes: Axes, n_before: int) -> "torch.Tensor":
    return _over_space(output, axes, n_before).mean(dim=[axis + 1 for axis in axes.space])


def _max(output: "torch.Tensor", axes: Axes, n_before: int) -> "torch.Tensor":
    return _over_space(output, axes, n_before).amax(dim=[axis + 1 for axis in axes.space])


def _over_space(output: "torch.Tensor", axes: Axes, n_before: int) -> "torch.Tensor":
    """Leave out the tokens that stand before those of space: of the class, and registers."""
    if len(axes.space) != 1:
        return output
    axis = axes.space[0] + 1
    return output.narrow(axis, n_before, output.shape[axis] - n_before)


def _centre(output: "torch.Tensor", axes: Axes, n_before: int) -> "torch.Tensor":
    """Return the middle half of the picture, in height and in width."""
    import torch

    if len(axes.space) == 2:
        for axis in axes.space:
            first, length = _middle(output.shape[axis + 1])
            output = output.narrow(axis + 1, first, length)
        return output
    tokens, axis = _over_space(output, axes, n_before), axes.space[0] + 1
    side = isqrt(tokens.shape[axis])
    first, length = _middle(side)
    rows = torch.arange(side * side, device=output.device).reshape(side, side)
    return tokens.index_select(axis, rows[first : first + length, first : first + length].flatten())


def _middle(length: int) -> tuple[int, int]:
    """Return the first place and the number of those that are the middle half, at least one."""
    taken = max(1, length // 2 + (length // 2 + length) % 2)
    return (length - taken) // 2, taken


def _first_token(output: "torch.Tensor", axes: Axes, n_before: int) -> "torch.Tensor":
    return output.select(axes.space[0] + 1, 0)


UNITS: dict[str, Units] = {
    "all": Units(_all, "", "all units of a layer"),
    "mean": Units(_mean, "space", "the mean over space (or tokens) of each channel of a layer"),
    "max": Units(_max, "space", "the maximum over space (or tokens) of each channel of a layer"),
    "centre": Units(_centre, "space", "the units of a layer whose place is in the middle half of the picture"),
    "cls": Units(_first_token, "tokens", "the class token of a layer"),
}
"""What of a layer's output counts, by its word in `units`."""


# ------------------------------------------------------------------------------------- of one layer


@dataclass
class ProjectionError:
    """Gathers how far distances of projected responses are from those of all units, over pairs of one batch each."""

    distance: Distance
    exact: list[Array] = field(default_factory=list)
    projected: list[Array] = field(default_factory=list)

    def note(self, responses: Array, projections: Array) -> None:
        """Compare the pictures of a batch: responses (n_pictures, n_units) and what became of them."""
        if len(responses) > 1:
            self.exact.append(rdm_vectors(responses, self.distance))
            self.projected.append(rdm_vectors(projections, self.distance))

    def told(self) -> dict[str, float]:
        """Return the number of pairs, their correlation, and the largest error as a share of the mean distance."""
        exact, projected = (np.concatenate(parts or [np.zeros(0)]) for parts in (self.exact, self.projected))
        known = np.isfinite(exact) & np.isfinite(projected)
        exact, projected = exact[known], projected[known]
        if len(exact) < 3 or np.ptp(exact) == 0:
            return {"n_pairs": len(exact)}
        return {
            "n_pairs": len(exact),
            "r": float(np.corrcoef(exact, projected)[0, 1]),
            "largest_error": float(np.abs(projected - exact).max() / exact.mean()),
        }


@dataclass(frozen=True)
class Representation:
    """What becomes of the output of a layer.

    Parameters
    ----------
    units : str
        A key of `UNITS`.
    shape : tuple of int
        Of the output for one picture.
    n_before : int
        Tokens that stand before those of space: of the class, and registers.
    n_projected : int, optional
        Onto how many random directions the units are projected.
    seed : int
        Of these directions.
    told_axes : Axes, optional
        Which axes go over space, and which over channels, where more is known than the shape; see `axes_of`.

    Raises
    ------
    UserError
        If the output has no space, or no tokens, where they are needed.
    """

    units: str = "all"
    shape: tuple[int, ...] = ()
    n_before: int = 0
    n_projected: int | None = None
    seed: int = 0
    told_axes: Axes | None = None

    @property
    def axes(self) -> Axes:
        """Which axes of the output go over space, and which over channels."""
        return axes_of(self.shape) if self.told_axes is None else self.told_axes

    def __post_init__(self) -> None:
        needs, axes = UNITS[self.units].needs, self.axes
        shape = "x".join(map(str, self.shape))
        n_tokens = self.shape[axes.space[0]] - self.n_before if len(axes.space) == 1 else 1
        if needs == "space" and (not axes.space or n_tokens < 1):
            raise UserError(
                f"its output, {shape}, has no space, of which `units: {self.units}` is; take all units of this layer"
            )
        if self.units == "centre" and isqrt(n_tokens) ** 2 != n_tokens:
            raise UserError(
                f"its output, {shape}, has {n_tokens} tokens, which are no square; take all units of this "
                "layer, or their mean"
            )
        if needs == "tokens" and (len(axes.space) != 1 or not self.n_before):
            raise UserError(
                f"its output, {shape}, has no class token, which `units: {self.units}` is; take all units of this "
                "layer, or their mean"
            )

    @cached_property
    def _n_kept(self) -> int:
        """Number of units before projection."""
        import torch

        empty = torch.empty(1, *self.shape, device="meta")
        return prod(UNITS[self.units].reduce(empty, self.axes, self.n_before).shape[1:])

    @property
    def is_projected(self) -> bool:
        """Whether units are projected: not if there are as few as directions."""
        return self.n_projected is not None and self.n_projected < self._n_kept

    @property
    def n_units(self) -> int:
        """Number of units that are left."""
        return int(self.n_projected or 0) if self.is_projected else self._n_kept

    def of_ready(self, responses: Any) -> Any:
        """Return what counts of ready responses, (n_conditions, n_units): themselves, if all units count.

        Parameters
        ----------
        responses : array-like, shape (n_conditions, n_units)
            An array, or what is sliced like one.
        """
        if self.units == "all" and not self.is_projected:
            return responses
        import torch

        rows = np.asarray(responses[:], dtype=np.float32).reshape(len(responses), *self.shape)
        return self.of(torch.from_numpy(rows)).numpy()

    def of(self, output: "torch.Tensor", error: ProjectionError | None = None) -> "torch.Tensor":
        """Return what counts of an output, (n_pictures, ...), as (n_pictures, n_units) on the CPU.

        Parameters
        ----------
        output : tensor, shape (n_pictures, ...)
            What a layer answers.
        error : ProjectionError, optional
            Is told of the error of a projection.
        """
        import torch

        kept = UNITS[self.units].reduce(output, self.axes, self.n_before).flatten(1).cpu()
        if not self.is_projected:
            return kept
        values = kept.numpy()
        projected = np.ascontiguousarray((self._directions @ values.T).T, dtype=np.float32)
        if error is not None:
            error.note(values, projected)
        return torch.from_numpy(projected)

    @cached_property
    def _directions(self) -> Any:
        """Sparse random directions, (n_projected, n_kept) [1]_.

        References
        ----------
        .. [1] Li P, Hastie TJ, Church KW (2006). Very sparse random projections. KDD, 287-296.
        """
        from sklearn.random_projection import SparseRandomProjection

        made = SparseRandomProjection(self.n_projected, random_state=self.seed)
        return made.fit(np.broadcast_to(np.float32(0), (1, self._n_kept))).components_.astype(np.float32)


# ------------------------------------------------------------------------------- principal components


def of_principal_components(products: CrossProducts, n: float) -> CrossProducts:
    """Return the cross-products of patterns that are made again of their first principal components.

    The components are those of the patterns of these conditions. A pattern made of some of them is a weighted sum of
    the patterns of all conditions, so its products follow from those that are there, and no pattern is needed.
    Distances are then between patterns over the same units as before: with all components, they are those of the
    patterns themselves. (Distances between scores on components would depend on the signs of the components, which are
    arbitrary, wherever they centre over them as a correlation does.)

    Parameters
    ----------
    products : CrossProducts
        Of patterns as they are (`origin` zero).
    n : float
        So many components; or, below 1, as many as explain this share of the variance over conditions.
    """
    n_conditions = len(products.squares)
    rows, columns = np.triu_indices(n_conditions, 1)
    gram = np.diag(products.squares)
    gram[rows, columns] = gram[columns, rows] = products.products
    weights = _weights_of_patterns(gram, n)
    gram = weights @ gram @ weights.T
    rounding = np.full(n_conditions, n_conditions * products.off_by.max())
    return CrossProducts(
        gram[rows, columns], np.diag(gram).copy(), weights @ products.sums, products.n_features, rounding=rounding
    )


def _weights_of_patterns(gram: Array, n: float) -> Array:
    """Return the weights, (n_conditions, n_conditions), by which patterns are summed to have only first components."""
    n_conditions = len(gram)
    centring = np.eye(n_conditions) - 1 / n_conditions
    variances, directions = np.linalg.eigh(centring @ gram @ centring)
    variances, directions = np.maximum(variances[::-1], 0), directions[:, ::-1]
    explained = np.cumsum(variances) / max(variances.sum(), np.finfo(float).tiny)
    n_kept = int(n) if n >= 1 else int(np.searchsorted(explained, n - 1e-12)) + 1
    kept = directions[:, : min(n_kept, n_conditions)]
    weights: Array = kept @ kept.T @ centring + 1 / n_conditions
    return weights
