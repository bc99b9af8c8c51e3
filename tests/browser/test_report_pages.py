"""The pages of a study in a browser: reached, read, sorted, searched and printed."""

from pathlib import Path

import pytest
from in_a_browser import WIDTHS
from report_study import write_study, written


@pytest.fixture(scope="module")
def lab(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("results") / "lab"
    written(write_study(folder))
    return folder


PAGES = ("report", *(f"pages/{name}" for name in ("group", "regions", "time", "models", "sub-01", "methods", "files")))


@pytest.mark.parametrize("width", WIDTHS)
def test_pages_fit_every_screen(opened, lab, width):
    for name in PAGES:
        page = opened(lab / f"{name}.html", width=width)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), name


def test_nothing_keeps_readers_out(opened, barriers, lab):
    for name in PAGES:
        page = opened(lab / f"{name}.html")
        assert barriers(page) == [], name
    page = opened(lab / "report.html", width=390)
    page.click(".menu")
    assert barriers(page) == []


def test_the_answer_is_above_the_fold(opened, lab):
    page = opened(lab / "report.html")
    for seen in (".found li", ".facts", ".warnings", "main figure img", "table a[href^='explorer']"):
        box = page.locator(seen).first.bounding_box()
        assert box["y"] + box["height"] < 900, seen


def test_the_menu_of_a_small_screen_opens_and_leads_on(opened, lab):
    page = opened(lab / "report.html", width=390, height=844)
    link = page.get_by_role("navigation").get_by_role("link", name="Group", exact=True)
    assert not link.is_visible()
    page.get_by_role("button", name="Menu").press("Enter")
    link.click()
    page.wait_for_url("**/pages/group.html")
    assert page.inner_text("h1").startswith("Group")


def test_tables_are_sorted_by_numbers_and_by_words(opened, lab):
    page = opened(lab / "pages" / "regions.html")
    column = "tbody tr td:nth-child({})"
    mean = page.locator("th button").nth(3)
    mean.click()
    assert page.locator(column.format(4)).all_inner_texts() == ["0.1", "0.2", "0.4", "0.5"]
    mean.press("Enter")
    assert page.locator(column.format(4)).all_inner_texts() == ["0.5", "0.4", "0.2", "0.1"]
    assert page.locator("th[aria-sort=descending]").inner_text() == "mean"
    page.locator("th button").first.click()
    assert page.locator(column.format(1)).all_inner_texts() == ["IT <x>", "IT <x>", "V1", "V1"]


def test_files_are_found_by_words(opened, lab):
    page = opened(lab / "pages" / "files.html")
    found = page.locator("li[data-path]:visible")
    before = found.count()
    page.get_by_label("Find files").fill("SUB-01 gist nii")
    assert found.all_inner_texts()[0].startswith("sub-01_space-")
    assert found.count() == 1
    page.get_by_label("Find files").fill("")
    assert found.count() == before


def test_settings_are_copied(opened, lab):
    page = opened(lab / "pages" / "methods.html", permissions=["clipboard-read", "clipboard-write"])
    page.clock.install()
    page.clock.pause_at("2100-01-01")  # the button says "copied" for two seconds
    page.get_by_role("button", name="Copy the settings").click()
    page.get_by_role("button", name="copied").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == page.inner_text("#settings")


def test_sections_fold_and_links_open_them(opened, lab):
    page = opened(lab / "pages" / "group.html")
    page.get_by_role("button", name="Close all").click()
    assert page.locator("details.part[open]").count() == 0
    page.get_by_role("link", name="Clusters", exact=True).click()
    page.wait_for_selector("details.part[open]")
    assert page.locator("details.part[open] h2").all_inner_texts() == ["Clusters"]


def test_pages_are_printed_whole(opened, lab):
    page = opened(lab / "pages" / "methods.html")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details.part:not([open])").count() == 0
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("details.part:not([open])").count() == 1
    page.emulate_media(media="print")
    assert not page.locator(".site").is_visible()
    assert page.pdf()[:4] == b"%PDF"
