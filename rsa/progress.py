"""How far long work has come: a bar on a terminal, a line now and then in a log."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock
from time import monotonic

from tqdm import tqdm

__all__ = ["duration", "progress"]

SECONDS_BETWEEN_LINES = 10

log = logging.getLogger(__name__)


@contextmanager
def progress(total: int, unit: str, what: str = "") -> Iterator[Callable[[int], None]]:
    """Tell how far work has come: by a bar if there is a terminal, else by a line in the log every 10 s.

    When the block ends without an error, a last line says how long all of it took.

    Parameters
    ----------
    total : int
        How many steps there are.
    unit : str
        What they are, in the plural.
    what : str
        What is done, for the beginning of the bar and of the lines.

    Yields
    ------
    callable
        To be called, from any thread, with the number of steps that were done since the last call.
    """
    lines = _Lines(total, unit, f"{what}: " if what else "")
    with tqdm(total=total, desc=what or None, unit=f" {unit}", disable=None) as bar:
        lock = Lock()

        def advance(n_steps: int) -> None:
            with lock:
                bar.update(n_steps)
                lines.count(n_steps, shown=bool(bar.disable))

        yield advance
    lines.end()


class _Lines:
    """Counts steps, and says in the log how many are done."""

    def __init__(self, total: int, unit: str, begin: str) -> None:
        self.total, self.unit, self.begin = total, unit, begin
        self.n_done = 0
        self.started = self.said = monotonic()

    def count(self, n_steps: int, shown: bool) -> None:
        self.n_done += n_steps
        now = monotonic()
        if not shown or now - self.said < SECONDS_BETWEEN_LINES:
            return
        self.said = now
        rate = self.n_done / (now - self.started)
        log.info(
            "%s%s of %s %s (%d %%), %s per s, %s left",
            *(self.begin, f"{self.n_done:,}", f"{self.total:,}", self.unit, 100 * self.n_done // self.total),
            *(_rounded(rate), duration((self.total - self.n_done) / rate)),
        )

    def end(self) -> None:
        seconds = monotonic() - self.started
        rate, did = self.n_done / max(seconds, 1e-3), f"{self.n_done:,} {self.unit}"
        log.info("%s%s in %.1f s, %s per s", self.begin, did, seconds, _rounded(rate), extra={"did": did})


def _rounded(rate: float) -> str:
    """Write a rate with two significant digits.

    Examples
    --------
    >>> [_rounded(rate) for rate in (8437.2, 18.4, 0.512)]
    ['8,400', '18', '0.51']
    """
    value = float(f"{rate:.2g}")
    return f"{value:,.0f}" if value >= 10 else f"{value:g}"


def duration(seconds: float) -> str:
    """Write a duration in its two largest units, and one of a few seconds with a decimal.

    Examples
    --------
    >>> [duration(seconds) for seconds in (1.13, 17.2, 200, 7500)]
    ['1.1 s', '17 s', '3 min 20 s', '2 h 5 min']
    """
    minutes, rest = divmod(round(seconds), 60)
    if not minutes:
        return f"{seconds:.1f} s" if seconds < 10 else f"{rest} s"
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
