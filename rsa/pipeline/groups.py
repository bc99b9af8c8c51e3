"""Which jobs go to a queue together: a submission takes seconds to start, whatever it does then.

A group is submitted as one. Jobs of a group that need one another are one submission, and so are as many others of it
as the profile allows (`group-components`). Nothing outside of a group may stand between two of its jobs.
"""

from rsa.pipeline.plan import Plan

__all__ = ["GROUPS", "GROUPS_OF_SMALL", "KINDS", "group_of", "is_small"]

GROUPS_OF_SMALL = {
    "prepare": (
        "simulate_stimuli", "extract", "layer_rdms", "reference", "simulate_brain", "brain", "region_rdms",
        "simulate_epochs", "movie", "group_movie",
    ),
    "compare": (
        "searchlight", "resample", "permute_subject", "permute_group", "flip_subjects", "noise_ceiling", "region_fits",
        "ranking", "units", "layer_time", "sensor_searchlight", "sensor_group", "sensor_group_of_shares",
    ),
    "tell": (
        "describe", "maps", "maps_alone", "group", "networks", "unit_changes", "sensor_peaks", "draw_references",
        "draw_group",
        "draw_regions", "draw_sensors", "draw_fusion", "explore", "report",
    ),
}  # fmt: skip
"""The rules of each group in a study all of whose jobs are short: what is compared, the comparison, what is said of
it. No later group is needed by an earlier one."""

GROUPS = {
    "features": ("simulate_stimuli", "extract", "layer_rdms", "reference"),
    "subject": (
        "simulate_brain", "brain", "region_rdms", "searchlight", "resample", "permute_subject", "maps", "maps_alone",
    ),
    "meeg": ("simulate_epochs", "movie"),
    "sensors": ("sensor_searchlight",),
    "last": (
        "describe", "networks", "unit_changes", "sensor_peaks", "draw_references", "draw_group", "draw_regions",
        "draw_sensors", "draw_fusion", "explore", "report",
    ),
}  # fmt: skip
"""The rules of each group in other studies: a subject is one submission, from images to maps. What takes long, or much
memory, for all subjects together is submitted alone, lest something else in its group fails and it is done again."""

KINDS = {
    "simulate_brain": "brain",
    "brain": "brain",
    "simulate_epochs": "movie",
    "movie": "movie",
    "searchlight": "scores",
}
"""The rules with a job for each subject or one for all, by the size of the study, and what they make."""


def is_small(plan: Plan) -> bool:
    """Say whether all jobs of a study are short."""
    study = plan.study
    needed = {"brain": bool(study.subjects), "scores": study.searchlight is not None, "movie": study.meeg is not None}
    return all(plan.is_one_job(kind) for kind, is_needed in needed.items() if is_needed)


def group_of(rule: str, plan: Plan) -> str | None:
    """Return the group of a rule; None if its jobs are submitted one by one.

    Parameters
    ----------
    rule : str
        Its name.
    plan : Plan
        Of the study.
    """
    small = is_small(plan)
    if not small and rule in KINDS and plan.is_one_job(KINDS[rule]):
        return None  # it would make one group of all subjects
    return next((name for name, rules in (GROUPS_OF_SMALL if small else GROUPS).items() if rule in rules), None)
