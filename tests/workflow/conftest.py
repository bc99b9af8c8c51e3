"""Sandboxes for the tests that run Snakemake."""

from collections.abc import Callable

import pytest
from sandbox import LINKED, ROOT, Sandbox


@pytest.fixture(scope="session")
def make_sandbox(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Sandbox]:
    """Return a function that makes a new sandbox."""

    def make(name: str) -> Sandbox:
        folder = tmp_path_factory.mktemp(name)
        for file in LINKED:
            (folder / file).symlink_to(ROOT / file)
        return Sandbox(folder)

    return make
