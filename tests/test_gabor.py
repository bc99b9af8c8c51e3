"""Gabor energy is what the papers say of simple and complex cells, and filters are those of the plain definition."""

import numpy as np
import oracles
import pytest

from rsa.errors import UserError
from rsa.inputs import gabor

SIZE = 64


def grating(frequency, turns=0.0, phase=0.0, size=SIZE):
    """Draw a grating of so many cycles per image, which changes in a direction in half turns from left-right."""
    y, x = np.mgrid[:size, :size] / size
    angle = np.pi * turns
    return 0.5 + 0.5 * np.cos(2 * np.pi * frequency * (x * np.cos(angle) + y * np.sin(angle)) + phase)


def cell(values, bank, scale, orientation):
    """Return the response of the cell next to the middle of the picture."""
    n_each = [one.mean.size for one in bank]
    n = bank[scale].envelope.shape[0]
    return values[sum(n_each[:scale]) :][: n_each[scale]].reshape(-1, n, n)[orientation, n // 2, n // 2]


@pytest.mark.parametrize("bandwidth", [0.8, 1.5])
def test_responses_are_those_of_filters_drawn_pixel_by_pixel(rng, bandwidth):
    picture = rng.random((24, 24))
    bank = gabor.scales(24, (1, 2, 5), 3, bandwidth)
    sd = gabor.envelope_sd(1, bandwidth)
    np.testing.assert_allclose(
        gabor.pair_responses(picture, bank), oracles.gabor_pairs(picture, (1, 2, 5), 3, sd), atol=1e-12
    )


def test_the_number_of_cells_of_the_paper():
    """Places of 1, 4, 16, 64, 256 and 1,024 at 8 orientations."""
    bank = gabor.scales(128, (1, 2, 4, 8, 16, 32))
    assert sum(scale.mean.size for scale in bank) == 8 * 1365
    assert [scale.mean.shape for scale in bank] == [(8, f, f) for f in (1, 2, 4, 8, 16, 32)]


@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
def test_nothing_responds_to_luminance(rng, value):
    bank = gabor.scales(SIZE, (1, 2, 4, 8))
    assert not gabor.pair_responses(np.full((SIZE, SIZE), value), bank).any()
    picture = rng.random((SIZE, SIZE))
    plain = gabor.pair_responses(picture, bank)
    np.testing.assert_allclose(gabor.pair_responses(picture + value, bank), plain, atol=1e-12)
    np.testing.assert_allclose(gabor.pair_responses(picture * 2, bank), plain * 2, atol=1e-12)


def test_a_drifting_grating_modulates_simple_cells_and_no_complex_ones():
    """Complex cells stay within 1 %; a simple cell follows the phase from its peak to nothing, half of the time."""
    bank = gabor.scales(SIZE, (4, 8))
    phases = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    pairs = [gabor.pair_responses(grating(8, 0.25, phase), bank) for phase in phases]
    energy = np.array([cell(gabor.complex_cells(one), bank, 1, 2) for one in pairs])
    assert np.ptp(energy) < 0.01 * energy.mean()
    n = len(pairs[0])
    simple = np.array([cell(gabor.simple_cells(one)[:n], bank, 1, 2) for one in pairs])
    assert simple.max() == pytest.approx(energy.mean(), rel=0.01)
    assert (simple == 0).mean() == pytest.approx(0.5, abs=0.03)
    begin = np.angle(cell(pairs[0], bank, 1, 2))
    expected = np.maximum(0, energy.mean() * np.cos(begin - phases))
    np.testing.assert_allclose(simple, expected, atol=0.01 * energy.mean())


def test_cells_prefer_their_own_orientation_and_frequency():
    frequencies = (2, 4, 8, 16)
    bank = gabor.scales(SIZE, frequencies)
    for scale, frequency in enumerate(frequencies):
        for orientation in range(8):
            energy = gabor.complex_cells(gabor.pair_responses(grating(frequency, orientation / 8), bank))
            of_turns = [cell(energy, bank, scale, one) for one in range(8)]
            of_scales = [cell(energy, bank, one, orientation) for one in range(len(frequencies))]
            assert (np.argmax(of_turns), np.argmax(of_scales)) == (orientation, scale)


@pytest.mark.parametrize("octaves", [0.7, 1.0, 1.4])
def test_the_bandwidth_is_what_was_asked_for(octaves):
    """The frequencies at which a cell responds half as much as at its own are so many octaves apart."""
    size, own = 96, 12
    bank = gabor.scales(size, (own,), 1, octaves)
    tested = own * 2 ** np.linspace(-1.2, 1.0, 221)
    tuning = np.array(
        [cell(gabor.complex_cells(gabor.pair_responses(grating(f, size=size), bank)), bank, 0, 0) for f in tested]
    )
    above = tested[tuning >= tuning.max() / 2]
    assert np.log2(above[-1] / above[0]) == pytest.approx(octaves, abs=0.06)


def test_kinds_of_cells_are_of_the_same_pairs(rng):
    pairs = gabor.pair_responses(rng.random((SIZE, SIZE)), gabor.scales(SIZE, (2, 4)))
    simple, energy, both = (gabor.CELLS[name].respond(pairs) for name in ("simple", "complex", "both"))
    np.testing.assert_array_equal(both, [*simple, *energy])
    np.testing.assert_allclose((simple.reshape(4, -1) ** 2).sum(axis=0), energy**2)
    assert (simple >= 0).all()
    assert ((simple.reshape(4, -1) > 0).sum(axis=0) == 2).all(), "of each pair, one of each sign"


def test_frequencies_that_pixels_cannot_show_are_refused():
    message = (
        "Gabor filters of 32 cycles per image are too fine for 64 x 64 pixels, which show up to 24.0; set `size` to 86"
    )
    with pytest.raises(UserError, match=message):
        gabor.scales(64, (2, 32))
    assert len(gabor.scales(86, (2, 32))) == 2
