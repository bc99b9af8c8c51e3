"""Pictures in, RDMs of layers out: activations stream to a file, and from it through the distances."""

import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pandas as pd
from PIL import Image
from tqdm import tqdm

from rsa.core import Array, RDMs
from rsa.distances import DISTANCES, CrossProducts, Distance, cross_products
from rsa.errors import UserError, did_you_mean, listed
from rsa.io import FORMAT_VERSION, opened, require_space, writing
from rsa.models import Model
from rsa.models.torchvision import single_tensor
from rsa.models.weights import weights_sha256
from rsa.registry import pick
from rsa.stimuli import read_image

if TYPE_CHECKING:
    import torch

__all__ = ["choose_device", "extract", "layer_rdms", "recording"]

BLOCK_SIZE = 16_384
"""Features of one condition that lie together in the file, and are read together: 64 KiB."""

log = logging.getLogger(__name__)


# ------------------------------------------------------------------------------------------- recording


@contextmanager
def recording(network: "torch.nn.Module", layers: Sequence[str]) -> "Iterator[dict[str, torch.Tensor]]":
    """Keep the outputs of layers at each forward pass, as they are when the layer returns.

    Outputs are copied at once: the in-place ReLU that follows most layers of torchvision's networks, and the in-place
    sums of residual blocks, overwrite them.

    Parameters
    ----------
    network : torch.nn.Module
        Its hooks are removed when the block ends, whatever happens in it.
    layers : sequence of str
        Names of modules.

    Yields
    ------
    dict
        Layer -> tensor of shape (n_pictures, ...), emptied and filled again by each forward pass.

    Raises
    ------
    UserError
        If there is no such layer, or it returns several tensors or is called twice in a pass.
    """
    modules = dict(network.named_modules())
    unknown = [name for name in layers if name not in modules]
    if unknown:
        raise UserError(f"The network has no layer {unknown[0]!r}.{did_you_mean(unknown[0], modules, 3)}")
    seen: dict[str, torch.Tensor] = {}
    with ExitStack() as hooks:
        hooks.callback(network.register_forward_pre_hook(lambda *_: seen.clear()).remove)
        for name in layers:
            hooks.callback(modules[name].register_forward_hook(partial(_keep, seen, name)).remove)
        yield seen


def _keep(seen: "dict[str, torch.Tensor]", name: str, module: "torch.nn.Module", inputs: Any, output: Any) -> None:
    tensor = single_tensor(output)
    if tensor is None:
        raise UserError(f"The output of layer {name!r} is not one tensor; ask for a layer in it or around it.")
    if name in seen:
        raise UserError(f"Layer {name!r} is called more than once per picture; ask for the module around it.")
    seen[name] = tensor.detach().clone()


# -------------------------------------------------------------------------------------------- devices


def choose_device(device: str) -> str:
    """Return the device to compute on: for "auto" CUDA where there is one, else the CPU.

    Parameters
    ----------
    device : {"auto", "cpu", "cuda", "cuda:N", "mps"}
        What is asked for.

    Raises
    ------
    UserError
        If there is no such device on this machine.
    """
    import torch

    n_cuda = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device == "auto":
        return "cuda" if n_cuda else "cpu"
    kind, colon, index = device.partition(":")
    if kind not in ("cpu", "cuda", "mps") or (colon and not (kind == "cuda" and index.isdecimal())):
        raise UserError(f"Unknown device {device!r}. Choose one of: auto, cpu, cuda, cuda:0 (or another number), mps.")
    if kind == "cuda" and int(index or 0) >= n_cuda:
        raise UserError(f"This machine has {n_cuda} CUDA devices, so no {device!r}; set device to auto or cpu.")
    if kind == "mps" and not torch.backends.mps.is_available():
        raise UserError("This machine has no device 'mps'; set device to auto or cpu.")
    return device


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


# ----------------------------------------------------------------------------------------- activations


def extract(
    model: Model,
    images: pd.DataFrame,
    output: str | Path,
    *,
    device: str = "auto",
    batch_size: int | None = None,
    made: Mapping[str, Any] | None = None,
) -> None:
    """Write what each layer of a network answers to each condition, averaged over the condition's images.

    No more is held in memory than one batch of all layers and, per layer, the sum for one condition. Neither the batch
    size nor the order of the images changes the result (but for rounding in single precision).

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
        See `choose_device`.
    batch_size : int, optional
        Images at a time; by default 8 on the CPU and 64 elsewhere.
    made : mapping, optional
        The provenance; see `rsa.io.provenance`.

    Raises
    ------
    UserError
        If there are no images, one can't be read, or an activation is NaN or infinite.
    """
    ordered, conditions = _by_condition(images)
    place = choose_device(device)
    size = batch_size or (8 if place == "cpu" else 64)
    started = time.perf_counter()
    layers = model.layer_names()
    n_units = model.describe().set_index("layer").loc[layers, "n_units"].sum()
    require_space(output, int(1.05 * 4 * n_units * len(conditions)))
    network, preprocess = model.load()
    used = {"device": place, "weights_sha256": weights_sha256(network.state_dict()), "layers": layers}
    with writing(output) as temporary, h5py.File(temporary, "w", rdcc_nbytes=0) as file:  # rows are whole chunks
        _describe(file, model, conditions, {**(made or {}), **used})
        means = _create_layers(file, model, layers, ordered)
        with _exactly(), recording(network.to(place), layers) as seen:
            for rows, pictures in _batches(ordered, preprocess, size, f"activations of {model.label}"):
                network(pictures.to(place))
                for layer, mean in means.items():
                    mean.add(seen.pop(layer).flatten(1).cpu().numpy(), rows)
    log.info(
        "%s: %d images of %d conditions through %d layers on %s, %d at a time, in %.1f s",
        *(model.label, len(ordered), len(conditions), len(layers), place, size, time.perf_counter() - started),
    )


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
            self.dataset[place] = activations[0]
            return
        self.total = self.total + activations.sum(axis=0, dtype=np.float64)
        self.n_summed += len(activations)
        if self.n_summed == self.n_images[place]:
            self.dataset[place] = self.total / self.n_summed
            self.total, self.n_summed = 0.0, 0

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


def _describe(file: h5py.File, model: Model, conditions: list[str], made: Mapping[str, Any]) -> None:
    preprocessing = model.preprocessing()
    made = {**made, "preprocessing": preprocessing}
    file.attrs.update(kind="Activations", format_version=FORMAT_VERSION, provenance=json.dumps(made))
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
        chunks = (1, min(n_units, BLOCK_SIZE))  # a row is written, and a block of features is read, in whole chunks
        dataset = file.create_dataset(f"layers/{i}", (n_conditions, n_units), "float32", chunks=chunks)
        dataset.attrs.update(layer=layer, shape=[int(n) for n in described.loc[layer, "shape"].split("x")])
        means[layer] = _ConditionMeans(dataset, images, f"The output of layer {layer!r} of {model.label}")
    return means


def _batches(
    images: pd.DataFrame, preprocess: "Callable[[Image.Image], torch.Tensor]", size: int, what: str
) -> "Iterator[tuple[slice, torch.Tensor]]":
    """Read and preprocess images; yield the rows and a tensor of shape (n_batch, 3, height, width), one at a time."""
    import torch

    files = list(images["file"])
    with tqdm(total=len(files), desc=what, unit="image", disable=None) as bar:
        for start in range(0, len(files), size):
            rows = slice(start, min(start + size, len(files)))
            yield rows, torch.stack([preprocess(read_image(name)) for name in files[rows]])
            bar.update(rows.stop - rows.start)


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
        rows, vectors = [], []
        for i in range(len(file["layers"])):
            units = file[f"layers/{i}"]
            layer, n_units = str(units.attrs["layer"]), units.shape[1]
            products = cross_products(
                (units[:, start : start + block_size] for start in range(0, n_units, block_size)), measure.origin
            )
            _warn_of_undefined(products, measure, conditions, f"layer {layer!r} of {model}", distance)
            vectors.append(measure.from_products(products))
            rows.append({"model": model, "layer": layer, "n_units": n_units})
    return RDMs(np.stack(vectors), conditions, pd.DataFrame(rows), distance)


def _warn_of_undefined(
    products: CrossProducts, measure: Distance, conditions: Sequence[str], where: str, distance: str
) -> None:
    """Log the conditions whose patterns have no distance even to themselves."""
    squares = np.diagonal(products.gram)[:, None, None] * np.ones((1, 2, 2))  # (n_conditions, 2, 2)
    twins = CrossProducts(squares, np.repeat(products.sums[:, None], 2, axis=1), products.n_features)
    undefined = np.isnan(measure.from_products(twins)[:, 0])
    if undefined.any():
        names = [name for name, bad in zip(conditions, undefined, strict=True) if bad]
        log.warning(
            "The %s distance of %s is undefined for %d conditions, whose patterns do not vary or are zero: %s",
            *(distance, where, len(names), listed(names)),
        )
