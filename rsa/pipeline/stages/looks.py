"""What the units of a network see: all that the section `units` asks, for one network."""

from pathlib import Path

import pandas as pd

from rsa.core import RDMs, align
from rsa.errors import Problems, UserError, listed
from rsa.files import io
from rsa.inputs.stimuli import Stimuli
from rsa.models import Model
from rsa.models.own_device import own_device
from rsa.pipeline.config import ComparisonName, DistanceName
from rsa.pipeline.stages.common import provenance_of, stacked
from rsa.units.choosing import problems_of_units, without_others
from rsa.units.codes import problems_of_codes, problems_of_layers
from rsa.units.fields import problems_of_fields
from rsa.units.found import remove_found, save_found
from rsa.units.heat_maps import problems_of_heat_maps
from rsa.units.look import Beside, Look, looked_at
from rsa.units.naming import problems_of_classes
from rsa.units.settings import UnitSettings
from rsa.units.watched import Watched

__all__ = ["units"]


def require_units(model: Model, images: pd.DataFrame, settings: UnitSettings) -> None:
    """Raise `Problems` if something is asked that a network, or the stimulus table, does not have."""
    settings = without_others(settings, model, model.describe())
    problems = [
        *problems_of_units(settings, [model], None),
        *problems_of_fields(settings, [model]),
        *problems_of_layers(settings.layers, [model]),
        *(problems_of_codes(settings.codes, images) if settings.codes is not None else ()),
        *problems_of_heat_maps(settings, [model], images),
        *problems_of_classes(settings, [model]),
    ]
    if problems:
        raise Problems("`units`", problems)


def rdms_of_layers(path: Path, watched: Watched, distance: str) -> RDMs:
    """Read the RDMs of the layers of a network, over the conditions of its pictures, in their order.

    Raises
    ------
    UserError
        If they are of another network, another distance or other conditions.
    """
    found, label = io.load_rdms(path), watched.model.label
    if others := sorted({*found.table["model"].astype(str)} - {label}):
        raise UserError(f"{path} has RDMs of {listed(others)}, and not of {label} alone; name those of {label}.")
    if found.distance != distance:
        raise UserError(
            f"The RDMs in {path} are of the distance {found.distance!r}, and {distance!r} is asked for; name that of "
            "the RDMs, or leave them out."
        )
    return align(watched.pictures.conditions, found, "the pictures", str(path))


def units(
    model: Model,
    stimuli: Stimuli,
    output: Path,
    units: UnitSettings | None = None,
    rdms: Path | None = None,
    brain: list[Path] | None = None,
    fits: Path | None = None,
    distance: DistanceName = "correlation",
    comparison: ComparisonName = "spearman",
    device: str = "auto",
    batch_size: int | None = None,
    memory_mb: int | None = None,
) -> None:
    """Look at what the units of a network see: receptive fields, preferred pictures, codes, their part in a fit.

    Parameters
    ----------
    model : Model
        The network, its weights and layers.
    stimuli : Stimuli
        The pictures.
    units : UnitSettings
        Which units are looked at, and what is asked of them.
    output : path
        Folder of the tables (TSV, with a JSON data dictionary each) and of arrays (NPZ).
    rdms : path
        RDMs of its layers (HDF5); those that are needed and not there are made.
    brain : list of path
        RDMs of the regions of each subject (HDF5), with which channels are compared.
    distance : str
        How dissimilar two images are in a layer.
    device : str
        auto (CUDA where there is one), cpu, cuda, cuda:1, mps.
    batch_size : int
        Pictures per forward pass; chosen for the device if it is not given.
    """
    model.require_one()
    settings = units or UnitSettings()
    given = [path for path in (rdms, *(brain or []), fits) if path is not None]
    inputs = [*model.files(), *stimuli.files(), *settings.files(), *given]
    said = {"model": model.model_dump(), "stimuli": stimuli.model_dump(), "units": settings.model_dump()}
    with own_device(device) as place, provenance_of(inputs, **said) as provenance:
        images = stimuli.load()
        require_units(model, images, settings)
        watched = Watched.of(model, images, place, batch_size)
        beside = Beside(
            images,
            rdms=None if rdms is None else rdms_of_layers(rdms, watched, distance),
            regions=stacked(brain) if brain else None,
            fits=None if fits is None else io.load_table(fits),
            distance=distance,
            comparison=comparison,
            memory_mb=memory_mb,
        )
        look = Look(watched, settings, beside)
        look.require()
        remove_found(output)
        for part, found in looked_at(look):
            save_found(output, part, found)
    io.save_json(output / "provenance.json", {**provenance, "weights_sha256": watched.network.weights_sha256()})
