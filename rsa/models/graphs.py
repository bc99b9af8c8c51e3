"""Graphs of computations: through which values everything passes, and which of them stand for stages of a network."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

__all__ = ["Step", "bottlenecks", "stages"]


@dataclass(frozen=True)
class Step:
    """One value that a network computes of pictures.

    Parameters
    ----------
    name : str
        Of the value.
    kind : str
        "merge" (a sum or concatenation of branches), "activation", "shift" (something constant is added), "dense" (a
        matrix is multiplied) or "other".
    inputs : tuple of str
        The values of pictures that it is computed of.
    shape : tuple of int
        For one picture; empty if it has no row for each picture.
    n_places : int
        Number of positions in space, or of tokens; 1 if there are none.
    """

    name: str
    kind: Literal["merge", "activation", "shift", "dense", "other"]
    inputs: tuple[str, ...]
    shape: tuple[int, ...] = ()
    n_places: int = 1


def bottlenecks(steps: Sequence[Step]) -> list[Step]:
    """Return the steps that everything which leads to the last one passes through: no other value is used after them.

    Parameters
    ----------
    steps : sequence of Step
        In the order in which they are computed.

    Examples
    --------
    A residual block: its sum is one, what is inside it is not.

    >>> steps = [Step("conv", "other", ("picture",)), Step("inside", "other", ("conv",))]
    >>> [step.name for step in bottlenecks([*steps, Step("sum", "merge", ("conv", "inside"))])]
    ['conv', 'sum']
    """
    leading = _leading_to_the_end(steps)
    last_use = {name: place for place, step in enumerate(leading) for name in step.inputs}
    waiting = set(last_use) - {step.name for step in leading}
    found = []
    for place, step in enumerate(leading):
        waiting = {name for name in waiting if last_use[name] > place}
        if not waiting:
            found.append(step)
        waiting.add(step.name)
    return found


def _leading_to_the_end(steps: Sequence[Step]) -> list[Step]:
    """Keep the steps that the last one is computed of."""
    needed, kept = {step.name for step in steps[-1:]}, []
    for step in reversed(steps):
        if step.name in needed:
            needed |= set(step.inputs)
            kept.append(step)
    return kept[::-1]


def stages(steps: Sequence[Step]) -> list[str]:
    """Choose the values that stand for the stages of a network: a default of its layers.

    They are the ends of blocks, which are sums or concatenations of branches (or, where there are none, activations),
    the last values before the picture is reduced in size, the pooled values, dense layers, and the last value. Each is
    taken after the activation that follows it.
    """
    narrow = [step for step in bottlenecks(steps) if step.shape]
    if not narrow:
        return []
    merged = [place for place, step in enumerate(narrow) if step.kind == "merge"]
    blocks = merged or [place for place, step in enumerate(narrow) if step.kind == "activation"]
    dense = [place for place, step in enumerate(narrow) if step.kind == "dense" and len(step.shape) == 1]
    last_of_size = {(step.n_places, len(step.shape)): place for place, step in enumerate(narrow) if len(step.shape) > 1}
    chosen = {_after_activation(narrow, place) for place in [*blocks, *dense]}
    return [narrow[place].name for place in sorted(chosen | set(last_of_size.values()) | {len(narrow) - 1})]


def _after_activation(narrow: Sequence[Step], place: int) -> int:
    """Return the place of the activation that follows directly, after what shifts values; or else this place."""
    after = place
    for kind in ("shift", "activation"):
        following = narrow[after + 1] if after + 1 < len(narrow) else None
        if following is not None and following.kind == kind and following.inputs == (narrow[after].name,):
            after += 1
    return after
