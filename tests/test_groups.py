"""Which jobs go to a queue together."""

import re
from pathlib import Path

import pytest
from test_sizes import default_study, study_of_files

from rsa.pipeline.groups import GROUPS, GROUPS_OF_SMALL, KINDS, group_of, is_small
from rsa.pipeline.needs import Need
from rsa.pipeline.plan import Plan

ROOT = Path(__file__).parent.parent
ALONE = {
    "group", "group_movie", "layer_time", "noise_ceiling", "permute_group", "flip_subjects", "region_fits",
    "ranking", "units",
    "sensor_group", "sensor_group_of_shares",
}  # fmt: skip


@pytest.fixture(autouse=True)
def anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def rules() -> set[str]:
    """Return the names of all rules that are submitted."""
    text = "\n".join(path.read_text() for path in (ROOT / "workflow/rules").glob("*.smk"))
    named = set(re.findall(r"rule (\w+)(?: as (\w+) with)?:", text)) | set(
        re.findall(r'^ +"(\w+)" if .* else "(\w+)"', text, re.M)
    )
    return {name for names in named for name in names if name} | {"permute_subject"} - {"fetch"}


def test_every_rule_has_its_place() -> None:
    small = [rule for group in GROUPS_OF_SMALL.values() for rule in group]
    large = [rule for group in GROUPS.values() for rule in group]
    assert set(small) == rules() - {"fetch"}
    assert set(large) | ALONE == set(small)
    assert not set(large) & ALONE
    assert len(small) == len(set(small))
    assert len(large) == len(set(large))
    assert set(KINDS) <= set(large)


def test_a_small_study_is_three_submissions() -> None:
    plan = Plan(default_study())
    assert is_small(plan)
    assert {group_of(rule, plan) for rule in rules() - {"fetch"}} == {"prepare", "compare", "tell"}
    assert group_of("fetch", plan) is None


def test_a_subject_of_a_large_study_is_a_submission_and_what_is_of_all_subjects_another(tmp_path: Path) -> None:
    plan = Plan(study_of_files(tmp_path, n_bytes=2**30))
    assert not is_small(plan)
    assert {group_of(rule, plan) for rule in ("brain", "searchlight", "maps")} == {"subject"}
    assert {group_of(rule, plan) for rule in ALONE} == {None}


def test_one_job_of_all_subjects_is_in_no_group_with_the_jobs_of_each(tmp_path: Path) -> None:
    plan = Plan(study_of_files(tmp_path, n_bytes=2**22, analyses=[{"kind": "partial", "nuisance": ["one"]}]))
    assert plan.is_one_job("brain")
    assert not plan.is_one_job("scores")
    assert group_of("brain", plan) is None
    assert group_of("searchlight", plan) == "subject"


@pytest.mark.parametrize(("seconds", "n_threads"), [(2, 1), (60, 1), (61, 2), (170, 3), (9999, 4)])
def test_a_job_gets_the_threads_that_its_work_is_worth(seconds: float, n_threads: int) -> None:
    assert Need(seconds=seconds).threads(4) == n_threads
