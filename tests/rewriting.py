"""Files that tests write again at once, as no user does."""

import os
from itertools import count
from pathlib import Path

__all__ = ["rewritten"]

_SECONDS = count(1)


def rewritten(path: Path, content: bytes | bytearray) -> None:
    """Write a file, and give it a date that no other has: most clocks of files tick every few ms, some each second.

    What was read of a file is known until it changes; the same size, written within a tick, would be no change.
    """
    path.write_bytes(content)
    second = next(_SECONDS)
    os.utime(path, (second, second))
