"""How much memory there is, as the system tells it."""

import numpy as np
import pytest

from rsa.files import memory


def test_the_machine_has_more_than_the_process_and_the_process_knows_its_peak():
    before = memory.process_bytes()
    data = np.ones(25_000_000)  # 200 MB
    during, peak = memory.process_bytes(), memory.peak_bytes()
    assert during - before > 0.9 * data.nbytes
    assert before < 0.99 * during < peak < memory.machine_bytes()  # the system counts in its own time
    del data
    assert memory.peak_bytes() > 0.99 * during
    assert 0 < memory.free_bytes() <= memory.machine_bytes()


@pytest.mark.parametrize(("told", "expected"), [("max", None), ("4000000", 4_000_000), ("", None), ("0", None)])
def test_a_limit_of_a_container_counts_as_the_machine(told, expected, tmp_path, monkeypatch):
    path = tmp_path / "memory.max"
    path.write_text(told + "\n")
    monkeypatch.setattr(memory, "LIMITS", ())
    whole = memory.machine_bytes()
    monkeypatch.setattr(memory, "LIMITS", (str(path), str(tmp_path / "missing")))
    assert memory.machine_bytes() == (expected or whole)


def test_room_is_what_is_left_of_what_is_given_or_most_of_what_is_free():
    used = memory.process_bytes()
    assert memory.room_bytes(10_000, ahead=0) == pytest.approx(10_000_000_000 - used, rel=0.01)
    assert memory.room_bytes(10_000) == pytest.approx(10_000_000_000 - used - memory.KERNELS_BYTES, rel=0.01)
    assert memory.room_bytes(1) == 1
    assert 1 < memory.room_bytes(None) < memory.machine_bytes()
