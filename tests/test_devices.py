"""Devices are chosen by name, and torch is asked only where it can know of one."""

import subprocess
import sys

import pytest
import torch

from rsa import devices
from rsa.devices import choose_device
from rsa.errors import UserError
from rsa.models import own_device as locking
from rsa.models.own_device import own_device


def test_choose_device(monkeypatch):
    monkeypatch.setattr(devices, "has_driver", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert choose_device("auto") == "cpu"
    assert choose_device("cpu") == "cpu"
    for device in ("cuda", "cuda:0"):
        with pytest.raises(UserError, match=f"This machine has 0 CUDA devices, so no '{device}'; set device to auto"):
            choose_device(device)
    with pytest.raises(UserError, match="This machine has no device 'mps'; set device to auto or cpu"):
        choose_device("mps")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [choose_device(device) for device in ("auto", "cuda", "cuda:1")] == ["cuda", "cuda", "cuda:1"]
    with pytest.raises(UserError, match="has 2 CUDA devices, so no 'cuda:2'"):
        choose_device("cuda:2")
    for device in ("gpu", "cuda:", "cpu:1", "cuda:x", ""):
        with pytest.raises(UserError, match=f"Unknown device '{device}'. Choose one of: auto, cpu, cuda, cuda:0"):
            choose_device(device)


def test_jobs_side_by_side_have_a_device_each(monkeypatch, tmp_path):
    monkeypatch.setattr(locking.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(devices, "has_driver", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with own_device("auto") as first, own_device("auto") as second, own_device("auto") as third:
        assert (first, second, third) == ("cuda:0", "cuda:1", "cuda")
    with own_device("cuda") as again, own_device("cuda:0") as told, own_device("cpu") as cpu:
        assert (again, told, cpu) == ("cuda:0", "cuda:0", "cpu")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with own_device("auto") as only:
        assert only == "cuda"


def test_without_a_driver_torch_is_not_imported():
    """It takes a second, and more memory than a searchlight."""
    code = (
        "import sys; from rsa import devices; devices.has_driver = lambda: False\n"
        "assert devices.choose_device('auto') == 'cpu'; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
