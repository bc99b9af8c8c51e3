"""General linear models of a run: against designs made by hand, a loop over trials, nilearn, and real data."""

import logging
import re

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from nilearn.glm import ARModel
from nilearn.glm.first_level import FirstLevelModel, compute_regressor, make_first_level_design_matrix
from pydantic import ValidationError

from rsa.core import Patterns, Residuals
from rsa.datasets.bids import glm
from rsa.datasets.bids.glm import Glm, fit_run, problems_of_run, warnings_of_durations
from rsa.errors import UserError

TR_S, N_SCANS = 2.0, 130
NAMES = ["dog", "cat", "car", "img10", "img2"]


def events_of(n_each=4, gap_s=12.0, duration_s=2.0, names=NAMES, seed=0, jitter_s=0.0):
    """Make trials in random order, the conditions not sorted."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(np.repeat(names, n_each))
    onsets = 5.3 + gap_s * np.arange(len(order)) + rng.uniform(0, jitter_s, len(order))
    return pd.DataFrame({"onset": onsets, "duration": duration_s, "condition": order})


def noise_of(n_voxels=6, n_scans=N_SCANS, seed=1, autocorrelation=0.0):
    """Draw noise that remembers the volume before."""
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((n_scans, n_voxels))
    for i in range(1, n_scans):
        noise[i] += autocorrelation * noise[i - 1]
    return noise


def double_gamma(t):
    """Return the canonical response of SPM at t s after onset, not scaled."""
    from scipy.stats import gamma

    return gamma.pdf(t, 6) - gamma.pdf(t, 16) / 6


def hand_regressors(events, n_scans=N_SCANS, tr_s=TR_S, ref=0.5, fine_s=0.01):
    """Convolve boxes with the response, by summing it over the time that each event lasts."""
    times = (np.arange(n_scans) + ref) * tr_s
    area = double_gamma(np.arange(0, 32, fine_s)).sum() * fine_s
    columns = []
    for name in dict.fromkeys(events["condition"]):
        column = np.zeros(n_scans)
        for event in events[events["condition"] == name].itertuples():
            within = np.arange(0, event.duration, fine_s) + fine_s / 2
            lags = times[:, None] - event.onset - within
            column += np.where((lags > 0) & (lags < 32), double_gamma(lags), 0).sum(axis=1) * fine_s / area
        columns.append(column)
    return np.stack(columns, axis=1)


def hand_drifts(n_scans=N_SCANS, tr_s=TR_S, high_pass_hz=0.01):
    """Write down the discrete cosines up to a frequency, and the constant."""
    n = int(2 * n_scans * tr_s * high_pass_hz)
    cosines = [np.cos(np.pi * k * (np.arange(n_scans) + 0.5) / n_scans) for k in range(n + 1)]
    return np.stack(cosines, axis=1)


def nilearn_design(events, n_scans=N_SCANS, tr_s=TR_S, hrf="spm", ref=0.5):
    """Let nilearn make the whole design."""
    table = events.rename(columns={"condition": "trial_type"})
    return make_first_level_design_matrix((np.arange(n_scans) + ref) * tr_s, table, hrf, high_pass=0.01)


def least_squares(design, signal):
    """Return betas, t values (n_columns, n_voxels), residuals and their degrees of freedom."""
    betas, _, rank, _ = np.linalg.lstsq(design, signal, rcond=None)
    rest, freedom = signal - design @ betas, len(design) - rank
    variances = np.diag(np.linalg.pinv(design.T @ design))[:, None] * (rest**2).sum(axis=0) / freedom
    return betas, betas / np.sqrt(variances), rest, freedom


# ------------------------------------------------------------------------------------------ conditions


def test_conditions_are_least_squares_on_a_design_made_by_hand():
    events, signal = events_of(), noise_of()
    settings = Glm(noise_model="ols")
    found = fit_run(signal, events, tr_s=TR_S, settings=settings, residuals=True)
    design = np.hstack([hand_regressors(events), hand_drifts()])
    betas, _, rest, freedom = least_squares(design, signal)
    assert list(found.table["condition"]) == list(dict.fromkeys(events["condition"]))
    assert found.values.dtype == found.residuals.dtype == np.float32
    np.testing.assert_allclose(found.values, betas[:5], rtol=0.03, atol=0.02 * np.abs(betas[:5]).max())
    np.testing.assert_allclose(found.residuals, rest, atol=0.02)
    assert found.degrees_of_freedom == freedom == N_SCANS - 5 - 6


@pytest.mark.parametrize("hrf", glm.HRFS)
@pytest.mark.parametrize("patterns", ["beta", "t"])
def test_conditions_are_least_squares_on_the_design_of_nilearn(hrf, patterns):
    events, signal = events_of(jitter_s=3), noise_of()
    found = fit_run(signal, events, tr_s=TR_S, settings=Glm(hrf=hrf, patterns=patterns, noise_model="ols"))
    design = nilearn_design(events, hrf=hrf)
    betas, t_values, _, freedom = least_squares(design.to_numpy(), signal)
    columns = [design.columns.get_loc(name) for name in found.table["condition"]]
    np.testing.assert_allclose(found.values, (betas if patterns == "beta" else t_values)[columns], rtol=1e-4, atol=1e-5)
    assert found.degrees_of_freedom == freedom


@pytest.mark.slow
def test_autocorrelated_noise_is_treated_as_nilearn_treats_it():
    events = events_of()
    signal = noise_of(18, autocorrelation=0.5) + 1000
    image = nib.Nifti1Image(signal.T.reshape(3, 3, 2, N_SCANS), np.eye(4))
    mask = nib.Nifti1Image(np.ones((3, 3, 2), dtype=np.uint8), np.eye(4))
    model = FirstLevelModel(
        t_r=TR_S, slice_time_ref=0.5, hrf_model="spm", high_pass=0.01, mask_img=mask, signal_scaling=False
    )
    model.fit(image, events.rename(columns={"condition": "trial_type"}))
    for patterns, output in (("beta", "effect_size"), ("t", "stat")):
        found = fit_run(signal, events, tr_s=TR_S, settings=Glm(patterns=patterns))
        for name, values in zip(found.table["condition"], found.values, strict=True):
            theirs = model.compute_contrast(name, stat_type="t", output_type=output).get_fdata()
            np.testing.assert_allclose(values, theirs.reshape(-1), rtol=1e-4, atol=1e-5)


def test_autocorrelated_noise_by_hand():
    events, signal = events_of(), noise_of(autocorrelation=0.6)
    design = nilearn_design(events).to_numpy()
    names = list(nilearn_design(events).columns)
    found = fit_run(signal, events, tr_s=TR_S, settings=Glm(), residuals=True)
    _, _, independent, freedom = least_squares(design, signal)
    places = [names.index(name) for name in found.table["condition"]]
    for voxel in range(signal.shape[1]):
        rest = independent[:, voxel]
        rho = (rest[1:] @ rest[:-1] / (N_SCANS - 1)) / (rest @ rest / N_SCANS)
        rho = np.trunc(rho * 100) / 100
        assert rho > 0.2
        white_design, white = design.copy(), signal[:, voxel].copy()
        white_design[1:] -= rho * design[:-1]
        white[1:] -= rho * signal[:-1, voxel]
        betas, _, white_rest, _ = least_squares(white_design, white[:, None])
        np.testing.assert_allclose(found.values[:, voxel], betas[places, 0], rtol=1e-4, atol=1e-5)
        variances = [np.diag(np.linalg.inv(x.T @ x))[places] for x in (white_design, design)]
        scale = np.sqrt((variances[0] / variances[1]).mean())
        np.testing.assert_allclose(found.residuals[:, voxel], scale * white_rest[:, 0], rtol=1e-4, atol=1e-5)
    assert found.degrees_of_freedom == freedom


def test_planted_betas_come_out_without_bias():
    events = events_of()
    planted = np.random.default_rng(3).standard_normal((5, 400))
    signal = hand_regressors(events) @ planted + 0.05 * noise_of(400, autocorrelation=0.4) + 500
    found = fit_run(signal.astype(np.float32), events, tr_s=TR_S, settings=Glm())
    assert np.abs(found.values - planted).mean() < 0.06
    slope = (found.values * planted).sum() / (planted**2).sum()
    assert slope == pytest.approx(1, abs=0.02)


def test_zero_durations_are_impulses_without_a_warning():
    events, signal = events_of(duration_s=0.0), noise_of()
    found = fit_run(signal, events, tr_s=TR_S, settings=Glm(noise_model="ols"))
    impulses = hand_regressors(events.assign(duration=0.01)) * (TR_S / 50) / 0.01
    betas, *_ = least_squares(np.hstack([impulses, hand_drifts()]), signal)
    np.testing.assert_allclose(found.values, betas[:5], rtol=0.03, atol=0.02 * np.abs(betas[:5]).max())


def test_labels_may_be_called_as_regressors_are():
    events, signal = events_of(names=["constant", "drift_1", "motion"]), noise_of()
    confounds = pd.DataFrame({"motion": noise_of(1, seed=5)[:, 0], "constant": 1.0})
    named = events.assign(condition=events["condition"].map({"constant": "a", "drift_1": "b", "motion": "c"}))
    run = {"tr_s": TR_S, "settings": Glm(), "confounds": confounds}
    np.testing.assert_array_equal(fit_run(signal, events, **run).values, fit_run(signal, named, **run).values)


# ---------------------------------------------------------------------------------------------- trials


def naive_trials(signal, events, patterns, rho=None):
    """Fit a model for each trial: this one, the others of its condition, each other condition."""
    values = {}
    for i, trial in events.iterrows():
        labels = events["condition"].where(events.index != i, "this trial")
        labels = labels.mask((events["condition"] == trial["condition"]) & (events.index != i), "others")
        design = nilearn_design(events.assign(condition=labels))
        place = design.columns.get_loc("this trial")
        if rho is None:
            betas, t_values, *_ = least_squares(design.to_numpy(), signal)
            value = (betas if patterns == "beta" else t_values)[place]
        else:
            results = [ARModel(design.to_numpy(), r).fit(signal[:, [v]]) for v, r in enumerate(rho)]
            betas = np.array([result.theta[place, 0] for result in results])
            errors = np.sqrt([result.cov[place, place] * result.dispersion[0] for result in results])
            value = betas if patterns == "beta" else betas / errors
        values.setdefault(trial["condition"], []).append(value)
    return np.stack([np.mean(rows, axis=0) for rows in values.values()])


@pytest.mark.parametrize("patterns", ["beta", "t"])
def test_trials_equal_one_model_per_trial(patterns):
    events, signal = events_of(gap_s=5, jitter_s=3), noise_of()
    events = pd.concat([events, pd.DataFrame([{"onset": 120.0, "duration": 2, "condition": "only once"}])])
    events = events.reset_index(drop=True)
    settings = Glm(method="trials", patterns=patterns, noise_model="ols")
    found = fit_run(signal, events, tr_s=TR_S, settings=settings)
    assert list(found.table["condition"]) == list(dict.fromkeys(events["condition"]))
    np.testing.assert_allclose(found.values, naive_trials(signal, events, patterns), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("patterns", ["beta", "t"])
def test_trials_equal_one_model_per_trial_with_autocorrelated_noise(patterns):
    events, signal = events_of(gap_s=5, jitter_s=3), noise_of(4, autocorrelation=0.5)
    found = fit_run(signal, events, tr_s=TR_S, settings=Glm(method="trials", patterns=patterns))
    rest = least_squares(nilearn_design(events).to_numpy(), signal)[2]
    rho = (rest[1:] * rest[:-1]).sum(axis=0) / (rest**2).sum(axis=0) * N_SCANS / (N_SCANS - 1)
    rho = np.trunc(rho * 100) / 100
    assert (rho > 0.1).all()
    np.testing.assert_allclose(found.values, naive_trials(signal, events, patterns, rho), rtol=1e-4, atol=1e-5)


def test_trials_differ_from_conditions_but_have_their_residuals():
    events, signal = events_of(gap_s=5, jitter_s=3), noise_of()
    one, other = (
        fit_run(signal, events, tr_s=TR_S, settings=Glm(method=method), residuals=True)
        for method in ("trials", "conditions")
    )
    assert np.abs(one.values - other.values).max() > 0.01
    np.testing.assert_allclose(one.residuals, other.residuals, atol=1e-5)
    assert one.degrees_of_freedom == other.degrees_of_freedom


# ------------------------------------------------------------------------------------------------- fir


def responded(events, shape, tr_s=TR_S, n_scans=N_SCANS):
    """Add, for each event, its condition's response of any shape (n_conditions, n_delays) from the next volume on."""
    signal = np.zeros(n_scans)
    place = {name: i for i, name in enumerate(dict.fromkeys(events["condition"]))}
    for event in events.itertuples():
        first = int(np.ceil(event.onset / tr_s - 0.5))
        for delay, value in enumerate(shape[place[event.condition]]):
            if first + delay < n_scans:
                signal[first + delay] += value
    return signal


@pytest.mark.parametrize("ref", [0.5, 0.0])
def test_fir_recovers_any_response_at_each_delay(ref):
    shapes = np.random.default_rng(0).standard_normal((5, 6))  # no haemodynamic response at all
    events = events_of(gap_s=7.0, jitter_s=3)
    events["onset"] = np.round(events["onset"] / TR_S) * TR_S  # on the grid of volumes
    signal = responded(events, shapes)[:, None] + 10_000 + 20 * hand_drifts()[:, [1]]
    settings = Glm(method="fir", delays_s=(0, 2, 4, 6, 8, 10), noise_model="ols", slice_time_ref=ref)
    found = fit_run(signal, events, tr_s=TR_S, settings=settings, residuals=True)
    assert list(found.table["delay_s"][:7]) == [0, 2, 4, 6, 8, 10, 0]
    assert list(found.table["condition"][5:7]) == list(dict.fromkeys(events["condition"]))[:2]
    np.testing.assert_allclose(found.values[:, 0], shapes.ravel(), atol=1e-5)
    assert found.degrees_of_freedom == N_SCANS - 30 - 6


def test_fir_puts_a_volume_to_the_delay_that_has_just_gone_by():
    events = pd.DataFrame({"onset": [10.0, 41.5, 74.9], "duration": 9.0, "condition": "a"})
    times = np.arange(60) * TR_S + 1
    signal = np.sum([(times >= onset + 4) & (times < onset + 6) for onset in events["onset"]], axis=0).astype(float)
    settings = Glm(method="fir", delays_s=(2, 4, 6), noise_model="ols", drift="none")
    found = fit_run(signal[:, None], events, tr_s=TR_S, settings=settings)
    np.testing.assert_allclose(found.values[:, 0], [0, 1, 0], atol=1e-6)


def test_fir_estimates_t_values_and_autocorrelation_as_well():
    events, signal = events_of(gap_s=11), noise_of(autocorrelation=0.5)
    settings = Glm(method="fir", delays_s=(0, 4), patterns="t")
    found = fit_run(signal, events, tr_s=TR_S, settings=settings)
    times, columns = (np.arange(N_SCANS) + 0.5) * TR_S, []
    for name in dict.fromkeys(events["condition"]):
        onsets = events.loc[events["condition"] == name, "onset"].to_numpy()
        columns += [((times - onsets[:, None] - d >= 0) & (times - onsets[:, None] - d < TR_S)).sum(0) for d in (0, 4)]
    design = np.column_stack([*columns, hand_drifts()])
    rest = least_squares(design, signal)[2]
    for voxel in range(signal.shape[1]):
        rho = (rest[1:, voxel] @ rest[:-1, voxel]) / (rest[:, voxel] @ rest[:, voxel]) * N_SCANS / (N_SCANS - 1)
        result = ARModel(design, np.trunc(rho * 100) / 100).fit(signal[:, [voxel]])
        t_values = result.theta[:, 0] / np.sqrt(np.diag(result.cov) * result.dispersion[0])
        np.testing.assert_allclose(found.values[:, voxel], t_values[:10], rtol=1e-4, atol=1e-5)


# --------------------------------------------------------------------------------------------- volumes


def test_volumes_are_the_samples_of_a_periodic_signal():
    times = (np.arange(N_SCANS) + 0.5) * TR_S
    events = pd.DataFrame({"onset": np.arange(1, 240, 20.0), "duration": 2.0, "condition": ["a", "b"] * 6})
    signal = np.where(events_index(times, 40) < 20, 1.0, -1.0) * np.sin(2 * np.pi * (times - 1) / 20)
    settings = Glm(method="volumes", delays_s=(0, 2, 3, 6, 14), drift="none")
    found = fit_run(signal[:, None] + 700, events, tr_s=TR_S, settings=settings)
    exact = {delay: np.sin(2 * np.pi * delay / 20) for delay in (0, 2, 4, 6, 14)}
    exact[3] = (exact[2] + exact[4]) / 2  # interpolated linearly between volumes
    expected = [sign * exact[delay] - signal.mean() for sign in (1, -1) for delay in (0, 2, 3, 6, 14)]
    np.testing.assert_allclose(found.values[:, 0], expected, atol=1e-6)


def events_index(times, period):
    """Return the time within a period that starts with the first event, at 1 s."""
    return (times - 1) % period


def test_volumes_equal_a_slow_interpolation_of_the_cleaned_signal():
    events, signal = events_of(jitter_s=5), noise_of()
    confounds = pd.DataFrame(noise_of(2, seed=9) * [1, 1e5] + [3, 1e6], columns=["x", "csf"])
    delays_s = (-1.0, 0.7, 4.0, 7.9)
    settings = Glm(method="volumes", delays_s=delays_s)
    found = fit_run(signal, events, tr_s=TR_S, settings=settings, confounds=confounds)
    clean = least_squares(np.hstack([hand_drifts(), confounds]), signal)[2]
    times = (np.arange(N_SCANS) + 0.5) * TR_S
    for (name, delay_s), values in zip(found.table.itertuples(index=False), found.values, strict=True):
        onsets = events.loc[events["condition"] == name, "onset"]
        slow = [[np.interp(onset + delay_s, times, voxel) for voxel in clean.T] for onset in onsets]
        np.testing.assert_allclose(values, np.mean(slow, axis=0), atol=1e-5)


def test_volumes_beside_a_scrubbed_one_are_taken_if_they_are_near():
    signal, kept = np.arange(20.0)[:, None] ** 2, np.ones(20, dtype=bool)
    kept[5] = False
    signal[5] = 1e6
    events = pd.DataFrame({"onset": [4.3, 4.7], "duration": 0.0, "condition": ["near", "far"]})
    settings = Glm(method="volumes", delays_s=(0,), drift="none", slice_time_ref=0)
    found = fit_run(signal, events, tr_s=1, settings=settings, kept=kept)
    assert list(found.table["condition"]) == ["near"]
    assert found.values[0, 0] == pytest.approx(16 - signal[kept].mean())


def test_residuals_of_volumes_are_those_of_the_conditions():
    events, signal = events_of(), noise_of()
    settings = Glm(method="volumes", delays_s=(4,))
    found = fit_run(signal, events, tr_s=TR_S, settings=settings, residuals=True)
    _, _, rest, freedom = least_squares(nilearn_design(events).to_numpy(), signal)
    np.testing.assert_allclose(found.residuals, rest, atol=1e-5)
    assert found.degrees_of_freedom == freedom


# ------------------------------------------------------------------------- confounds, scrubbing, voxels


ALL = [
    Glm(noise_model="ols"),
    Glm(),
    Glm(method="trials"),
    Glm(method="trials", patterns="t"),
    Glm(method="fir", delays_s=(2, 4)),
    Glm(method="volumes", delays_s=(2, 5)),
]


def test_confounds_are_part_of_the_design_whatever_their_size():
    events, signal = events_of(), noise_of()
    confounds = pd.DataFrame(noise_of(3, seed=4) * [1e-8, 1, 0.1] + [0, 5, 1e7], columns=["rot_x", "fd", "global"])
    confounds["twice"], confounds["flat"] = confounds["fd"] * 2, 0.1
    confounds["cosine00"] = hand_drifts()[:, 1]  # fMRIPrep's, beside our own
    found = fit_run(signal, events, tr_s=TR_S, settings=Glm(noise_model="ols"), confounds=confounds, residuals=True)
    standard = (confounds[["rot_x", "fd", "global"]] - confounds.mean()) / confounds.std()
    design = np.hstack([hand_regressors(events), hand_drifts(), standard[["rot_x", "fd", "global"]]])
    exact = np.hstack([nilearn_design(events), standard[["rot_x", "fd", "global"]]])
    betas, _, rest, freedom = least_squares(exact, signal)
    places = [list(nilearn_design(events)).index(name) for name in found.table["condition"]]
    np.testing.assert_allclose(found.values, betas[places], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.residuals, rest, atol=1e-5)
    assert found.degrees_of_freedom == freedom == len(design) - design.shape[1]


@pytest.mark.parametrize("settings", [ALL[0], ALL[4].model_copy(update={"noise_model": "ols"})])
def test_scrubbing_equals_one_regressor_for_each_scrubbed_volume(settings):
    events, signal = events_of(), noise_of()
    scrubbed = [3, 40, 41, 77]
    kept = ~np.isin(np.arange(N_SCANS), scrubbed)
    censors = pd.DataFrame(np.eye(N_SCANS)[:, scrubbed], columns=[f"censor{i}" for i in scrubbed])
    broken = signal.copy()
    broken[scrubbed] = 1e5
    one = fit_run(broken, events, tr_s=TR_S, settings=settings, kept=kept, residuals=True)
    other = fit_run(signal, events, tr_s=TR_S, settings=settings, confounds=censors, residuals=True)
    np.testing.assert_allclose(one.values, other.values, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(one.residuals, other.residuals[kept], atol=1e-5)
    assert one.degrees_of_freedom == other.degrees_of_freedom == N_SCANS - 4 - (len(one.table) + 6)


def test_degrees_of_freedom_are_kept_volumes_less_the_rank():
    events, signal = events_of(), noise_of()
    confounds = pd.DataFrame(noise_of(2, seed=4), columns=["x", "y"]).assign(again=lambda t: t["x"] + t["y"])
    kept = np.arange(N_SCANS) > 9
    found = fit_run(signal, events, tr_s=TR_S, settings=Glm(), confounds=confounds, kept=kept, residuals=True)
    assert found.degrees_of_freedom == N_SCANS - 10 - (5 + 6 + 2)
    assert found.residuals.shape == (N_SCANS - 10, 6)


@pytest.mark.parametrize("settings", ALL, ids=lambda s: f"{s.method}-{s.patterns}-{s.noise_model}")
def test_voxels_without_data_are_nan_and_harm_no_other(settings):
    events, signal = events_of(), noise_of(8).astype(np.float32)
    broken, kept = signal.copy(), np.arange(N_SCANS) != 50
    broken[7, 1], broken[:, 3], broken[:, 4], broken[8, 5] = np.nan, 0, 123.4, np.inf
    broken[:, 6] = 7
    broken[50, 6] = 8  # varies in a scrubbed volume only
    broken[50, 7] = np.nan
    run = {"tr_s": TR_S, "settings": settings, "kept": kept, "residuals": True}
    found, whole = fit_run(broken, events, **run), fit_run(signal, events, **run)
    bad = np.array([1, 3, 4, 5, 6])
    assert np.isnan(found.values[:, bad]).all()
    assert np.isnan(found.residuals[:, bad]).all()
    good = np.array([0, 2, 7])
    np.testing.assert_allclose(found.values[:, good], whole.values[:, good], rtol=1e-5)
    np.testing.assert_allclose(found.residuals[:, good], whole.residuals[:, good], rtol=1e-4, atol=1e-5)
    patterns = Patterns(
        found.values, found.table, residuals=Residuals(found.residuals, degrees_of_freedom=found.degrees_of_freedom)
    )
    assert list(np.flatnonzero(patterns.usable)) == [0, 2, 7]


@pytest.mark.parametrize("settings", ALL, ids=lambda s: f"{s.method}-{s.patterns}-{s.noise_model}")
def test_single_precision_with_an_offset_of_10000_loses_nothing(settings):
    events = events_of()
    signal = (noise_of() * 100).astype(np.float32)
    shifted = signal + np.float32(10_000)
    exact = shifted.astype(np.float64) - 10_000
    one, other = (fit_run(values, events, tr_s=TR_S, settings=settings) for values in (shifted, exact))
    np.testing.assert_allclose(one.values, other.values, rtol=1e-4, atol=1e-5 * np.abs(other.values).max())


@pytest.mark.parametrize("settings", ALL, ids=lambda s: f"{s.method}-{s.patterns}-{s.noise_model}")
def test_blocks_of_voxels_and_the_order_of_events_change_nothing(settings, monkeypatch):
    events, signal = events_of(), noise_of(11, autocorrelation=0.3)
    whole = fit_run(signal, events, tr_s=TR_S, settings=settings, residuals=True)
    monkeypatch.setattr(glm, "BLOCK", 4)
    blocks = fit_run(signal, events, tr_s=TR_S, settings=settings, residuals=True)
    np.testing.assert_allclose(blocks.values, whole.values, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(blocks.residuals, whole.residuals, rtol=1e-5, atol=1e-6)
    other = fit_run(signal, events[::-1], tr_s=TR_S, settings=settings)
    keys = list(whole.table)
    ours = pd.DataFrame(whole.values).groupby([whole.table[key] for key in keys]).first()
    theirs = pd.DataFrame(other.values).groupby([other.table[key] for key in keys]).first()
    pd.testing.assert_frame_equal(ours, theirs, rtol=1e-4, atol=1e-5)


def test_residuals_vary_as_the_noise_of_betas_does():
    events = events_of(gap_s=11)
    rng, n = np.random.default_rng(0), 3000
    shared = rng.standard_normal((N_SCANS + 50, n))
    noise = np.stack([shared + 0.5 * rng.standard_normal(shared.shape), shared, rng.standard_normal(shared.shape)])
    for voxel, rho in enumerate([0.5, 0.5, 0.0]):  # two that remember and share noise, one that does not remember
        for i in range(1, N_SCANS + 50):
            noise[voxel, i] += rho * noise[voxel, i - 1]
    signal = noise[:, 50:].transpose(1, 0, 2).reshape(N_SCANS, 3 * n)
    found = fit_run(signal, events, tr_s=TR_S, settings=Glm(), residuals=True)
    betas = found.values.reshape(5, 3, n).astype(float)
    rest = found.residuals.reshape(N_SCANS, 3, n).astype(float)
    of_betas = np.einsum("cvn,cwn->vw", betas, betas) / (5 * n)
    of_rest = np.einsum("svn,swn->vw", rest, rest) / n / found.degrees_of_freedom
    np.testing.assert_allclose(of_betas / of_betas[2, 2], of_rest / of_rest[2, 2], atol=0.15)
    assert of_betas[0, 0] / of_betas[2, 2] > 2  # autocorrelation matters here


def test_residuals_of_t_values_have_unit_variance():
    events, signal = events_of(), noise_of(autocorrelation=0.4) * [1, 2, 5, 10, 20, 50]
    found = fit_run(signal, events, tr_s=TR_S, settings=Glm(patterns="t"), residuals=True)
    np.testing.assert_allclose((found.residuals**2).sum(axis=0) / found.degrees_of_freedom, 1, rtol=1e-5)


def test_conditions_that_scrubbing_takes_away_are_left_out_and_named(caplog):
    events, signal = events_of(n_each=1, gap_s=40, names=["a", "b", "c"]), noise_of()
    times, start = (np.arange(N_SCANS) + 0.5) * TR_S, events["onset"][1]
    kept = (times < start) | (times > start + 35)
    for settings in ALL:
        caplog.clear()
        with caplog.at_level(logging.WARNING, logger="rsa.datasets.bids.glm"):
            found = fit_run(signal, events, tr_s=TR_S, settings=settings, kept=kept)
        assert set(found.table["condition"]) == set(events["condition"]) - {events["condition"][1]}
        assert "responses are left out, because too little of them is in the volumes that are kept" in caplog.text
        assert repr(events["condition"][1])[:-1] in caplog.text


def test_a_trial_that_starts_with_the_last_volumes_does_not_count():
    events, signal = events_of(names=["a", "b"], gap_s=20), noise_of(n_scans=100)
    late = pd.DataFrame([{"onset": 198.5, "duration": 1.0, "condition": "a"}])
    settings = Glm(method="trials")
    one = fit_run(signal, events, tr_s=TR_S, settings=settings)
    other = fit_run(signal, pd.concat([events, late]), tr_s=TR_S, settings=settings)
    np.testing.assert_allclose(one.values, other.values, rtol=1e-4)


# ------------------------------------------------------------------------------------------- real data


@pytest.fixture(scope="module")
def god_v1(data):
    """Read the signal of V1 and the events of a run of Horikawa & Kamitani (2017)."""
    folder = data / "god_sub01_run01"
    atlas = np.asarray(nib.load(folder / "roi_glasser.nii.gz").dataobj)
    bold = np.asarray(nib.load(folder / "bold.nii.gz").dataobj, dtype=np.float32)
    signal = bold[np.isin(atlas, (1, 201))].T  # (178, n_voxels of V1)
    events = pd.read_csv(folder / "events.tsv", sep="\t")
    events = events[events["event_type"] == "stimulus"]
    events = events.rename(columns={"stimulus_name": "condition"})[["onset", "duration", "condition"]]
    return signal, events, folder


def test_the_response_of_v1_to_pictures_rises_and_falls(god_v1):
    signal, events, _ = god_v1
    settings = Glm(method="volumes", delays_s=(0, 3, 6, 9, 12))
    found = fit_run(signal, events, tr_s=3.0, settings=settings)
    assert found.values.shape == (50 * 5, 380)
    means = found.values.mean(axis=1).reshape(50, 5).mean(axis=0)
    assert list(np.argsort(means[:4])) == [0, 3, 1, 2]  # lowest at 0 s, highest at 6 s
    assert means[4] > 0.03 > means[3]  # pictures follow each other every 9 s: at 12 s it is the next one's response
    first = fit_run(signal, events[:1], tr_s=3.0, settings=settings).values.mean(axis=1)  # after half a minute of rest
    assert first[4] > first[0] + 1


def test_betas_of_v1_are_those_that_others_estimated(god_v1, caplog):
    signal, events, folder = god_v1
    order = pd.read_csv(folder / "stimuli.tsv", sep="\t")["stimulus_name"]
    atlas = np.asarray(nib.load(folder / "roi_glasser.nii.gz").dataobj)
    ready = np.asarray(nib.load(folder / "betas.nii.gz").dataobj)[np.isin(atlas, (1, 201))].T
    settings = Glm(drift="none", noise_model="ols", slice_time_ref=0)  # the signal is filtered already
    found = fit_run(signal, events, tr_s=3.0, settings=settings)
    values = pd.DataFrame(found.values, index=found.table["condition"]).loc[order].to_numpy()
    assert np.corrcoef((values - values.mean(axis=0)).ravel(), ready.ravel())[0, 1] > 0.9
    assert not caplog.records
    settings = Glm(noise_model="ols")
    fit_run(signal, events, tr_s=3.0, settings=settings)  # cosines are nearly sums of pictures without a pause between
    assert "make the standard errors of 46 of 50 responses more than 5 times larger" in caplog.text


# ------------------------------------------------------------------------------------------- messages


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"hrf": "glove"}, r"unknown hrf 'glove'. Did you mean 'glover'\? Choose one of: spm, spm \+ derivative"),
        ({"method": "fir"}, r"method 'fir' measures at delays after onset: give delays_s, such as \[0, 2, 4\]"),
        ({"method": "volumes"}, "method 'volumes' measures at delays"),
        ({"delays_s": [0, 2]}, "delays_s are for the methods 'fir' and 'volumes', not for 'conditions'"),
        ({"method": "fir", "delays_s": [2, 0]}, r"seconds in ascending order, each once, not \[2.0, 0.0\]"),
        ({"method": "fir", "delays_s": [2, 2]}, "in ascending order, each once"),
        ({"method": "volumes", "delays_s": [float("nan")]}, "delays_s are numbers of seconds"),
        ({"method": "volumes", "delays_s": [0], "patterns": "t"}, "no response that could have t values"),
        ({"method": "fir", "delays_s": [0], "duration_s": 1}, "durations play no part in method 'fir'"),
        ({"duration_s": -1}, "greater than or equal to 0"),
        ({"method": "trials", "hrf": "spm + derivative"}, "method 'trials' takes an hrf without derivatives"),
    ],
)
def test_settings_that_do_not_belong_together_are_refused(given, message):
    with pytest.raises(ValidationError, match=message):
        Glm(**given)


FIR = Glm(method="fir", delays_s=(0, 2, 4))
GOOD = pd.DataFrame({"onset": [10.0, 40.0, 70.0, 99.0], "duration": 2.0, "condition": ["a", "b", "a", "c"]})


@pytest.mark.parametrize(
    ("events", "settings", "message"),
    [
        (GOOD.drop(columns="duration"), Glm(), r"^Events need the columns .*; 'duration' is not there"),
        (GOOD[:0], Glm(), "^The run has no events to be modelled"),
        (GOOD.assign(onset=["1", "soon", "3", "4"]), Glm(), r"^Events need an onset .*; one has the onset 'soon'"),
        (GOOD.assign(onset=[1, np.inf, 3, 4]), Glm(), r"^Events need an onset .*; row 2 \('b'\) has inf and 2"),
        (GOOD.assign(duration="n/a"), Glm(), r"^No event .* modelled\. 4 of 4 events .*: no duration \(n/a\); glm"),
        (GOOD.assign(duration=-1), Glm(), r"row 1 \('a'\) has 10 and -1. Correct it, or take it out"),
        (pd.concat([GOOD, GOOD[1:]]), Glm(), "^3 events come twice; first: 'b' at 40 s. Keep one row for each"),
        (
            GOOD.assign(onset=GOOD["onset"] * 2),
            Glm(),
            "^2 of 4 events start after the last volume, the last at 198 s: 60 volumes .* end at 120 s",
        ),
        (GOOD, FIR.model_copy(update={"delays_s": (0, 2, 3)}), "^Method 'fir' takes .* the TR of 2 s; 3 s are not"),
        (GOOD, FIR.model_copy(update={"delays_s": (0, 20, 22)}), "^No volume between 0 and 120 s shows 'c at 22 s'"),
        (GOOD, Glm(method="volumes", delays_s=(0, 21.5)), "shows 'c at 21.5 s'. Take delays that every condition has"),
        (GOOD, Glm(high_pass_hz=0.3), "^high_pass_hz is below .*, 0.25 Hz for a TR of 2 s, not 0.3"),
        (GOOD, Glm(high_pass_hz=0.24), "^60 volumes are too few for 3 regressors of conditions and 58 of drifts"),
    ],
)
def test_problems_are_found_before_a_model_is_fitted(events, settings, message):
    (problem,) = problems_of_run(60, events, tr_s=2.0, settings=settings)
    with pytest.raises(UserError, match=message):
        fit_run(noise_of(n_scans=60), events, tr_s=2.0, settings=settings)
    with pytest.raises(UserError, match=message):
        raise UserError(problem)


STRAY = [
    ({"onset": 201.0}, "an onset after the last volume, which ends at 200 s"),
    ({"onset": 1e6}, "an onset after the last volume, which ends at 200 s"),
    ({"onset": -60.0}, "a response that is over before the first volume"),
    ({"onset": 198.5, "condition": "thanks"}, "an onset too near to the end of the run to show a response"),
    ({"onset": np.nan}, "no onset"),
    ({"duration": np.nan}, "no duration (n/a); glm.duration_s gives all events one"),
]


@pytest.mark.parametrize("settings", [Glm(), Glm(method="trials")])
@pytest.mark.parametrize(("stray", "reason"), STRAY)
def test_an_event_that_cannot_be_modelled_is_left_out_and_named(caplog, settings, stray, reason):
    events, signal = events_of(names=["a", "b"], gap_s=20), noise_of(n_scans=100)
    more = pd.DataFrame([{"onset": 50.0, "duration": 1.0, "condition": "a"} | stray])
    expected = fit_run(signal, events, tr_s=TR_S, settings=settings)
    assert not caplog.records
    found = fit_run(signal, pd.concat([more, events]), tr_s=TR_S, settings=settings)
    np.testing.assert_allclose(found.values, expected.values, rtol=1e-6)
    assert found.table["condition"].tolist() == expected.table["condition"].tolist()
    name = stray.get("condition", "a")
    assert [record.getMessage() for record in caplog.records] == [
        f"1 of 9 events are left out of the model, of {name!r}: {reason}."
    ]


def test_unknown_durations_do_not_matter_where_durations_play_no_part(caplog):
    events, signal = events_of(names=["a", "b"]), noise_of(n_scans=100)
    for settings in (FIR, Glm(method="volumes", delays_s=(0, 4))):
        expected = fit_run(signal, events.assign(duration=0), tr_s=TR_S, settings=settings)
        found = fit_run(signal, events.assign(duration="n/a"), tr_s=TR_S, settings=settings)
        np.testing.assert_array_equal(found.values, expected.values)
    assert not caplog.records


def test_one_duration_for_all_events_goes_before_their_own(caplog):
    events, signal = events_of(names=["a", "b"]), noise_of(n_scans=100)
    uneven = events.assign(duration=["n/a", 0.0, 7.0, *[1.5] * (len(events) - 3)])
    expected = fit_run(signal, events.assign(duration=3.0), tr_s=TR_S, settings=Glm())
    found = fit_run(signal, uneven, tr_s=TR_S, settings=Glm(duration_s=3.0))
    np.testing.assert_array_equal(found.values, expected.values)
    assert not caplog.records
    assert warnings_of_durations(uneven, tr_s=TR_S, settings=Glm(duration_s=3.0)) == []


@pytest.mark.parametrize(
    ("durations_s", "ratio"), [((0, 1), 23), ((0, 0.5), 12), ((0, 0.1), 3), ((0.1, 1), 10), ((0.01, 20), 148)]
)
def test_durations_that_make_betas_incomparable_are_told_with_the_factor(durations_s, ratio):
    """The factor is that between the betas of one response that two models see."""
    events = pd.DataFrame({"onset": [10.0, 60.0], "duration": durations_s, "condition": ["a", "b"]})
    times_s = (np.arange(60) + 0.5) * TR_S
    peaks = [compute_regressor(([10], [duration_s], [1]), "spm", times_s)[0].max() for duration_s in durations_s]
    (text,) = warnings_of_durations(events, tr_s=TR_S, settings=Glm())
    told = float(re.search(r"about (\d+) times", text)[1])
    assert told == pytest.approx(peaks[1] / peaks[0], rel=0.2)
    assert told == pytest.approx(ratio, rel=0.2)
    assert "Set glm.duration_s" in text
    for settings in (Glm(patterns="t"), FIR, Glm(duration_s=0)):
        assert warnings_of_durations(events, tr_s=TR_S, settings=settings) == []


def test_durations_that_are_alike_are_not_told():
    events = pd.DataFrame({"onset": [10.0, 60.0], "duration": [0.8, 2.0], "condition": ["a", "b"]})
    assert warnings_of_durations(events, tr_s=TR_S, settings=Glm()) == []
    assert warnings_of_durations(events.assign(duration=0), tr_s=TR_S, settings=Glm()) == []


@pytest.mark.parametrize("settings", [*ALL, FIR, Glm(method="volumes", delays_s=(-0.5, 20.5))])
def test_a_good_run_has_no_problems(settings):
    assert problems_of_run(60, GOOD, tr_s=2.0, settings=settings) == []


def test_a_tr_of_nothing_is_a_problem():
    assert problems_of_run(60, GOOD, tr_s=0, settings=Glm()) == ["The TR is a number of seconds above 0, not 0."]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"bold": np.zeros(60)}, r"has shape \(n_scans, n_voxels\), not \(60,\)"),
        ({"kept": np.ones(59)}, r"`kept` says yes or no of 60 volumes; it has shape \(59,\)"),
        ({"kept": np.zeros(60)}, "No volume that is kept shows a response"),
        ({"confounds": pd.DataFrame(np.ones((59, 1)))}, "60 volumes need as many rows of confounds, not 59"),
        (
            {"confounds": pd.DataFrame({"fd": [np.nan] * 60})},
            r"Confounds 'fd' have gaps \(n/a\) in volumes that are kept",
        ),
        ({"confounds": pd.DataFrame(np.eye(60)[:, :56])}, "60 volumes are kept, too few for the 62 parameters"),
        ({"kept": np.isin(np.arange(60), (7, 22, 37, 52))}, "4 volumes are kept, too few for the 6 parameters"),
    ],
)
def test_what_does_not_fit_the_volumes_is_refused(given, message):
    run = {"bold": noise_of(n_scans=60), "events": GOOD, "tr_s": 2.0, "settings": Glm()} | given
    with pytest.raises(UserError, match=message):
        fit_run(**run)


def test_the_model_of_a_trial_needs_one_volume_more():
    run = {"tr_s": 2.0, "confounds": pd.DataFrame(noise_of(53, n_scans=60, seed=8))}
    found = fit_run(noise_of(n_scans=60), GOOD, settings=Glm(noise_model="ols"), residuals=True, **run)
    assert found.degrees_of_freedom == 1
    with pytest.raises(UserError, match="60 volumes are kept, too few for the 60 parameters"):
        fit_run(noise_of(n_scans=60), GOOD, settings=Glm(method="trials", noise_model="ols"), **run)
    confounds = pd.DataFrame(noise_of(54, n_scans=60, seed=8))
    volumes = {"tr_s": 2.0, "confounds": confounds, "settings": Glm(method="volumes", delays_s=(4,))}
    assert fit_run(noise_of(n_scans=60), GOOD, **volumes).degrees_of_freedom == 0
    with pytest.raises(UserError, match="60 volumes are kept, too few for the 60 parameters"):
        fit_run(noise_of(n_scans=60), GOOD, residuals=True, **volumes)


def test_gaps_of_confounds_in_scrubbed_volumes_do_no_harm():
    confounds = pd.DataFrame({"fd": np.r_[np.nan, np.arange(59.0) % 7]})
    kept = np.arange(60) > 0
    assert np.isfinite(
        fit_run(noise_of(n_scans=60), GOOD, tr_s=2.0, settings=Glm(), confounds=confounds, kept=kept).values
    ).all()


def test_responses_that_cannot_be_told_apart_are_named():
    together = pd.concat([GOOD, GOOD[GOOD["condition"] == "b"].assign(condition="shadow")])
    signal = noise_of(n_scans=60)
    for settings in (Glm(), Glm(method="trials"), FIR):
        with pytest.raises(UserError, match=r"cannot tell apart the responses to 'b.*'shadow.* Give events that"):
            fit_run(signal, together, tr_s=2.0, settings=settings)
    exact = pd.DataFrame(nilearn_design(GOOD, 60)[["c"]].to_numpy())
    with pytest.raises(UserError, match="cannot tell apart the responses to 'c': their regressors are sums"):
        fit_run(signal, GOOD, tr_s=2.0, settings=Glm(), confounds=exact)


def test_trials_at_the_same_time_are_refused():
    doubled = pd.concat([GOOD, GOOD[:1].assign(condition="d")])  # d is one of the trials of a
    with pytest.raises(UserError, match="cannot tell apart the trials of 'a': some start at the same time"):
        fit_run(noise_of(n_scans=60), doubled, tr_s=2.0, settings=Glm(method="trials"))


def test_a_run_whose_events_are_all_scrubbed_is_refused():
    kept = np.arange(60) < 25
    events = GOOD.assign(onset=[60.0, 70, 80, 90])
    with pytest.raises(UserError, match="No volume that is kept shows a response to any condition"):
        fit_run(noise_of(n_scans=60), events, tr_s=2.0, settings=FIR, kept=kept)
