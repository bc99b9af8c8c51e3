"""Pictures in, responses of layers out: in a file, to which they stream while the network computes."""

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pandas as pd

from rsa.files.io import FORMAT_VERSION, add_checksum, require_space, writing
from rsa.models import Model
from rsa.models.own_device import own_device
from rsa.models.passing import PassSettings, ahead, background, exactly
from rsa.models.run import WRITE_SIZE, ConditionMeans, Pictures, Run, run_of
from rsa.progress import progress

if TYPE_CHECKING:
    import torch

__all__ = ["create_file", "extract", "file_bytes", "gather_in_file"]

SECONDS_BETWEEN_NOTES = 10
"""How often a run that gathers responses in a file notes how far it is."""

log = logging.getLogger(__name__)


# ---------------------------------------------------------------------------------- responses in a file


def extract(
    model: Model,
    images: pd.DataFrame | None,
    output: str | Path,
    *,
    device: str = "auto",
    batch_size: int | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> None:
    """Write what each layer of a network answers to each condition, averaged over the condition's images.

    Pictures are read, and responses written, in the background while the network computes. No more is held in memory
    than two batches of all layers and, per layer, the sum for one condition. Neither the batch size nor the order of
    the images changes the result (but for rounding in single precision).

    Parameters
    ----------
    model : Source
        The network and its layers.
    images : DataFrame, optional
        Columns `condition` and `file`, one row per image; of ready responses it tells the order, if they don't.
    output : path
        HDF5 file: `layers/0`, `layers/1`, ... in forward order, each of shape (n_conditions, n_units), float32, with
        attributes `layer` and `shape` (of one response); `conditions` in order of first appearance; attributes
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
        If there are no images, one can't be read, or a response is NaN or infinite.
    """
    if not model.needs_pictures:
        _keep_ready(model, images, output, provenance or {})
        return
    with own_device(device) as place:
        run = run_of(model, pd.DataFrame() if images is None else images, place, batch_size)
        require_space(output, file_bytes(run, list(run.representations)))
        told = {**(provenance or {}), **run.about, "preprocessing": model.preprocessing()}
        run.begin()
        with writing(output, recorded=False) as temporary:
            with h5py.File(temporary, "w") as file:
                create_file(file, run, list(run.representations), told)
                gather_in_file(file, run, 0, lambda n_done: None)
            add_checksum(temporary)


def _keep_ready(model: Model, stimuli: pd.DataFrame | None, output: str | Path, provenance: Mapping[str, Any]) -> None:
    """Write ready responses into a file like those of a network, block by block."""
    ready = model.responses(stimuli)
    run = Run(model, Pictures(pd.DataFrame(), [str(name) for name in ready.conditions]), PassSettings())
    layers = list(run.representations)
    require_space(output, file_bytes(run, layers))
    about = {"weights_sha256": ready.weights_sha256(), "layers": layers, "preprocessing": model.preprocessing()}
    with writing(output, recorded=False) as temporary:
        with h5py.File(temporary, "w") as file:
            create_file(file, run, layers, {**provenance, **about})
            for i, layer in enumerate(layers):
                units = run.representations[layer].of_ready(ready.of(layer))
                for start in range(0, units.shape[1], WRITE_SIZE):
                    columns = slice(start, start + WRITE_SIZE)
                    file[f"layers/{i}"][:, columns] = units[:, columns]
        add_checksum(temporary)


def file_bytes(run: Run, layers: Sequence[str]) -> int:
    """Return how many bytes the responses of layers take in a file."""
    n_units = sum(run.representations[layer].n_units for layer in layers)
    return int(1.05 * 4 * n_units * len(run.pictures.conditions))


def create_file(file: h5py.File, run: Run, layers: Sequence[str], told: Mapping[str, Any]) -> None:
    """Create the datasets of all layers; from then on only numbers are written, each to its place."""
    file.attrs.update(kind="Activations", format_version=FORMAT_VERSION, provenance=json.dumps(told))
    file.attrs.update(model=run.model.label, preprocessing=run.model.preprocessing(), pca=run.model.pca or 0.0)
    names = np.array(run.pictures.conditions, dtype=object)
    file.create_dataset("conditions", data=names, dtype=h5py.string_dtype())
    early = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    early.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    early.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    for i, layer in enumerate(layers):
        one = run.representations[layer]
        whole = one.units == "all" and not one.is_projected
        dataset = file.create_dataset(f"layers/{i}", (len(names), one.n_units), "float32", dcpl=early)
        dataset.attrs.update(layer=layer, shape=one.shape if whole else (one.n_units,))
    file.flush()


def gather_in_file(file: h5py.File, run: Run, n_done: int, note: Callable[[int], None]) -> None:
    """Write the responses to the pictures from one on, at the beginning of a batch; note how many are written.

    Parameters
    ----------
    file : h5py.File
        As `create_file` makes it.
    run : Run
        The network and the pictures.
    n_done : int
        So many pictures have been written, with all others of their conditions.
    note : callable
        Is told now and then how many pictures are written.
    """
    layers = [str(file[f"layers/{i}"].attrs["layer"]) for i in range(len(file["layers"]))]
    size, n_pictures = run.settings.size, len(run.pictures.files)
    start = n_done - n_done % size
    first = int(run.pictures.places[n_done]) if n_done < n_pictures else len(run.pictures.conditions)
    means = {
        layer: ConditionMeans(file[f"layers/{i}"], run.pictures, run.who(layer), first)
        for i, layer in enumerate(layers)
    }
    seen: list[tuple[int, str, Any]] = []

    def written() -> "Iterator[Callable[[], int]]":
        for n in run.passing(layers, lambda *one: seen.append((*one[:2], one[2].clone())), start):
            answers = seen.copy()
            seen.clear()
            yield partial(_write, means, answers, n)

    what = f"activations of {run.model.label}"
    with exactly(), background() as writer, progress(n_pictures, "images", what) as advance:
        advance(start)
        noted, n_written = monotonic(), start
        for n_added in ahead(writer, written(), 1):
            n_written += n_added
            advance(n_added)
            if monotonic() - noted > SECONDS_BETWEEN_NOTES and n_written < n_pictures:
                noted = monotonic()
                writer.submit(file.flush).result()
                note(int(np.searchsorted(run.pictures.places, run.pictures.places[n_written])))


def _write(means: "Mapping[str, ConditionMeans]", answers: "list[tuple[int, str, torch.Tensor]]", n: int) -> int:
    for place, layer, responses in answers:
        means[layer].add(responses, place)
    return n
