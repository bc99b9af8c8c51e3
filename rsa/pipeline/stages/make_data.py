"""Create the input files of a study: download or simulate them."""

from pathlib import Path

from rsa.datasets import EpochFiles
from rsa.datasets import fetch as downloads
from rsa.datasets.maps import Maps
from rsa.errors import UserError
from rsa.inputs.stimuli import Stimuli
from rsa.pipeline.stages.common import stacked
from rsa.settings import fill
from rsa.simulation.settings import Simulation
from rsa.simulation.write import write_brain, write_epochs, write_stimuli

__all__ = ["fetch", "simulate_brain", "simulate_epochs", "simulate_stimuli"]


def fetch(dataset: str, folder: Path, subjects: list[str]) -> None:
    """Download a public data set and lay it out as BIDS; what is there already stays.

    Parameters
    ----------
    dataset : str
        Its name: haxby.
    folder : path
        Where to: the root of the data set.
    subjects : list of str
        Labels of the subjects.
    """
    downloads.fetch(dataset, folder, subjects)


def simulate_stimuli(simulation: Simulation, stimuli: Stimuli) -> None:
    """Draw the pictures of a simulated study and write them beside the table that `stimuli` names."""
    write_stimuli(simulation, stimuli)


def simulate_brain(simulation: Simulation, brain: Maps, subject: str, rdms: list[Path]) -> None:
    """Write brain images of one subject, in which layers are planted in regions, where `brain` will read them."""
    write_brain(simulation, brain, subject, stacked(rdms))


def simulate_epochs(simulation: Simulation, meeg: EpochFiles, subject: str, rdms: list[Path]) -> None:
    """Write epochs of one subject, in which layers appear one after the other, where `meeg` will read them."""
    if simulation.epochs is None:
        raise UserError("There are no epochs to simulate; set simulate.epochs.")
    stack = stacked(rdms)
    number, path = meeg.subjects.index(subject), fill(meeg.file, subject=subject)
    write_epochs(simulation.epochs, path, stack, seed=simulation.seed, number=number)
