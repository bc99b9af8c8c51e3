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


MEGABYTES = 10**6

# Version 2 of control groups; version 1, whose groups without a limit have a huge one; a container that sees its own
# group as the top and is told the path that others see; a machine that tells nothing.
GROUPS = {
    "job and step": (
        "0::/slurm/job_7/step_0\n",
        {"slurm": ("max", 9_000), "slurm/job_7": ("800000000", 500), "slurm/job_7/step_0": ("max", 300)},
        (800, 400),
    ),
    "the inner one is the tightest": (
        "0::/job/step\n",
        {"job": ("800000000", 100), "job/step": ("300000000", 250)},
        (300, 150),
    ),
    "the outer one has less left": (
        "0::/job/step\n",
        {"job": ("800000000", 800), "job/step": ("700000000", 200)},
        (700, 100),
    ),
    "version 1": (
        "9:name=systemd:/user\n4:memory:/job/step\n1:cpu:/elsewhere\n0::/\n",
        {"memory": ("9223372036854771712", 9_000), "memory/job": ("600000000", 350), "memory/job/step": ("0", 300)},
        (600, 350),
    ),
    "container": ("0::/docker/abc\n", {"": ("500000000", 200)}, (500, 400)),
    "no limit": ("0::/user\n", {"user": ("max", 200)}, None),
    "damaged": ("0::/user\n", {"user": ("a lot", 200)}, None),
    "nothing told": ("", {}, None),
}


@pytest.mark.parametrize("kind", GROUPS)
def test_limits_of_the_groups_of_a_process_count_as_the_machine(kind, tmp_path, monkeypatch):
    own, groups, expected = GROUPS[kind]
    whole = memory.machine_bytes()
    (tmp_path / "own").write_text(own)
    for folder, (limit, used) in groups.items():
        inside = tmp_path / "groups" / folder
        inside.mkdir(parents=True, exist_ok=True)
        of_version_1 = folder.startswith("memory")
        (inside / ("memory.limit_in_bytes" if of_version_1 else "memory.max")).write_text(f"{limit}\n")
        (inside / ("memory.usage_in_bytes" if of_version_1 else "memory.current")).write_text(f"{used * MEGABYTES}\n")
        # 100 MB are files that the system would give back.
        total = "active_file 0\ninactive_file 0\ntotal_" if of_version_1 else ""
        cached = f"{total}active_file 60000000\n{total[-6:]}inactive_file 40000000\n"
        (inside / "memory.stat").write_text(f"anon 5\n{cached}")
    monkeypatch.setattr(memory, "CONTROL_GROUPS", tmp_path / "groups")
    monkeypatch.setattr(memory, "OWN_GROUPS", tmp_path / "own")
    if expected:
        assert (memory.machine_bytes(), memory.free_bytes()) == tuple(MEGABYTES * number for number in expected)
    else:
        assert memory.machine_bytes() >= whole
        assert memory.free_bytes() > 0


def test_room_is_what_is_left_of_what_is_given_or_most_of_what_is_free():
    used = memory.process_bytes()
    assert memory.room_bytes(10_000, ahead=0) == pytest.approx(10_000_000_000 - used, rel=0.01)
    assert memory.room_bytes(10_000) == pytest.approx(10_000_000_000 - used - memory.KERNELS_BYTES, rel=0.01)
    assert memory.room_bytes(1) == 1
    assert 1 < memory.room_bytes(None) < memory.machine_bytes()
