"""What progress says in a log, with a clock of the test's own; the bar is in tests/workflow/test_running.py."""

import logging
from concurrent.futures import ThreadPoolExecutor

import pytest

from rsa import progress as module
from rsa.progress import progress


class Clock:
    """Tells the time that it was set to."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(module, "monotonic", clock)
    return clock


@pytest.fixture
def said(caplog):
    caplog.set_level(logging.INFO, logger="rsa.progress")
    return caplog


def test_a_line_every_ten_seconds_and_one_at_the_end(clock, said, capsys):
    with progress(69_765, "spheres") as advance:
        for clock.now in (101, 105, 109.5, 110.5, 115, 120.4, 120.6, 150):
            advance(6_000)
    assert said.messages == [
        "24,000 of 69,765 spheres (34 %), 2,300 per s, 20 s left",
        "42,000 of 69,765 spheres (60 %), 2,000 per s, 14 s left",
        "48,000 of 69,765 spheres (68 %), 960 per s, 23 s left",
        "48,000 spheres in 50.0 s, 960 per s",
    ]
    assert capsys.readouterr().err == ""  # a bar only where there is a terminal


def test_short_work_says_one_line(clock, said):
    with progress(3, "images", "activations of alexnet") as advance:
        for clock.now in (101, 102, 104):
            advance(1)
    assert said.messages == ["activations of alexnet: 3 images in 4.0 s, 0.75 per s"]


def test_long_work_counts_minutes_and_hours(clock, said):
    with progress(1_000, "images", "net") as advance:
        for clock.now, n_steps in ((200, 10), (300, 390)):
            advance(n_steps)
    assert said.messages[:2] == [
        "net: 10 of 1,000 images (1 %), 0.1 per s, 2 h 45 min left",
        "net: 400 of 1,000 images (40 %), 2 per s, 5 min 0 s left",
    ]


def test_work_that_fails_does_not_say_that_it_is_done(clock, said):
    with pytest.raises(ZeroDivisionError), progress(2, "images") as advance:
        advance(1 // 0)
    assert said.messages == []


def test_no_step_is_lost_between_threads(said):
    with progress(20_000, "spheres") as advance, ThreadPoolExecutor(8) as pool:
        list(pool.map(advance, [1] * 20_000))
    (line,) = said.messages
    assert line.startswith("20,000 spheres in ")
