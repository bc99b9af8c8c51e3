"""Measure the peak memory of stages at three sizes, beside what was estimated before they ran.

Each stage has a process of its own, on made-up files. The estimate is that by which jobs ask for memory
(`rsa.pipeline.needs`). With `--page`, the table is written into docs/memory.md.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import h5py
import nibabel as nib
import numpy as np
import pandas as pd
from PIL import Image

from rsa.core import Patterns, RDMs, ScoreMap, Volume
from rsa.files import io
from rsa.files.stored import stored_scores
from rsa.inference.group import combine
from rsa.maps import stack
from rsa.models import Torchvision
from rsa.neighbourhood import sphere_offsets
from rsa.pipeline.config import load_study
from rsa.pipeline.extent import Extent
from rsa.pipeline.needs import NEEDS, Need, Runs

MEASURE = """
import sys
from rsa.files.memory import peak_bytes
from rsa.pipeline.cli import main
code = main(sys.argv[1:])
print("peak", code, peak_bytes())
"""

RADIUS_MM, VOXEL_MM = 9.0, 3.0
SPHERES = [f"--searchlight-radius-mm={RADIUS_MM:g}", "--searchlight-min-voxels=5"]
SETTINGS = {"distance": "correlation", "comparison": "spearman", "radius_mm": RADIUS_MM, "stride": 1, "min_voxels": 5}
SIZES = ("small", "medium", "large")


@dataclass(frozen=True)
class Case:
    """A stage on files of some size: its words on the command line, and what is known before it runs."""

    stage: str
    words: list[Any]
    extent: Extent
    what: str
    study: dict[str, Any] = field(default_factory=dict)
    n_threads: int = 1

    @property
    def need(self) -> Need:
        """What was estimated."""
        base = {
            "study": "bench",
            "brain": {"kind": "maps", "subjects": ["01", "02"], "images": "{subject}.nii", "table": "{subject}.tsv"},
            "references": [{"kind": "table", "name": "category", "column": "category"}],
            "searchlight": {"radius_mm": RADIUS_MM},
            "group": ["mean", "t"],
        }
        return NEEDS[self.stage](Runs(self.extent, load_study(base | self.study), self.n_threads))


# ------------------------------------------------------------------------------------------------ files


def volume(n_side: int) -> Volume:
    """Return a cube of voxels with an edge of one voxel that is outside."""
    mask = np.zeros((n_side + 2,) * 3, dtype=bool)
    mask[1:-1, 1:-1, 1:-1] = True
    return Volume(mask, np.diag([VOXEL_MM] * 3 + [1.0]))


def labels(n_conditions: int) -> list[str]:
    return [f"c{number:05d}" for number in range(n_conditions)]


def write_patterns(path: Path, n_conditions: int, n_side: int, n_runs: int = 1, seed: int = 0) -> Path:
    space, rng = volume(n_side), np.random.default_rng(seed)
    values = rng.standard_normal((n_conditions * n_runs, space.n_voxels), dtype=np.float32)
    table = pd.DataFrame({"condition": labels(n_conditions) * n_runs})
    if n_runs > 1:
        table["run"] = np.repeat([str(run) for run in range(n_runs)], n_conditions)
    io.save(path, Patterns(values, table, space), provenance())
    return path


def write_rdms(path: Path, n_rdms: int, n_conditions: int, **columns: Any) -> Path:
    rng = np.random.default_rng(n_rdms)
    table = pd.DataFrame({"model": "net", "layer": [f"l{number}" for number in range(n_rdms)], **columns})
    values = rng.random((n_rdms, n_conditions * (n_conditions - 1) // 2))
    io.save(path, RDMs(values, labels(n_conditions), table, "correlation"), provenance())
    return path


def write_scores(path: Path, n_maps: int, n_side: int, subject: str = "01") -> Path:
    space, rng = volume(n_side), np.random.default_rng(int(subject))
    names = {"subject": subject, "model": "net", "layer": [f"l{number}" for number in range(n_maps)]}
    values = rng.uniform(-0.1, 0.4, (n_maps, space.n_voxels)).astype(np.float32)
    count, reason = np.full(space.n_voxels, 30, np.int32), np.zeros(space.n_voxels, np.int8)
    table = pd.DataFrame(names | {"statistic": "spearman"})
    io.save(path, ScoreMap(values, table, space, n_members=count, reason=reason), provenance())
    return path


def write_activations(path: Path, n_conditions: int, n_layers: int, n_units: int) -> Path:
    rng = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        file.attrs.update(kind="Activations", format_version=io.FORMAT_VERSION, model="net")
        file.attrs["provenance"] = json.dumps(provenance())
        names = np.array(labels(n_conditions), dtype=object)
        file.create_dataset("conditions", data=names, dtype=h5py.string_dtype())
        for number in range(n_layers):
            layer = file.create_dataset(f"layers/{number}", (n_conditions, n_units), "float32")
            layer[:] = rng.random((n_conditions, n_units), dtype=np.float32)
            layer.attrs.update(layer=f"l{number}", shape=[n_units])
    io.add_checksum(path)
    return path


def write_images(folder: Path, n_conditions: int, n_side: int, n_runs: int) -> list[str]:
    """Write 4-D images of a subject with tables and a mask; return the options that read them."""
    space, rng = volume(n_side), np.random.default_rng(0)
    for run in range(n_runs):
        values = rng.standard_normal((*space.shape, n_conditions), dtype=np.float32)
        nib.save(nib.Nifti1Image(values, space.affine), folder / f"run-{run}.nii.gz")
        io.save_table(folder / f"run-{run}.tsv", pd.DataFrame({"condition": labels(n_conditions)}))
    nib.save(nib.Nifti1Image(space.mask.astype(np.uint8), space.affine), folder / "mask.nii.gz")
    runs = ["--brain-runs", *map(str, range(n_runs))]
    files = [f"--brain-images={folder}/run-{{run}}.nii.gz", f"--brain-table={folder}/run-{{run}}.tsv"]
    return ["--brain-kind=maps", "--brain-subjects", "01", *runs, *files, f"--brain-mask={folder}/mask.nii.gz"]


def provenance() -> dict[str, Any]:
    return {"settings": dict(SETTINGS), "versions": {"brain-model-rsa": "0"}, "inputs": {}, "device": "cpu"}


def extent(n_side: int, n_conditions: int, n_references: int = 1, n_subjects: int = 4, **more: Any) -> Extent:
    """Return the sizes as a study of such files has them."""
    steps = sphere_offsets(volume(n_side).affine, RADIUS_MM)
    known: dict[str, Any] = {"n_subjects": n_subjects, "n_conditions": n_conditions, "n_references": n_references}
    known |= {"n_voxels": n_side**3, "n_grid": (n_side + 2) ** 3, "n_planes": n_side + 2, "n_template": n_side**3}
    return Extent(**known | {"n_members": len(steps), "reach": 3} | more)


# ----------------------------------------------------------------------------------------------- stages


def brain(folder: Path, size: int) -> Case:
    n_side, n_conditions, n_runs = [(8, 10, 2), (40, 48, 4), (56, 92, 6)][size]
    words = ["brain", *write_images(folder, n_conditions, n_side, n_runs), "--subject", "01"]
    what = f"{n_side**3:,} voxels, {n_runs} runs of {n_conditions} images"
    return Case("brain", [*words, "--output", folder / "o.h5"], extent(n_side, n_conditions, n_runs=n_runs), what)


def searchlight(folder: Path, size: int) -> Case:
    n_side, n_conditions, n_references, n_threads, stride = [
        (6, 8, 4, 1, 1),
        (50, 92, 8, 2, 3),
        (40, 92, 300, 2, 2),
    ][size]
    known = extent(n_side, n_conditions, n_references, stride=stride)
    words = ["searchlight", "--patterns", write_patterns(folder / "p.h5", n_conditions, n_side)]
    words += ["--references", write_rdms(folder / "r.h5", n_references, n_conditions), "--subject", "01", *SPHERES]
    words += [f"--searchlight-stride={stride}", "--threads", n_threads, "--output", folder / "o.h5"]
    what = f"{n_side**3:,} voxels, {n_conditions} conditions, {n_references} references, {n_threads} threads"
    return Case("searchlight", words, known, what, n_threads=n_threads)


def noise_ceiling(folder: Path, size: int) -> Case:
    n_side, n_conditions, n_subjects, stride = [(6, 8, 4, 1), (30, 48, 8, 3), (45, 92, 6, 4)][size]
    known = extent(n_side, n_conditions, 1, n_subjects, stride=stride)
    files = [write_patterns(folder / f"{one}.h5", n_conditions, n_side, seed=one) for one in range(n_subjects)]
    words = ["noise-ceiling", "--patterns", *files, *SPHERES, f"--searchlight-stride={stride}"]
    what = f"{n_side**3:,} voxels, {n_conditions} conditions, {n_subjects} subjects"
    return Case("noise_ceiling", [*words, "--output", folder / "o.h5"], known, what)


def noise_ceiling_in_slabs(folder: Path, size: int) -> Case:
    """Measure the same with little memory: as the smallest chunk takes."""
    whole = noise_ceiling(folder, size)
    least = round(whole.need.least_mb)
    return replace(whole, words=[*whole.words, "--memory-mb", least], what=f"{whole.what}, in {least} MB")


def region_rdms(folder: Path, size: int) -> Case:
    n_side, n_conditions, n_runs, n_regions = [(8, 10, 2, 4), (40, 48, 4, 20), (50, 150, 4, 60)][size]
    centres = {f"r{one}": [[VOXEL_MM * (2 + one % n_side)] * 3] for one in range(n_regions)}
    words = ["region-rdms", "--patterns", write_patterns(folder / "p.h5", n_conditions, n_side, n_runs)]
    words += [f"--regions-spheres={json.dumps(centres)}", "--subject", "01", "--output", folder / "o.h5"]
    what = f"{n_side**3:,} voxels, {n_runs} runs of {n_conditions} conditions, {n_regions} regions"
    return Case("region_rdms", words, extent(n_side, n_conditions, n_runs=n_runs, n_regions=n_regions), what)


def resample(folder: Path, size: int) -> Case:
    n_side, n_maps = [(8, 4), (40, 60), (50, 120)][size]
    nib.save(nib.Nifti1Image(np.ones((n_side + 2,) * 3, np.uint8), volume(n_side).affine), folder / "t.nii.gz")
    words = ["resample", "--scores", write_scores(folder / "s.h5", n_maps, n_side), "--subject", "01"]
    words += [f"--template-image={folder}/t.nii.gz", "--template-transform=identity", "--template-space=x"]
    what = f"{n_side**3:,} voxels, {n_maps} maps"
    known = extent(n_side, 48, n_maps - 1, n_template=(n_side + 2) ** 3)
    return Case("resample", [*words, "--output", folder / "o.h5"], known, what)


def maps(folder: Path, size: int) -> Case:
    n_side, n_maps = [(6, 20), (30, 200), (50, 100)][size]
    words = ["maps", "--scores", write_scores(folder / "s.h5", n_maps, n_side), "--subject", "01", "--space", "x"]
    what = f"{n_side**3:,} voxels, {n_maps} maps"
    return Case("maps", [*words, "--folder", folder / "out"], extent(n_side, 48, n_maps - 1), what)


def group(folder: Path, size: int) -> Case:
    n_side, n_maps, n_subjects = [(6, 20, 4), (30, 60, 12), (50, 100, 4)][size]
    files = [write_scores(folder / f"{one}.h5", n_maps, n_side, f"{one:02d}") for one in range(n_subjects)]
    words = ["group", "--scores", *files, "--space", "x", "--folder", folder / "out", "--tests", "mean", "t"]
    what = f"{n_side**3:,} voxels, {n_maps} maps, {n_subjects} subjects"
    return Case("group", [*words, "--output", folder / "o.h5"], extent(n_side, 48, n_maps - 1, n_subjects), what)


def flip_subjects(folder: Path, size: int) -> Case:
    n_side, n_maps, n_subjects, n_flips, enhance = [
        (6, 4, 6, 50, "none"),
        (30, 8, 12, 100, "cluster_mass"),
        (30, 60, 8, 60, "none"),
    ][size]
    files = [write_scores(folder / f"{one}.h5", n_maps, n_side, f"{one:02d}") for one in range(n_subjects)]
    inference = {"over": "subjects", "permutations": n_flips, "enhance": enhance}
    words = ["flip-subjects", "--scores", *files, *options("inference", inference), "--output", folder / "o.h5"]
    what = f"{n_side**3:,} voxels, {n_maps} maps, {n_subjects} subjects, {n_flips} flips, {enhance}"
    return Case("flip_subjects", words, extent(n_side, 48, n_maps - 1, n_subjects), what, {"inference": inference})


def permute_conditions(folder: Path, size: int) -> Case:
    n_side, n_conditions, n_references, n_orders, enhance, n_subjects = [
        (6, 8, 4, 50, "none", 1),
        (24, 48, 20, 500, "cluster_mass", 1),
        (30, 48, 4, 100, "cluster_mass", 4),
    ][size]
    files = [write_patterns(folder / f"{one}.h5", n_conditions, n_side, seed=one) for one in range(n_subjects)]
    inference = {"over": "conditions", "permutations": n_orders, "enhance": enhance}
    words = ["permute-conditions", "--patterns", *files, "--subjects", *(f"{one:02d}" for one in range(n_subjects))]
    words += ["--references", write_rdms(folder / "r.h5", n_references, n_conditions), *SPHERES]
    words += ["--searchlight-stride=2", *options("inference", inference), "--output", folder / "o.h5"]
    what = f"{n_side**3:,} voxels, {n_references} references, {n_orders} orders, {enhance}, {n_subjects} subjects"
    known = extent(n_side, n_conditions, n_references, n_subjects, stride=2)
    stage = "permute_group" if n_subjects > 1 else "permute_subject"
    return Case(stage, words, known, what, {"inference": inference})


def layer_rdms(folder: Path, size: int) -> Case:
    n_conditions, n_layers, n_units = [(20, 3, 1000), (1000, 4, 20_000), (2000, 8, 17_000)][size]
    words = ["layer-rdms", "--activations", write_activations(folder / "a.h5", n_conditions, n_layers, n_units)]
    known = Extent(n_conditions=n_conditions, n_layers=n_layers, n_units=n_units, n_all_units=n_units * n_layers)
    what = f"{n_conditions:,} conditions, {n_layers} layers of {n_units:,} units"
    return Case("layer_rdms", [*words, "--output", folder / "o.h5"], known, what)


def model_rdms(folder: Path, size: int) -> Case:
    architecture, n_pictures = [("squeezenet1_1", 8), ("vgg11", 60), ("resnet50", 92)][size]
    known = _network(architecture, n_pictures)[1]
    write_pictures(folder, n_pictures)
    words = ["model-rdms", f"--model-architecture={architecture}", "--model-weights=untrained"]
    words += [f"--stimuli-folder={folder / 'pictures'}", "--output", folder / "o.h5"]
    return Case("model_rdms", words, known, f"{architecture}, all default layers, {n_pictures} pictures")


def units(folder: Path, size: int) -> Case:
    """Look at a unit of each of five layers in one picture, and read categories out of all default layers."""
    architecture, n_pictures = [("squeezenet1_1", 14), ("squeezenet1_1", 300), ("resnet50", 92)][size]
    model, known = _network(architecture, n_pictures)
    pictures = write_pictures(folder, n_pictures)
    pictures.to_csv(folder / "stimuli.tsv", sep="\t", index=False)
    table = pd.DataFrame({"model": model.label, "layer": model.layer_names()})
    values = np.random.default_rng(0).random((len(table), n_pictures * (n_pictures - 1) // 2))
    io.save(folder / "r.h5", RDMs(values, list(pictures["condition"]), table, "correlation"), provenance())
    asked = {"fields": {"n_pictures": 1}, "codes": {"permutations": 20}}
    asked["chosen"] = [{"layers": [layer], "n": 1} for layer in model.layer_names()[:-1:2]]
    words = ["units", f"--model-architecture={architecture}", "--model-weights=untrained"]
    words += [f"--stimuli-table={folder / 'stimuli.tsv'}", "--rdms", folder / "r.h5", "--output", folder / "out"]
    words += [f"--units-{key}={json.dumps(value)}" for key, value in asked.items()]
    what = f"{architecture}, all default layers, {n_pictures} pictures"
    return Case("units", words, known, what, {"units": asked})


def write_pictures(folder: Path, n_pictures: int) -> pd.DataFrame:
    """Write pictures of noise, of two categories by turns; return their table."""
    rng, files = np.random.default_rng(1), [folder / "pictures" / f"{i:03d}.png" for i in range(n_pictures)]
    (folder / "pictures").mkdir()
    for file in files:
        Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).resize((224, 224)).save(file)
    kinds = [f"kind {i % 2}" for i in range(n_pictures)]
    return pd.DataFrame({"condition": [file.stem for file in files], "file": files, "category": kinds})


def _network(architecture: str, n_pictures: int) -> tuple[Torchvision, Extent]:
    """Return a network with random weights, and what a study of it and of so many pictures knows of its size."""
    model = Torchvision(architecture=architecture, weights="untrained")
    layers = list(model.representations().values())
    return model, Extent(
        n_conditions=n_pictures,
        n_images=n_pictures,
        n_layers=len(layers),
        n_outputs=max(math.prod(one.shape) for one in layers),
        n_units=max(one.n_units for one in layers),
        n_all_units=sum(one.n_units for one in layers),
        n_weights=model.n_weight_bytes(),
    )


def group_movie(folder: Path, size: int) -> Case:
    files, known, what = _movies(folder, size)
    return Case("group_movie", ["group-movie", "--movies", *files, "--output", folder / "o.h5"], known, what)


def layer_time(folder: Path, size: int) -> Case:
    files, known, what = _movies(folder, size)
    n_references = [2, 8, 20][size]
    words = ["layer-time", "--movies", *files, "--folder", folder / "out"]
    words += ["--references", write_rdms(folder / "r.h5", n_references, known.n_conditions)]
    return Case("layer_time", words, replace(known, n_references=n_references), f"{what}, {n_references} references")


def _movies(folder: Path, size: int) -> tuple[list[Path], Extent, str]:
    n_conditions, n_times, n_subjects = [(8, 20, 3), (92, 200, 8), (200, 120, 6)][size]
    files = []
    for one in range(n_subjects):
        table = pd.DataFrame({"subject": f"{one:02d}", "time_s": np.arange(n_times) / 100})
        values = np.random.default_rng(one).random((n_times, n_conditions * (n_conditions - 1) // 2))
        files.append(folder / f"m{one}.h5")
        io.save(files[-1], RDMs(values, labels(n_conditions), table, "correlation"), provenance())
    known = Extent(n_conditions=n_conditions, n_times=n_times, n_meeg_subjects=n_subjects)
    return files, known, f"{n_conditions} conditions, {n_times} times, {n_subjects} subjects"


def draw_references(folder: Path, size: int) -> Case:
    n_conditions, n_references = [(8, 2), (92, 12), (600, 12)][size]
    words = ["draw-references", "--references", write_rdms(folder / "r.h5", n_references, n_conditions)]
    what = f"{n_conditions} conditions, {n_references} references"
    return Case("draw_references", [*words, "--folder", folder / "out"], extent(6, n_conditions, n_references), what)


def draw_subject(folder: Path, size: int) -> Case:
    n_side, n_maps = [(8, 3), (40, 8), (60, 12)][size]
    words = ["draw-subject", "--scores", write_scores(folder / "s.h5", n_maps, n_side), "--subject", "01"]
    what = f"{n_side**3:,} voxels, {n_maps} maps"
    known = extent(n_side, 48, n_maps - 1)
    return Case("draw_subject", [*words, "--space", "x", "--folder", folder / "out"], known, what)


def draw_group(folder: Path, size: int) -> Case:
    n_side, n_maps, n_subjects = [(8, 3, 3), (40, 8, 4), (50, 8, 16)][size]
    files = [write_scores(folder / f"{one}.h5", n_maps, n_side, f"{one:02d}") for one in range(n_subjects)]
    together = stack([combine([stored_scores(path) for path in files], test) for test in ("mean", "t")])
    io.save(folder / "g.h5", together, provenance())
    words = ["draw-group", "--scores", *files, "--group", folder / "g.h5", "--space", "x", "--folder", folder / "out"]
    what = f"{n_side**3:,} voxels, {n_maps} maps, {n_subjects} subjects"
    return Case("draw_group", words, extent(n_side, 48, n_maps - 1, n_subjects), what)


def explore(folder: Path, size: int) -> Case:
    n_side, n_conditions, n_maps, n_subjects = [(8, 10, 3, 2), (30, 48, 20, 4), (40, 92, 30, 6)][size]
    subjects = [f"{one:02d}" for one in range(n_subjects)]
    files = [write_scores(folder / f"s{one}.h5", n_maps, n_side, one) for one in subjects]
    patterns = [write_patterns(folder / f"p{one}.h5", n_conditions, n_side, seed=int(one)) for one in subjects]
    given = {
        "study": "bench",
        "brain": {"kind": "maps", "subjects": subjects, "images": "{subject}.nii", "table": "{subject}.tsv"},
        "references": [{"kind": "table", "name": "category", "column": "category"}],
        "searchlight": {"radius_mm": RADIUS_MM},
    }
    io.save_json(folder / "study.json", load_study(given).model_dump(mode="json"))
    words = ["explore", "--study", folder / "study.json", "--scores", *files, "--brain", *patterns]
    words += ["--references", write_rdms(folder / "r.h5", n_maps, n_conditions), "--output", folder / "out/explorer"]
    what = f"{n_side**3:,} voxels, {n_conditions} conditions, {n_maps} maps, {n_subjects} subjects"
    return Case("explore", words, extent(n_side, n_conditions, n_maps - 1, n_subjects), what, {"group": []})


CASES: dict[str, Callable[[Path, int], Case]] = {
    made.__name__: made
    for made in (
        *(brain, searchlight, noise_ceiling, noise_ceiling_in_slabs, region_rdms, resample, maps, group),
        *(flip_subjects, permute_conditions, layer_rdms, model_rdms, units, group_movie, layer_time),
        *(draw_references, draw_subject, draw_group, explore),
    )
}
"""What is measured, each at three sizes."""


def options(prefix: str, settings: dict[str, Any]) -> list[str]:
    return [f"--{prefix}-{name.replace('_', '-')}={value}" for name, value in settings.items()]


# ------------------------------------------------------------------------------------------ measurement


def peak_mb(words: list[Any]) -> float:
    """Run a stage in a process of its own, with linear algebra on one thread; return its peak in MB."""
    limits = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    command = [sys.executable, "-c", MEASURE, *map(str, words)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=os.environ | limits)
    told = [line.split() for line in done.stdout.splitlines() if line.startswith("peak ")]
    if not told or told[-1][1] != "0":
        raise RuntimeError(f"{words[0]} failed: {done.stdout[-500:]}{done.stderr[-2000:]}")
    return int(told[-1][2]) / 1e6


def measured(name: str, size: int) -> dict[str, Any]:
    """Measure one stage at one size, beside the estimate."""
    with tempfile.TemporaryDirectory() as folder:
        case = CASES[name](Path(folder), size)
        found = peak_mb(case.words)
    estimate = case.need.least_mb if "--memory-mb" in case.words else case.need.peak_mb
    return {"stage": name, "what": case.what, "measured_mb": found, "estimate_mb": estimate}


def table(rows: list[dict[str, Any]]) -> str:
    """Write the results as a table for the page."""
    lines = [
        "| stage | of what | measured, MB | estimate, MB | estimate / measured |",
        "| --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        ratio = row["estimate_mb"] / row["measured_mb"]
        numbers = f"{row['measured_mb']:,.0f} | {row['estimate_mb']:,.0f} | {ratio:.2f}"
        lines.append(f"| {row['stage'].replace('_', ' ')} | {row['what']} | {numbers} |")
    return "\n".join(lines)


def main() -> None:
    """Measure what is asked for, print it, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stages", nargs="+", choices=CASES, default=list(CASES), help="by default all")
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES), help="by default all three")
    parser.add_argument("--page", type=Path, help="page with the marks <!-- begin: needs -->")
    chosen = parser.parse_args()
    rows = []
    for name in chosen.stages:
        for size in chosen.sizes:
            rows.append(measured(name, SIZES.index(size)))
            print(table(rows[-1:]).splitlines()[-1], flush=True)
    if chosen.page is not None:
        from page import between_marks

        text = chosen.page.read_text(encoding="utf-8")
        chosen.page.write_text(between_marks(text, "needs", table(rows)), encoding="utf-8")


if __name__ == "__main__":
    main()
