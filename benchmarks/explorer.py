"""The brain explorer of a large study: its size, the time to its first picture, and from a click to all charts.

    python benchmarks/explorer.py

Made-up data: 8 layers over 70,000 voxels of MNI152 at 3 mm, of a group and 3 subjects, patterns of 48 or 92 conditions.
Needs Playwright and a Chromium.
"""

import argparse
import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from nilearn.datasets import load_mni152_brain_mask
from scipy.ndimage import gaussian_filter
from screenshots import SWITCHES

from rsa.core import TEST, Patterns, RDMs, ScoreMap, Volume
from rsa.files import io
from rsa.inference.group import combine
from rsa.maps import stack
from rsa.report.explorer import GROUP, Explorer, Maps

SETTINGS = {"radius_mm": 10.0, "min_voxels": 20, "distance": "correlation", "comparison": "spearman"}
SPACE = "MNI152NLin2009cAsym"
CLICKS = [(0.35, 0.4), (0.5, 0.6), (0.62, 0.45), (0.4, 0.65), (0.55, 0.35)]


def make(folder: Path, n_layers: int, n_subjects: int, n_conditions: int, resolution_mm: int) -> Explorer:
    """Write the explorer of a made-up study."""
    image = load_mni152_brain_mask(resolution=resolution_mm)
    volume = Volume(np.asarray(image.dataobj) > 0, image.affine)
    rng = np.random.default_rng(0)
    layers = [f"layer{i}" for i in range(n_layers)]
    subjects, brain = [], {}
    for number in range(1, n_subjects + 1):
        subject = f"{number:02d}"
        smooth = [gaussian_filter(rng.normal(size=volume.shape), 2)[volume.mask] for _ in layers]
        values = np.array(smooth) * 0.8 + rng.normal(0, 0.02, (n_layers, volume.n_voxels))
        table = pd.DataFrame({"subject": subject, "model": "net", "layer": layers, "statistic": "spearman"})
        subjects.append(ScoreMap(values, table, volume, n_members=np.full(volume.n_voxels, 100)))
        conditions = [f"c{i:02d}" for i in range(n_conditions)]
        patterns = Patterns(
            rng.normal(size=(n_conditions, volume.n_voxels)), pd.DataFrame({"condition": conditions}), volume
        )
        brain[subject] = folder / f"sub-{subject}_patterns.h5"
        io.save(brain[subject], patterns)
    means = stack([combine(subjects, "mean"), combine(subjects, "t")])
    logp = ScoreMap(
        np.abs(means.values[:n_layers]) * 20,
        means.table[:n_layers].assign(statistic="logp_max_stat", role=TEST),
        volume,
    )
    maps = [Maps(GROUP, "", stack([means, logp]), {**SETTINGS, "inference": {"alpha": 0.05}})]
    maps += [Maps(f"{i:02d}", "", one, SETTINGS) for i, one in enumerate(subjects, 1)]
    n_pairs = n_conditions * (n_conditions - 1) // 2
    references = RDMs(rng.random((n_layers, n_pairs)), conditions, pd.DataFrame({"model": "net", "layer": layers}))
    explorer = Explorer("benchmark", folder, SPACE, maps, brain=brain, references=references)
    explorer.write(folder / "explorer")
    return explorer


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """Open a page in Chromium."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    with sync_playwright() as running:
        browser = running.chromium.launch(executable_path=chromium, args=SWITCHES)
        browser.new_page().goto("about:blank")  # the browser is started before it is measured
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto(path.resolve().as_uri(), wait_until="commit")
        yield page
        browser.close()


CLICK = """async ([across, down]) => {
  const slice = document.getElementById("slice-2");
  const box = slice.getBoundingClientRect();
  const [clientX, clientY] = [box.left + across * box.width, box.top + down * box.height];
  const at = {clientX, clientY, pointerId: 1, bubbles: true};
  const start = performance.now();
  slice.setPointerCapture = () => undefined;
  slice.dispatchEvent(new PointerEvent("pointerdown", at));
  slice.dispatchEvent(new PointerEvent("pointerup", at));
  while (explorer.voxelFrame || explorer.isStale) await new Promise((done) => setTimeout(done, 0));
  return performance.now() - start;
}"""
"""From a click to slices, charts and RDMs."""

CHANGE = """async (layer) => {
  const start = performance.now();
  explorer.change({layer});
  while (!explorer.settled) await new Promise((done) => setTimeout(done, 0));
  await new Promise((done) => setTimeout(done, 0));
  return performance.now() - start;
}"""


def measure(folder: Path) -> dict[str, float]:
    """Return sizes in MB and times in ms."""
    files = sorted(path for path in (folder / "explorer").iterdir() if path.is_file())
    sizes = {path.name: path.stat().st_size / 1e6 for path in files}
    with opened(folder / "explorer" / "index.html") as page:
        page.wait_for_selector("html[data-ready=all]", timeout=120_000)
        marks = page.evaluate("performance.getEntriesByType('mark').map((mark) => [mark.name, mark.startTime])")
        if page.is_visible("#load-patterns"):
            page.click("#load-patterns")
            page.wait_for_selector("#load-patterns", state="hidden", timeout=60_000)
        clicks = [page.evaluate(CLICK, place) for place in CLICKS]
        layers = [page.evaluate(CHANGE, f"layer{i}") for i in (0, 5, 2)]
        told = page.inner_text("#rdm-text")
    found = {f"{name.replace('-', '_')}_ms": at for name, at in marks}
    found |= {"page_mb": sizes["index.html"], "beside_mb": sum(sizes.values()) - sizes["index.html"]}
    found |= {"n_files": len(files), "click_ms": float(np.median(clicks)), "slowest_click_ms": max(clicks)}
    return found | {"layer_ms": float(np.median(layers)), "has_rdm": float("voxels within" in told)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--resolution-mm", type=int, default=3)
    parser.add_argument("--conditions", type=int, nargs="+", default=[48, 92])
    parser.add_argument("--subjects", type=int, default=3)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--output", type=Path, help="JSON file for the results")
    given = parser.parse_args()
    results = {}
    for n_conditions in given.conditions:
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            explorer = make(Path(folder), given.layers, given.subjects, n_conditions, given.resolution_mm)
            written = time.perf_counter() - start
            found = measure(Path(folder)) | {"n_voxels": explorer.spaces[0].volume.n_voxels, "made_s": written}
        results[f"{n_conditions} conditions"] = found
        print(
            f"{n_conditions} conditions:", ", ".join(f"{key} {value:.4g}" for key, value in found.items()), flush=True
        )
    if given.output:
        given.output.write_text(json.dumps(results, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
