"""The browser tests see what they must see: errors, requests, and what keeps readers out."""

from pathlib import Path

import pytest
from in_a_browser import PATIENCE_MS

STEP_MS = 50
PAGE = """<!DOCTYPE html>
<html lang="en"><head><title>A page</title></head><body><main><h1>A page</h1>{}</main></body></html>"""


def test_a_page_is_read_from_the_disk(opened, barriers, tmp_path):
    path = written(tmp_path, "<p>Seen.</p>")
    page = opened(path, "here", width=390)
    assert page.inner_text("p") == "Seen."
    assert page.evaluate("[innerWidth, location.hash]") == [390, "#here"]
    assert barriers(page) == []


def test_a_picture_without_words_is_a_barrier(opened, barriers, tmp_path):
    page = opened(written(tmp_path, '<img src="data:image/gif;base64,R0lGODlhAQABAAAAACw=">'))
    assert [found.split(":")[0] for found in barriers(page)] == ["image-alt"]


def test_webgl_is_there(opened, tmp_path):
    page = opened(written(tmp_path, "<canvas></canvas>"))
    assert page.evaluate("document.querySelector('canvas').getContext('webgl') !== null")


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("console.error('wrong')", "wrong"),
        ("missing()", "missing is not defined"),
        ("new Image().src = 'http://127.0.0.1:9/a.png'", "asked for http://127.0.0.1:9/a.png"),
    ],
)
def test_faults_of_a_page_are_seen(opened, tmp_path, script, said):
    page = opened(written(tmp_path, f"<script>{script}</script>"))
    for _ in range(PATIENCE_MS // STEP_MS):
        if opened.faults:
            break
        page.wait_for_timeout(STEP_MS)
    assert any(said in fault for fault in opened.faults)
    page.close()  # nothing more comes
    opened.faults.clear()


def written(folder: Path, body: str) -> Path:
    path = folder / "page.html"
    path.write_text(PAGE.format(body), encoding="utf-8")
    return path
