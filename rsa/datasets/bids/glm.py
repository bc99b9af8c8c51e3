"""From the signal of one run to responses to conditions: general linear models of fMRI, on arrays.

Nothing is smoothed, scaled or read from files here. Responses are in the units of the signal.
"""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import Field, field_validator, model_validator
from threadpoolctl import threadpool_limits

from rsa.core import Array
from rsa.errors import UserError, did_you_mean, listed
from rsa.settings import Section

__all__ = [
    "HRFS",
    "METHODS",
    "Glm",
    "RunEstimates",
    "fit_run",
    "problems_of_run",
    "usable_events",
    "warnings_of_durations",
]

logger = logging.getLogger(__name__)

HRFS = {
    name + derivatives: 1 + derivatives.count("+")
    for name in ("spm", "glover")
    for derivatives in ("", " + derivative", " + derivative + dispersion")
}
"""Haemodynamic responses by nilearn's names, with the number of regressors that a condition gets."""

RISE_S, RESPONSE_S = 2.0, 32.0
"""Seconds after onset at which a response has reached a fifth of its peak, and after which nothing is left of it."""

MIN_SHOWN = 0.2
"""A response of which the kept volumes show less than this part of its peak is left out, not blown up to its size."""

SAME_TIME = 1e-3
"""Times that differ by less than this part of a TR are the same: headers store the TR with few digits."""

SINGULAR = 1e-6
"""Regressors of length 1, of which less than this is left when others are taken out, are made of those others."""

MAX_LATE = 0.1
"""One event may start after the last volume, or this part of them; of more, the run or its TR is another."""

UNEVEN = 5.0
"""Durations that make betas this many times larger than others do are worth a warning."""

INFLATED = 5.0
"""Other regressors that make the standard error of a response this many times larger are worth a warning."""

BLOCK = 16384
"""Voxels that are fitted at once; bounds the memory, changes nothing else."""


# -------------------------------------------------------------------------------------------- settings

ESTIMATES = {
    "conditions": "by a general linear model of each run with one regressor per condition",
    "trials": "by a general linear model for each trial (least squares separate; Mumford et al., 2012)",
    "fir": "by a finite impulse response model of each run, one regressor per condition and delay",
    "volumes": "as the signal itself after each onset (confounds and drift taken out, linear interpolation between "
    "volumes), averaged over presentations",
}
"""What the methods text says of each method."""


class Glm(Section):
    """How responses to conditions are estimated from the signal of a run.

    Raises
    ------
    ValidationError
        If the haemodynamic response is unknown, or method, delays and patterns do not belong together.
    """

    method: Literal["conditions", "trials", "fir", "volumes"] = "conditions"
    """One regressor per condition (conditions), one model per trial (trials), one regressor per condition and delay
    (fir), or the signal itself at each delay after onset (volumes)."""
    patterns: Literal["beta", "t"] = "beta"
    """What a pattern holds: betas in the units of the signal, or t values (a beta divided by its standard error)."""
    hrf: str = "spm"
    """Haemodynamic response: spm or glover, also with ' + derivative' or ' + derivative + dispersion'; patterns hold
    the response itself, not its derivatives."""
    duration_s: float | None = Field(None, ge=0, allow_inf_nan=False)
    """Duration that all events are given, s; by default each has that of the events file. Of 0 s they are impulses,
    whose betas are many times larger than those of events that last, so it is 0 for all or for none."""
    drift: Literal["cosine", "polynomial", "none"] = "cosine"
    """Model of slow drifts, beside the constant that is always there."""
    high_pass_hz: float = Field(0.01, ge=0, allow_inf_nan=False)
    """Cosine drifts up to this frequency are taken out."""
    drift_order: int = Field(1, ge=1)
    """Highest order of polynomial drifts."""
    noise_model: Literal["ar1", "ols"] = "ar1"
    """Noise that depends on the volume before it, by a coefficient that is estimated for each voxel (ar1), or
    independent noise (ols). The method volumes fits no response and needs neither."""
    delays_s: tuple[float, ...] = ()
    """Delays after onset, for fir and volumes. With fir they are whole multiples of the TR, and a delay stands for the
    volumes from then on until one TR later; with volumes the signal is interpolated between volumes."""
    slice_time_ref: float = Field(0.5, ge=0, le=1)
    """When in the TR a volume was taken: 0.5 is its middle, to which fMRIPrep corrects slice times."""

    @field_validator("hrf")
    @classmethod
    def _known_hrf(cls, name: str) -> str:
        if name not in HRFS:
            raise ValueError(f"unknown hrf {name!r}.{did_you_mean(name, HRFS)} Choose one of: {', '.join(HRFS)}")
        return name

    @field_validator("delays_s")
    @classmethod
    def _ascending(cls, delays_s: tuple[float, ...]) -> tuple[float, ...]:
        if not np.isfinite(delays_s).all() or (np.diff(delays_s) <= 0).any():
            raise ValueError(f"delays_s are numbers of seconds in ascending order, each once, not {list(delays_s)}")
        return delays_s

    @model_validator(mode="after")
    def _belong_together(self) -> Self:
        delayed = self.method in ("fir", "volumes")
        if delayed and not self.delays_s:
            raise ValueError(f"method {self.method!r} measures at delays after onset: give delays_s, such as [0, 2, 4]")
        if self.delays_s and not delayed:
            raise ValueError(
                f"delays_s are for the methods 'fir' and 'volumes', not for {self.method!r}: "
                "leave them out or change the method"
            )
        if self.method == "volumes" and self.patterns == "t":
            raise ValueError("method 'volumes' fits no response that could have t values: set patterns to 'beta'")
        if self.duration_s is not None and delayed:
            raise ValueError(f"durations play no part in method {self.method!r}: leave duration_s out")
        if self.method == "trials" and HRFS[self.hrf] > 1:
            raise ValueError(f"method 'trials' takes an hrf without derivatives, not {self.hrf!r}")
        return self

    def about(self) -> str:
        """Say for the methods text how responses are estimated: "by a general linear model of ..."."""
        words = [ESTIMATES[self.method]]
        if self.method in ("conditions", "trials"):
            words.append(f"convolved with the haemodynamic response function '{self.hrf}'")
        drifts = {
            "cosine": f"with cosine drifts (high-pass {self.high_pass_hz:g} Hz)",
            "polynomial": f"with polynomial drifts of order {self.drift_order}",
        }
        words.append(drifts.get(self.drift, ""))
        if self.method != "volumes":
            is_ar1 = self.noise_model == "ar1"
            words.append("with first-order autoregressive noise" if is_ar1 else "by ordinary least squares")
        text = ", ".join(filter(None, words))
        if self.method != "volumes":
            text += f"; patterns are {'t values' if self.patterns == 't' else 'regression coefficients'}"
        return text + ", averaged per condition and run" * (self.method == "trials")


@dataclass(frozen=True, eq=False)
class RunEstimates:
    """Responses to the conditions of one run.

    Parameters
    ----------
    values : array, shape (n_rows, n_voxels)
        Betas or t values in float32; betas are in the units of the signal. NaN in voxels that are constant or not
        finite in a kept volume.
    table : DataFrame, n_rows rows
        `condition` and, for the methods fir and volumes, `delay_s`.
    residuals : array, shape (n_kept_scans, n_voxels), or None
        What the model leaves of the signal, in float32; NaN in the same voxels. With AR(1) noise it is whitened in
        time, as the signal was to estimate betas, and its variance multiplied in each voxel by what autocorrelation
        does to the variance of betas (mean over rows): the covariance of residuals over voxels then is, but for
        one factor, that of the noise of betas. For t values it is divided by its standard deviation instead.
    degrees_of_freedom : float
        Of the residuals: number of kept volumes less the rank of the design.
    """

    values: Array
    table: pd.DataFrame
    residuals: Array | None
    degrees_of_freedom: float


# ----------------------------------------------------------------------------------------------- a run


_Fit = Callable[[Array], tuple[Array, Array]]
"""From a signal (n_kept, n_voxels) to estimates (n_rows, n_voxels) and residuals (n_kept, n_voxels)."""


@dataclass(frozen=True, eq=False)
class _Run:
    """What the regressors of a run are made of."""

    events: pd.DataFrame  # onset, duration, condition
    times_s: Array  # (n_scans,)
    tr_s: float
    kept: Array  # (n_scans,) of bool
    nuisance: Array  # (n_kept, n_nuisance), orthonormal
    settings: Glm

    @cached_property
    def conditions(self) -> list[str]:
        """The conditions in order of first appearance."""
        return list(dict.fromkeys(self.events["condition"]))

    @cached_property
    def owned(self) -> Array:
        """Which event belongs to which condition: ones and zeros, shape (n_events, n_conditions)."""
        return np.asarray(self.events["condition"].to_numpy()[:, None] == np.array(self.conditions), dtype=float)

    @cached_property
    def rows(self) -> pd.DataFrame:
        """What there is to estimate: the conditions and, if there are delays, within each the delays."""
        delays_s = self.settings.delays_s
        table = pd.DataFrame({"condition": np.repeat(self.conditions, len(delays_s) or 1)})
        return table.assign(delay_s=np.tile(delays_s, len(self.conditions))) if delays_s else table


@dataclass(frozen=True, eq=False)
class _Model:
    """The rows that a run shows, and how they are estimated."""

    table: pd.DataFrame
    fit: _Fit
    degrees_of_freedom: int


def fit_run(
    bold: npt.ArrayLike,
    events: pd.DataFrame,
    *,
    tr_s: float,
    settings: Glm,
    confounds: pd.DataFrame | None = None,
    kept: npt.ArrayLike | None = None,
    residuals: bool = False,
) -> RunEstimates:
    """Estimate the responses to the conditions of one run.

    * ``conditions``: least squares with one regressor per condition (and its derivatives, if the hrf has them).
    * ``trials``: least squares separate [1]_: a trial's beta comes from a model of this trial, the other trials of its
      condition, and each other condition; betas of the trials of a condition are averaged. The autocorrelation of the
      noise is that of the model with one regressor per condition.
    * ``fir``: one regressor per condition and delay d, which is 1 in volumes taken from d until one TR later [2]_;
      durations play no part.
    * ``volumes``: the signal without confounds, drift and mean, interpolated linearly between volumes at each delay
      after onset, averaged over the presentations of a condition. Where the volume on one side is scrubbed or outside
      of the run, the other is taken if it is at most half a TR away; else this presentation is left out.

    A condition (at a delay) of which the kept volumes show nothing, or less than a fifth of the peak of its response,
    is left out of the table, with a warning in the log; a trial like that counts for nothing. Of the events, those
    that `usable_events` cannot use are left out, with a warning as well.

    Parameters
    ----------
    bold : array, shape (n_scans, n_voxels)
        The signal of one run.
    events : DataFrame
        `onset` and `duration` in seconds from the start of the run, and `condition`. All rows are modelled; what is in
        no row is baseline.
    tr_s : float
        Time from one volume to the next.
    settings : Glm
        Method, haemodynamic response, drift and noise.
    confounds : DataFrame, n_scans rows, optional
        Regressors of no interest.
    kept : array of bool, shape (n_scans,), optional
        False for scrubbed volumes, which are left out of the fit. By default all volumes are kept.
    residuals : bool
        Whether to keep residuals. For ``trials`` and ``volumes`` they are those of the model with one regressor per
        condition; for ``volumes`` they are not whitened, as the patterns are not.

    Returns
    -------
    RunEstimates
        One row per condition (and delay).

    Raises
    ------
    UserError
        If sizes disagree, confounds have gaps, `problems_of_run` finds any, no residual degree of freedom is left, or
        regressors cannot be told apart.

    References
    ----------
    .. [1] Mumford JA, Turner BO, Ashby FG, Poldrack RA (2012). Deconvolving BOLD activation in event-related designs
       for multivoxel pattern classification analyses. NeuroImage 59:2636-2643.
    .. [2] Dale AM (1999). Optimal experimental design for event-related fMRI. Hum Brain Mapp 8:109-114.
    """
    signal = np.asarray(bold)
    if signal.ndim != 2:
        raise UserError(f"The signal of a run has shape (n_scans, n_voxels), not {signal.shape}.")
    scans_kept = np.ones(len(signal), dtype=bool) if kept is None else np.asarray(kept, dtype=bool)
    _require_sizes(len(signal), confounds, scans_kept)
    problems = problems_of_run(len(signal), events, tr_s=tr_s, settings=settings)
    if problems:
        raise UserError(" ".join(problems))
    events, left_out = usable_events(len(signal), events, tr_s=tr_s, settings=settings)
    for text in left_out:
        logger.warning("%s", text)
    model = METHODS[settings.method](_run(len(signal), events, tr_s, settings, confounds, scans_kept))
    if residuals:
        _require_freedom(int(np.count_nonzero(scans_kept)), model.degrees_of_freedom)
    values, left = _in_blocks(signal, scans_kept, model, residuals)
    return RunEstimates(values, model.table, left, float(model.degrees_of_freedom))


def _require_sizes(n_scans: int, confounds: pd.DataFrame | None, kept: Array) -> None:
    """Raise a `UserError` unless confounds and scrubbing fit the volumes."""
    if kept.shape != (n_scans,):
        raise UserError(f"`kept` says yes or no of {n_scans} volumes; it has shape {kept.shape}.")
    if confounds is None:
        return
    if len(confounds) != n_scans:
        raise UserError(f"{n_scans} volumes need as many rows of confounds, not {len(confounds)}.")
    gaps = [str(name) for name in confounds if not np.isfinite(confounds[name].to_numpy(dtype=float)[kept]).all()]
    if gaps:
        raise UserError(f"Confounds {listed(gaps)} have gaps (n/a) in volumes that are kept; fill or scrub them.")


def _require_freedom(n_kept: int, degrees_of_freedom: int) -> None:
    """Raise a `UserError` unless more volumes are kept than parameters are fitted."""
    if degrees_of_freedom < 1:
        raise UserError(
            f"{n_kept} volumes are kept, too few for the {n_kept - degrees_of_freedom} parameters of the model; "
            "take fewer confounds, conditions or delays, or scrub less."
        )


def _run(
    n_scans: int, events: pd.DataFrame, tr_s: float, settings: Glm, confounds: pd.DataFrame | None, kept: Array
) -> _Run:
    """Put together what the regressors of a run are made of."""
    times_s = _times_s(n_scans, tr_s, settings)
    columns = _drifts(times_s, settings)[kept]
    if confounds is not None:
        values = confounds.to_numpy(dtype=float)[kept]
        columns = np.hstack([columns, values - values.mean(axis=0)])
    return _Run(_tidy(events, settings), times_s, tr_s, kept, _orthonormal(columns), settings)


def _tidy(events: pd.DataFrame, settings: Glm) -> pd.DataFrame:
    """Return the three columns that count, as numbers and text; what is no number is NaN."""
    numbers = {name: pd.to_numeric(events[name], errors="coerce").to_numpy(float) for name in ("onset", "duration")}
    tidy = pd.DataFrame(numbers).assign(condition=events["condition"].astype(str).to_numpy())
    if settings.duration_s is not None:
        return tidy.assign(duration=settings.duration_s)
    return tidy.fillna({"duration": 0.0}) if settings.delays_s else tidy  # where durations play no part


# ---------------------------------------------------------------------------------------------- models


def _conditions(run: _Run) -> _Model:
    """Least squares with one regressor per condition, beside its derivatives."""
    responses = _responses(run)  # (n_bases, n_scans, n_conditions)
    seen = _seen(responses[0], run.kept)
    regressors = np.hstack(list(responses[:, run.kept][..., seen]))  # (n_kept, n_bases * n_seen), no derivatives first
    return _least_squares(run, regressors, seen, _of_first)


def _trials(run: _Run) -> _Model:
    """Least squares separate: each trial beside the others of its condition and each other condition."""
    trials = np.hstack([_response(run, [i]) for i in range(len(run.events))])  # (n_scans, n_trials)
    told = _seen(trials, run.kept) & _in_time(run.events, run.times_s).to_numpy()
    trials, owned = trials[run.kept][:, told], run.owned[told]
    seen = np.any(owned, axis=0)
    owned = owned[:, seen]
    _require_separable(trials, owned, run.nuisance, run.rows[seen])
    return _least_squares(run, trials @ owned, seen, partial(_of_trials, trials=trials, owned=owned))


def _fir(run: _Run) -> _Model:
    """Least squares with one regressor per condition and delay."""
    regressors = _bins(run).T[run.kept]  # (n_kept, n_rows)
    seen = np.any(regressors, axis=0)
    return _least_squares(run, regressors[:, seen], seen, _of_first)


def _volumes(run: _Run) -> _Model:
    """Take the signal itself at each delay after onset, and residuals from least squares with all conditions."""
    weights = _samples(run)  # (n_rows, n_scans)
    seen = np.any(weights, axis=1)
    _require_seen(seen)
    responses = np.hstack(list(_responses(run)[:, run.kept]))
    explained = _orthonormal(np.hstack([responses, run.nuisance]))  # (n_kept, rank)
    fit = partial(_sampled, weights=weights[seen][:, run.kept], nuisance=run.nuisance, explained=explained)
    return _model(run, seen, fit, len(explained) - explained.shape[1])


METHODS: dict[str, Callable[[_Run], _Model]] = {
    "conditions": _conditions,
    "trials": _trials,
    "fir": _fir,
    "volumes": _volumes,
}
"""Ways to estimate responses, by the name that `method` gives."""


def _least_squares(run: _Run, regressors: Array, seen: Array, estimate: Callable[..., Array]) -> _Model:
    """Fit regressors, of which the first are those of the rows that are seen, beside the nuisance."""
    _require_seen(seen)
    design = np.hstack([regressors, run.nuisance])  # (n_kept, n_columns)
    n_kept, n_columns = design.shape
    one_more = run.settings.method == "trials"  # the model of a trial has one more regressor
    _require_freedom(n_kept, n_kept - n_columns - one_more)
    _check_estimable(regressors, run.nuisance, run.rows[seen])
    n_rows = int(np.count_nonzero(seen))
    estimated = partial(estimate, n_rows=n_rows, patterns=run.settings.patterns)
    fit = partial(_fitted, design=design, n_rows=n_rows, settings=run.settings, estimate=estimated)
    return _model(run, seen, fit, n_kept - n_columns)


def _require_seen(seen: Array) -> None:
    """Raise a `UserError` if there is nothing to estimate."""
    if not seen.any():
        raise UserError("No volume that is kept shows a response to any condition; scrub less, or leave the run out.")


def _model(run: _Run, seen: Array, fit: _Fit, degrees_of_freedom: int) -> _Model:
    """Return the model of the rows that are seen, and log which are not."""
    if not seen.all():
        logger.warning(
            f"{np.count_nonzero(~seen)} of {len(seen)} responses are left out, because too little of them is in the "
            f"volumes that are kept: {listed(_names(run.rows[~seen]))}"
        )
    return _Model(run.rows[seen].reset_index(drop=True), fit, degrees_of_freedom)


def _names(rows: pd.DataFrame) -> list[str]:
    """Return what conditions, or conditions at delays, are called in messages."""
    if "delay_s" not in rows:
        return list(rows["condition"])
    return [f"{name} at {delay_s:g} s" for name, delay_s in zip(rows["condition"], rows["delay_s"], strict=True)]


# ------------------------------------------------------------------------------------------ regressors


def _times_s(n_scans: int, tr_s: float, settings: Glm) -> Array:
    """Return when each volume was taken, in s from the start of the run, shape (n_scans,)."""
    return (np.arange(n_scans) + settings.slice_time_ref) * tr_s


def _drifts(times_s: Array, settings: Glm) -> Array:
    """Return slow drifts and the constant, shape (n_scans, n_drifts)."""
    from nilearn.glm.first_level import make_first_level_design_matrix

    drifts = make_first_level_design_matrix(
        times_s,
        drift_model=None if settings.drift == "none" else settings.drift,
        high_pass=settings.high_pass_hz,
        drift_order=settings.drift_order,
    )
    return np.asarray(drifts)


def _response(run: _Run, which: npt.ArrayLike) -> Array:
    """Return the response to the events at these places, and its derivatives: shape (n_scans, n_bases)."""
    from nilearn.glm.first_level import compute_regressor

    events = run.events.iloc[np.asarray(which)]
    paradigm = (events["onset"].to_numpy(), events["duration"].to_numpy(), np.ones(len(events)))
    since_s = min(-24.0, run.events["onset"].min() - run.times_s[0] - run.tr_s)  # nilearn drops what began before
    regressors, _ = compute_regressor(paradigm, run.settings.hrf, run.times_s, min_onset=since_s)
    return np.asarray(regressors)


def _responses(run: _Run) -> Array:
    """Return the responses to the conditions and their derivatives, shape (n_bases, n_scans, n_conditions)."""
    return np.stack([_response(run, np.flatnonzero(column)).T for column in run.owned.T], axis=-1)


def _in_time(events: pd.DataFrame, times_s: Array) -> pd.Series:
    """Say of which events the volumes show a response that is worth estimating."""
    over_s = events["onset"] + events["duration"] + RESPONSE_S
    return (events["onset"] + RISE_S <= times_s[-1]) & (over_s >= times_s[0])


def _seen(responses: Array, kept: Array) -> Array:
    """Say of which responses, (n_scans, n), the kept volumes show enough to estimate their size."""
    if not kept.any():
        return np.zeros(responses.shape[1], dtype=bool)
    peaks = np.abs(responses).max(axis=0)
    enough: Array = (peaks > 0) & (np.abs(responses[kept]).max(axis=0) >= MIN_SHOWN * peaks)
    return enough


def _bins(run: _Run) -> Array:
    """Count the events whose onset lies a delay, and less than a TR more, before each volume: (n_rows, n_scans)."""
    lags = (run.times_s - run.events["onset"].to_numpy()[:, None]) / run.tr_s  # (n_events, n_scans)
    whole_lags = np.floor(lags + SAME_TIME)
    delays = np.round(np.array(run.settings.delays_s) / run.tr_s)
    return _over_events(run, (whole_lags[:, None] == delays[:, None]).astype(float))


def _samples(run: _Run) -> Array:
    """Return the weights that interpolate and average the signal, (n_rows, n_scans); 0 where no volume is near."""
    targets_s = run.events["onset"].to_numpy()[:, None] + np.array(run.settings.delays_s)  # (n_events, n_delays)
    distances = np.abs(run.times_s - targets_s[..., None]) / run.tr_s  # (n_events, n_delays, n_scans)
    weights = np.clip(1 - distances, 0, None) * run.kept
    near = weights.sum(axis=-1, keepdims=True)  # 1 between two kept volumes
    weights = np.where(near >= 0.5 - SAME_TIME, weights / np.where(near > 0, near, 1), 0)
    summed = _over_events(run, weights)
    n_presentations = summed.sum(axis=1, keepdims=True)
    return summed / np.where(n_presentations > 0, n_presentations, 1)


def _over_events(run: _Run, of_events: Array) -> Array:
    """Sum (n_events, n_delays, n_scans) over the events of each condition: (n_rows, n_scans)."""
    return np.asarray(np.tensordot(run.owned.T, of_events, axes=1).reshape(len(run.rows), -1))


def _orthonormal(columns: Array) -> Array:
    """Return an orthonormal basis of what columns span, (n, rank); columns of any size count the same."""
    lengths = np.linalg.norm(columns, axis=0)
    columns = columns[:, lengths > 0] / lengths[lengths > 0]
    basis, sizes, _ = np.linalg.svd(columns, full_matrices=False)
    return np.asarray(basis[:, sizes > SINGULAR])


def _check_estimable(regressors: Array, nuisance: Array, rows: pd.DataFrame) -> None:
    """Raise a `UserError` if a response is a sum of others and of the nuisance; log a warning if it nearly is."""
    scaled = regressors / np.linalg.norm(regressors, axis=0)
    rest = scaled - nuisance @ (nuisance.T @ scaled)
    _, sizes, directions = np.linalg.svd(rest, full_matrices=False)
    if (sizes <= SINGULAR).any():
        told = (directions[sizes > SINGULAR] ** 2).sum(axis=0)[: len(rows)]  # 1 where other regressors leave it alone
        names = _names(rows[told < 1 - SINGULAR]) or ["the derivatives of the response"]
        raise UserError(
            f"The design of the run cannot tell apart the responses to {listed(names)}: their regressors are sums of "
            "each other, of confounds and of drifts. Give events that always come together one condition, or take "
            "fewer confounds or delays."
        )
    errors = np.linalg.norm(directions / sizes[:, None], axis=0)[: len(rows)]  # 1 if nothing else is in the design
    if errors.max() > INFLATED:
        n_inflated, worst = np.count_nonzero(errors > INFLATED), _names(rows.iloc[[int(errors.argmax())]])
        logger.warning(
            f"drifts, confounds and overlapping responses make the standard errors of {n_inflated} of {len(errors)} "
            f"responses more than {INFLATED:g} times larger (up to {errors.max():.0f} times, {listed(worst)}): these "
            "patterns are mostly noise; take a lower high_pass_hz (drift none if the signal is filtered already), "
            "fewer confounds, or method volumes"
        )


def _require_separable(trials: Array, owned: Array, nuisance: Array, rows: pd.DataFrame) -> None:
    """Raise a `UserError` if a trial is a sum of the conditions, without being the only one of its own."""
    explained = _orthonormal(np.hstack([trials @ owned, nuisance]))
    rest = trials - explained @ (explained.T @ trials)
    hidden = np.linalg.norm(rest, axis=0) <= SINGULAR * np.linalg.norm(trials, axis=0)
    hidden &= owned @ owned.sum(axis=0) > 1
    if hidden.any():
        names = _names(rows[owned[hidden].any(axis=0)])
        raise UserError(
            f"The design of the run cannot tell apart the trials of {listed(names)}: some start at the same time. "
            "Correct the events, or use method 'conditions'."
        )


# ---------------------------------------------------------------------------------------------- fitting


def _in_blocks(signal: Array, kept: Array, model: _Model, residuals: bool) -> tuple[Array, Array | None]:
    """Fit block after block of voxels in double precision; voxels without data stay NaN."""
    n_voxels = signal.shape[1]
    values = np.full((len(model.table), n_voxels), np.nan, dtype=np.float32)
    left = np.full((np.count_nonzero(kept), n_voxels), np.nan, dtype=np.float32) if residuals else None
    for start in range(0, n_voxels, BLOCK):
        block = signal[:, start : start + BLOCK][kept].astype(np.float64)  # (n_kept, n_block)
        varying = np.flatnonzero(np.isfinite(block).all(axis=0) & (block != block[0]).any(axis=0))
        if not len(varying):
            continue
        with threadpool_limits(1, "blas"):  # many small matrices: threads would wait for each other
            estimates, rest = model.fit(block[:, varying])
        values[:, start + varying] = estimates
        if left is not None:
            left[:, start + varying] = rest
    return values, left


def _fitted(
    signal: Array, design: Array, n_rows: int, settings: Glm, estimate: Callable[[Any], Array]
) -> tuple[Array, Array]:
    """Fit a design (n_kept, n_columns), whose first columns are the responses; voxels of like noise are one fit."""
    from nilearn.glm import OLSModel
    from nilearn.glm.first_level import run_glm

    labels, results = run_glm(signal, design, noise_model=settings.noise_model)
    usual = np.diag(OLSModel(design).normalized_cov_beta)[:n_rows]
    parts = [(np.flatnonzero(labels == label), result) for label, result in results.items()]
    order = np.argsort(np.concatenate([voxels for voxels, _ in parts]))
    rest = [_noise(result, usual, settings.patterns) for _, result in parts]
    return np.hstack([estimate(result) for _, result in parts])[:, order], np.hstack(rest)[:, order]


def _noise(result: Any, usual: Array, patterns: str) -> Array:
    """Return residuals in the units of patterns; `usual` are the variances of betas where noise is independent."""
    rest = result.whitened_residuals
    if patterns == "t":
        return _ratio(rest, np.sqrt(result.dispersion))
    return np.asarray(rest * np.sqrt((np.diag(result.cov)[: len(usual)] / usual).mean()))


def _of_first(result: Any, *, n_rows: int, patterns: str) -> Array:
    """Return the betas, or t values, of the first regressors: (n_rows, n_voxels)."""
    betas: Array = result.theta[:n_rows]
    if patterns == "beta":
        return betas
    return _ratio(betas, np.sqrt(np.diag(result.cov)[:n_rows, None] * result.dispersion))


def _of_trials(result: Any, *, n_rows: int, patterns: str, trials: Array, owned: Array) -> Array:
    """Return the betas, or t values, of trials from a model each, averaged per condition: (n_rows, n_voxels).

    The model of a trial x of condition c spans what that of the conditions does and x: it is the fit of the conditions,
    with the part of x that they leave added to it. With beta_c of that fit, d the coefficient of that part, and a the
    coefficient of c in the fit of x by the conditions, the beta of x is beta_c + d (1 - a).
    """
    trials = result.model.whiten(trials)  # (n_kept, n_trials)
    owners = owned.argmax(axis=1)
    by_conditions = result.model.calc_beta @ trials  # (n_columns, n_trials)
    rest = trials - result.whitened_design @ by_conditions
    squares = (rest**2).sum(axis=0)
    alone = (owned.sum(axis=0) == 1)[owners]  # the trial is its condition, and leaves no rest
    squares = np.where(alone, np.inf, squares)
    added = rest.T @ result.whitened_residuals / squares[:, None]  # (n_trials, n_voxels)
    more = 1 - by_conditions[owners, np.arange(len(owners))]
    estimates = result.theta[owners] + more[:, None] * added
    if patterns == "t":
        sums = (result.whitened_residuals**2).sum(axis=0) - np.where(alone, 0, squares)[:, None] * added**2
        freedom = len(trials) - len(result.theta) - ~alone
        variances = np.diag(result.cov)[owners] + more**2 / squares
        estimates = _ratio(estimates, np.sqrt(variances[:, None] * np.clip(sums, 0, None) / freedom[:, None]))
    return np.asarray((owned / owned.sum(axis=0)).T @ estimates)


def _ratio(values: Array, errors: Array) -> Array:
    """Divide by standard errors or deviations; NaN where nothing is left of the signal."""
    return np.asarray(values / np.where(errors > 0, errors, np.nan))


def _sampled(signal: Array, *, weights: Array, nuisance: Array, explained: Array) -> tuple[Array, Array]:
    """Return weighted sums of the signal without nuisance, and the signal without what is explained."""
    clean = signal - nuisance @ (nuisance.T @ signal)
    return weights @ clean, signal - explained @ (explained.T @ signal)


# -------------------------------------------------------------------------------------------- problems


def usable_events(n_scans: int, events: pd.DataFrame, *, tr_s: float, settings: Glm) -> tuple[pd.DataFrame, list[str]]:
    """Leave out the events that cannot be modelled, or of which the run shows nothing.

    These are events without an onset, or without a duration where it plays a part; events that start after the last
    volume, if they are few; events whose response is over before the first volume; and conditions all of whose events
    start too late for a response. `problems_of_run` says if so many are late that the run is another.

    Parameters are those of `fit_run`, with the number of volumes for the signal.

    Returns
    -------
    events : DataFrame
        The rows that are left.
    left_out : list of str
        Which are not, and why: a line for each reason.
    """
    tidy, times_s = _tidy(events, settings), _times_s(n_scans, tr_s, settings)
    after_s = max(RESPONSE_S, *settings.delays_s) if settings.delays_s else RESPONSE_S
    late, over = tidy["onset"] >= n_scans * tr_s, tidy["onset"] + tidy["duration"] + after_s < times_s[0]
    hidden = tidy["onset"] + RISE_S > times_s[-1]
    hidden &= hidden.groupby(tidy["condition"]).transform("all") & (not settings.delays_s)
    reasons = {
        "no onset": tidy["onset"].isna(),
        "no duration (n/a); glm.duration_s gives all events one": tidy["duration"].isna(),
        f"an onset after the last volume, which ends at {n_scans * tr_s:g} s": late,
        "a response that is over before the first volume": over,
        "an onset too near to the end of the run to show a response": hidden & ~late,
    }
    if _are_many(late):
        return events, []
    told = [_left_out(tidy[chosen], len(tidy), reason) for reason, chosen in reasons.items() if chosen.any()]
    return events[~np.any(list(reasons.values()), axis=0)].reset_index(drop=True), told


def _are_many(late: pd.Series) -> bool:
    return int(late.sum()) > max(1, MAX_LATE * len(late))


def _left_out(events: pd.DataFrame, n_events: int, reason: str) -> str:
    """Say how many events are left out, of which conditions, and why."""
    names = listed(list(dict.fromkeys(events["condition"])))
    return f"{len(events)} of {n_events} events are left out of the model, of {names}: {reason}."


def warnings_of_durations(events: pd.DataFrame, *, tr_s: float, settings: Glm) -> list[str]:
    """Say if the betas of some events are many times as large as those of others, because these last longer.

    `events` are those whose patterns are compared, of any number of runs. One line, or nothing; nothing for t values,
    which have no such units, and where durations play no part.
    """
    durations_s = np.unique(_tidy(events, settings)["duration"].dropna())
    if settings.delays_s or settings.patterns == "t" or len(durations_s) < 2:
        return []
    shortest, longest = (float(of(durations_s)) for of in (np.min, np.max))
    ratio = _peak(longest, tr_s, settings) / _peak(shortest, tr_s, settings)
    if shortest > 0 and ratio < UNEVEN:
        return []
    return [
        f"events last {shortest:g} to {longest:g} s, and for one response the betas of the shortest are about "
        f"{ratio:.0f} times as large as those of the longest. Set glm.duration_s, which gives all events one duration, "
        "or glm.patterns: t; or correct the durations."
    ]


def _peak(duration_s: float, tr_s: float, settings: Glm) -> float:
    """Return the peak of the modelled response to one event."""
    from nilearn.glm.first_level import compute_regressor

    times_s = np.arange(0, duration_s + RESPONSE_S + tr_s, tr_s)
    peaks = []
    for onset_s in tr_s * np.arange(0, 1, 0.25):  # volumes come at any time of a response
        paradigm = (np.array([onset_s]), np.array([duration_s]), np.ones(1))
        peaks.append(compute_regressor(paradigm, settings.hrf, times_s)[0][:, 0].max())
    return float(max(peaks))


def problems_of_run(n_scans: int, events: pd.DataFrame, *, tr_s: float, settings: Glm) -> list[str]:
    """Check what can be known before a model is fitted, and return every problem as one line.

    Confounds and scrubbing are not known here. Parameters are those of `usable_events`.
    """
    missing = [name for name in ("onset", "duration", "condition") if name not in events]
    if missing:
        return [f"Events need the columns 'onset', 'duration' and 'condition'; {listed(missing)} is not there."]
    if events.empty:
        return ["The run has no events to be modelled; check the events file, or leave the run out."]
    if not (np.isfinite(tr_s) and tr_s > 0):
        return [f"The TR is a number of seconds above 0, not {tr_s:g}."]
    problems = [*_problems_of_numbers(events), *_problems_of_times(n_scans, _tidy(events, settings), tr_s)]
    used, left_out = usable_events(n_scans, events, tr_s=tr_s, settings=settings)
    if not problems and used.empty:
        problems = [f"No event of the run can be modelled. {' '.join(left_out)}"]
    tidy = _tidy(used, settings)
    return problems or [
        *_problems_of_responses(n_scans, tidy, tr_s, settings),
        *_problems_of_size(n_scans, tidy, tr_s, settings),
    ]


def _problems_of_numbers(events: pd.DataFrame) -> Iterator[str]:
    """Find times that are text; a time that is missing may be."""
    for name in ("onset", "duration"):
        given = events[name][events[name].notna() & ~events[name].isin(["n/a", ""])]
        if (unread := given[pd.to_numeric(given, errors="coerce").isna()]).size:
            yield f"Events need an onset and a duration in seconds; one has the {name} {unread.iloc[0]!r}. Correct it."


def _problems_of_times(n_scans: int, events: pd.DataFrame, tr_s: float) -> Iterator[str]:
    """Find impossible times, events that come twice, and runs many of whose events are after the end."""
    wrong = (events["duration"] < 0) | np.isinf(events["onset"]) | np.isinf(events["duration"])
    if wrong.any():
        row = int(wrong.to_numpy().argmax())
        yield (
            f"Events need an onset and a duration of 0 s or more; row {row + 1} ({events['condition'][row]!r}) has "
            f"{events['onset'][row]:g} and {events['duration'][row]:g}. Correct it, or take it out."
        )
    twice = events[events.duplicated()]
    if len(twice):
        yield (
            f"{len(twice)} events come twice; first: {twice['condition'].iloc[0]!r} at {twice['onset'].iloc[0]:g} s. "
            "Keep one row for each."
        )
    late = events["onset"] >= n_scans * tr_s
    if _are_many(late):
        yield (
            f"{late.sum()} of {len(late)} events start after the last volume, the last at {events['onset'].max():g} s: "
            f"{n_scans} volumes with a TR of {tr_s:g} s end at {n_scans * tr_s:g} s. The BOLD is truncated, or events "
            "or TR are not those of this run."
        )


def _problems_of_responses(n_scans: int, events: pd.DataFrame, tr_s: float, settings: Glm) -> Iterator[str]:
    """Find delays that do not fit, and conditions that no volume shows at a delay."""
    times_s = _times_s(n_scans, tr_s, settings)
    if not settings.delays_s:
        return
    odd = [delay_s for delay_s in settings.delays_s if abs(delay_s / tr_s - round(delay_s / tr_s)) > 0.01]
    if odd and settings.method == "fir":
        yield (
            f"Method 'fir' takes delays that are whole multiples of the TR of {tr_s:g} s; "
            f"{', '.join(f'{delay_s:g}' for delay_s in odd)} s are not. Change delays_s, or use method 'volumes'."
        )
        return
    run = _Run(events, times_s, tr_s, np.ones(n_scans, dtype=bool), np.zeros((n_scans, 0)), settings)
    weights = _bins(run) if settings.method == "fir" else _samples(run)
    hidden = run.rows[~weights.any(axis=1)]
    if len(hidden):
        yield (
            f"No volume between 0 and {n_scans * tr_s:g} s shows {listed(_names(hidden))}. "
            "Take delays that every condition has in the run, or take these conditions out of its events."
        )


def _problems_of_size(n_scans: int, events: pd.DataFrame, tr_s: float, settings: Glm) -> Iterator[str]:
    """Find models that are too large for the run."""
    if settings.drift == "cosine" and settings.high_pass_hz * tr_s >= 0.5:
        yield (
            f"high_pass_hz is below half the rate of the volumes, {0.5 / tr_s:g} Hz for a TR of {tr_s:g} s, "
            f"not {settings.high_pass_hz:g}; 0.01 is usual."
        )
        return
    n_drifts = _drifts(_times_s(n_scans, tr_s, settings), settings).shape[1] if n_scans > 2 else 1
    per_condition = {"conditions": HRFS[settings.hrf], "trials": 1, "fir": len(settings.delays_s), "volumes": 0}
    n_regressors = events["condition"].nunique() * per_condition[settings.method] + (settings.method == "trials")
    if n_regressors + n_drifts >= n_scans:
        yield (
            f"{n_scans} volumes are too few for {n_regressors} regressors of conditions and {n_drifts} of drifts; "
            "take fewer delays or conditions, a lower high_pass_hz, or method 'volumes'."
        )
