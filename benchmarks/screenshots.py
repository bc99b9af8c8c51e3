"""The pictures of the pages in README and docs, from the results of the default study.

    python benchmarks/screenshots.py results/demo docs/images

Needs Playwright and a Chromium.
"""

import argparse
import io
import shutil
from pathlib import Path

from PIL import Image

SWITCHES = [
    "--headless=new",
    "--no-sandbox",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
]
SHOTS = {
    "report": ("report.html", "", (1280, 900)),
    "explorer": ("explorer/index.html", "who=group&model=alexnet&layer=features.7&x=-48&y=-74&z=-2", (1280, 1000)),
}


def main() -> None:
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    parser.add_argument("folder", type=Path)
    given = parser.parse_args()
    with sync_playwright() as running:
        browser = running.chromium.launch(executable_path=shutil.which("chromium"), args=SWITCHES)
        for name, (path, state, (width, height)) in SHOTS.items():
            page = browser.new_page(viewport={"width": width, "height": height})
            page.goto((given.results / path).resolve().as_uri() + (f"#{state}" if state else ""))
            page.wait_for_timeout(3000)  # until the surface and all charts are drawn
            picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
            picture.save(given.folder / f"{name}.png", optimize=True)
        browser.close()


if __name__ == "__main__":
    main()
