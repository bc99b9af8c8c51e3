"""Reference RDMs: of the layers of networks, of files, of a column of the stimulus table, of pixels."""

from pathlib import Path

from rsa.files import io
from rsa.inputs.references import Reference
from rsa.inputs.stimuli import Stimuli
from rsa.models import MODELS, Model, extraction
from rsa.pipeline.config import DistanceName
from rsa.pipeline.stages.common import provenance_of

__all__ = ["extract", "layer_rdms", "layers", "reference"]


def layers(architecture: str, /) -> None:
    """List the layers of a network, in forward order.

    Parameters
    ----------
    architecture : str
        A model of torchvision, such as alexnet.
    """
    print(MODELS["torchvision"](architecture=architecture).describe().to_string(index=False))


def extract(model: Model, stimuli: Stimuli, output: Path, device: str = "auto", batch_size: int | None = None) -> None:
    """Run the stimuli through a network and save the responses of its layers.

    Parameters
    ----------
    model : Model
        The network, its weights and layers.
    stimuli : Stimuli
        The pictures.
    device : str
        auto (CUDA where there is one), cpu, cuda, cuda:1, mps.
    batch_size : int
        Pictures per forward pass; chosen for the device if it is not given.
    """
    inputs = [*model.files(), *stimuli.files()]
    with (
        io.writing(output, recorded=False) as temporary,
        provenance_of(inputs, model=model.model_dump(), stimuli=stimuli.model_dump()) as provenance,
    ):
        provenance["methods"] = model.methods()  # told by the library that runs it, which the report need not load
        extraction.extract(
            model, stimuli.load(), temporary, device=device, batch_size=batch_size, provenance=provenance
        )


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
        rdms = extraction.layer_rdms(activations, distance)
        provenance["source"] = io.read_provenance(activations)
    io.save(output, rdms, provenance)


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
