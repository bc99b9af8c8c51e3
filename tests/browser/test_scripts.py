"""The types in the scripts of the pages are right (TypeScript reads their JSDoc)."""

import shutil
import subprocess
from pathlib import Path

import pytest
from in_a_browser import TOOLS

COMPILER = TOOLS / "typescript" / "bin" / "tsc"
SCRIPTS = Path(__file__).parents[2] / "rsa" / "report" / "js"
SETTINGS = Path(__file__).parent / "jsconfig.json"


@pytest.mark.skipif(not any(SCRIPTS.glob("*.js")), reason="there are no scripts")
def test_types_are_right():
    said = checked(SETTINGS)
    assert said.returncode == 0, said.stdout


def test_a_wrong_type_would_be_seen(tmp_path):
    script = tmp_path / "wrong.js"
    script.write_text('"use strict";\n/** @type {number} */\nconst size = "large";\n', encoding="utf-8")
    settings = tmp_path / "jsconfig.json"
    settings.write_text(SETTINGS.read_text(encoding="utf-8").replace("../../rsa/report/js/*.js", "*.js"), "utf-8")
    assert "wrong.js(3,7): error TS2322" in checked(settings).stdout


def checked(settings: Path) -> subprocess.CompletedProcess[str]:
    node = shutil.which("node")
    if node is None or not COMPILER.is_file():
        pytest.skip(f"TypeScript is not installed; run: npm install --prefix {Path(__file__).parent}")
    return subprocess.run([node, COMPILER, "--project", settings], capture_output=True, text=True, check=False)
