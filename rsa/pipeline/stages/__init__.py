"""The stages of the pipeline: each loads, makes one call, and saves.

The command line is derived from their signatures, the Snakemake rules call the command line, and a notebook calls these
functions or the library below them. A stage is imported with its module when it is first asked for, so that a job loads
no more than it needs.
"""

import ast
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

MODULES = {
    "study": ("check", "verify", "recover", "describe"),
    "make_data": ("fetch", "simulate_stimuli", "simulate_brain", "simulate_epochs"),
    "references": ("models", "layers", "extract", "layer_rdms", "model_rdms", "reference"),
    "fmri": ("brain", "searchlight", "noise_ceiling", "resample", "region_rdms", "region_fits", "maps", "group"),
    "inference": ("flip_subjects", "permute_conditions"),
    "looks": ("units",),
    "ranks": ("ranking", "rank"),
    "nets": ("networks", "unit_changes"),
    "meeg": ("movie", "group_movie", "layer_time", "sensor_searchlight", "sensor_group", "sensor_peaks"),
    "reports": (
        "draw_references",
        "draw_subject",
        "draw_group",
        "draw_regions",
        "draw_ranking",
        "draw_units",
        "draw_unit_changes",
        "draw_networks",
        "draw_time",
        "draw_sensors",
        "draw_fusion",
        "figure",
        "report",
    ),
    "explorer": ("explore",),
}
"""The modules of this package, and the stages in each."""

PARAMETERS = {
    "analysis": "What is measured instead of the plain comparison.",
    "brain": "The kind of data and where they are.",
    "comparison": "How similar two RDMs are.",
    "derived": "Maps made of several maps of a model, such as best_layer; by default all that can be made.",
    "distance": "How dissimilar two patterns are.",
    "fits": "Table of region fits (TSV).",
    "folder": "Where the pictures go.",
    "generalisation": "Also compare the RDMs of all times with each other: within or between subjects.",
    "inference": "What is random, and how p values are corrected.",
    "meeg": "The kind of data and where they are.",
    "memory_mb": "Memory that the process may have, in MB; by default most of what is free. It decides how much is "
    "held at a time, and changes no result.",
    "movies": "RDMs over time of each subject (HDF5).",
    "output": "The file that is written (HDF5).",
    "patterns": "Patterns of the subject (HDF5).",
    "rdms": "RDMs of the layers (HDF5).",
    "references": "Reference RDMs (HDF5).",
    "scores": "Scores of each subject (HDF5).",
    "searchlight": "Radius, and smallest number of voxels.",
    "shrinkage": "How the noise covariance of each sphere or region is shrunk, by which its patterns are whitened; "
    "without it, they are not.",
    "space": "BIDS label of the space.",
    "stimuli": "The conditions that are expected; without it, those of the data.",
    "subject": "Label of the subject.",
    "threads": "Number of threads on the CPU; changes no result.",
}
"""What the parameters mean that several stages have; a stage's docstring describes those that it has alone, or
means otherwise."""

__all__ = [stage for stages in MODULES.values() for stage in stages]


def __getattr__(name: str) -> Callable[..., None]:
    for module, stages in MODULES.items():
        if name in stages:
            stage: Callable[..., None] = getattr(import_module(f"{__name__}.{module}"), name)
            return stage
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])


def summaries() -> dict[str, str]:
    """Return what each stage does, in a line; no module of stages is imported for this."""
    found: dict[str, str] = {}
    for module in MODULES:
        source = Path(__file__).with_name(f"{module}.py").read_text(encoding="utf-8")
        functions = (node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef))
        found |= {one.name: (ast.get_docstring(one) or "").split("\n")[0] for one in functions}
    return {stage: found[stage] for stage in __all__}
