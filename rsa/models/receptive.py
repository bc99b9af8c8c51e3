"""What part of a picture each layer of a network can see: its theoretical receptive field.

Beside every tensor of a forward pass goes its reach: for each unit the first and last row and column of the picture
that it depends on. Each operation of torch has a rule for it. A convolution takes the smallest and largest of a window;
what only moves numbers moves their reach in the same way; a sum reaches as far as its terms together. So nothing has to
be known of modules, and branches, residual sums, windows of attention and gates come out as they are computed.

Weights are taken to be other than 0. Rows and columns go on beyond the border of the picture, so that a unit at the
border has the field of one in the middle. Where an operation has no rule, what follows is unknown.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any
from weakref import ref

import numpy as np
import pandas as pd
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from rsa.core import Array
from rsa.models.modules import parts_of
from rsa.models.source import PART

__all__ = ["GRID", "receptive_fields", "receptive_grids"]

Tensor = torch.Tensor

GRID = ("field_px", "jump_down_px", "centre_down_px", "jump_across_px", "centre_across_px")
"""What `receptive_grids` tells of a layer."""

NOTHING, EVERYTHING = float("inf"), float("-inf")
"""How far a unit reaches that depends on no pixel, and one that depends on all of the picture."""


@dataclass(frozen=True, eq=False)
class Reach:
    """Where the pixels are that units depend on.

    Parameters
    ----------
    sides : tuple of Tensor
        First row, minus the last row, first column, minus the last column of the picture: each of the shape of the
        tensor of units, and smaller where more is seen. See `NOTHING` and `EVERYTHING`.
    """

    sides: tuple[Tensor, Tensor, Tensor, Tensor]

    @property
    def shape(self) -> torch.Size:
        """The shape of the tensor of units."""
        return self.sides[0].shape

    def map(self, change: Callable[[Tensor], Tensor]) -> "Reach":
        """Do the same with all four sides."""
        first, second, third, fourth = map(change, self.sides)
        return Reach((first, second, third, fourth))


class UnknownError(Exception):
    """An operation whose reach cannot be told."""


def receptive_fields(network: torch.nn.Module, input_shape: Sequence[int]) -> pd.DataFrame:
    """Return the theoretical receptive field of each layer for pictures of a size [1]_.

    Parameters
    ----------
    network : torch.nn.Module
        In evaluation mode, on any device; on `meta`, nothing is computed but shapes.
    input_shape : sequence of int
        Of one picture: (3, height, width).

    Returns
    -------
    DataFrame
        `layer`, as `rsa.models.modules.traced` names it, in the order of the outputs, and in pixels of the input:
        `field_px`, the side of the part of the picture that the units of the layer that see most can see (the longer
        side, if it is no square); `jump_px`, how far it is from a unit's field to the next; and `centre_px`, the middle
        of the first unit's field, where the first pixel is at 0. `field_px` is infinite where a unit sees all of the
        picture, whatever its size: after a global mean, a linear layer over places, attention, or a gate of these. NaN
        is what has no one value or is not known, also where a layer is called several times with different fields.

    References
    ----------
    .. [1] Araujo A, Norris W, Sim J (2019). Computing receptive fields of convolutional neural networks. Distill.

    Examples
    --------
    >>> from torch.nn import AdaptiveAvgPool2d, Conv2d, MaxPool2d, Sequential
    >>> network = Sequential(Conv2d(3, 4, 7, stride=2, padding=3), MaxPool2d(3, 2, 1), AdaptiveAvgPool2d(1))
    >>> receptive_fields(network.eval(), (3, 64, 64))
      layer  field_px  jump_px  centre_px
    0     0       7.0      2.0        0.0
    1     1      11.0      4.0        0.0
    2     2       inf      NaN        NaN
    """
    grids = receptive_grids(network, input_shape)
    table = grids[["layer", "field_px"]].copy()
    for name in ("jump", "centre"):
        down, across = grids[f"{name}_down_px"], grids[f"{name}_across_px"]
        table[f"{name}_px"] = down.where(down == across)
    return table


def receptive_grids(network: torch.nn.Module, input_shape: Sequence[int]) -> pd.DataFrame:
    """Return the theoretical receptive field of each layer, and where fields lie, down and across.

    Parameters
    ----------
    network, input_shape
        As for `receptive_fields`.

    Returns
    -------
    DataFrame
        `layer` and `field_px`, as `receptive_fields` returns them, and its jumps and centres for rows and for columns:
        `jump_down_px`, `centre_down_px`, `jump_across_px`, `centre_across_px`. They differ after strides or paddings
        that do.

    Examples
    --------
    >>> from torch.nn import Conv2d, Sequential
    >>> network = Sequential(Conv2d(3, 4, 3, stride=(2, 1), padding=(0, 1)))
    >>> receptive_grids(network.eval(), (3, 32, 32))[list(GRID)].to_numpy().tolist()
    [[3.0, 2.0, 1.0, 1.0, 0.0]]
    """
    first = next(iter([*network.parameters(), *network.buffers()]), torch.empty(0))
    dtype = first.dtype if first.is_floating_point() else torch.float32
    picture = torch.zeros(1, *input_shape, dtype=dtype, device=first.device)
    found: dict[str, list[Reach | None]] = {}
    tracing = _Tracing((int(input_shape[-2]), int(input_shape[-1])))
    tracing.keep(picture, _of_pixels(picture.shape))

    def note(name: str, _: torch.nn.Module, __: Any, output: Any) -> None:
        parts = parts_of(output)
        first = next(iter(parts.values()), None)
        for layer, tensor in {name: first, **{f"{name}{PART}{key}": one for key, one in parts.items() if key}}.items():
            found.setdefault(layer, []).append(tracing.reach_of(tensor))

    with ExitStack() as hooks:
        for name, module in network.named_modules():
            if name:
                hooks.callback(module.register_forward_hook(partial(note, name)).remove)
        hooks.enter_context(_without_fast_paths())
        hooks.enter_context(torch.no_grad())
        hooks.enter_context(tracing)
        network(picture)
    each = dict.fromkeys(reach for calls in found.values() for reach in calls)  # many layers have the same
    numbers = {reach: _numbers(reach) for reach in each}
    rows = {layer: _same_of([numbers[reach] for reach in calls]) for layer, calls in found.items()}
    table = pd.DataFrame.from_dict(rows, orient="index", columns=list(GRID), dtype=float)
    return table.rename_axis("layer").reset_index()


@contextmanager
def _without_fast_paths() -> Iterator[None]:
    """Let attention be computed step by step for the block."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def _of_pixels(shape: Sequence[int]) -> Reach:
    """Return the reach of the pixels themselves."""
    rows = torch.arange(shape[-2], dtype=torch.float32)[:, None].expand(*shape)
    columns = torch.arange(shape[-1], dtype=torch.float32).expand(*shape)
    return Reach((rows, -rows, columns, -columns))


# -------------------------------------------------------------------------------------------- numbers


def _numbers(reach: Reach | None) -> tuple[float, ...]:
    """Return the largest field, and the jumps and first centres, down and across (`GRID`); NaN for what is unknown."""
    unknown = (np.nan,) * len(GRID)
    if reach is None or not reach.sides[0].numel():
        return unknown
    top, bottom, left, right = (_thin(side).double() for side in reach.sides)
    sides = [float((-(first + last) + 1).max()) for first, last in ((top, bottom), (left, right))]
    largest = max(side if side > EVERYTHING else np.nan for side in sides)  # minus infinity is what sees nothing
    if not np.isfinite(largest):
        return (largest, *unknown[1:])
    if not (_is_even(top, bottom) and _is_even(left, right)):
        return (largest, *unknown[1:])
    return (largest, *_grids(top - bottom, left - right))


def _is_even(first: Tensor, last: Tensor) -> bool:
    """Say whether fields of each size there is lie everywhere: not of units that see more the later they come."""
    seen = torch.isfinite(first) & torch.isfinite(last)
    middles, sizes = ((one[seen].long().unique(return_inverse=True)) for one in (first - last, first + last))
    n_pairs = len((middles[1] * len(sizes[0]) + sizes[1]).unique())
    return n_pairs == len(middles[0]) * len(sizes[0])


def _grids(down: Tensor, across: Tensor) -> tuple[float, ...]:
    """Return jumps and first centres, down and across, of twice the centres; NaN of places in no order of a picture.

    Rows have to lie along one axis, and columns along a later one; or both along one, row by row. So places of a
    mirrored or turned picture are unknown, and so are those of channels that lie beside each other.
    """
    (row_axes, rows), (column_axes, columns) = _varying(down), _varying(across)
    if row_axes == column_axes and len(row_axes) == 1:
        seen = np.isfinite(rows) & np.isfinite(columns)
        by_row, by_column = np.unique(rows[seen]), np.unique(columns[seen])
        pairs = np.stack(np.meshgrid(by_row, by_column, indexing="ij")).reshape(2, -1)
        is_ordered = np.array_equal(pairs, np.stack([rows[seen], columns[seen]]))
        rows, columns = by_row, by_column
    else:
        is_ordered = len(row_axes) < 2 and len(column_axes) < 2 and (not column_axes or row_axes < column_axes)
        is_ordered = is_ordered and all((np.diff(one.ravel()) >= 0).all() for one in (rows, columns))
    return (*_grid(rows), *_grid(columns)) if is_ordered else (np.nan,) * 4


def _varying(numbers: Tensor) -> tuple[tuple[int, ...], Array]:
    """Return along which axes numbers differ, and them without the others; NaN where none is finite."""
    axes, kept = [], torch.where(torch.isfinite(numbers), numbers, torch.inf)
    for axis in reversed(range(numbers.ndim)):
        lowest, highest = kept.amin(axis), torch.where(torch.isfinite(kept), kept, -torch.inf).amax(axis)
        if bool((lowest >= highest).all()):
            kept = lowest
        else:
            axes.append(axis)
    return tuple(reversed(axes)), torch.where(torch.isfinite(kept), kept, torch.nan).numpy()


def _grid(twice_centres: Array) -> tuple[float, float]:
    """Return how far it is from a centre to the next, and where the first is."""
    numbers = twice_centres.ravel() / 2
    steps = np.unique(np.diff(numbers))
    return float(steps[0]) if len(steps) == 1 else np.nan, float(numbers[0]) if len(numbers) else np.nan


def _same_of(calls: Sequence[tuple[float, ...]]) -> tuple[float, ...]:
    """Return the numbers of all calls of a layer; NaN where they differ."""
    return tuple(same[0] if len(set(same)) == 1 else np.nan for same in zip(*calls, strict=True))


# -------------------------------------------------------------------------------------------- the pass


class _Tracing(TorchDispatchMode):
    """Follows a forward pass, operation by operation, and knows the reach of every tensor that is alive."""

    def __init__(self, size: tuple[int, int]) -> None:
        super().__init__()
        self.size = size
        self.known: dict[int, tuple[ref[Tensor], Reach | None]] = {}

    def keep(self, tensor: Tensor, reach: Reach | None) -> None:
        """Note the reach of a tensor, None if it is unknown, for as long as the tensor is alive."""
        key = id(tensor)
        self.known[key] = (ref(tensor, lambda _: self.known.pop(key, None)), reach)

    def depends(self, tensor: Any) -> bool:
        """Say whether a tensor depends on the picture."""
        return isinstance(tensor, Tensor) and id(tensor) in self.known

    def reach_of(self, tensor: Tensor | None) -> Reach | None:
        """Return the reach of a tensor; None if it is unknown."""
        if tensor is None:
            return None
        return self.known[id(tensor)][1] if self.depends(tensor) else _nothing(tensor.shape)

    def needed(self, tensor: Tensor) -> Reach:
        """Return the reach of a tensor.

        Raises
        ------
        UnknownError
            If it is unknown.
        """
        reach = self.reach_of(tensor)
        if reach is None:
            raise UnknownError
        return reach

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        outputs = function(*args, **kwargs)
        given = _Given(function, args, kwargs, self, outputs)
        if any(self.depends(one) for one in given.tensors()) and given.name not in SHAPES_ALONE:
            for output, reach in zip(_tensors((outputs,)), _reaches(given), strict=False):
                self._note(given, output, reach)
        return outputs

    def _note(self, given: "_Given", output: Tensor, reach: Reach | None) -> None:
        if any(output is one for one in given.tensors()) and output._base is not None:
            self.keep(output._base, None)  # what is written into a part changes the whole, and nobody knows where
        if reach is not None and reach.shape != output.shape:
            reach = None
        self.keep(output, reach)


@dataclass(frozen=True)
class _Given:
    """An operation with its arguments."""

    function: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    tracing: _Tracing
    outputs: Any

    @property
    def name(self) -> str:
        """The name of the operation, the same where it works in place."""
        return str(self.function.overloadpacket.__name__).rstrip("_")

    def __getitem__(self, argument: str) -> Any:
        """Return an argument by its name, or what it is by default."""
        for position, one in enumerate(self.function._schema.arguments):
            if one.name == argument:
                return (
                    self.args[position] if position < len(self.args) else self.kwargs.get(argument, one.default_value)
                )
        raise UnknownError

    def tensors(self) -> list[Tensor]:
        """Return all tensors among the arguments."""
        return list(_tensors((*self.args, *self.kwargs.values())))

    def reach(self, argument: str) -> Reach:
        """Return the reach of an argument."""
        return self.tracing.needed(self[argument])

    @property
    def shape(self) -> torch.Size:
        """The shape of the first output."""
        return next(iter(_tensors((self.outputs,)))).shape


def _tensors(values: Iterable[Any]) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, tuple | list):
            yield from _tensors(value)


def _reaches(given: _Given) -> list[Reach | None]:
    """Return the reach of each output; None where it is unknown."""
    n_outputs = len(list(_tensors((given.outputs,))))
    try:
        if given.name in RULES:
            return [RULES[given.name](given)] * n_outputs
        if given.name in MOVES:
            return list(_moved(given))
        if _is_pointwise(given):
            return [_pointwise(given)] * n_outputs
    except UnknownError:
        pass
    return [None] * n_outputs


# ------------------------------------------------------------------------------------------ arithmetic


def _nothing(shape: Sequence[int]) -> Reach:
    side = torch.full((1,) * len(shape), NOTHING).expand(*shape)
    return Reach((side, side, side, side))


def _is_repeated(side: Tensor, axis: int) -> bool:
    """Say whether numbers are the same along an axis because one is shown several times."""
    return side.shape[axis] > 1 and side.stride(axis) == 0


def _thin(side: Tensor, keep: Sequence[int] = ()) -> Tensor:
    """Leave one of what is repeated along an axis, so that little is computed; not along those to `keep`."""
    for axis in range(side.ndim):
        if axis not in keep and _is_repeated(side, axis):
            side = side.narrow(axis, 0, 1)
    return side


def _together(reaches: Sequence[Reach], shape: Sequence[int]) -> Reach:
    """Return what units see that see what each of several sees, all of them broadcast to a shape."""
    if len(reaches) == 1 and reaches[0].shape == shape:
        return reaches[0]
    sides = []
    for same in zip(*(one.sides for one in reaches), strict=True):
        least = _thin(same[0])
        for other in same[1:]:
            least = torch.minimum(least, _thin(other))
        sides.append(least.expand(*shape))
    return _reach(sides)


def _reach(sides: Sequence[Tensor]) -> Reach:
    first, second, third, fourth = sides
    return Reach((first, second, third, fourth))


def _over(reach: Reach, axes: Sequence[int], size: tuple[int, int], keepdim: bool = True) -> Reach:
    """Return what units see that see all along some axes: everything, if these are places all over the picture.

    Channels of one place may have other middles by some pixels; places all over are at least a third of a side apart.
    """
    axes = [axis % len(reach.shape) for axis in axes] or list(range(len(reach.shape)))
    shape = [1 if axis in axes else n for axis, n in enumerate(reach.shape)]
    sides: list[Tensor] = []
    for first, last, n in zip(reach.sides[::2], reach.sides[1::2], size, strict=True):
        first, last = _thin(first), _thin(last)
        full = [side.amin(axes, keepdim=True) for side in (first, last)]
        centres = first - last
        lowest = torch.where(torch.isfinite(centres), centres, torch.inf).amin(axes, keepdim=True)
        highest = torch.where(torch.isfinite(centres), centres, -torch.inf).amax(axes, keepdim=True)
        all_of_it = (full[0] <= 0) & (full[1] <= 1 - n) & (highest - lowest >= 2 * n / 3)
        sides += [torch.where(all_of_it, EVERYTHING, side).expand(*shape) for side in full]
    return _reach(sides if keepdim else [side.squeeze(axes) for side in sides])


def _spread(reach: Reach, shape: Sequence[int]) -> Reach:
    return reach.map(lambda side: side.expand(*shape))


@dataclass(frozen=True)
class _Window:
    """A window along one axis: how many places it has, how far apart they are, and where it goes."""

    axis: int
    n: int
    stride: int
    before: int
    dilation: int
    n_out: int


def _through(reach: Reach, windows: Sequence[_Window], size: tuple[int, int]) -> Reach:
    """Return what is seen through windows; through one that holds all of an axis, what is seen along that axis."""
    for window in windows:
        n_places = reach.shape[window.axis]
        holds_all = window.n_out == window.dilation == 1 and window.n - window.before >= n_places > 1
        reach = _over(reach, (window.axis,), size) if holds_all else reach.map(partial(_least, window=window))
    return reach


def _least(side: Tensor, window: _Window) -> Tensor:
    shape = list(side.shape)
    shape[window.axis] = window.n_out
    if _is_repeated(side, window.axis):
        return side.narrow(window.axis, 0, 1).expand(*shape)
    length = window.dilation * (window.n - 1) + 1
    after = (window.n_out - 1) * window.stride + length - side.shape[window.axis] - window.before
    longer = _extended(_thin(side), window.axis, window.before, after)
    seen = longer.unfold(window.axis, length, window.stride)[..., :: window.dilation].amin(dim=-1)
    return seen.expand(*shape)


def _padded(reach: Reach, pad: Sequence[int]) -> Reach:
    """Let rows and columns go on at the ends of axes, the last axis first, as `torch.nn.functional.pad` counts."""
    for number, (before, after) in enumerate(zip(pad[::2], pad[1::2], strict=True)):
        axis = len(reach.shape) - 1 - number
        reach = reach.map(lambda side, at=(axis, before, after): _extended(side, *at))  # type: ignore[misc]
    return reach


def _extended(side: Tensor, axis: int, before: int, after: int) -> Tensor:
    """Go on in equal steps at the ends of an axis, or cut where `before` or `after` are less than 0.

    Raises
    ------
    UnknownError
        If it cannot be told how steps go on.
    """
    cut, n = max(0, -before), before + side.shape[axis] + after
    return _longer(side, axis, max(0, before), max(0, after)).narrow(axis, cut, n)


def _longer(side: Tensor, axis: int, before: int, after: int) -> Tensor:
    if not (before or after):
        return side
    first, last = side.narrow(axis, 0, 1), side.narrow(axis, -1, 1)
    if side.shape[axis] == 1:
        if bool(torch.isfinite(side).any()):
            raise UnknownError  # one place alone does not say how far it is to the next
        return torch.cat([side] * (before + 1 + after), dim=axis)
    steps = side.diff(dim=axis).nan_to_num(0)  # what is infinite stays
    step = steps.narrow(axis, 0, 1)
    if not bool((steps == step).all()):
        raise UnknownError
    head, tail = [first - step * n for n in range(before, 0, -1)], [last + step * n for n in range(1, after + 1)]
    return torch.cat([*head, side, *tail], dim=axis)


# ------------------------------------------------------------------------------------------------ rules


def _is_pointwise(given: _Given) -> bool:
    packet = getattr(torch.ops.aten, given.name, None)
    overloads = [getattr(packet, name) for name in packet.overloads()] if packet is not None else []
    tagged = any(torch.Tag.pointwise in one.tags for one in [given.function, *overloads])
    return tagged or given.name in POINTWISE


def _pointwise(given: _Given) -> Reach:
    seen = [one for one in given.tensors() if given.tracing.depends(one)]
    return _together([given.tracing.needed(one) for one in seen], given.shape)


def _moved(given: _Given) -> Iterator[Reach]:
    """Move the four sides as the units are moved."""
    results = []
    for number in range(4):

        def side(value: Any, number: int = number) -> Any:
            if isinstance(value, Tensor):
                return given.tracing.needed(value).sides[number]
            return type(value)(map(side, value)) if isinstance(value, tuple | list) else value

        try:
            results.append(list(_tensors((given.function(*map(side, given.args), **given.kwargs),))))
        except (RuntimeError, TypeError, ValueError) as error:
            raise UnknownError from error
    for sides in zip(*results, strict=True):
        yield Reach(sides)


def _reshaped(given: _Given) -> Reach:
    """Give numbers another shape; what is repeated along an axis that stays is not written out."""
    return given.reach("self").map(lambda side: _in_shape(side, given.shape))


def _in_shape(side: Tensor, shape: Sequence[int]) -> Tensor:
    n_first = next(
        (i for i, (a, b) in enumerate(zip(side.shape, shape, strict=False)) if a != b), min(side.ndim, len(shape))
    )
    rest = zip(reversed(side.shape[n_first:]), reversed(shape[n_first:]), strict=False)
    n_last = next((i for i, (a, b) in enumerate(rest) if a != b), min(side.ndim, len(shape)) - n_first)
    inner = range(n_first, side.ndim - n_last)
    thin = _thin(side, keep=inner)
    middle = list(shape[n_first : len(shape) - n_last])
    changed = thin.reshape([*thin.shape[:n_first], *middle, *thin.shape[side.ndim - n_last :]])
    return changed.expand(*shape)


def _joined(given: _Given) -> Reach:
    """Put several together along an axis; what is repeated along others in all of them is not written out."""
    reaches, axis = [given.tracing.needed(one) for one in given["tensors"]], given["dim"] % len(given.shape)
    return _reach([_cat(same, axis).expand(*given.shape) for same in zip(*(one.sides for one in reaches), strict=True)])


def _cat(sides: Sequence[Tensor], axis: int) -> Tensor:
    for other in range(sides[0].ndim):
        if other != axis and all(_is_repeated(side, other) for side in sides):
            sides = [side.narrow(other, 0, 1) for side in sides]
    return torch.cat(list(sides), dim=axis)


def _rolled(given: _Given) -> Reach:
    """Where places go round, those from both borders meet, and the next window is of no one part of the picture."""
    reach = given.reach("self")
    axes = given["dims"] or range(len(reach.shape))
    if any(_thin(side).shape[axis] > 1 for side in reach.sides for axis in axes):
        raise UnknownError
    return reach


def _strided(given: _Given) -> Reach:
    """Lay out numbers in another order in memory; anything else that may be done so is unknown."""
    reach = given.reach("self")
    if reach.shape != given.shape:
        raise UnknownError
    return reach


def _indexed(given: _Given) -> Reach:
    indices = given["indices"]
    if any(one is not None and (one.is_meta or given.tracing.depends(one)) for one in indices):
        raise UnknownError
    places = [None if one is None else one.cpu() for one in indices]
    return given.reach("self").map(lambda side: given.function(side, places))


def _convolution(given: _Given) -> Reach:
    reach, kernel = given.reach("input"), given["weight"].shape[2:]
    if given["transposed"] or len(kernel) != 2 or given.tracing.depends(given["weight"]):
        raise UnknownError
    n_groups, channels = given["groups"], given.shape[1]
    grouped = reach.map(lambda side: side.unflatten(1, (n_groups, -1)))
    mixed = _over(grouped, (2,), given.tracing.size, keepdim=False)
    seen = _through(mixed, _windows(given, list(kernel)), given.tracing.size)
    return seen.map(lambda side: _per_group(side, channels // n_groups))


def _per_group(side: Tensor, n_each: int) -> Tensor:
    """Give each channel of a group what the group sees: (n, n_groups, ...) -> (n, n_groups * n_each, ...)."""
    if side.shape[1] == 1 or _is_repeated(side, 1):
        return side[:, :1].expand(-1, side.shape[1] * n_each, -1, -1)
    return side if n_each == 1 else side.repeat_interleave(n_each, dim=1)


def _windows(given: _Given, kernel: Sequence[int]) -> list[_Window]:
    """Return the windows along height and width of an operation that goes over a map."""
    names = {one.name for one in given.function._schema.arguments}
    stride, padding = _pair(given["stride"] or list(kernel)), _pair(given["padding"])
    dilation = _pair(given["dilation"]) if "dilation" in names else [1, 1]
    n_out = given.shape[-2:]
    return [_Window(i - 2, kernel[i], stride[i], padding[i], dilation[i], n_out[i]) for i in range(2)]


def _pair(value: Sequence[int] | int) -> list[int]:
    values = [value] if isinstance(value, int) else list(value)
    return values * 2 if len(values) == 1 else values


def _pooled(given: _Given) -> Reach:
    return _through(given.reach("self"), _windows(given, _pair(given["kernel_size"])), given.tracing.size)


def _pooled_to_size(given: _Given) -> Reach:
    """Take windows as they come about when a map is cut into so many parts, which may overlap."""
    reach = given.reach("self")
    for axis, n_out in zip((-2, -1), given.shape[-2:], strict=True):
        n = reach.shape[axis]
        cuts = [(i * n // n_out, -(-(i + 1) * n // n_out)) for i in range(n_out)]
        parts = [_over(_between(reach, axis, *cut), (axis,), given.tracing.size) for cut in cuts] if n_out != n else []
        reach = (
            _reach([torch.cat(same, dim=axis) for same in zip(*(one.sides for one in parts), strict=True)])
            if parts
            else reach
        )
    return reach


def _between(reach: Reach, axis: int, first: int, last: int) -> Reach:
    return reach.map(lambda side: side.narrow(axis, first, last - first))


def _reduced(given: _Given) -> Reach:
    """Sum, average or choose along axes."""
    names = {one.name for one in given.function._schema.arguments}
    axes = given["dim"] if "dim" in names else None
    axes = [axes] if isinstance(axes, int) else list(axes or ())
    keepdim = bool(given["keepdim"]) if "keepdim" in names else False
    return _over(given.reach("self"), axes, given.tracing.size, keepdim)


def _normalised_along(given: _Given) -> Reach:
    """Let each unit see what is seen along an axis: softmax."""
    reach = given.reach("self")
    return _spread(_over(reach, (given["dim"],), given.tracing.size), reach.shape)


def _layer_norm(given: _Given) -> Reach:
    reach, n = given.reach("input"), len(given["normalized_shape"])
    return _spread(_over(reach, range(-n, 0), given.tracing.size), reach.shape)


def _group_norm(given: _Given) -> Reach:
    reach = given.reach("input")
    grouped = reach.map(lambda side: side.reshape(len(side), given["group"], -1))
    seen = _over(grouped, (2,), given.tracing.size).map(lambda side: side.expand(*grouped.shape))
    return seen.map(lambda side: side.reshape(reach.shape))


def _batch_norm(given: _Given) -> Reach:
    names = {one.name for one in given.function._schema.arguments}
    if "training" in names and given["training"]:
        raise UnknownError
    return given.reach("input")


def _product(given: _Given) -> Reach:
    """Multiply matrices: rows of one, columns of the other, all of both along what is summed."""
    names = [one.name for one in given.function._schema.arguments]
    left, right = (
        ("mat1", "mat2") if "mat1" in names else ("batch1", "batch2") if "batch1" in names else ("self", names[1])
    )
    size = given.tracing.size
    terms = [_over(given.reach(left), (-1,), size), _over(given.reach(right), (-2,), size)]
    added = [given.reach("self")] if left != "self" and given.tracing.depends(given["self"]) else []
    return _together([*terms, *added], given.shape)


def _attention(given: _Given) -> Reach:
    size = given.tracing.size
    queries = _over(given.reach("query"), (-1,), size)
    others = [_over(given.reach(name), (-2, -1), size) for name in ("key", "value")]
    return _together([queries, *others], given.shape)


RULES: dict[str, Callable[[_Given], Reach]] = {
    **dict.fromkeys(("convolution", "_convolution", "convolution_overrideable", "mkldnn_convolution"), _convolution),
    **dict.fromkeys(("max_pool2d_with_indices", "avg_pool2d"), _pooled),
    **dict.fromkeys(("_adaptive_avg_pool2d", "adaptive_max_pool2d"), _pooled_to_size),
    **dict.fromkeys(("mean", "sum", "amax", "amin", "max", "min", "var", "std", "linalg_vector_norm"), _reduced),
    **dict.fromkeys(("_softmax", "_log_softmax", "_safe_softmax"), _normalised_along),
    "native_layer_norm": _layer_norm,
    "native_group_norm": _group_norm,
    **dict.fromkeys(
        ("native_batch_norm", "_native_batch_norm_legit_no_training", "_native_batch_norm_legit", "cudnn_batch_norm"),
        _batch_norm,
    ),
    **dict.fromkeys(("mm", "bmm", "addmm", "baddbmm"), _product),
    **dict.fromkeys(
        (
            "_scaled_dot_product_flash_attention_for_cpu",
            "_scaled_dot_product_flash_attention",
            "_scaled_dot_product_efficient_attention",
            "_scaled_dot_product_cudnn_attention",
            "_scaled_dot_product_attention_math",
            "_scaled_dot_product_fused_attention_overrideable",
        ),
        _attention,
    ),
    **dict.fromkeys(
        ("constant_pad_nd", "reflection_pad2d", "replication_pad2d"),
        lambda given: _padded(given.reach("self"), given["pad" if given.name == "constant_pad_nd" else "padding"]),
    ),
    **dict.fromkeys(("view", "_unsafe_view", "reshape", "_reshape_alias"), _reshaped),
    "cat": _joined,
    "roll": _rolled,
    "as_strided": _strided,
    "index": _indexed,
    **dict.fromkeys(
        ("_to_copy", "clone", "contiguous", "detach", "alias", "lift_fresh"), lambda given: given.reach("self")
    ),
    "copy": lambda given: _spread(given.reach("src"), given.shape),
}
"""How far the output of an operation of torch reaches, by its name."""

MOVES = {
    *(
        "view",
        "_unsafe_view",
        "_reshape_alias",
        "reshape",
        "permute",
        "transpose",
        "t",
        "unsqueeze",
        "squeeze",
        "expand",
    ),
    *("slice", "select", "split", "split_with_sizes", "unbind", "narrow", "cat", "stack", "flip", "repeat", "unfold"),
    *("pixel_shuffle", "pixel_unshuffle", "channel_shuffle", "upsample_nearest2d", "unsafe_split", "diagonal"),
}
"""Operations that move numbers and change none."""

POINTWISE = {"hardswish", "hardtanh", "_prelu_kernel", "rrelu_with_noise", "log_sigmoid_forward", "celu", "dropout"}
"""Operations on single units that torch does not say are such."""

SHAPES_ALONE = {"empty_like", "zeros_like", "ones_like", "full_like", "new_zeros", "new_ones", "new_full", "new_empty"}
"""Operations that take nothing of a tensor but its shape."""
