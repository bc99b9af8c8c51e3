"""Reference RDMs: of the layers of networks, of files, of a column of the stimulus table, of pixels."""

from pathlib import Path
from typing import Any

from rsa.errors import UserError, did_you_mean
from rsa.files import io
from rsa.inputs.references import Reference
from rsa.inputs.stimuli import Stimuli
from rsa.models import Model, catalogue, extraction
from rsa.models import layer_rdms as rdms_of_layers
from rsa.models.source import Source
from rsa.pipeline.config import DistanceName, load_study, read_yaml
from rsa.pipeline.stages.common import provenance_of

__all__ = ["extract", "layer_rdms", "layers", "model_rdms", "models", "reference"]


def models(pattern: str = "*", /) -> None:
    """List the networks that can be had by name: with the names of their weights, and whether these are here already.

    Parameters
    ----------
    pattern : str
        Part of the name, or a glob, with the source before it or without: resnet, timm:*vit*.
    """
    print(catalogue.listed_models(pattern).to_string(index=False))


def layers(model: str, /, config: Path | None = None) -> None:
    """List the layers of a network, in forward order, with their sizes and what part of a picture they see.

    `field_px` is the side of the theoretical receptive field in pixels (all: the whole picture), `jump_px` how far the
    fields of neighbouring units lie apart.

    Parameters
    ----------
    model : str
        A network of torchvision (alexnet), of another source (timm:resnet50, nets.py:function, net.onnx), or with a
        configuration the label of one of its models.
    config : path
        The configuration that has the model.
    """
    table = catalogue.layers_of(_model_of(config, model) if config else catalogue.by_name(model))
    print("\n".join(filter(None, [catalogue.written(table), catalogue.said_of_parts(table)])))


def _model_of(config: Path, label: str) -> Source:
    """Return the model of a configuration with this label."""
    found: dict[str, Source] = {one.label: one for one in load_study(read_yaml(config), [config]).models}
    if label not in found:
        raise UserError(f"{config} has no model {label!r}.{did_you_mean(label, found)} It has: {', '.join(found)}.")
    return found[label]


def extract(
    model: Model, output: Path, stimuli: Stimuli | None = None, device: str = "auto", batch_size: int | None = None
) -> None:
    """Run the stimuli through a network and save the responses of its layers.

    Parameters
    ----------
    model : Model
        The network, its weights and layers; or ready responses, which need no pictures.
    stimuli : Stimuli
        The pictures; of ready responses they tell the order, if these do not.
    device : str
        auto (CUDA where there is one), cpu, cuda, cuda:1, mps.
    batch_size : int
        Pictures per forward pass; chosen for the device if it is not given.
    """
    model.require_one()
    settings = {"model": model.model_dump(), "stimuli": None if stimuli is None else stimuli.model_dump()}
    with (
        io.writing(output, recorded=False) as temporary,
        provenance_of(_inputs(model, stimuli), **settings) as provenance,
    ):
        provenance["methods"] = told_of(model)
        images = None if stimuli is None else stimuli.load()
        extraction.extract(model, images, temporary, device=device, batch_size=batch_size, provenance=provenance)


def _inputs(model: Model, stimuli: Stimuli | None) -> list[Path]:
    """Return the files that a network and its stimuli are read from: of ready responses no pictures."""
    if stimuli is None or not model.needs_pictures:
        return [*model.files(), *([] if stimuli is None or stimuli.table is None else [Path(stimuli.table)])]
    return [*model.files(), *stimuli.files()]


def layer_rdms(activations: Path, output: Path, distance: DistanceName = "correlation") -> None:
    """Build the RDM of every layer from its activations, block by block of features.

    The provenance of the activations, which are deleted when they are used, is kept in that of the RDMs.

    Parameters
    ----------
    activations : path
        Activations (HDF5).
    distance : str
        How dissimilar two images are.
    """
    with provenance_of([activations], distance=distance) as provenance:
        rdms = rdms_of_layers.layer_rdms(activations, distance)
        provenance["source"] = io.read_provenance(activations)
    io.save(output, rdms, provenance)


def model_rdms(
    model: Model,
    output: Path,
    stimuli: Stimuli | None = None,
    distance: DistanceName = "correlation",
    device: str = "auto",
    batch_size: int | None = None,
    memory_mb: int | None = None,
    cache: Path | None = None,
) -> None:
    """Run the stimuli through a network and build the RDM of every layer, without a file of responses where they fit.

    Beside the RDMs, a small file (JSON) with the ending _cost has the time that a picture takes in the network.

    Parameters
    ----------
    model : Model
        The network, its weights and layers; or ready responses, which need no pictures.
    stimuli : Stimuli
        The pictures; of ready responses they tell the order, if these do not.
    distance : str
        How dissimilar two images are.
    device : str
        auto (CUDA where there is one), cpu, cuda, cuda:1, mps.
    batch_size : int
        Pictures per forward pass; chosen for the device if it is not given.
    cache : path
        Folder of what is kept by its content: layers that are found there are not made again, and a run that was
        interrupted goes on. It may be deleted at any time.
    """
    model.require_one()
    inputs = _inputs(model, stimuli)
    settings = {"model": model.model_dump(), "stimuli": None if stimuli is None else stimuli.model_dump()}
    with provenance_of(inputs, distance=distance) as provenance, provenance_of(inputs, **settings) as source:
        images = None if stimuli is None else stimuli.load()
        how: dict[str, Any] = {"device": device, "batch_size": batch_size, "memory_mb": memory_mb, "cache": cache}
        made = rdms_of_layers.model_rdms(model, images, distance, **how, scratch=output.parent)
        source |= {**made.about, "preprocessing": model.preprocessing(), "methods": told_of(model)}
    io.save(output, made.rdms, {**provenance, "source": source})
    io.save_json(output.with_name(f"{output.stem}_cost.json"), made.cost)


def told_of(model: Model) -> list[str]:
    """Return what the methods text says of a network; the library that runs it knows, and need not be there later."""
    return [*model.methods(), *model.told_of_units()]


def reference(reference: Reference, output: Path, stimuli: Stimuli | None = None) -> None:
    """Make a reference RDM from a file, from a column of the stimulus table, or from the pixels of the pictures.

    Parameters
    ----------
    reference : Reference
        Where it comes from.
    stimuli : Stimuli
        The table or the pictures, where the reference needs them.
    """
    inputs = [*reference.files(), *([] if stimuli is None or stimuli.table is None else [Path(stimuli.table)])]
    pictures = stimuli.files() if stimuli is not None and reference.needs_pictures else []
    with (
        provenance_of(inputs, reference=reference.model_dump()) as provenance,
        provenance_of(pictures, stimuli=None if stimuli is None else stimuli.model_dump()) as source,
    ):
        rdms = reference.build(None if stimuli is None else stimuli.load())
    io.save(output, rdms, provenance | ({"source": source} if pictures else {}))
