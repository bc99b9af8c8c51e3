"""A real browser for the pages: headless Chromium, which reads them from the disk as a reader's does.

Tests are skipped, with the reason, where there is no Chromium (the variable `RSA_CHROMIUM` names another place).
"""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

__all__ = ["PATIENCE_MS", "TOOLS", "WIDTHS", "barriers", "browser", "opened"]

TOOLS = Path(__file__).parent / "browser" / "node_modules"
"""What `make` installs from `package.json`, where there is npm."""

CHROMIUM = os.environ.get("RSA_CHROMIUM") or next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), "")
SWITCHES = [
    "--headless=new",
    "--no-sandbox",
    "--use-gl=angle",
    "--use-angle=swiftshader",  # WebGL without a graphics card
    "--enable-unsafe-swiftshader",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SERIOUS = ("serious", "critical")
WIDTHS = (390, 1280, 1920)
PATIENCE_MS = 120_000
"""So long the browser may take for a step, four times as long as playwright would wait: the machine may be busy."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Start a browser for the tests of a file (its event loop would disturb tests of other files)."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not CHROMIUM:
        pytest.skip("there is no Chromium; install it, or set RSA_CHROMIUM to its path")
    with playwright.sync_playwright() as running:
        started = running.chromium.launch(executable_path=CHROMIUM, args=SWITCHES, timeout=PATIENCE_MS)
        yield started
        started.close()


@pytest.fixture
def opened(browser: Any) -> Iterator[Callable[..., Any]]:
    """Open pages, `opened(path, fragment, width=1280)`; at the end none may have had an error or asked for the net."""
    faults: list[str] = []
    contexts = []

    def from_disk(path: Path, fragment: str = "", *, width: int = 1280, height: int = 900, **options: Any) -> Any:
        contexts.append(browser.new_context(viewport={"width": width, "height": height}, **options))
        contexts[-1].set_default_timeout(PATIENCE_MS)
        page = contexts[-1].new_page()
        page.on("console", lambda said: faults.append(said.text) if said.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("request", lambda asked: None if _is_local(asked.url) else faults.append(f"asked for {asked.url}"))
        page.goto(Path(path).resolve().as_uri() + (f"#{fragment}" if fragment else ""))
        return page

    from_disk.faults = faults
    yield from_disk
    for context in contexts:
        context.close()
    assert not faults, faults


@pytest.fixture
def barriers() -> Callable[[Any], list[str]]:
    """Return a function that lists what keeps some readers from a page, as axe-core finds it (serious or worse)."""
    script = TOOLS / "axe-core" / "axe.min.js"
    if not script.is_file():
        pytest.skip(f"axe-core is not installed; run: npm install --prefix {TOOLS.parent}")

    def found(page: Any) -> list[str]:
        page.evaluate(script.read_text(encoding="utf-8"))
        results = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        return [
            f"{one['id']}: {one['help']}: {one['nodes'][0]['html'][:200]} ({len(one['nodes'])} times)"
            for one in results["violations"]
            if one["impact"] in SERIOUS
        ]

    return found


def _is_local(url: str) -> bool:
    return url.startswith(("file:", "data:", "blob:", "about:"))
