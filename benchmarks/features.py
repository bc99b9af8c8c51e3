"""Measure RDMs of the layers of networks beside the bare forward pass, and one layer RDM beside a bare matrix product.

What is compared is timed in turns, so that whatever else the machine does falls on all of it.
"""

import argparse
import json
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image

from rsa.distances import DISTANCES, cross_products
from rsa.inputs.stimuli import read_image
from rsa.models import Torchvision, layer_rdms

BATCH_SIZE = 8
BLOCK_SIZE = 16_384


def arguments() -> argparse.ArgumentParser:
    """Say which options there are."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    networks = ["alexnet", "resnet50", "mobilenet_v2"]
    add("--networks", nargs="*", default=networks, metavar="NAME", help=f"of torchvision (default: {networks})")
    add("--pictures", type=int, default=92, help="pictures of each network (%(default)s)")
    add("--rounds", type=int, default=5, help="how often each thing is timed; the fastest counts (%(default)s)")
    add("--units", type=int, default=1_000_000, help="units of the layer, 0 for no layer RDM (%(default)s)")
    add("--images", type=int, default=1_000, help="images of the layer RDM (%(default)s)")
    add("--output", type=Path, help="JSON file for the results")
    return parser


def main() -> None:
    """Measure what was asked for, print it and keep it."""
    options = arguments().parse_args()
    results: dict[str, Any] = {"system": system(), "networks": {}}
    with tempfile.TemporaryDirectory() as folder:
        images = draw_pictures(Path(folder), options.pictures)
        for architecture in options.networks:
            results["networks"][architecture] = extraction(architecture, images, Path(folder), options.rounds)
    if options.units:
        results["layer_rdm"] = one_layer(options.images, options.units)
    print(table(results))
    if options.output is not None:
        options.output.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


# ------------------------------------------------------------------------------------------ extraction


def draw_pictures(folder: Path, n_pictures: int) -> pd.DataFrame:
    """Write photograph-like pictures, smooth with some noise, of the size that is usual in ImageNet."""
    rng = np.random.default_rng(1)
    files = [str(folder / f"{i}.jpg") for i in range(n_pictures)]
    for file in files:
        coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)).resize((500, 375), Image.BICUBIC)
        noisy = np.asarray(coarse) + rng.normal(0, 8, (375, 500, 3))
        Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(file, quality=90)
    return pd.DataFrame({"condition": [f"c{i}" for i in range(n_pictures)], "file": files})


class Loaded:
    """A model whose network is in memory already, with the hash of its weights: neither is in the measurement."""

    def __init__(self, model: Torchvision) -> None:
        self.model, self.network = model, model.load()
        self.layers, self.weights = model.representations(), self.network.weights_sha256()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    def load(self) -> Any:
        """Return what the runs take for a network."""
        return self

    def to(self, device: str) -> Any:
        """Return it on the CPU, where it is."""
        return self

    def representations(self) -> Any:
        """Return what of the layers counts."""
        return self.layers

    def weights_sha256(self) -> str:
        """Return the hash of the weights."""
        return self.weights

    @property
    def n_parameters(self) -> int:
        """Number of parameters."""
        return self.network.n_parameters

    @property
    def prepare(self) -> Any:
        """What makes the network's input of a picture."""
        return self.network.prepare

    def answer(self, *batch: Any) -> None:
        """Pass a batch."""
        self.network.answer(*batch)


def extraction(architecture: str, images: pd.DataFrame, folder: Path, n_rounds: int) -> dict[str, Any]:
    """Time a network: milliseconds per picture of the bare pass, of decoding, and of all that makes layer RDMs."""
    model = Loaded(Torchvision(architecture=architecture, weights="untrained"))
    read = [model.prepare(read_image(file)) for file in images["file"]]
    batches = [torch.stack(read[start : start + BATCH_SIZE]) for start in range(0, len(read), BATCH_SIZE)]

    def forward() -> None:
        with torch.inference_mode():
            for batch in batches:
                model.network.module(batch)

    def decode() -> None:
        for file in images["file"]:
            model.prepare(read_image(file))

    def rdms(cache: Path | None) -> None:
        shutil.rmtree(folder / "cache" / "rdms", ignore_errors=True)
        layer_rdms.model_rdms(model, images, "correlation", device="cpu", batch_size=BATCH_SIZE, cache=cache)  # type: ignore[arg-type]

    parts: dict[str, Callable[[], None]] = {
        "forward": forward,
        "decode": decode,
        "rdms": partial(rdms, None),
        "rdms, decoded before": partial(rdms, folder / "cache"),
    }
    seconds = fastest_in_turns(parts, n_rounds)
    per_picture = {name: 1e3 * time / len(images) for name, time in seconds.items()}
    return {
        "ms_per_picture": per_picture,
        "rdms / forward": per_picture["rdms"] / per_picture["forward"],
        "rdms, decoded before / forward": per_picture["rdms, decoded before"] / per_picture["forward"],
        "n_layers": len(model.layers),
        "n_units": sum(one.n_units for one in model.layers.values()),
        "n_pictures": len(images),
    }


def fastest_in_turns(parts: dict[str, Callable[[], None]], n_rounds: int) -> dict[str, float]:
    """Time functions in turns, after a round that warms up; return the fewest seconds of each."""
    seconds: dict[str, list[float]] = {name: [] for name in parts}
    for _ in range(n_rounds + 1):
        for name, part in parts.items():
            started = perf_counter()
            part()
            seconds[name].append(perf_counter() - started)
    return {name: min(times[1:]) for name, times in seconds.items()}


# ------------------------------------------------------------------------------------------- layer RDM


def one_layer(n_images: int, n_units: int) -> dict[str, Any]:
    """Time the correlation RDM of a layer against the bare products of the same blocks; making them is not timed."""
    bare, between = 0.0, 0.0
    gram, sums = np.zeros((n_images, n_images)), np.zeros(n_images)

    def blocks() -> Iterator[np.ndarray]:
        nonlocal bare, between, gram, sums
        rng = np.random.default_rng(1)
        for start in range(0, n_units, BLOCK_SIZE):
            entered = perf_counter()
            block = rng.standard_normal((n_images, min(BLOCK_SIZE, n_units - start)), dtype=np.float32)
            block += rng.standard_normal(block.shape[1], dtype=np.float32)  # images are alike
            np.maximum(block, 0, out=block)
            exact = block.astype(np.float64)
            gram += exact @ exact.T
            sums += exact.sum(axis=1)
            started = perf_counter()
            block @ block.T
            bare += perf_counter() - started
            between += perf_counter() - entered
            yield block

    started = perf_counter()
    measure = DISTANCES["correlation"]
    rdm = measure.from_products(cross_products(blocks(), measure.origin))
    ours = perf_counter() - started - between
    covariance = gram - np.outer(sums, sums) / n_units
    spread = np.sqrt(np.diag(covariance))
    exact = (1 - covariance / np.outer(spread, spread))[np.triu_indices(n_images, 1)]
    return {
        "bare_s": bare,
        "ours_s": ours,
        "ours / bare": ours / bare,
        "largest_error": float(np.abs(rdm - exact).max()),
        "n_images": n_images,
        "n_units": n_units,
    }


# -------------------------------------------------------------------------------------------- telling


def table(results: dict[str, Any]) -> str:
    """Write the results as a table for people."""
    names = ["forward", "decode", "rdms", "rdms, decoded before"]
    ratios = ["rdms / forward", "rdms, decoded before / forward"]
    lines = [f"{'ms per picture':16s}" + "".join(f"{name:>32s}" for name in [*names, *ratios])]
    for architecture, found in results["networks"].items():
        numbers = [*(found["ms_per_picture"][name] for name in names), *(found[name] for name in ratios)]
        lines.append(f"{architecture:16s}" + "".join(f"{number:32.2f}" for number in numbers))
    if rdm := results.get("layer_rdm"):
        lines.append(
            f"layer RDM of {rdm['n_images']:,} images x {rdm['n_units']:,} units: {rdm['ours_s']:.2f} s, bare products "
            f"{rdm['bare_s']:.2f} s, ratio {rdm['ours / bare']:.2f}, largest error {rdm['largest_error']:.1e}"
        )
    return "\n".join(lines)


def system() -> dict[str, Any]:
    """Say what this was measured on."""
    return {
        "machine": platform.machine(),
        "n_cores": os.cpu_count(),
        "n_threads": torch.get_num_threads(),
        "versions": {name: version(name) for name in ("numpy", "torch", "torchvision", "pillow", "h5py")},
        "when": datetime.now(UTC).isoformat(timespec="minutes"),
    }


if __name__ == "__main__":
    sys.exit(main())
