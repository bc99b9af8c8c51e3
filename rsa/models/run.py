"""A network at work: pictures of conditions pass through it, and responses are averaged over those of a condition."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from rsa.core import Array
from rsa.distances import Distance
from rsa.errors import UserError, listed
from rsa.files.io import content_hash
from rsa.models import Model
from rsa.models.passing import Asked, PassSettings, pass_batches, require_same_answers
from rsa.models.pictures import input_batches, pixels_file
from rsa.models.representation import ProjectionError, Representation

if TYPE_CHECKING:
    import torch

__all__ = ["ConditionMeans", "Pictures", "Run", "run_of"]

log = logging.getLogger(__name__)

WRITE_SIZE = 262_144
"""Features of one condition that are written at once: 1 MiB, which takes half the time of smaller or larger pieces."""


# ------------------------------------------------------------------------------------------- pictures


@dataclass(frozen=True)
class Pictures:
    """Pictures, sorted by the conditions that they belong to.

    Parameters
    ----------
    images : DataFrame
        Columns `condition`, `file`, and `place`, that of the condition.
    conditions : sequence of str
        In order of first appearance.
    """

    images: pd.DataFrame
    conditions: Sequence[str]

    @cached_property
    def files(self) -> list[str]:
        """The file of each picture."""
        return [str(file) for file in self.images["file"]]

    @cached_property
    def places(self) -> Array:
        """The place of the condition of each picture."""
        places: Array = self.images["place"].to_numpy()
        return places

    @cached_property
    def contents(self) -> list[str]:
        """The SHA-256 of each picture."""
        found = {file: content_hash(file) for file in dict.fromkeys(self.files)}
        return [found[file] for file in self.files]


def by_condition(images: pd.DataFrame) -> Pictures:
    """Sort images by condition, in order of appearance."""
    missing = [name for name in ("condition", "file") if name not in images]
    if missing or images.empty:
        raise UserError(
            f"Models need images: a table with columns 'condition' and 'file', not {len(images)} rows of "
            f"{listed(list(images)) or 'no columns'}. Set stimuli.folder, or add the files to the table."
        )
    places, conditions = pd.factorize(images["condition"].astype(str))
    ordered = images.assign(place=places).sort_values("place", kind="stable", ignore_index=True)
    return Pictures(ordered, [str(name) for name in conditions])


# ------------------------------------------------------------------------------- means of conditions


class ConditionMeans:
    """Averages the responses of one layer over the images of each condition, which come one after the other.

    Parameters
    ----------
    target : array or h5py.Dataset, shape (n_conditions, n_units)
        Where the means go.
    pictures : Pictures
        The pictures.
    who : str
        Whose responses these are, for messages.
    first : int
        Place of the first condition whose mean is wanted.
    """

    def __init__(self, target: Any, pictures: Pictures, who: str, first: int = 0) -> None:
        self.target, self.pictures, self.who, self.first = target, pictures, who, first
        self.n_images = np.bincount(pictures.places)
        self.total: Any = 0.0
        self.n_summed = 0

    def add(self, responses: "torch.Tensor", start: int) -> None:
        """Add responses, (n_pictures, n_units), to the pictures from a place on; write the means that are complete."""
        import torch

        rows = slice(start, start + len(responses))
        self._require_finite(responses, rows)
        places, values = self.pictures.places[rows], responses.numpy()
        if isinstance(self.target, np.ndarray) and (self.n_images[places] == 1).all() and places[0] >= self.first:
            torch.from_numpy(self.target)[places[0] : places[-1] + 1].copy_(responses)  # on all cores
            return
        starts = [0, *(np.flatnonzero(np.diff(places)) + 1), len(places)]
        for first, stop in pairwise(starts):
            if places[first] >= self.first:
                self._add_to(int(places[first]), values[first:stop])

    def _add_to(self, place: int, values: Array) -> None:
        """Add responses to images of one condition, and write the mean if these are the last."""
        if self.n_images[place] == 1:  # nothing to sum: most studies show one image per condition
            self._write(place, values[0])
            return
        self.total = self.total + values.sum(axis=0, dtype=np.float64)
        self.n_summed += len(values)
        if self.n_summed == self.n_images[place]:
            self._write(place, self.total / self.n_summed)
            self.total, self.n_summed = 0.0, 0

    def _write(self, place: int, mean: Array) -> None:
        for start in range(0, len(mean), WRITE_SIZE):
            units = slice(start, start + WRITE_SIZE)
            self.target[place, units] = mean[units]

    def _require_finite(self, responses: "torch.Tensor", rows: slice) -> None:
        import torch

        if bool(torch.isfinite(responses.sum()).item()):  # of a sum that is finite, all terms are
            return
        finite = torch.isfinite(responses).all(dim=1)
        if not finite.all():
            image = self.pictures.images.iloc[rows.start + int(finite.int().argmin())]
            raise UserError(
                f"{self.who} is NaN or infinite for condition {image['condition']!r} ({image['file']}); check the "
                "weights and the image."
            )


# ---------------------------------------------------------------------------------- a network at work


@dataclass
class Run:
    """A network, and the pictures that pass through it.

    Parameters
    ----------
    model : Source
        Where it comes from.
    pictures : Pictures
        The pictures.
    settings : PassSettings
        How they pass.
    folder : path, optional
        Where pixels of pictures are kept for other networks.
    loaded : Network, optional
        The network, on its device, where it is loaded already.
    """

    model: Model
    pictures: Pictures
    settings: PassSettings
    folder: Path | None = None
    loaded: Any = None
    seconds: float = field(default=0.0, init=False)
    n_passed: int = field(default=0, init=False)
    checked: set[str] = field(default_factory=set, init=False)

    @cached_property
    def representations(self) -> dict[str, Representation]:
        """What becomes of the output of each layer."""
        return self.model.representations()

    @cached_property
    def network(self) -> Any:
        """The network, on its device."""
        return self.model.load().to(self.settings.device) if self.loaded is None else self.loaded

    def load(self) -> None:
        """Load the network, if it is not loaded yet, so that what memory is left can be told."""
        _ = self.network

    @cached_property
    def about(self) -> dict[str, Any]:
        """What is known of the network once it is loaded, for the provenance."""
        layers = list(self.representations)
        known = {"device": self.settings.kind, "weights_sha256": self.network.weights_sha256(), "layers": layers}
        n_parameters = self.network.n_parameters
        return {**known, **({} if n_parameters is None else {"n_parameters": n_parameters})}

    def error(self, layer: str, distance: Distance | None) -> ProjectionError | None:
        """Return what gathers the error of the projection of a layer, if it is projected."""
        return ProjectionError(distance) if distance is not None and self.representations[layer].is_projected else None

    def passing(
        self,
        layers: Sequence[str],
        take: "Callable[[int, str, torch.Tensor], None]",
        start: int = 0,
        errors: Mapping[str, ProjectionError | None] | None = None,
    ) -> Iterator[int]:
        """Pass the pictures from a place on; yield how many, after each batch.

        Raises
        ------
        UserError
            If an answer is NaN or infinite, or changes with the pass.
        """
        busy = 0.0

        def keep(layer: str, output: "torch.Tensor") -> "torch.Tensor":
            nonlocal busy
            began = monotonic()
            self._require_shape(layer, output)
            kept = self.representations[layer].of(output, (errors or {}).get(layer))
            busy += monotonic() - began
            return kept

        def taken(place: int, layer: str, responses: "torch.Tensor") -> None:
            nonlocal busy
            began = monotonic()
            take(place, layer, responses)
            busy += monotonic() - began

        prepare, size = self.network.prepare, self.settings.size
        kept = None if self.folder is None else pixels_file(self.folder, prepare, self.pictures.contents)
        batches = input_batches(prepare, self.pictures.files, size, start, kept)
        asked = Asked(self.network, layers, keep, taken, self.settings)
        for n, seconds in pass_batches(asked, self._checked(batches, layers)):
            self.seconds += seconds - busy
            self.n_passed += n
            busy = 0.0
            yield n

    def _checked(
        self, batches: "Iterator[tuple[int, torch.Tensor]]", layers: Sequence[str]
    ) -> "Iterator[tuple[int, torch.Tensor]]":
        """Yield batches, once the answers of layers to the first picture were found to be the same in each pass."""

        def keep(layer: str, output: "torch.Tensor") -> "torch.Tensor":
            self._require_shape(layer, output)
            return self.representations[layer].of(output)

        for place, batch in batches:
            if unchecked := [layer for layer in layers if layer not in self.checked]:
                asked = Asked(self.network, unchecked, keep, lambda *_: None, self.settings)
                require_same_answers(asked, list(batch), self.model.label, self.pictures.files[place])
                self.checked.update(unchecked)
            yield place, batch

    def _require_shape(self, layer: str, output: "torch.Tensor") -> None:
        """Raise a `UserError` if an output, (n_pictures, ...), is not of the shape that is known of the layer."""
        came, expected = tuple(output.shape[1:]), self.representations[layer].shape
        if came != expected:
            raise UserError(
                f"{self.who(layer)} has the shape {_by(came)} for {self.pictures.files[0]}, and {_by(expected)} was "
                "expected of any picture: let the preprocessing make inputs of one size, whatever that of the picture."
            )

    def cost(self) -> dict[str, Any]:
        """Return how long a picture takes, if some have passed."""
        if not self.n_passed:
            return {}
        return {"forward_ms_per_picture": round(1e3 * self.seconds / self.n_passed, 3), "device": self.settings.device}

    def begin(self) -> None:
        """Say in the log what is going to pass through which network."""
        log.info(
            f"{self.model.label}: {len(self.pictures.files)} images of {len(self.pictures.conditions)} conditions "
            f"through {len(self.representations)} layers on {self.settings.device}, {self.settings.size} at a time"
        )

    def who(self, layer: str) -> str:
        """Say whose responses these are."""
        return f"The output of layer {layer!r} of {self.model.label}"


def _by(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))


def run_of(
    model: Model,
    images: pd.DataFrame,
    device: str,
    batch_size: int | None,
    folder: Path | None = None,
    loaded: Any = None,
) -> Run:
    """Sort pictures by their conditions, for a network that has not run yet; see `Run`."""
    return Run(model, by_condition(images), PassSettings(device, batch_size, model.precision), folder, loaded)
