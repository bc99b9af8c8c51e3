"""Settings of simulated epochs: which layer appears when, and how much is recorded."""

from typing import Literal, Self

import numpy as np
from pydantic import Field, model_validator

from rsa.core import Array
from rsa.errors import listed
from rsa.settings import Label, Section

__all__ = ["PlantedLatency", "SimulatedEpochs"]


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
