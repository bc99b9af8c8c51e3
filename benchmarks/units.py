"""Measure how long receptive fields and heat maps take: of 64 units of a deep layer in 20 pictures, and of a picture.

Weights are random, as times do not depend on them; pictures are smooth noise. Seconds of the processor, over all its
cores, tell what was done even while a machine is busy with other things.
"""

import argparse
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter, process_time

import numpy as np
import pandas as pd
import torch
from features import draw_pictures

from rsa.models import Torchvision
from rsa.units.choosing import Unit
from rsa.units.fields import receptive
from rsa.units.heat_maps import heat_maps
from rsa.units.settings import Fields, HeatMap, UnitSettings
from rsa.units.watched import Watched


def arguments() -> argparse.ArgumentParser:
    """Say which options there are."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--network", default="squeezenet1_1", help="of torchvision (%(default)s)")
    add("--layer", default="features.12", help="a layer with space (%(default)s)")
    add("--units", type=int, default=64, help="how many of its units (%(default)s)")
    add("--pictures", type=int, default=20, help="how many pictures there are, and are covered for each (%(default)s)")
    add("--patch", type=int, help="side of the occluder, as `units.fields` by default")
    add("--threads", type=int, default=os.cpu_count() or 1, help="of torch (%(default)s)")
    return parser


def main() -> None:
    """Measure both, and print them."""
    options = arguments().parse_args()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        images = draw_pictures(Path(folder), options.pictures)
        watched = Watched.of(Torchvision(architecture=options.network, weights="untrained"), images)
        peaks = watched.peaks([options.layer])
        alive = np.flatnonzero(~peaks[options.layer].is_dead)[: options.units]
        units = [Unit(options.layer, int(unit), "") for unit in alive]
        settings = Fields(n_pictures=options.pictures, patch_px=options.patch)
        timed(f"{len(units)} units x {options.pictures} pictures", lambda: receptive(watched, units, peaks, settings))
        one = Watched.of(watched.model, pd.DataFrame(images.iloc[:1]))
        timed("heat map of a picture", lambda: heat_maps(one, UnitSettings(heat_maps=(HeatMap(),))))


def timed(what: str, do: Callable[[], object]) -> None:
    """Print how long something takes: by the clock, and of the processor."""
    began = perf_counter(), process_time()
    do()
    print(f"{what}: {perf_counter() - began[0]:.1f} s, {process_time() - began[1]:.1f} s of the processor", flush=True)


if __name__ == "__main__":
    main()
