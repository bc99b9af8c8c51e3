"""Epochs of MEG and EEG in files that MNE-Python reads: trials out, with their conditions, runs and noise."""

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
import pandas as pd
from pydantic import Field, model_validator

from rsa.core import SAME_S, Array, Epochs, Residuals, as_labels, difference_of_conditions
from rsa.datasets.common import AnyDataset, joined, problems_of_exclude, problems_of_times, require_no_problems
from rsa.datasets.sensors import problems_of_sensors
from rsa.errors import UserError, listed
from rsa.files.io import reading, require_whole
from rsa.inputs.stimuli import LabelPattern, condition_in
from rsa.settings import Conditions, DataPath, Names, by_subject, fill, placeholders

if TYPE_CHECKING:
    import mne

__all__ = ["EpochFiles", "chosen_times"]

logger = logging.getLogger(__name__)

EVENT = "event"
"""What the name of a trial's event is called among the columns of its metadata."""

TIMES_DIFFER = "times differ: {what} {first} has {its}, {what} {other} has {others}; cut and sample all alike."

UNTOLD = "misc"
"""What MNE calls the type of a channel of which it knows none."""

BLOCK_BYTES = 2**26
"""Trials are read in blocks of about so many bytes in double precision."""


@dataclass(frozen=True)
class _Source:
    """A file of epochs, and what its name says."""

    path: Path
    session: str | None = None
    run: str | None = None
    info: Path | None = None
    """A file that describes the channels, for one that does not."""


@dataclass(frozen=True)
class _Header:
    """What is known of a file of epochs without its data."""

    source: _Source
    rows: pd.DataFrame
    """`condition` and, if known, `run`; the index is the number of the trial in the file."""
    times_s: Array
    channels: pd.DataFrame
    """`name` and `type` of the chosen channels, without bad ones."""
    bads: frozenset[str]
    lowpass_hz: float
    info: "mne.Info"
    """All channels of the file, as MNE describes them."""


class EpochFiles(AnyDataset):
    """Epochs of MEG or EEG, in files of MNE-Python, EEGLAB or FieldTrip.

    Values are what the files hold, after their own projectors. Then, in this order: the baseline is subtracted, the
    signal smoothed, times are cut and decimated. Bad trials should have been dropped before. EEGLAB may have several
    events in an epoch, whose names MNE joins: face/button.

    Raises
    ------
    ValidationError
        If templates, sessions and runs do not belong together, or an interval has no length.
    """

    provides = "epochs"
    located_by = "file"
    templates: ClassVar = {"file": ("subject", "session", "run"), "fieldtrip_info": ("subject",)}

    kind: Literal["epochs"] = "epochs"
    """Trials of MEG or EEG, cut and cleaned: .fif of MNE-Python, .set of EEGLAB or .mat of FieldTrip."""
    file: DataPath
    """Template of the files with {subject} and, where the names differ by them, {session} and {run}; of a file that
    was split, the first part."""
    sessions: Names = ()
    """Sessions as they appear in the file names, quoted; leave out if file has no {session}."""
    runs: Names = ()
    """Runs as they appear in the file names, quoted; leave out if file has no {run}."""
    run_column: str | None = None
    """Column of the metadata that holds the runs, where one file has several."""
    condition: str = EVENT
    """What names the condition: event (the name of the trial's event), a column of the metadata, or several in
    braces: "{category}_{event}". Trials without a value are left out."""
    condition_pattern: LabelPattern | None = None
    """Regular expression whose group is the condition: '([^/]+)$' takes bonobo of the event animal/bonobo. What does
    not match stays as it is."""
    exclude: Conditions = ()
    """Conditions to leave out, such as ["button_press"]."""
    picks: Names = Field(("data",), min_length=1)
    """Channels to take, in MNE's words: data (all sensors), meg, mag, grad, eeg, or names. Channels that are marked as
    bad in any file of a subject are left out."""
    baseline_s: tuple[float, float] | None = None
    """Interval whose mean is subtracted from each trial and channel, s after onset, such as [-0.1, 0]; by default
    nothing is. Noise is measured there as well."""
    tmin_s: float | None = None
    """First time to keep, s after onset; by default the first in the files."""
    tmax_s: float | None = None
    """Last time to keep, s after onset; by default the last in the files."""
    smooth_s: float = Field(0.0, ge=0)
    """Width of a moving average, s, centred on each time; at the ends of an epoch it is as wide as there are data."""
    decimate: int = Field(1, ge=1)
    """Keep every so many-th time, onset among them; filter or smooth before, or fast signals turn into slow ones."""
    fieldtrip_variable: str = "data"
    """Name of the variable in a .mat file of FieldTrip."""
    fieldtrip_info: DataPath | None = None
    """Template ({subject}) of .fif files that describe the channels of FieldTrip's, which may not have their types."""

    channel_type: Literal["eeg", "ecog", "seeg", "dbs"] | None = None
    """Type of the channels that have none in the file (misc), as where FieldTrip's do not say it. Those of MEG come
    from fieldtrip_info, which knows their coils as well."""

    @model_validator(mode="after")
    def _templates_agree(self) -> Self:
        names = placeholders(self.file)
        self._require_subject("file")
        for name, labels in (("session", self.sessions), ("run", self.runs)):
            if bool(labels) != (name in names):
                raise ValueError(f"{name}s and {{{name}}} in file belong together; give both, or neither")
        if self.runs and self.run_column is not None:
            raise ValueError("runs come from the names of files or from run_column; give one of the two")
        if not self.file.endswith(tuple(READERS)):
            raise ValueError(f"epochs are read from files {listed(list(READERS))}, and file is {self.file!r}")
        return self

    @model_validator(mode="after")
    def _intervals_have_a_length(self) -> Self:
        for name, interval in (("baseline_s", self.baseline_s), ("tmin_s and tmax_s", (self.tmin_s, self.tmax_s))):
            start, end = interval if interval is not None else (None, None)
            if start is not None and end is not None and start >= end:
                raise ValueError(f"{name} give an interval from {start:g} to {end:g} s; the first has to be earlier")
        return self

    # ---------------------------------------------------------------------------------- what there is

    @property
    def has_baseline(self) -> bool:
        """Whether noise can be measured before onset."""
        return self.baseline_s is not None

    def methods(self) -> list[str]:
        """Return sentences for the methods text: what became of the epochs."""
        steps = []
        if self.baseline_s is not None:
            start, end = (f"{1000 * time_s:g}".replace("-", "\N{MINUS SIGN}") for time_s in self.baseline_s)
            steps.append(f"the mean from {start} to {end} ms was subtracted from each trial and channel")
        if self.smooth_s > 0:
            steps.append(f"signals were smoothed by a moving average of {1000 * self.smooth_s:g} ms")
        if self.decimate > 1:
            steps.append(f"one time in {self.decimate} was kept")
        return [f"Of M/EEG epochs, {'; '.join(steps)}."] if steps else []

    def simulated_files(self, subject: str) -> list[Path]:
        """Return the file that a simulation writes for a subject: of MNE, or none."""
        return [fill(self.file, subject=subject)] if self.file.endswith(".fif") else []

    def problems_of_sensors(self, min_sensors: int) -> list[str]:
        """Say what keeps sensors from having neighbourhoods of `min_sensors`, or subjects from being a group."""
        return problems_of_sensors({subject: self.sensor_info(subject) for subject in self.subjects}, min_sensors)

    def files(self, subject: str, conditions: Sequence[str] | None = None) -> list[Path]:
        """Return every file that `load` reads for a subject; `conditions` make no difference."""
        sources = self._sources(subject)
        infos = [source.info for source in sources if source.info is not None]
        return list(dict.fromkeys([*(source.path for source in sources), *infos]))

    def conditions(self, subject: str) -> list[str]:
        """Return the conditions of a subject, each once, in the order of the trials.

        Raises
        ------
        UserError
            If a file cannot be read, or does not tell the conditions.
        """
        return [name for name in self._all_conditions(subject) if name not in self.exclude]

    def shape(self, subject: str) -> tuple[int, int, int]:
        """Return how many trials, channels and times the files of a subject hold, from their headers."""
        headers = [self._header(source) for source in self._sources(subject)]
        n_trials = sum(len(header.rows) for header in headers)
        return n_trials, max(len(header.channels) for header in headers), max(len(one.times_s) for one in headers)

    def times_s(self, subject: str, conditions: Sequence[str] | None = None) -> Array:
        """Return the times that are kept in s after onset, shape (n_times,), from the header of the first file."""
        return np.round(self._kept(np.asarray(self._opened(self._sources(subject)[0]).times))[1], 6)

    def problems(self, conditions: Sequence[str] | None = None) -> list[str]:
        """Check files, channels, times and conditions of all subjects by the headers of the files."""
        found: list[tuple[str, str]] = []
        times_s: dict[str, Array] = {}
        for subject in self.subjects:
            headers, problems = self._examined(subject, conditions)
            found += [(subject, text) for text in problems]
            if not problems:
                times_s[subject] = self._kept(headers[0].times_s)[1]
        return (
            by_subject(found)
            + problems_of_times(times_s, TIMES_DIFFER, what="subject")
            + problems_of_exclude(self.exclude, self.subjects, self._all_conditions)
        )

    # ------------------------------------------------------------------------------------ what is read

    def load(self, subject: str, conditions: Sequence[str] | None = None, *, noise: bool = False) -> Epochs:
        """Read the trials of a subject, with one file in memory at a time.

        Noise is that of the baseline of each trial, smoothed and decimated like the rest, less its mean over the
        baseline of this trial and channel.

        Returns
        -------
        Epochs
            values (n_trials, n_channels, n_times) in V, T or T/m; the table has `condition` and, where they are known,
            `run`; noise, with n_trials * n_baseline samples, if it was asked for.

        Raises
        ------
        UserError
            If `problems` has anything to say about this subject, a file is damaged, or noise is asked for without a
            baseline.
        """
        headers, problems = self._examined(subject, conditions)
        require_no_problems(subject, problems)
        if noise and self._noise_times(headers[0].times_s).size < 2:
            raise UserError("Noise is measured before onset: set `baseline_s` to 2 samples or more, such as [-0.1, 0].")
        self._warn_of_aliasing(headers[0])
        channels = _common_channels(subject, headers)
        table = pd.concat([header.rows for header in headers], ignore_index=True)
        times_s, values, samples = self._kept(headers[0].times_s)[1], [], []
        for header in headers:
            responses, residuals = self._read(header, list(channels["name"]), noise)
            values.append(responses)
            samples.append(residuals)
        baselines = None
        if noise:
            n_samples = sum(map(len, samples))
            baselines = Residuals(joined(samples), n_samples - len(table))  # each trial's mean was taken out
        return Epochs(joined(values), table, np.round(times_s, 6), channels, baselines)

    def sensor_info(self, subject: str) -> "mne.Info":
        """Return MNE's description of the channels that `load` returns, in their order; of several files, of the first.

        Raises
        ------
        UserError
            If `problems` has anything to say about this subject.
        """
        import mne

        headers, problems = self._examined(subject, None)
        require_no_problems(subject, problems)
        info = headers[0].info
        places = [info["ch_names"].index(name) for name in _good_in_all(headers)["name"]]
        return mne.pick_info(info, places, verbose="error")

    # --------------------------------------------------------------------------------------- the parts

    def _sources(self, subject: str) -> list[_Source]:
        info = None if self.fieldtrip_info is None else fill(self.fieldtrip_info, subject=subject)
        return [
            _Source(fill(self.file, subject=subject, session=session, run=run), session, run, info)
            for session in self.sessions or (None,)
            for run in self.runs or (None,)
        ]

    def _opened(self, source: _Source) -> Any:
        """Open a file of epochs, with its data only where MNE cannot do without."""
        for path in (source.path, source.info):
            if path is not None and not path.is_file():
                raise UserError(f"There is no file {path}.")
        ending = next(ending for ending in READERS if source.path.name.endswith(ending))
        with _by_mne(source.path):
            epochs = READERS[ending](source, self.fieldtrip_variable)
        if self.channel_type is not None:
            types = dict(zip(epochs.ch_names, epochs.get_channel_types(), strict=True))
            untold = {name: self.channel_type for name, kind in types.items() if kind == UNTOLD}
            epochs.set_channel_types(untold, on_unit_change="ignore", verbose="error")
        return epochs

    def _header(self, source: _Source) -> _Header:
        """Read the header of a file; a `UserError` if it has no such channels, columns or conditions."""
        epochs = self._opened(source)
        if len(epochs.times) < 2:
            raise UserError(f"{source.path} holds epochs of a single time; they need two or more.")
        rows = self._rows(source, epochs)
        return _Header(
            source,
            rows[~rows["condition"].isin(self.exclude)],
            np.asarray(epochs.times),
            _picked(epochs.info, self.picks, source.path),
            frozenset(epochs.info["bads"]),
            float(epochs.info["lowpass"] or np.inf),
            epochs.info,
        )

    def _rows(self, source: _Source, epochs: Any) -> pd.DataFrame:
        """Describe the trials of a file: `condition` and, if known, `run`; the index is the number of the trial."""
        described = _described(epochs)
        names = sorted(placeholders(self.condition)) or [self.condition]
        wanted = [*names, *([self.run_column] if self.run_column is not None else [])]
        missing = [name for name in wanted if name not in described]
        if missing:
            raise UserError(
                f"{source.path} has no metadata {listed(missing)}; there are {listed(list(described), 20)}."
            )
        chosen = described.dropna(subset=names)
        if chosen.empty:
            raise UserError(f"{source.path} has no trial with a value in {listed(names)}, which name its condition.")
        template = self.condition if placeholders(self.condition) else f"{{{self.condition}}}"
        labels = [_filled(template, row) for row in chosen.to_dict("records")]
        rows = pd.DataFrame(
            {"condition": [condition_in(label, self.condition_pattern) for label in labels]}, index=chosen.index
        )
        runs = self._run_labels(source, chosen)
        return rows if runs is None else rows.assign(run=runs)

    def _run_labels(self, source: _Source, described: pd.DataFrame) -> list[str] | None:
        """Name the run of each trial, as run-2 is '2', and of a session 'ses-01_run-2'; None if no run is known."""
        runs: list[str | None] = [source.run] * len(described)
        if self.run_column is not None:
            runs = list(described[self.run_column])
            if described[self.run_column].isna().any():
                raise UserError(f"{source.path} has trials without a value in {self.run_column!r}; see `run_column`.")
        if source.session is None:
            return None if runs[0] is None else [str(run) for run in runs]
        return [source.session if run is None else f"ses-{source.session}_run-{run}" for run in runs]

    def _all_conditions(self, subject: str) -> list[str]:
        rows = [self._rows(source, self._opened(source)) for source in self._sources(subject)]
        return list(dict.fromkeys(pd.concat(rows)["condition"]))

    def _kept(self, times_s: Array) -> tuple[Array, Array]:
        """Return the positions of the times that are kept, and these times in s."""
        kept = chosen_times(times_s, self.tmin_s, self.tmax_s, self.decimate)
        return kept, times_s[kept]

    def _noise_times(self, times_s: Array) -> Array:
        """Return the positions of the samples that are noise."""
        if self.baseline_s is None:
            return np.array([], dtype=int)
        return chosen_times(times_s, *self.baseline_s, self.decimate)

    def _read(self, header: _Header, names: Sequence[str], noise: bool) -> tuple[Array, Array]:
        """Read the trials of a file, (n_trials, n_channels, n_times), and their noise, (n_samples, n_channels)."""
        path, times_s = header.source.path, header.times_s
        require_whole(path)
        epochs = self._opened(header.source)
        places = [epochs.ch_names.index(name) for name in names]
        kept, noise_times = self._kept(times_s)[0], self._noise_times(times_s) if noise else np.array([], dtype=int)
        values = np.empty((len(header.rows), len(names), len(kept)), dtype=np.float32)
        samples = np.empty((len(header.rows), len(noise_times), len(names)), dtype=np.float32)
        n_block = max(1, BLOCK_BYTES // (8 * len(epochs.ch_names) * len(times_s)))
        for start in range(0, len(values), n_block):
            block = slice(start, start + n_block)
            item = header.rows.index[block].to_numpy()
            with _by_mne(path):
                trials = epochs.get_data(picks=places, item=item, verbose="error")
            if np.iscomplexobj(trials):
                raise UserError(f"{path} holds complex numbers, such as phases; give epochs of the signal itself.")
            trials = self._processed(trials, times_s)  # (n_block, n_channels, n_times of the file)
            values[block] = trials[:, :, kept]
            rest = trials[:, :, noise_times].swapaxes(1, 2)  # (n_block, n_baseline, n_channels)
            samples[block] = rest - (rest.mean(axis=1, keepdims=True) if noise else 0)
        return values, samples.reshape(-1, len(names))

    def _processed(self, trials: Array, times_s: Array) -> Array:
        """Subtract the baseline and smooth: (n_trials, n_channels, n_times) to the same."""
        if self.baseline_s is not None:
            before = chosen_times(times_s, *self.baseline_s)
            trials = trials - trials[:, :, before].mean(axis=2, keepdims=True)
        if self.smooth_s == 0:
            return trials
        return _moving_average(trials, round(self.smooth_s / 2 / float(times_s[1] - times_s[0])))

    # ------------------------------------------------------------------------------------ what is wrong

    def _examined(self, subject: str, conditions: Sequence[str] | None) -> tuple[list[_Header], list[str]]:
        """Read the headers of a subject's files and list what is wrong, with {subject} in the names of files."""
        headers: list[_Header] = []
        problems: list[str] = []
        for source in self._sources(subject):
            general = str(fill(self.file, session=source.session, run=source.run))
            try:
                header = self._header(source)
            except UserError as error:
                problems.append(str(error).replace(str(source.path), general))
                continue
            headers.append(header)
            problems += [f"{general}: {text}" for text in self._problems_of_intervals(header.times_s)]
        if not problems:
            times_s = {header.source.path.name: header.times_s for header in headers}
            problems += problems_of_times(times_s, TIMES_DIFFER, what="file")
            problems += _problems_of_channels(headers)
            problems += self._problems_of_conditions(headers, conditions)
        return headers, problems

    def _problems_of_intervals(self, times_s: Array) -> Iterator[str]:
        """Compare the intervals of the settings with the times of the epochs."""
        first, last = float(times_s[0]), float(times_s[-1])
        between, step = f"the epochs go from {first:g} to {last:g} s", float(times_s[1] - times_s[0])
        if self.baseline_s is not None:
            start, end = self.baseline_s
            if start < first - step or end > last + step or not chosen_times(times_s, start, end).size:
                yield f"baseline_s is [{start:g}, {end:g}] and {between}; choose an interval inside of them."
        for name, bound in (("tmin_s", self.tmin_s), ("tmax_s", self.tmax_s)):
            if bound is not None and not first - step <= bound <= last + step:
                yield f"{name} is {bound:g} and {between}; choose a time inside of them."
        if not self._kept(times_s)[0].size:
            yield f"tmin_s, tmax_s and decimate leave no time, and {between}; choose a longer interval."

    def _problems_of_conditions(self, headers: Sequence[_Header], conditions: Sequence[str] | None) -> Iterator[str]:
        """Compare the conditions of the trials with those that there should be."""
        found = list(dict.fromkeys(pd.concat([header.rows for header in headers])["condition"]))
        if not found:
            yield "no trial is left; see `exclude`."
        elif conditions is not None:
            difference = difference_of_conditions(conditions, found, "the stimulus table", "the epochs")
            extra = set(found) - set(as_labels(conditions))
            advice = " Those that belong to no stimulus go into `exclude`; see `condition_pattern` for parts of names."
            if difference:
                yield difference + (advice if extra else "")

    def _warn_of_aliasing(self, header: _Header) -> None:
        """Log that times are decimated although the signal holds frequencies that few times cannot follow."""
        step_s = float(header.times_s[1] - header.times_s[0]) * self.decimate
        if self.decimate > 1 and self.smooth_s < step_s - SAME_S and header.lowpass_hz > 1 / (2 * step_s):
            logger.warning(
                f"every {self.decimate}-th time is kept ({1 / step_s:.4g} Hz) of signals up to {header.lowpass_hz:.4g} "
                f"Hz: faster than {1 / (2 * step_s):.4g} Hz turn into slow ones; filter before, or set smooth_s to "
                f"{step_s:.3g}"
            )


# ---------------------------------------------------------------------------------------------- readers


@contextmanager
def _by_mne(path: Path) -> Iterator[None]:
    """Let MNE read, without its warnings, and say in one line what it could not do."""
    with reading(path, "epochs"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except Exception as error:
            if type(error) is Exception:  # so MNE says that a .fif has data of a kind that is not known to it
                raise ValueError(str(error)) from error
            raise


def _from_fif(source: _Source, variable: str) -> Any:
    import mne

    return mne.read_epochs(source.path, preload=False, verbose="error")


def _from_eeglab(source: _Source, variable: str) -> Any:
    import mne

    return mne.read_epochs_eeglab(source.path, verbose="error")


def _from_fieldtrip(source: _Source, variable: str) -> Any:
    import mne

    with mne.use_log_level("error"):
        info = None if source.info is None else mne.io.read_info(source.info)
        return mne.read_epochs_fieldtrip(source.path, info, variable)


READERS: dict[str, Callable[[_Source, str], Any]] = {
    ".fif": _from_fif,
    ".fif.gz": _from_fif,
    ".set": _from_eeglab,
    ".mat": _from_fieldtrip,
}
"""How epochs are read, by the ending of the file."""


def _picked(info: Any, picks: Sequence[str], path: Path) -> pd.DataFrame:
    """Return `name` and `type` of the channels that MNE picks, without those that are bad."""
    import mne

    empty = mne.EvokedArray(np.zeros((len(info["ch_names"]), 1)), info, verbose="error")
    try:
        chosen = empty.pick(list(picks), exclude="bads", verbose="error")
    except ValueError as error:
        there = list(dict.fromkeys(info.get_channel_types()))
        advice = "; misc are channels of no known type: set `channel_type`, or `fieldtrip_info`, if they are sensors"
        raise UserError(
            f"{path} has no good channels {listed(list(picks))}; it has {len(info['ch_names'])} channels of type "
            f"{listed(there)}; see `picks`{advice if UNTOLD in there else ''}."
        ) from error
    names = [name for name in chosen.ch_names if name not in info["bads"]]
    types = dict(zip(chosen.ch_names, chosen.get_channel_types(), strict=True))
    return pd.DataFrame({"name": names, "type": [types[name] for name in names]})


# ----------------------------------------------------------------------------------------------- trials


def _described(epochs: Any) -> pd.DataFrame:
    """Return what is known of the trials as text, missing values as None: the metadata, and the name of the event."""
    n_trials = len(epochs.events)
    table = pd.DataFrame(index=range(n_trials)) if epochs.metadata is None else epochs.metadata.reset_index(drop=True)
    texts = {str(name): _as_text(table[name]) for name in table}
    names = {code: name for name, code in epochs.event_id.items()}
    texts[EVENT] = [names.get(code, str(code)) for code in epochs.events[:, 2]]
    return pd.DataFrame(texts, index=range(n_trials), dtype=object)


def _as_text(column: pd.Series) -> list[str | None]:
    """Write values as text; 3.0 is '3' in a column that holds whole numbers only."""
    if column.dtype.kind == "f" and (column.dropna() % 1 == 0).all():
        return [None if pd.isna(value) else str(int(value)) for value in column]
    return [None if pd.isna(value) else str(value) for value in column]


def _filled(template: str, row: dict[str, Any]) -> str:
    """Put the values of a row into the braces of a template; other braces stay."""
    for name, value in row.items():
        template = template.replace("{" + str(name) + "}", str(value))
    return template


# ------------------------------------------------------------------------------------------------ times


def chosen_times(times_s: Array, tmin_s: float | None = None, tmax_s: float | None = None, decimate: int = 1) -> Array:
    """Return the positions of every `decimate`-th time between two, both inclusive.

    Parameters
    ----------
    times_s : array, shape (n_times,)
        Ascending, s after onset.
    tmin_s, tmax_s : float, optional
        First and last time, s; by default all.
    decimate : int
        Keep every so many-th time, counted from onset, so that it does not depend on `tmin_s`.

    Examples
    --------
    >>> chosen_times(np.array([-0.3, -0.2, -0.1, 0.0, 0.1, 0.2, 0.3]), tmin_s=-0.2, decimate=2)
    array([1, 3, 5])
    """
    place = np.arange(len(times_s))
    chosen = (place - np.abs(times_s).argmin()) % decimate == 0
    if tmin_s is not None:
        chosen &= times_s >= tmin_s - SAME_S
    if tmax_s is not None:
        chosen &= times_s <= tmax_s + SAME_S
    positions: Array = place[chosen]
    return positions


def _moving_average(values: Array, n_beside: int) -> Array:
    """Average each sample with so many before and after it, as far as there are: (..., n_times) to the same."""
    n_times = values.shape[-1]
    sums = np.concatenate([np.zeros((*values.shape[:-1], 1)), np.cumsum(values, axis=-1)], axis=-1)
    first = np.maximum(np.arange(n_times) - n_beside, 0)
    end = np.minimum(np.arange(n_times) + n_beside + 1, n_times)
    averages: Array = (sums[..., end] - sums[..., first]) / (end - first)
    return averages


# --------------------------------------------------------------------------------------------- channels


def _problems_of_channels(headers: Sequence[_Header]) -> Iterator[str]:
    """Name channels that one file has and another lacks, without being bad in any."""
    for a, b in combinations(headers, 2):
        lacking = set(a.channels["name"]) ^ set(b.channels["name"])
        lacking -= a.bads | b.bads
        if lacking:
            yield (
                f"{a.source.path.name} and {b.source.path.name} have other channels: {listed(sorted(lacking))} are in "
                "one only. Choose by `picks` those that all files have."
            )
            return


def _common_channels(subject: str, headers: Sequence[_Header]) -> pd.DataFrame:
    """Return the channels that are good in all files, in the order of the first; log those that are bad in some."""
    channels = _good_in_all(headers)
    in_any = dict.fromkeys(name for header in headers for name in header.channels["name"])
    dropped = [name for name in in_any if name not in set(channels["name"])]
    if dropped:
        logger.warning("subject %r: %s left out, since they are bad in some files", subject, listed(dropped))
    if channels.empty:
        raise UserError(f"subject {subject!r}: no channel is good in all files; mark fewer as bad.")
    return channels


def _good_in_all(headers: Sequence[_Header]) -> pd.DataFrame:
    """Return the channels that are good in all files, in the order of the first."""
    in_all = set.intersection(*(set(header.channels["name"]) for header in headers))
    first = headers[0].channels
    return first[first["name"].isin(in_all)].reset_index(drop=True)
