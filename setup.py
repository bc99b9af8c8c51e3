"""Put the workflow into the package: the files of the root, as they are, into ``rsa/_workflow``.

Everything else about the package is in pyproject.toml. An editable installation has the workflow beside the package.
"""

from pathlib import Path
from shutil import copyfile

from setuptools import setup
from setuptools.command.build_py import build_py

WORKFLOW = ("Snakefile", "config.yaml", "workflow/**/*.smk", "profiles/*/*.yaml", "profiles/*/*.sh", "envs/*.yaml")


class BuildWithWorkflow(build_py):
    """Copy the files of the workflow, of which the repository has no second copy, into what is built."""

    def run(self) -> None:
        """Build the package, then copy."""
        super().run()
        if not self.editable_mode:
            for source, target in self._copies():
                Path(target).parent.mkdir(parents=True, exist_ok=True)
                copyfile(source, target)

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        """Return all files that are built, the copies among them."""
        copies = [] if self.editable_mode else [target for _, target in self._copies()]
        return [*super().get_outputs(include_bytecode), *copies]

    def _copies(self) -> list[tuple[str, str]]:
        root, build = Path(__file__).parent, Path(self.build_lib) / "rsa" / "_workflow"
        files = sorted(path for pattern in WORKFLOW for path in root.glob(pattern))
        return [(str(path), str(build / path.relative_to(root))) for path in files]


setup(cmdclass={"build_py": BuildWithWorkflow})
