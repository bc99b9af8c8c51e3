"""RDMs of the layers of networks.

Where the responses of layers fit into memory, their RDMs are made there, of as many layers at a time as fit; otherwise
responses stream to a file, and from it through the distances.
"""

import json
import logging
import math
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import h5py
import numpy as np
import pandas as pd

from rsa.core import Array, RDMs
from rsa.distances import BLOCK, DISTANCES, CrossProducts, Distance, ProductSums
from rsa.errors import UserError, listed
from rsa.files.io import IN_MEMORY, content_hash, opened, require_space
from rsa.files.memory import room_bytes
from rsa.models import Model
from rsa.models.extraction import create_file, file_bytes, gather_in_file
from rsa.models.kept import Gathered, Kept, LayerRDM, gathering, program
from rsa.models.own_device import own_device
from rsa.models.passing import exactly, keeping_memory
from rsa.models.representation import ProjectionError, of_principal_components
from rsa.models.run import ConditionMeans, Run, run_of
from rsa.progress import progress
from rsa.registry import pick

if TYPE_CHECKING:
    import torch

__all__ = ["ModelRDMs", "layer_products", "layer_rdms", "model_rdms"]

BLOCK_SIZE = 16_384
"""Features of a layer that are read together: 64 KiB of each condition."""

BLOCK_BYTES = 2**26
"""Of many conditions fewer features are read together, so that they take no more than this."""

MOST_PASSES = 16
"""So often pictures pass through a network at most, where its layers do not fit into memory together."""

MOST_CONDITIONS_ON_A_CORE = 500
"""Matrix products of more conditions are large enough for all cores to share each."""

WORKING_BYTES = 150 * 2**20
"""What torch takes for a batch besides the outputs of layers."""

log = logging.getLogger(__name__)


# ------------------------------------------------------------------------------------------ layer RDMs


def layer_rdms(activations: str | Path, distance: str, block_size: int = BLOCK_SIZE) -> RDMs:
    """Measure the RDM of every layer, holding one block of features at a time.

    Parameters
    ----------
    activations : path
        File that `extract` wrote.
    distance : str
        A key of `DISTANCES`.
    block_size : int
        Features at a time; changes nothing but memory and time.

    Returns
    -------
    RDMs
        One per layer in forward order, with `model`, `layer` and `n_units` in the table. Pairs with a condition whose
        pattern has no distance (a constant one has no correlation) are NaN, with a warning in the log.

    Raises
    ------
    UserError
        If the distance is unknown, or the file is missing or holds something else.
    """
    measure = pick(DISTANCES, distance, "distance")
    with opened(activations, "Activations") as file:
        conditions = list(file["conditions"].asstr()[:])
        model, pca = str(file.attrs["model"]), float(file.attrs.get("pca", 0)) or None
        n_layers, n_conditions = len(file["layers"]), len(conditions)
        rows, values = [], np.empty((n_layers, n_conditions * (n_conditions - 1) // 2))
        for i in range(n_layers):
            units = file[f"layers/{i}"]
            layer = str(units.attrs["layer"])
            sums = _add(ProductSums(_origin(measure, pca)), units, block_size)
            values[i], undefined = _rdm(sums, measure, conditions, f"The output of layer {layer!r} of {model}", pca)
            _warn_of_undefined(undefined, f"layer {layer!r} of {model}", distance)
            rows.append({"model": model, "layer": layer, "n_units": units.shape[1]})
    return RDMs(values, conditions, pd.DataFrame(rows), distance)


def _add(sums: ProductSums, units: Any, block_size: int = BLOCK_SIZE) -> ProductSums:
    """Add the responses of a layer, (n_conditions, n_units), or of a part of it, block by block; return the sums."""
    step = min(block_size, max(1, BLOCK_BYTES // (4 * len(units) * BLOCK)) * BLOCK)
    with np.errstate(invalid="ignore"):  # of infinite responses, which are refused
        for start in range(0, units.shape[1], step):
            sums.add(units[:, start : start + step])
    return sums


def _origin(measure: Distance, pca: float | None) -> str:
    return measure.origin if pca is None else "zero"


def _rdm(
    sums: ProductSums, measure: Distance, conditions: Sequence[str], who: str, pca: float | None
) -> tuple[Array, list[str]]:
    """Measure the RDM of a layer; return it with the conditions that have no distance."""
    products = sums.done()
    if not np.isfinite(products.squares).all():
        names = [name for name, square in zip(conditions, products.squares, strict=True) if not np.isfinite(square)]
        raise UserError(f"{who} is NaN or infinite for {listed(names)}; check the responses.")
    if pca is not None:
        products = of_principal_components(products, pca)
    return measure.from_products(products), _undefined(products, measure, conditions)


def _undefined(products: CrossProducts, measure: Distance, conditions: Sequence[str]) -> list[str]:
    """Return the conditions whose patterns have no distance even to themselves."""
    of_each = (products.squares, products.sums, products.off_by)
    squares, sums, off_by = (np.repeat(values[:, None], 2, axis=1) for values in of_each)
    twins = CrossProducts(squares[:, :1], squares, sums, np.full(len(squares), products.n_features), rounding=off_by)
    undefined = np.isnan(measure.from_products(twins)[:, 0])
    return [name for name, bad in zip(conditions, undefined, strict=True) if bad]


def _warn_of_undefined(names: Sequence[str], where: str, distance: str) -> None:
    if names:
        log.warning(
            f"The {distance} distance of {where} is undefined for {len(names)} conditions, whose patterns do not vary "
            f"or are zero: {listed(list(names))}"
        )


# ---------------------------------------------------------------------- from pictures to RDMs in one go


@dataclass(frozen=True)
class ModelRDMs:
    """What `model_rdms` makes.

    Parameters
    ----------
    rdms : RDMs
        One per layer in forward order, with `model`, `layer` and `n_units` in the table.
    about : dict
        For the provenance: device, hash of the weights, layers, numbers of parameters, errors of projections.
    cost : dict
        `forward_ms_per_picture` up to the last layer, and the `device`: of this run, or of the one that made the RDM of
        that layer, where it was kept; of ready responses nothing. No two runs agree in it.
    """

    rdms: RDMs
    about: dict[str, Any]
    cost: dict[str, Any]


def model_rdms(
    model: Model,
    images: pd.DataFrame | None,
    distance: str,
    *,
    device: str = "auto",
    batch_size: int | None = None,
    memory_mb: int | None = None,
    cache: str | Path | None = None,
    scratch: str | Path = ".",
    loaded: Any = None,
) -> ModelRDMs:
    """Make the RDMs of the layers of a network.

    Responses are held in memory: those of all layers, or of as many as fit, and pictures then pass through the network
    several times. Where even that does not do, responses are gathered in a file and read block by block. The numbers
    are those of `extract` and `layer_rdms`, bit by bit.

    Parameters
    ----------
    model : Source
        The network and its layers.
    images : DataFrame, optional
        Columns `condition` and `file`, one row per image; of ready responses it tells the order, if they don't.
    distance : str
        A key of `DISTANCES`.
    device, batch_size
        As for `extract`.
    memory_mb : int, optional
        Memory that the process may have, in MB; by default most of what is free.
    cache : path, optional
        Folder in which RDMs of layers, pixels of pictures, and responses that are gathered in a file are kept, by what
        they are made of: what is found there is not made again, and a run that was interrupted goes on. See
        `rsa.models.kept`.
    scratch : path
        Folder of files that are needed in between.
    loaded : Network, optional
        The network, on the device, where it is loaded already.

    Raises
    ------
    UserError
        As `extract`; or if the distance is unknown.
    """
    measure = pick(DISTANCES, distance, "distance")
    folder = None if cache is None else Path(cache)
    if not model.needs_pictures:
        return _of_ready(model, images, measure, distance)
    with own_device(device) as place:
        run = run_of(model, pd.DataFrame() if images is None else images, place, batch_size, folder, loaded)
        found = Kept(folder, {} if folder is None else _made_of(run, distance), run.pictures.conditions)
        n = len(run.pictures.conditions)
        values = _room_for(len(run.representations), n * (n - 1) // 2, Path(scratch))
        making = _Making(run, measure, distance, found, Path(scratch), values)
        run.begin()
        making.find()
        if making.missing:
            making.make(memory_mb)
        return making.done()


def layer_products(
    run: Run, origin: str = "feature", memory_mb: int | None = None
) -> Iterator[tuple[str, CrossProducts]]:
    """Yield each layer of a network, and the cross-products over its units of the mean patterns of conditions.

    What a linear method learns from patterns follows from these, whatever the number of units. Pictures pass as often
    as memory asks.

    Parameters
    ----------
    run : Run
        The network and its layers, and the pictures.
    origin : {"feature", "pattern", "zero"}
        What is subtracted from patterns; see `rsa.distances.Distance`. Of principal components nothing is.
    memory_mb : int, optional
        Memory that the process may have, in MB; by default most of what is free.
    """
    run.load()
    pca = run.model.pca
    passing = _Passing(run, origin if pca is None else "zero")
    for layer, sums in passing.sums(_passes(run, list(run.representations), memory_mb)):
        yield layer, sums.done() if pca is None else of_principal_components(sums.done(), pca)


def _made_of(run: Run, distance: str) -> dict[str, Any]:
    """Return all that the RDM of a layer depends on, but for the layer."""
    hashes = {str(path): content_hash(path) for path in run.model.files()}
    settings = run.model.model_dump(mode="json", exclude={"name", "layers"})
    return {
        "settings": {name: hashes.get(str(value), value) for name, value in settings.items()},
        "files": sorted(hashes.values()),
        "weights": run.about["weights_sha256"],
        "preprocessing": run.model.preprocessing(),
        "pictures": list(zip(run.pictures.places.tolist(), run.pictures.contents, strict=True)),
        "distance": distance,
        "device": run.settings.kind,
        "program": program(),
    }


class Part(NamedTuple):
    """Some units of a layer."""

    layer: str
    start: int
    stop: int


@dataclass
class _Passing:
    """Pictures that pass through a network, as often as memory asks, while the products of its layers are summed.

    Parameters
    ----------
    origin : str
        What is subtracted from patterns; see `Distance`.
    measure : Distance, optional
        That of which errors of projections are gathered.
    """

    run: Run
    origin: str
    measure: Distance | None = None
    errors: dict[str, ProjectionError | None] = field(default_factory=dict, init=False)

    def sums(self, passes: Sequence[Sequence[Part]]) -> Iterator[tuple[str, ProductSums]]:
        """Yield each layer, and the sums of the products of all its units, when they are complete."""
        if len(passes) > 1:
            log.info("%s: the pictures pass %d times, for some units each", self.run.model.label, len(passes))
        sums: dict[str, ProductSums] = {}
        for parts in passes:
            responses = self._gathered(parts)
            for part in parts:
                sums.setdefault(part.layer, ProductSums(self.origin))
            self._add_all([(sums[part.layer], responses.pop(part)) for part in parts])
            for part in parts:
                if part.stop == self.run.representations[part.layer].n_units:
                    yield part.layer, sums.pop(part.layer)

    def _add_all(self, parts: Sequence[tuple[ProductSums, Array]]) -> None:
        """Add responses to the sums of their layers: of few conditions, several layers at a time, on a core each."""
        if len(self.run.pictures.conditions) > MOST_CONDITIONS_ON_A_CORE:
            for sums, responses in parts:
                _add(sums, responses)
            return
        from threadpoolctl import threadpool_limits

        n_threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        with threadpool_limits(1, "blas"), ThreadPoolExecutor(n_threads) as threads:
            list(threads.map(lambda one: _add(*one), parts))

    def _gathered(self, parts: Sequence[Part]) -> dict[Part, Array]:
        """Pass the pictures, and return the responses of parts of layers, (n_conditions, n_units) each."""
        run, n = self.run, len(self.run.pictures.conditions)
        responses = {part: np.empty((n, part.stop - part.start), np.float32) for part in parts}
        means = {part: ConditionMeans(responses[part], run.pictures, run.who(part.layer)) for part in parts}
        of_layers = {part.layer: part for part in parts}
        self.errors |= {part.layer: run.error(part.layer, self.measure) for part in parts if part.start == 0}
        errors = {part.layer: self.errors[part.layer] for part in parts if part.start == 0}

        def take(place: int, layer: str, output: "torch.Tensor") -> None:
            part = of_layers[layer]
            means[part].add(output[:, part.start : part.stop], place)

        what = f"responses of {run.model.label}"
        with exactly(), keeping_memory(), progress(len(run.pictures.files), "images", what) as advance:
            for n_passed in run.passing(list(of_layers), take, errors=errors):
                advance(n_passed)
        return responses


@dataclass
class _Making:
    """RDMs of the layers of a network, as they are made one after the other.

    Parameters
    ----------
    values : array, shape (n_layers, n_pairs)
        The RDMs, as far as they are made.
    said : dict
        What is said of each layer whose RDM is made, `n_units` among it.
    """

    run: Run
    measure: Distance
    distance: str
    kept: Kept
    scratch: Path
    values: Array
    said: dict[str, Mapping[str, Any]] = field(default_factory=dict)

    @cached_property
    def _passing(self) -> "_Passing":
        return _Passing(self.run, _origin(self.measure, self.run.model.pca), self.measure)

    @cached_property
    def layers(self) -> list[str]:
        """All layers."""
        return list(self.run.representations)

    @property
    def missing(self) -> list[str]:
        """The layers that have no RDM yet."""
        return [layer for layer in self.layers if layer not in self.said]

    def find(self) -> None:
        """Take the RDMs that were kept."""
        for layer in self.layers:
            if (one := self.kept.find(layer)) is not None:
                self._take(layer, one)
        if self.said:
            log.info("%s: %d layers are kept from an earlier run", self.run.model.label, len(self.said))

    def make(self, memory_mb: int | None) -> None:
        """Make those that are missing, within some memory."""
        self.run.load()
        passes = _passes(self.run, self.missing, memory_mb)
        if len(passes) > MOST_PASSES:
            self._through_file()
            return
        for layer, sums in self._passing.sums(passes):
            self._measure(layer, sums)

    def _through_file(self) -> None:
        """Gather responses in a file, which stays if the run is interrupted and is gone when all RDMs are made."""
        layers = self.missing
        with gathering(self.kept.activations(), self.scratch) as gathered:
            n_done = gathered.n_done(layers)
            if not n_done:
                require_space(gathered.path, file_bytes(self.run, layers))
            with h5py.File(gathered.path, "r+" if n_done else "w") as file:
                self._gather(file, layers, gathered, n_done)
                for i, layer in enumerate(layers):
                    self._measure(layer, _add(ProductSums(self._passing.origin), file[f"layers/{i}"]))

    def _gather(self, file: h5py.File, layers: Sequence[str], gathered: Gathered, n_done: int) -> None:
        if n_done:
            log.info("%s: goes on after %d images", self.run.model.label, n_done)
        else:
            create_file(file, self.run, layers, {})
        n_pictures = len(self.run.pictures.files)
        if n_done < n_pictures:
            gather_in_file(file, self.run, n_done, partial(gathered.note, layers))
            file.flush()
            gathered.note(layers, n_pictures)

    def _measure(self, layer: str, sums: ProductSums) -> None:
        who, conditions = self.run.who(layer), self.run.pictures.conditions
        values, undefined = _rdm(sums, self.measure, conditions, who, self.run.model.pca)
        error = self._passing.errors.get(layer)
        said = {"undefined": undefined, "cost": self.run.cost()}
        said |= {} if error is None else {"projection": error.told()}
        one = LayerRDM(values, sums.n_features, said)
        self.kept.keep(layer, one, self.distance)
        self._take(layer, one)

    def _take(self, layer: str, one: LayerRDM) -> None:
        self.values[self.layers.index(layer)] = one.values
        self.said[layer] = {**one.said, "n_units": one.n_units}

    def done(self) -> ModelRDMs:
        """Put the RDMs together, and say what is odd about them."""
        label = self.run.model.label
        errors = {layer: told for layer in self.layers if (told := self.said[layer].get("projection"))}
        for layer in self.layers:
            _warn_of_undefined(self.said[layer]["undefined"], f"layer {layer!r} of {label}", self.distance)
        for layer, told in errors.items():
            log.info("%s, layer %s: error of the projection: %s", label, layer, json.dumps(told))
        rows = [{"model": label, "layer": layer, "n_units": self.said[layer]["n_units"]} for layer in self.layers]
        rdms = RDMs(self.values, self.run.pictures.conditions, pd.DataFrame(rows), self.distance)
        about = {**self.run.about, **({"projection_errors": errors} if errors else {})}
        return ModelRDMs(rdms, about, dict(self.said[self.layers[-1]]["cost"]))  # up to the last layer a picture passes


def _room_for(n_rdms: int, n_pairs: int, scratch: Path) -> Array:
    """Return an array of RDMs, (n_rdms, n_pairs): in memory, or if it is large in a file that has no name."""
    if 8 * n_rdms * n_pairs <= IN_MEMORY:
        return np.empty((n_rdms, n_pairs))
    scratch.mkdir(parents=True, exist_ok=True)
    require_space(scratch / "RDMs", 8 * n_rdms * n_pairs)
    with tempfile.TemporaryFile(dir=scratch) as file:
        return np.memmap(file, np.float64, "w+", shape=(n_rdms, n_pairs))


def _passes(run: Run, layers: Sequence[str], memory_mb: int | None) -> list[list[Part]]:
    """Divide layers into parts, and these into passes of the pictures, so that those of a pass fit into memory.

    A layer that does not fit is divided at a multiple of `BLOCK` units, where its products are summed in any case.
    """
    n_conditions = len(run.pictures.conditions)
    largest = max(math.prod(run.representations[layer].shape) for layer in layers)
    batch = 4 * largest * min(run.settings.size, len(run.pictures.files))
    room = room_bytes(memory_mb, WORKING_BYTES + 4 * batch + 3 * 8 * n_conditions**2) // (4 * n_conditions)
    passes: list[list[Part]] = [[]]
    left = room
    for layer in layers:
        n_units, start = run.representations[layer].n_units, 0
        while start < n_units:
            n = n_units - start if n_units - start <= left else max(0, left // BLOCK * BLOCK)
            if n == 0 and passes[-1]:
                passes.append([])
                left = room
                continue
            n = n or min(BLOCK, n_units - start)
            passes[-1].append(Part(layer, start, start + n))
            left -= n
            start += n
    return passes


def _of_ready(model: Model, stimuli: pd.DataFrame | None, measure: Distance, distance: str) -> ModelRDMs:
    """Make the RDMs of responses that are ready."""
    ready = model.responses(stimuli)
    conditions = [str(name) for name in ready.conditions]
    rows, values = [], []
    for layer, one in model.representations().items():
        units = one.of_ready(ready.of(layer))
        sums = _add(ProductSums(_origin(measure, model.pca)), units)
        rdm, undefined = _rdm(sums, measure, conditions, f"Layer {layer!r} of {model.label}", model.pca)
        _warn_of_undefined(undefined, f"layer {layer!r} of {model.label}", distance)
        rows.append({"model": model.label, "layer": layer, "n_units": units.shape[1]})
        values.append(rdm)
    about = {"weights_sha256": ready.weights_sha256(), "layers": [row["layer"] for row in rows]}
    return ModelRDMs(RDMs(np.stack(values), conditions, pd.DataFrame(rows), distance), about, {})
