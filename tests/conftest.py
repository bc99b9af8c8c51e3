"""What all tests share: the real data where they are, a generator of random numbers, and tables that tests extend."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from forks import DPI
from in_a_browser import barriers, browser, opened

from rsa.comparisons import COMPARISONS
from rsa.datasets import DATASETS
from rsa.distances import DISTANCES
from rsa.inference.group import GROUP_TESTS
from rsa.inputs.references import RULES
from rsa.maps import MAPS
from rsa.models import MODELS
from rsa.report import style

__all__ = ["barriers", "browser", "coarse_figures", "data", "opened", "rng", "tables"]

matplotlib.use("Agg")

ROOT = Path(__file__).parent.parent
DATA = Path(os.environ.get("RSA_DATA", ROOT.parent / "shared" / "data"))


def pytest_configure(config: pytest.Config) -> None:
    """Give a home to whoever has none to write to, as users of containers: Snakemake does not run without one."""
    if not os.access(os.path.expanduser("~"), os.W_OK):
        os.environ["HOME"] = tempfile.mkdtemp(prefix="home-")
        config.add_cleanup(partial(shutil.rmtree, os.environ["HOME"], ignore_errors=True))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the studies, so that at the end no worker is left alone with one of them."""
    items.sort(key=lambda item: "workflow" not in item.path.parts)


@pytest.fixture(scope="session")
def data() -> Path:
    """Return the folder of real stimuli, brain data and weights; skip where it is not."""
    if not DATA.is_dir():
        pytest.skip(f"the real data are not in {DATA}; set RSA_DATA to where they are")
    return DATA


@pytest.fixture(autouse=True)
def coarse_figures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw figures with few dots, which is quicker, but in tests marked `dots`, which look at how many there are."""
    if "dots" not in request.keywords:
        monkeypatch.setattr(style, "DPI", DPI)


@pytest.fixture
def tables() -> Iterator[None]:
    """Let examples add to the tables, and take what they added out again."""
    ours: list[dict] = [DISTANCES, COMPARISONS, MAPS, GROUP_TESTS, RULES, DATASETS, MODELS]
    before = [dict(table) for table in ours]
    yield
    for table, entries in zip(ours, before, strict=True):
        table.clear()
        table.update(entries)


@pytest.fixture
def rng() -> np.random.Generator:
    """Return a generator with a fixed seed."""
    return np.random.default_rng(2026)
