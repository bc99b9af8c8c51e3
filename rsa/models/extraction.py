"""Pictures in, RDMs of layers out: activations stream to a file, and from it through the distances."""

import json
import logging
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import islice, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import h5py
import numpy as np
import pandas as pd

from rsa.core import Array, RDMs
from rsa.devices import choose_device
from rsa.distances import DISTANCES, CrossProducts, Distance, cross_products
from rsa.errors import UserError, listed
from rsa.files.io import FORMAT_VERSION, add_checksum, opened, require_space, writing
from rsa.inputs.stimuli import read_image
from rsa.models import Model
from rsa.models.source import Network
from rsa.progress import progress
from rsa.registry import pick

if TYPE_CHECKING:
    import torch

__all__ = ["extract", "layer_rdms"]

BLOCK_SIZE = 16_384
"""Features of a layer that are read together: 64 KiB of each condition."""

WRITE_SIZE = 262_144
"""Features of one condition that are written at once: 1 MiB, which takes half the time of smaller or larger pieces."""

N_BATCHES_AHEAD = 2
"""Batches of pictures that are read ahead of the network."""

log = logging.getLogger(__name__)

T = TypeVar("T")


# ------------------------------------------------------------------------------------ how torch computes


@contextmanager
def _exactly() -> Iterator[None]:
    """Compute in full single precision, with deterministic algorithms and without gradients; then as before."""
    import torch

    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    was = cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32, os.environ.get("CUBLAS_WORKSPACE_CONFIG")
    mode = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    try:
        cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32 = False, False, False
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS is deterministic only with this
        torch.use_deterministic_algorithms(True, warn_only=True)
        with torch.inference_mode():
            yield
    finally:
        cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32 = was[:3]
        if was[3] is None:
            os.environ.pop("CUBLAS_WORKSPACE_CONFIG", None)
        torch.use_deterministic_algorithms(mode[0], warn_only=mode[1])


# ------------------------------------------------------------------------------------- in the background


@contextmanager
def _background() -> Iterator[ThreadPoolExecutor]:
    """Start a thread for work beside the network; when the block ends, it finishes its task and begins no other.

    Torch runs this thread's operations on one core: further ones would only be taken from the network.
    """
    import torch

    with ThreadPoolExecutor(1) as thread:
        n_cores = torch.get_num_threads()
        thread.submit(torch.set_num_threads, 1).result()
        torch.set_num_threads(n_cores)  # for threads to come, which take the number that was set last
        try:
            yield thread
        finally:
            thread.shutdown(cancel_futures=True)


def _ahead(thread: ThreadPoolExecutor, tasks: Iterable[Callable[[], T]], n_ahead: int) -> Iterator[T]:
    """Do tasks in a background thread and yield their results in order, at most `n_ahead` before they are asked for."""
    begun: deque[Future[T]] = deque()
    for task in tasks:
        begun.append(thread.submit(task))
        if len(begun) > n_ahead:
            yield begun.popleft().result()
    while begun:
        yield begun.popleft().result()


# ----------------------------------------------------------------------------------------- activations


def extract(
    model: Model,
    images: pd.DataFrame,
    output: str | Path,
    *,
    device: str = "auto",
    batch_size: int | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> None:
    """Write what each layer of a network answers to each condition, averaged over the condition's images.

    Pictures are read, and activations written, in the background while the network computes. No more is held in memory
    than two batches of all layers and, per layer, the sum for one condition. Neither the batch size nor the order of
    the images changes the result (but for rounding in single precision).

    Parameters
    ----------
    model : Torchvision
        The network and its layers.
    images : DataFrame
        Columns `condition` and `file`, one row per image.
    output : path
        HDF5 file: `layers/0`, `layers/1`, ... in forward order, each of shape (n_conditions, n_units), float32, with
        attributes `layer` and `shape` (of one activation); `conditions` in order of first appearance; attributes
        `kind`, `format_version`, `model`, `preprocessing`, `provenance` (JSON). Written whole or not at all. To the
        provenance are added the `device` that was used, `weights_sha256` of the weights that the network had (see
        `rsa.models.weights.weights_sha256`), `preprocessing` and the names of the `layers`.
    device : str
        See `rsa.devices.choose_device`.
    batch_size : int, optional
        Images at a time; by default 8 on the CPU and 64 elsewhere.
    provenance : mapping, optional
        The provenance; see `rsa.files.io.provenance`.

    Raises
    ------
    UserError
        If there are no images, one can't be read, or an activation is NaN or infinite.
    """
    ordered, conditions = _by_condition(images)
    place = choose_device(device)
    size = batch_size or (8 if place == "cpu" else 64)
    layers = model.layer_names()
    n_units = model.describe().set_index("layer").loc[layers, "n_units"].sum()
    require_space(output, int(1.05 * 4 * n_units * len(conditions)))
    network = model.load()
    used = {"device": place, "weights_sha256": network.weights_sha256(), "layers": layers}
    network = network.to(place)
    log.info(
        f"{model.label}: {len(ordered)} images of {len(conditions)} conditions through {len(layers)} layers on "
        f"{place}, {size} at a time"
    )
    with writing(output, recorded=False) as temporary:
        with h5py.File(temporary, "w") as file:
            _describe(file, model, conditions, {**(provenance or {}), **used})
            means = _create_layers(file, model, layers, ordered)
            read = [partial(_read, network, name) for name in ordered["file"]]
            with ExitStack() as stack:
                stack.enter_context(_exactly())
                reader, writer = (stack.enter_context(_background()) for _ in range(2))
                advance = stack.enter_context(progress(len(ordered), "images", f"activations of {model.label}"))
                pictures = _ahead(reader, read, N_BATCHES_AHEAD * size)
                outputs = _outputs(network, layers, pictures, size, place)
                for n_added in _ahead(writer, (partial(_add, means, *batch) for batch in outputs), 1):
                    advance(n_added)
        add_checksum(temporary)


def _read(network: Network, name: str) -> "torch.Tensor":
    return network.prepare(read_image(name))


def _outputs(
    network: Network,
    layers: Sequence[str],
    pictures: "Iterator[torch.Tensor]",
    size: int,
    place: str,
) -> "Iterator[tuple[int, dict[str, torch.Tensor]]]":
    """Pass pictures, each of shape (3, height, width), in batches; yield the row of the first and the layers' outputs.

    Outputs are copied at once: the in-place ReLU that follows most layers of torchvision's networks, and the in-place
    sums of residual blocks, overwrite them.
    """
    import torch

    start = 0
    while batch := list(islice(pictures, size)):
        seen: dict[str, torch.Tensor] = {}
        network.answer(torch.stack(batch).to(place), layers, partial(_keep, seen))
        yield start, seen
        start += len(batch)


def _keep(seen: "dict[str, torch.Tensor]", layer: str, output: "torch.Tensor") -> None:
    seen[layer] = output.clone()


def _add(means: "Mapping[str, _ConditionMeans]", start: int, outputs: "dict[str, torch.Tensor]") -> int:
    """Add a batch of outputs to the means of all layers; return the number of pictures."""
    for layer, mean in means.items():
        activations = outputs.pop(layer).flatten(1).cpu().numpy()  # (n_batch, n_units)
        mean.add(activations, slice(start, start + len(activations)))
    return len(activations)


class _ConditionMeans:
    """Averages the activations of one layer over the images of each condition, which come one after the other."""

    def __init__(self, dataset: h5py.Dataset, images: pd.DataFrame, who: str) -> None:
        self.dataset, self.images, self.who = dataset, images, who
        self.n_images = np.bincount(images["place"])
        self.total: Any = 0.0
        self.n_summed = 0

    def add(self, activations: Array, rows: slice) -> None:
        """Add the activations, (n_batch, n_units), to those rows of the images; write the means that are complete."""
        places = self.images["place"].to_numpy()[rows]
        self._require_finite(activations, rows)
        starts = [0, *(np.flatnonzero(np.diff(places)) + 1), len(places)]
        for start, stop in pairwise(starts):
            self._add_to(int(places[start]), activations[start:stop])

    def _add_to(self, place: int, activations: Array) -> None:
        """Add activations of one condition, (n_some_images, n_units), and write the mean if these are the last."""
        if self.n_images[place] == 1:  # nothing to sum: most studies show one image per condition
            self._write(place, activations[0])
            return
        self.total = self.total + activations.sum(axis=0, dtype=np.float64)
        self.n_summed += len(activations)
        if self.n_summed == self.n_images[place]:
            self._write(place, self.total / self.n_summed)
            self.total, self.n_summed = 0.0, 0

    def _write(self, place: int, mean: Array) -> None:
        for start in range(0, len(mean), WRITE_SIZE):
            units = slice(start, start + WRITE_SIZE)
            self.dataset[place, units] = mean[units]

    def _require_finite(self, activations: Array, rows: slice) -> None:
        finite = np.isfinite(activations).all(axis=1)
        if not finite.all():
            image = self.images.iloc[rows.start + int(finite.argmin())]
            raise UserError(
                f"{self.who} is NaN or infinite for condition {image['condition']!r} ({image['file']}); check the "
                "weights and the image."
            )


def _by_condition(images: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Sort images by condition, adding the condition's `place`; return the conditions in order of appearance."""
    missing = [name for name in ("condition", "file") if name not in images]
    if missing or images.empty:
        raise UserError(
            f"Models need images: a table with columns 'condition' and 'file', not {len(images)} rows of "
            f"{listed(list(images)) or 'no columns'}. Set stimuli.folder, or add the files to the table."
        )
    places, conditions = pd.factorize(images["condition"].astype(str))
    ordered = images.assign(place=places).sort_values("place", kind="stable", ignore_index=True)
    return ordered, [str(name) for name in conditions]


def _describe(file: h5py.File, model: Model, conditions: list[str], provenance: Mapping[str, Any]) -> None:
    preprocessing = model.preprocessing()
    provenance = {**provenance, "preprocessing": preprocessing}
    file.attrs.update(kind="Activations", format_version=FORMAT_VERSION, provenance=json.dumps(provenance))
    file.attrs.update(model=model.label, preprocessing=preprocessing)
    file.create_dataset("conditions", data=np.array(conditions, dtype=object), dtype=h5py.string_dtype())


def _create_layers(
    file: h5py.File, model: Model, layers: Sequence[str], images: pd.DataFrame
) -> dict[str, _ConditionMeans]:
    """Create a dataset per layer; return what fills them, by layer, in forward order."""
    described = model.describe().set_index("layer")
    n_conditions = int(images["place"].max()) + 1
    means = {}
    for i, layer in enumerate(layers):
        n_units = int(described.loc[layer, "n_units"])
        dataset = file.create_dataset(f"layers/{i}", (n_conditions, n_units), "float32")
        dataset.attrs.update(layer=layer, shape=[int(n) for n in described.loc[layer, "shape"].split("x")])
        means[layer] = _ConditionMeans(dataset, images, f"The output of layer {layer!r} of {model.label}")
    return means


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
        model = str(file.attrs["model"])
        n_layers, n_conditions = len(file["layers"]), len(conditions)
        rows, values = [], np.empty((n_layers, n_conditions * (n_conditions - 1) // 2))
        for i in range(n_layers):
            units = file[f"layers/{i}"]
            layer, n_units = str(units.attrs["layer"]), units.shape[1]
            products = cross_products(
                (units[:, start : start + block_size] for start in range(0, n_units, block_size)), measure.origin
            )
            _warn_of_undefined(products, measure, conditions, f"layer {layer!r} of {model}", distance)
            values[i] = measure.from_products(products)
            rows.append({"model": model, "layer": layer, "n_units": n_units})
    return RDMs(values, conditions, pd.DataFrame(rows), distance)


def _warn_of_undefined(
    products: CrossProducts, measure: Distance, conditions: Sequence[str], where: str, distance: str
) -> None:
    """Log the conditions whose patterns have no distance even to themselves."""
    of_each = (products.squares, products.sums, products.off_by)
    squares, sums, off_by = (np.repeat(values[:, None], 2, axis=1) for values in of_each)
    twins = CrossProducts(squares[:, :1], squares, sums, np.full(len(squares), products.n_features), rounding=off_by)
    undefined = np.isnan(measure.from_products(twins)[:, 0])
    if undefined.any():
        names = [name for name, bad in zip(conditions, undefined, strict=True) if bad]
        log.warning(
            f"The {distance} distance of {where} is undefined for {len(names)} conditions, whose patterns do not vary "
            f"or are zero: {listed(names)}"
        )
