"""The searchlight is about as fast as it was, in units of scipy beside it: `make test-speed`, no part of the suite."""

import sys
from pathlib import Path

import pytest

RECORDED = {"8 references": 138.0, "1000 references": 28.0}
"""How many times faster than scipy with 8 references a centre was: what `benchmarks/searchlight.py --record` prints."""

TOO_SLOW = 0.4
"""Part of a recorded ratio below which the test fails. What else runs shares caches and memory with what is measured,
which costs a third at the most; what makes a searchlight slow by mistake costs more than half."""


def test_a_centre_takes_about_as_long_as_it_did(tmp_path, monkeypatch):
    """Both are measured in turn, in seconds of the processor, so that a busy machine slows neither."""
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "benchmarks")
    from ours import speed_ratios

    best = dict.fromkeys(RECORDED, 0.0)
    for attempt in range(3):
        for name, ratio in speed_ratios(tmp_path / str(attempt)).items():
            best[name] = max(best[name], ratio)
        if all(best[name] >= TOO_SLOW * RECORDED[name] for name in RECORDED):
            print(f"times faster than scipy: {best}; recorded: {RECORDED}", file=sys.stderr)
            return
    pytest.fail(f"times faster than scipy: {best}; recorded: {RECORDED}. If that is meant, see benchmarks/README.md.")
