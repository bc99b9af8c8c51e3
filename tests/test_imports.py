"""Imports point one way, few modules touch files, and `rsa` is this package whatever comes first on the path."""

import ast
import subprocess
import sys
import sysconfig
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

import rsa
from rsa.pipeline import stages
from rsa.pipeline.warm import compile_modules

PACKAGE = Path(rsa.__file__).parent
WINGS = ("files", "inputs", "datasets", "models", "inference", "units", "meeg", "simulation", "report", "pipeline")
"""From the lowest floor to the highest. The root imports no wing, and a wing only the root and lower wings."""

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
HEAVY = {
    *("torch", "torchvision", "nilearn", "mne", "sklearn", "matplotlib", "numba", "requests", "IPython", "_pytest"),
    *("scipy.io", "scipy.linalg", "scipy.ndimage", "scipy.optimize", "scipy.sparse", "scipy.special", "scipy.stats"),
}
"""What takes a tenth of a second or more to import: no module of stages needs it before a stage is called."""
DRAWING = ("reports", "explorer")
LIGHT = ["core", "files.io", "searchlight", "rdm", "maps", "inference.group", "neighbourhood"]


def imported(tree: ast.AST) -> set[str]:
    """Return the modules of the package that a module imports anywhere, inside functions too."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.removeprefix("rsa.") for alias in node.names if alias.name.startswith("rsa.")}
        elif isinstance(node, ast.ImportFrom) and node.module == "rsa":
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("rsa."):
            names.add(node.module.removeprefix("rsa."))
    return names - {"__version__"}


def floor_of(module: str) -> int:
    """Return 0 for a module of the root, or the floor of its wing."""
    wing = module.split(".")[0]
    return WINGS.index(wing) + 1 if wing in WINGS else 0


def modules() -> dict[str, ast.AST]:
    """Return the parsed modules of the package, by name."""
    paths = {path: path.relative_to(PACKAGE).with_suffix("").parts for path in PACKAGE.rglob("*.py")}
    named = {".".join(parts).removesuffix(".__init__"): path for path, parts in paths.items()}
    return {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in named.items() if name != "__main__"}


MODULES = modules()
ROOT = [name for name in MODULES if floor_of(name) == 0]


def test_every_folder_is_a_wing():
    assert {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"} == set(WINGS)


@pytest.mark.parametrize("module", MODULES)
def test_the_root_imports_no_wing_and_a_wing_only_the_root_and_lower_wings(module):
    above = {name for name in imported(MODULES[module]) if floor_of(name) > floor_of(module)}
    assert not above


def test_no_two_modules_import_each_other():
    """Without circles, modules can be put into an order; imports inside functions count."""
    left = {name: {one for one in imported(tree) if one in MODULES and one != name} for name, tree in MODULES.items()}
    while ready := [name for name, needs in left.items() if not needs & set(left)]:
        for name in ready:
            del left[name]
    assert not left


def test_what_imports_means():
    tree = ast.parse(
        "import rsa.files.io\nfrom rsa import core, __version__\ndef f():\n    from rsa.maps import MAPS\nimport numpy"
    )
    assert imported(tree) == {"files.io", "core", "maps"}
    assert floor_of("core") < floor_of("files.io") < floor_of("pipeline.cli")


@pytest.mark.parametrize("module", sorted(set(ROOT) - {"names", "settings"}))  # which make paths, and open none
def test_the_library_touches_no_files(module):
    called = {
        node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
        for node in ast.walk(MODULES[module])
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


@pytest.fixture(scope="module")
def loaded_by(tmp_path_factory):
    """Say which heavy modules are there when a module of stages is imported: in forks that have what all share."""
    code = f"""
import importlib, os, sys
import rsa.pipeline.config, rsa.pipeline.stages.common
for module in {list(stages.MODULES)}:
    if not os.fork():
        importlib.import_module("rsa.pipeline.stages." + module)
        print(module, *sorted({HEAVY} & set(sys.modules)), flush=True)
        break
    assert os.wait()[1] == 0, module
"""
    lines = python(code, cwd=tmp_path_factory.mktemp("loaded")).splitlines()
    return {module: set(names) for module, *names in map(str.split, lines)}


@pytest.mark.parametrize("module", stages.MODULES)
def test_stages_load_what_they_need_and_no_more(module, loaded_by):
    """What one stage of several needs is imported by the function that uses it: each job pays for its imports."""
    assert loaded_by[module] - ({"matplotlib"} if module in DRAWING else set()) == set()


def test_the_command_line_loads_no_stage_and_reads_no_data(tmp_path):
    heavy = HEAVY | {"numpy", "pandas", "h5py", "nibabel", "rsa.core", "rsa.pipeline.config", "rsa.files.io"}
    code = f"import sys, rsa.pipeline.cli\nprint(sorted({heavy} & set(sys.modules)))"
    assert python(code, cwd=tmp_path) == "[]"


def test_tests_and_latencies_load_no_statistics_of_scipy(tmp_path):
    code = """
import sys
import numpy as np, pandas as pd
from rsa.inference.subjects import over_subjects
from rsa.inference.tally import Correction
from rsa.meeg.latencies import hierarchy
z = np.random.default_rng(0).standard_normal((6, 3, 4))
over_subjects(z, pd.DataFrame({"model": "m", "layer": list("abc")}), Correction(), n_permutations=9)[1].maps(z[0])
rows = [(str(s), "m", "abc"[i], t, z[s, i, t]) for s in range(6) for i in range(3) for t in range(4)]
table = pd.DataFrame(rows, columns=["subject", "model", "layer", "time_s", "score"])
hierarchy(table.assign(statistic="spearman", role="reference"), n_bootstrap=9)
print(sorted({"scipy.stats", "scipy.optimize", "sklearn", "nilearn"} & set(sys.modules)))
"""
    assert python(code, cwd=tmp_path) == "[]"


def test_rsa_offers_its_modules_and_imports_them_when_they_are_asked_for(tmp_path):
    code = "import sys, rsa\n"
    code += "print(sorted(name for name in sys.modules if name.startswith('rsa.')))\n"
    code += "print(rsa.searchlight.compare.__module__, hasattr(rsa, 'nothing'), 'rsa.report' in sys.modules)\n"
    code += "print(*dir(rsa))"
    before, found, names = python(code, cwd=tmp_path).splitlines()
    assert before == "[]"
    assert found == "rsa.searchlight False False"
    public = {module.split(".")[0] for module in MODULES} - {"", "__init__"}
    assert public <= set(names.split())


def test_rsa_is_this_package_even_when_site_packages_come_first(tmp_path):
    """A cryptography package on the index has the same import name."""
    site = sysconfig.get_paths()["purelib"]
    code = (
        f"import sys; sys.path.insert(0, {site!r}); import rsa, rsa.core; print(rsa.__file__, rsa.core.Volume.__name__)"
    )
    assert python(code, cwd=tmp_path) == f"{rsa.__file__} Volume"
    assert set(packages_distributions()["rsa"]) == {"brain-model-rsa"}


def test_modules_are_compiled_once_whatever_python_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    (tmp_path / "one.py").write_text("VALUE = 1\n")
    assert compile_modules(tmp_path)
    assert [path.name.split(".")[0] for path in (tmp_path / "__pycache__").iterdir()] == ["one"]
    (tmp_path / "two.py").write_text("VALUE = \n")
    assert not compile_modules(tmp_path)
