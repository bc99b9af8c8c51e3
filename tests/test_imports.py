"""Imports point one way, few modules touch files, and `rsa` is this package whatever comes first on the path."""

import ast
import subprocess
import sys
import sysconfig
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

import rsa

PACKAGE = Path(rsa.__file__).parent
MAY_IMPORT = {
    "errors": set(),
    "registry": {"errors"},
    "core": {"errors"},
    "sources": {"core", "errors"},
    "io": {"core", "errors", "records", "sources"},
    "kernels": set(),
    "devices": {"errors"},
    "distances": {"core", "errors", "kernels"},
    "comparisons": {"core", "errors", "kernels"},
    "neighbourhood": {"core", "errors"},
    "measures": {"comparisons", "core", "errors", "registry"},
    "rows": {"errors"},
    "rdm": {"comparisons", "core", "distances", "errors", "measures", "registry", "rows"},
    "noise": {"core", "errors", "registry"},
    "spheres": {"comparisons", "core", "distances", "errors", "kernels", "noise", "registry"},
    "gpu": {"comparisons", "core", "distances", "spheres"},
    "searchlight": {"comparisons", "core", "devices", "errors", "gpu", "measures", "noise", "registry", "spheres"},
    "timecourse": {"core", "distances", "errors", "noise", "registry", "searchlight", "spheres"},
    "sensors": {"comparisons", "core", "errors", "group", "registry", "searchlight", "timecourse"},
    "onsets": {"core"},
    "layer_time": {"comparisons", "core", "errors", "maps", "measures", "onsets", "rdm", "registry", "rows"},
    "partition": {"comparisons", "core", "errors", "measures", "registry"},
    "weighted": {"comparisons", "core", "errors", "measures", "registry"},
    "permutation": {"comparisons", "core", "errors", "kernels", "registry", "searchlight", "spheres"},
    "ceiling": {
        "comparisons",
        "core",
        "errors",
        "group",
        "neighbourhood",
        "noise",
        "rdm",
        "registry",
        "searchlight",
        "spheres",
    },
    "maps": {"comparisons", "core", "distances", "errors", "onsets", "rdm", "registry", "searchlight"},
    "glm": {"core", "errors", "settings"},
    "group": {"comparisons", "core", "distances", "errors", "rdm", "registry", "searchlight"},
}
"""What each module of the engine may import from the package (besides the version)."""

FILE_WORDS = {
    "open",
    "read_csv",
    "to_csv",
    "load",
    "save",
    "savez",
    "Path",
    "mkdir",
    "unlink",
    "write_text",
    "read_text",
}
LIGHT = ["core", "io", "searchlight", "rdm", "maps", "group", "neighbourhood"]


def imported(tree: ast.AST) -> set[str]:
    """Return the modules of the package that a module imports anywhere, inside functions too."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("rsa.")}
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "rsa":
            parts = node.module.split(".")
            names |= {parts[1]} if len(parts) > 1 else {alias.name for alias in node.names}
    return names - {"__version__"}


def parsed(module: str) -> ast.AST:
    return ast.parse((PACKAGE / f"{module}.py").read_text(encoding="utf-8"))


@pytest.mark.parametrize("module", MAY_IMPORT)
def test_imports_point_one_way(module):
    assert imported(parsed(module)) <= MAY_IMPORT[module]


def test_what_imports_means():
    tree = ast.parse(
        "import rsa.files.io\nfrom rsa import core, __version__\ndef f():\n    from rsa.maps import MAPS\nimport numpy"
    )
    assert imported(tree) == {"io", "core", "maps"}


@pytest.mark.parametrize("module", sorted(set(MAY_IMPORT) - {"io", "sources"}))
def test_the_engine_touches_no_files(module):
    called = {
        node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
        for node in ast.walk(parsed(module))
        if isinstance(node, ast.Call)
    }
    assert not called & FILE_WORDS


def python(code: str, *, cwd: Path) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_engine_loads_without_torch_and_nilearn(tmp_path):
    code = f"import sys\nfor name in {LIGHT}: __import__('rsa.' + name)\n"
    code += "print(sorted({'torch', 'torchvision', 'nilearn', 'matplotlib'} & set(sys.modules)))"
    assert python(code, cwd=tmp_path) == "[]"


def test_rsa_is_this_package_even_when_site_packages_come_first(tmp_path):
    """A cryptography package on the index has the same import name."""
    site = sysconfig.get_paths()["purelib"]
    code = (
        f"import sys; sys.path.insert(0, {site!r}); import rsa, rsa.core; print(rsa.__file__, rsa.core.Volume.__name__)"
    )
    assert python(code, cwd=tmp_path) == f"{rsa.__file__} Volume"
    assert set(packages_distributions()["rsa"]) == {"brain-model-rsa"}
