"""Whether what a run submits to Slurm fits on its nodes: what fits nowhere may wait in the queue for ever, silently."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from rsa.errors import Problems
from rsa.pipeline import slurm
from rsa.pipeline.slurm import Node

__all__ = ["Submission", "problems_of_fit", "require_fit", "submissions"]

LIMITS = (("n_cpus", "CPUs"), ("memory_mb", "MB"), ("minutes", "min"), ("n_gpus", "GPUs"))
"""What a submission asks for and a node has, with the unit."""
KEYS = ("_cores", "mem_mb", "runtime", "gpu")
"""The same, as Snakemake calls it."""


@dataclass(frozen=True)
class Submission:
    """What a job, or a group of jobs, asks of Slurm.

    Parameters
    ----------
    name : str
        The rule, or the group with its rules.
    n_cpus, memory_mb, minutes, n_gpus : int
        What it asks for; 0 if it does not say.
    partition : str
        Where it goes; "" for the default.
    """

    name: str
    n_cpus: int
    memory_mb: int
    minutes: int
    n_gpus: int
    partition: str = ""


def require_fit(dag: Any, n_retries: int = 0) -> list[str]:
    """Insist that all that a run is going to submit fits on a node.

    Parameters
    ----------
    dag : snakemake.dag.DAG
        The jobs of the run.
    n_retries : int
        How often a job that fails is tried again; with more memory and time, it may.

    Returns
    -------
    list of str
        What would not fit if it had to be tried again, a line each.

    Raises
    ------
    Problems
        Naming all that fits nowhere.
    UserError
        If Slurm cannot be asked, or does not know a partition.
    """
    asked = submissions(dag)
    found = {names: slurm.nodes(names) for names in {one.partition for one in asked}}
    if problems := problems_of_fit(asked, found):
        raise Problems("The profile for Slurm", problems)
    last = submissions(dag, attempt=n_retries + 1) if n_retries else []
    return problems_of_fit(last, found)


def submissions(dag: Any, attempt: int = 1) -> list[Submission]:
    """Return what a run asks of Slurm, what is asked several times once.

    Parameters
    ----------
    dag : snakemake.dag.DAG
        The jobs of the run.
    attempt : int
        Which try it is; resources may grow with it.
    """
    wholes = dict.fromkeys(dag.get_job_group(job) or job for job in dag.needrun_jobs())
    asked: dict[Submission, None] = {}
    for whole in wholes:
        if whole.is_local:
            continue
        if whole.is_group():
            whole.finalize()
        first, whole.attempt = whole.attempt, attempt
        try:
            asked[_submission(whole)] = None
        finally:
            whole.attempt = first
    return list(asked)


def _submission(whole: Any) -> Submission:
    resources = whole.resources
    if whole.is_group():
        rules = sorted({job.rule.name for job in whole.jobs})
        name = f"the group {whole.groupid} ({len(whole.jobs)} job{'s' * (len(whole.jobs) != 1)}: {', '.join(rules)})"
    else:
        name = whole.rule.name
    n_cpus, memory_mb, minutes, n_gpus = (_number(resources.get(key)) for key in KEYS)
    return Submission(name, n_cpus, memory_mb, minutes, n_gpus, str(resources.get("slurm_partition") or ""))


def _number(value: Any) -> int:
    """Read a resource; what follows from files that are not there yet is not known."""
    return int(value) if isinstance(value, int | float) else 0


def problems_of_fit(asked: Iterable[Submission], found: dict[str, list[Node]]) -> list[str]:
    """Return what fits on no node, and why: a line each.

    Parameters
    ----------
    asked : iterable of Submission
        What is going to be submitted.
    found : dict of str to list of Node
        The nodes of each partition that is asked for; of all partitions for "".
    """
    lines: list[str] = []
    for one in asked:
        nodes = found[one.partition]
        if not one.partition:
            nodes = [node for node in nodes if node.is_default] or nodes
        if not any(_fits(one, node) for node in nodes):
            lines.append(_misfit(one, nodes))
    return list(dict.fromkeys(lines))


def _fits(one: Submission, node: Node) -> bool:
    return all(getattr(one, of) <= getattr(node, of) for of, _ in LIMITS)


def _misfit(one: Submission, nodes: Sequence[Node]) -> str:
    largest = {of: max((getattr(node, of) for node in nodes), default=0) for of, _ in LIMITS}
    too_much = [(of, unit) for of, unit in LIMITS if getattr(one, of) > largest[of]] or list(LIMITS)
    asks = " and ".join(f"{getattr(one, of):,} {unit}" for of, unit in too_much)
    have = " and ".join(f"{largest[of]:,.0f} {unit}" for of, unit in too_much)
    where = f"the partition {one.partition or (nodes[0].partition if nodes else '')!r}"
    together = " together" if len(too_much) > 1 else ""
    return (
        f"{one.name} asks for {asks}, and no node of {where} has that{together}: the most is {have}; it would wait for "
        "ever. Lower cores or group-components, or choose another slurm_partition."
    )
