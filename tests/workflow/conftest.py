"""Sandboxes for the tests that run Snakemake."""

import sys
from collections.abc import Callable, Iterator

import pytest
from forks import Forks
from sandbox import LINKED, ROOT, Sandbox


@pytest.fixture(scope="session")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forks]:
    """Start the process whose forks run the jobs of small studies."""
    forks = Forks(tmp_path_factory.mktemp("forks"))
    yield forks
    forks.close()


@pytest.fixture(scope="session")
def make_sandbox(tmp_path_factory: pytest.TempPathFactory, forks: Forks) -> Callable[..., Sandbox]:
    """Return a function that makes a new sandbox, in which jobs are processes as a user has them or forks."""

    def make(name: str, *, forked: bool = True) -> Sandbox:
        folder = tmp_path_factory.mktemp(name)
        for file in LINKED:
            (folder / file).symlink_to(ROOT / file)
        quick = forks.python(folder / "bin")
        return Sandbox(folder, quick if forked else sys.executable, quick)

    return make
