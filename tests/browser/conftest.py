"""A real browser for the pages."""

from in_a_browser import barriers, browser, opened

__all__ = ["barriers", "browser", "opened"]
