"""Settings of simulated epochs: which layer appears when, and how much is recorded."""

from typing import Literal, Self

import numpy as np
from pydantic import Field, model_validator

from rsa.core import Array
from rsa.errors import listed
from rsa.papers import joined
from rsa.settings import DataPath, Label, Section

__all__ = ["PlantedLatency", "PlantedRegion", "SimulatedEpochs", "Simulation"]


class PlantedLatency(Section):
    """When a simulation shows the patterns of a layer."""

    name: str
    """What the response is called."""
    model: Label
    """Label of the model."""
    layer: str
    """Name of the layer whose RDM the patterns over sensors have."""
    peak_s: float = Field(gt=0)
    """When the response is largest, in s after onset."""
    width_s: float = Field(0.03, gt=0)
    """Standard deviation of its Gaussian time course, in s; it is 0 until onset."""
    strength: float = Field(1.0, gt=0)
    """How large its patterns are at the peak, in units of `signal`."""


class SimulatedEpochs(Section):
    """Make the epochs of the study: electrodes on a head, trials in random order, noise as in EEG."""

    latencies: tuple[PlantedLatency, ...] = ()
    """Which layer is planted when."""
    n_trials: int = Field(8, ge=1)
    """Trials of each condition."""
    n_runs: int = Field(2, ge=1)
    """Runs over which the trials of each condition are spread."""
    n_channels: Literal[16, 32, 64, 128] = 32
    """Number of electrodes: one of the BioSemi layouts."""
    tmin_s: float = Field(-0.1, le=0)
    """Start of the epochs, in s after onset."""
    tmax_s: float = Field(0.5, gt=0)
    """End of the epochs."""
    sampling_hz: int = Field(100, ge=10)
    """Samples per second."""
    signal: float = Field(0.5, ge=0)
    """Standard deviation of the planted patterns at their peak, in units of that of the noise of one trial; 0: nothing
    is there."""

    @model_validator(mode="after")
    def _can_be_drawn(self) -> Self:
        if self.n_runs > self.n_trials:
            raise ValueError(
                f"{self.n_trials} trials of each condition cannot be spread over {self.n_runs} runs: set n_runs to "
                f"{self.n_trials} or less"
            )
        late = [planted.name for planted in self.latencies if planted.peak_s > self.tmax_s]
        if late:
            raise ValueError(
                f"the planted latency {listed(late)} has its peak after the end of the epochs, {self.tmax_s:g} s: "
                "make tmax_s later or peak_s earlier"
            )
        return self

    @property
    def times_s(self) -> Array:
        """The times of the samples, shape (n_times,), in s after onset; onset is one of them."""
        first, last = round(self.tmin_s * self.sampling_hz), round(self.tmax_s * self.sampling_hz)
        return np.arange(first, last + 1) / self.sampling_hz


class PlantedRegion(Section):
    """Where a simulation puts the patterns of a layer."""

    name: str
    """What the region is called."""
    model: Label
    """Label of the model."""
    layer: str
    """Name of the layer whose RDM the patterns have."""
    centres_mm: tuple[tuple[float, float, float], ...] = ()
    """Centres of spheres, in mm."""
    radius_mm: float = Field(14.0, gt=0)
    """Radius of these spheres."""
    atlas_indices: tuple[int, ...] = ()
    """Or: numbers of regions in the `atlas` of the simulation."""

    @model_validator(mode="after")
    def _somewhere(self) -> "PlantedRegion":
        if bool(self.centres_mm) == bool(self.atlas_indices):
            raise ValueError(f"the planted region {self.name!r} needs either `centres_mm` or `atlas_indices`")
        return self


class Simulation(Section):
    """Make stimuli, brain images and epochs of the study, in the files that `stimuli`, `brain` and `meeg` name."""

    seed: int = 0
    """Seed of everything that is random."""
    images_per_category: int = Field(0, ge=0)
    """Draw so many pictures of each of 6 categories; 0: the stimuli are real."""
    mask: DataPath | None = None
    """Mask image that gives the grid; without one, the MNI152 brain at `voxel_size_mm`."""
    voxel_size_mm: int = Field(4, ge=2, le=10)
    """Voxel size of the MNI152 grid."""
    atlas: DataPath | None = None
    """Image of whole numbers on the grid of `mask`."""
    noise_images: DataPath | None = None
    """A BOLD run on the grid of `mask` whose residuals give the noise; without one, it is Gaussian."""
    noise_events: DataPath | None = None
    """BIDS events of that run; their effects are taken out first."""
    noise_condition_column: str = "trial_type"
    """Column of the events that names what was shown; rows without a value (n/a) are rest."""
    noise_fwhm_mm: float = Field(8.0, ge=0)
    """Smoothness of Gaussian noise."""
    signal: float = Field(1.0, ge=0)
    """Standard deviation of the planted patterns, in units of that of the noise of one run; 0: nothing is there."""
    regions: tuple[PlantedRegion, ...] = ()
    """Which layer is planted where."""
    epochs: SimulatedEpochs | None = None
    """Also make the M/EEG epochs of the study, in the files that `meeg` names."""

    def methods(self, *, brain: bool, meeg: bool) -> list[str]:
        """Return sentences for the methods text: that data are simulated, and what was put into them.

        Parameters
        ----------
        brain, meeg : bool
            Of which data of the study: brain images, epochs.
        """
        sentences = []
        if brain:
            noise = f"Gaussian noise smoothed to {self.noise_fwhm_mm:g} mm FWHM"
            noise = noise if self.noise_images is None else "noise made of the residuals of a BOLD run"
            planted_in = joined([f"{one.layer} of {one.model} in {one.name}" for one in self.regions])
            size = f"standard deviation {self.signal:g} of that of the noise"
            planted = f"patterns with the RDMs of layers ({planted_in}; {size})"
            has_signal = self.signal > 0 and bool(self.regions)
            sentences.append(f"Simulated brain images are {f'{planted} in {noise}' if has_signal else noise}.")
        if meeg and self.epochs is not None:
            found = [
                f"{one.layer} of {one.model} at {1000 * one.peak_s:g} ms"
                + f" (strength {one.strength:g})" * (one.strength != 1)
                for one in self.epochs.latencies
            ]
            size = f"at a strength of 1, standard deviation {self.epochs.signal:g} of that of the noise of a trial"
            planted = f"patterns with the RDMs of layers ({joined(found)}; {size}) in noise"
            has_signal = self.epochs.signal > 0 and bool(found)
            sentences.append(f"Simulated M/EEG epochs are {planted if has_signal else 'noise'}.")
        return sentences
