"""A small study that was run: files as its jobs write them, with made-up scores, for tests of its pages."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from rsa.core import QUALITY, REFERENCE, TEST, RDMs, ScoreMap, Volume, select
from rsa.files import io
from rsa.files.maps import clusters_path, write_maps
from rsa.inference.clusters import CLUSTER_COLUMNS, cluster_table
from rsa.inference.graph import voxel_graph
from rsa.inference.group import combine, with_ceiling
from rsa.maps import stack
from rsa.meeg.latencies import COURSE_COLUMNS, HIERARCHY_COLUMNS, LATENCY_COLUMNS
from rsa.pipeline.config import load_study
from rsa.rdm import MEEG, REGION_FIT_COLUMNS
from rsa.report.assemble import StudyPages

ODD = 'conv<1> & "b" $é$'
LAYERS = ["features.1", ODD]
TIMES_S = [0.0, 0.1, 0.2]
SPACE = "MNI152NLin2009cAsym"
INFERENCE = {"over": "conditions", "enhance": "none", "alpha": 0.05}
CENTRES_MM = {"features.1": (0.0, -72.0, 0.0), ODD: (36.0, -36.0, -12.0)}
"""Where the layers score highest."""


def volume() -> Volume:
    affine = np.diag([12.0, 12.0, 12.0, 1.0])
    affine[:3, 3] = [-72, -96, -48]
    return Volume(np.ones((13, 15, 11), dtype=bool), affine)


def scores_of(subject: str, rng: np.random.Generator) -> ScoreMap:
    """Scores of two layers, a reference without layers, M/EEG RDMs over time, and reliability."""
    space, rows, values = volume(), [], []
    for layer, centre in CENTRES_MM.items():
        rows.append(("alexnet", layer, np.nan, REFERENCE))
        values.append(0.7 * np.exp(-((space.centres_mm - np.array(centre)) ** 2).sum(axis=1) / 800))
    rows.append(("gist", "", np.nan, REFERENCE))
    values.append(np.zeros(space.n_voxels))
    for time in TIMES_S:
        rows.append((MEEG, "", time, REFERENCE))
        values.append(values[0] * (time == 0.1))
    rows.append(("reliability", "", np.nan, QUALITY))
    values.append(np.full(space.n_voxels, 0.3))
    table = pd.DataFrame(rows, columns=["model", "layer", "time_s", "role"])
    noisy = np.array(values) + rng.normal(0, 0.02, (len(rows), space.n_voxels))
    table = table.assign(subject=subject, statistic="spearman")
    reason = np.zeros(space.n_voxels, dtype=np.int8)
    return ScoreMap(noisy, table, space, n_members=np.full(space.n_voxels, 27), reason=reason)


def write_study(folder: Path, n_subjects: int = 2, **settings: Any) -> StudyPages:
    """Write the files of a study of fMRI, M/EEG and their fusion, and return its pages.

    Parameters
    ----------
    folder : path
        `results/<study>`.
    n_subjects : int
        Of fMRI; a group is written of two or more.
    **settings
        Sections that differ, such as `inference=None`.
    """
    rng, subjects = np.random.default_rng(0), [f"{i + 1:02d}" for i in range(n_subjects)]
    given = {
        "study": "lab",
        "brain": {"kind": "maps", "subjects": subjects, "images": "{subject}.nii", "table": "t.tsv", "space": SPACE},
        "models": [{"architecture": "alexnet", "weights": "untrained"}],
        "references": [{"kind": "table", "name": "gist", "column": "scene"}],
        "searchlight": {},
        "meeg": {"kind": "epochs", "subjects": ["1", "2", "3"], "file": "{subject}_epo.fif"},
        "fusion": True,
        "noise_ceiling": n_subjects > 1,
        "group": ["mean"] if n_subjects > 1 else [],
        "inference": INFERENCE,
        "simulate": {
            "regions": [
                {"name": f"place {i}", "model": "alexnet", "layer": layer, "centres_mm": [centre]}
                for i, (layer, centre) in enumerate(CENTRES_MM.items())
            ],
            "epochs": {"latencies": [{"name": "early", "model": "alexnet", "layer": LAYERS[0], "peak_s": 0.1}]},
        },
        **settings,
    }
    study = load_study({name: value for name, value in given.items() if value is not None})
    made = {"settings": {"distance": "correlation"}, "versions": {}}
    scores = [scores_of(subject, rng) for subject in subjects]
    paths = [folder / "scores" / f"sub-{subject}_scores.h5" for subject in subjects]
    for subject, one, path in zip(subjects, scores, paths, strict=True):
        io.save(path, one, made)
        write_maps(one, folder, subject, SPACE, [], made, path)
    if n_subjects > 1:
        _write_group(folder, scores, tested=study.inference is not None)
    table = pd.DataFrame({"model": ["alexnet", "alexnet", "gist"], "layer": [*LAYERS, ""]})
    io.save(folder / "models" / "model-alexnet_rdms.h5", RDMs(rng.random((3, 15)), list("abcdef"), table), {})
    times = pd.DataFrame({"subject": "1", "time_s": TIMES_S})
    io.save(folder / "meeg" / "sub-1_movie.h5", RDMs(rng.random((3, 15)), list("abcdef"), times), {})
    io.save_json(folder / "study.json", study.model_dump(mode="json"))
    _write_tables(folder, subjects)
    _draw(folder, subjects)
    log = "2026-01-02 10:00:00,000 DEBUG brain with {}\n2026-01-02 10:02:51,000 WARNING 2 of 3 runs <are> short\n"
    for subject in subjects:
        path = folder / "logs" / f"brain_sub-{subject}.log"
        path.parent.mkdir(exist_ok=True)
        path.write_text(log, encoding="utf-8")
    return StudyPages(
        study,
        folder,
        [folder / "models" / "model-alexnet_rdms.h5"],
        scores=paths,
        fits=folder / "regions.tsv",
        movies=[folder / "meeg" / "sub-1_movie.h5"],
        time=folder / "time",
    )


def _write_group(folder: Path, scores: list[ScoreMap], *, tested: bool) -> None:
    group = combine(scores, "mean")
    rows = pd.DataFrame({"model": ["ceilinglower", "ceilingupper"], "layer": "", "statistic": "mean", "role": QUALITY})
    bounds = ScoreMap(np.tile([[0.4], [0.8]], group.values.shape[1]), rows, group.volume)
    group = with_ceiling(group, bounds)
    made = {"settings": {"distance": "correlation"}, "versions": {}}
    if tested:
        made["settings"]["inference"] = INFERENCE
        means = select(select(group, statistic="mean"), role=REFERENCE)
        logp = np.where(means.values > 0.3, -np.log10(0.004), 0.0)
        tests = ScoreMap(logp, means.table.assign(statistic="logp_max_stat", role=TEST), group.volume)
        group = stack([group, tests])
        clusters = cluster_table(group, voxel_graph(group.volume, 26, 1), 0.05)
        io.save_table(clusters_path(folder, SPACE), clusters, CLUSTER_COLUMNS)
    io.save(folder / "scores" / "group_scores.h5", group, made)
    write_maps(group, folder, "", SPACE, [], made, folder / "scores" / "group_scores.h5")


def _write_tables(folder: Path, subjects: list[str]) -> None:
    rows = [(s, region, "alexnet", layer) for s in subjects for region in ("V1", "IT <x>") for layer in LAYERS]
    fits = pd.DataFrame(rows, columns=["subject", "region", "model", "layer"]).assign(
        statistic="spearman", score=np.tile([0.5, 0.2, 0.1, 0.4], len(subjects)), ceiling_lower=0.4, ceiling_upper=0.8
    )
    io.save_table(folder / "regions.tsv", fits, REGION_FIT_COLUMNS)
    latencies = pd.DataFrame({"model": "alexnet", "layer": LAYERS, "peak_s": [0.1, 0.2], "peak_score": [0.5, 0.4]})
    latencies = latencies.assign(peak_lower_s=0.1, peak_upper_s=0.2, peak_p=0.004, onset_s=0.05, onset_lower_s=0.04)
    latencies = latencies.assign(onset_upper_s=0.06, onset_found=1.0, peak_se_s=0.01, onset_se_s=0.01, n_subjects=3)
    io.save_table(folder / "time" / "latencies.tsv", latencies[list(LATENCY_COLUMNS)], LATENCY_COLUMNS)
    courses = pd.DataFrame({name: ["x"] for name in COURSE_COLUMNS})
    io.save_table(folder / "time" / "courses.tsv", courses, COURSE_COLUMNS)
    order = pd.DataFrame({"model": ["alexnet"], "n_layers": 2, "rho": 0.9, "lower": 0.5, "upper": 1.0})
    order = order.assign(se=0.1, n_subjects=3)
    io.save_table(folder / "time" / "hierarchy.tsv", order[list(HIERARCHY_COLUMNS)], HIERARCHY_COLUMNS)


def _draw(folder: Path, subjects: list[str]) -> None:
    """Write pictures of the size of real ones, each with a caption and beside a file of vector graphics."""
    names = ["group/best_layer-1", "group/glass"] if len(subjects) > 1 else []
    names += [f"sub-{subject}/{name}" for subject in subjects for name in ("best_layer-1", "glass", "slices")]
    for name in (*names, "regions/regions", "time/layer_time", "references/rdms", "fusion/film"):
        path = (folder / "figures" / name).with_suffix(".png")
        path.parent.mkdir(parents=True, exist_ok=True)
        about = PngInfo()
        about.add_text("Description", f"Picture {name}, <odd> & “quoted”. What it shows.")
        Image.linear_gradient("L").resize((1500, 1200)).convert("RGB").save(path, dpi=(300, 300), pnginfo=about)
        path.with_suffix(".svg").write_text("<svg/>", encoding="utf-8")


def written(pages: StudyPages) -> dict[str, str]:
    """Write the pages of a study, and return them by name."""
    made = pages.html()
    for at, html in made.items():
        io.save_text(pages.folder / at, html)
    return {Path(at).stem: html for at, html in made.items()}
