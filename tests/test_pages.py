"""The pages of a study: where they lead, what they say first, and that each stands alone."""

from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np
import pytest

from rsa.report.links import explorer_link, link_from, link_to_file, page_of


def test_a_link_to_the_explorer_gives_back_what_was_asked_with_odd_signs():
    link = explorer_link(who="group", model="a&b <#?>", layer="é+1", time_s=0.12, statistic="mean", mm=(-42.0, 1e-9, 3))
    state = parse_qs(urlsplit(link).fragment, strict_parsing=True)
    assert {key: value for key, (value,) in state.items()} == {
        **{"who": "group", "model": "a&b <#?>", "layer": "é+1", "time": "0.12", "stat": "mean"},
        **{"x": "-42", "y": "0", "z": "3"},
    }
    assert explorer_link(time_s=np.nan) == "explorer/index.html"


@pytest.mark.parametrize("page", ["report.html", page_of("sub-01")])
@pytest.mark.parametrize("name", ["group/a.nii.gz", "pages/a b#c?.html", "logs/é%41.log", "../beside.tsv"])
def test_links_to_files_are_found_from_each_page(tmp_path, page, name):
    link = link_to_file(page, tmp_path / name, tmp_path)
    assert not set("#? ") & set(link)
    assert ((tmp_path / page).parent / unquote(link)).resolve() == (tmp_path / name).resolve()


def test_links_between_pages():
    assert link_from("report.html", page_of("group")) == "pages/group.html"
    assert link_from(page_of("group"), page_of("methods")) == "methods.html"
    assert link_from(page_of("group"), "report.html#found") == "../report.html#found"
    assert Path(page_of("group")).parts[0] == "pages"
