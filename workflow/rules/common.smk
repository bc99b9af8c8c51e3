"""Paths, wildcards and targets; no science."""

import os
import shlex
import sys
from itertools import chain

from snakemake.exceptions import WorkflowError

from rsa.files.memory import MB, machine_bytes
from rsa.pipeline.budget import warn_of_shortage
from rsa.pipeline.cli import options_of, pieces
from rsa.pipeline.groups import group_of
from rsa.pipeline.needs import BESIDE_MB, Needs
from rsa.pipeline.plan import study_of
from rsa.pipeline.running import listen
from rsa.pipeline.watch import watch


wildcard_constraints:
    subject="[0-9a-zA-Z]+",
    model="[0-9a-zA-Z]+",
    watched="[0-9a-zA-Z]+",
    reference="[0-9a-zA-Z]+",
    part="(analyses/[0-9a-zA-Z]+/)?",  # the plain comparison, or another analysis


PLAN = study_of(config, workflow.configfiles, check=workflow.is_main_process)
STUDY = PLAN.study
OUT = PLAN.folder
LOGS = f"{OUT}/logs"
RUN = listen(workflow, STUDY.study, PLAN.path("report"))
NEEDS = Needs(STUDY)
WATCH = watch(workflow, OUT)

# What a job of a queue has beside its stage, which the stage must leave; in other shells it is unset, which is 0.
PREFIX = f"export BESIDE_MB={workflow.remote_exec * BESIDE_MB}; "

# The interpreter that runs Snakemake runs the jobs, unless Snakemake makes environments for them.
if not workflow.deployment_settings.deployment_method:
    PREFIX += f"export PATH={shlex.quote(os.path.dirname(sys.executable))}:$PATH; "

shell.prefix(PREFIX)


def options(prefix, section):
    """Write a section of the configuration as options; a function, so that {subject} in a path stays as it is."""
    return lambda wildcards: options_of(prefix, section)


def settings_option():
    """Write all settings of the study as an option."""
    return shlex.join(pieces("--settings", PLAN.settings()))


def analysis(wildcards):
    """Write the analysis of a folder as options; the plain comparison has none."""
    return options_of("analysis", PLAN.analysis(wildcards.part))


def log_of(stage, kind, part=""):
    """Name the log of a job that makes a kind of output for one subject, or for all."""
    return (
        f"{LOGS}/{part}{stage}{'' if PLAN.is_one_job(kind) else '_sub-{subject}'}.log"
    )


def subjects_of(wildcards, kind):
    """Return the subjects of a job that makes a kind of output."""
    is_one = "subject" in wildcards.keys()
    return [wildcards.subject] if is_one else PLAN.of_job(kind)


def of_each(kind, files):
    """Return a function that lists the files of each subject of a job."""
    return lambda wildcards: [
        file for one in subjects_of(wildcards, kind) for file in files(one, wildcards)
    ]


def for_each(kind, options):
    """Return a function that writes the options of each subject of a job: lists of words, by option."""

    def write(wildcards):
        return " ".join(
            shlex.join(
                ["--each", "--subject", one]
                + [
                    str(word)
                    for option, words in options(one, wildcards).items()
                    if words
                    for word in [f"--{option}", *words]
                ]
            )
            for one in subjects_of(wildcards, kind)
        )

    return write


def searched(subject, wildcards):
    """Return the files that the searchlight of this subject alone reads, by option."""
    return {
        "patterns": [PLAN.path("brain", subject=subject)],
        "references": PLAN.own_references(subject),
        "others": PLAN.others(wildcards.part, subject),
    }


def drawing_of_subject(wildcards, input, output):
    """Write the stage that draws the maps of a subject, if they are drawn."""
    if "subject_figures" not in output.keys():
        return ""
    return (
        f"--then draw-subject --scores {input.scores[0]} --inference {' '.join(input.inference)} "
        f"--subject {wildcards.subject} --space {PLAN.space} {PLAN.derived_option()} "
        f"--anatomy {shlex.join(input.anatomy)} --folder {output.subject_figures}"
    )


def is_queued():
    """Say whether jobs go through a queue, or this is one of them; Snakemake knows when it has read all rules."""
    return workflow.remote_exec or not workflow.local_exec


def threads_of(*stages, most=4, kind=None):
    """Give a job 4 threads, or fewer where subjects run side by side on the cores of one machine.

    In a queue it gets as many as its work is worth: others may use the rest of the node.
    """

    def of(wildcards):
        n_subjects = 1 if kind is None else len(subjects_of(wildcards, kind))
        if is_queued():
            return NEEDS.of(stages, most, n_subjects).threads(most)
        try:
            cores = workflow.cores
        except WorkflowError:  # no number of cores was given
            return most
        at_once = 1 if kind is None or n_subjects > 1 else len(STUDY.subjects)
        return max(1, min(most, cores // at_once))

    return of


def gpu_of_extraction(wildcards):
    """Give one extraction at a time the GPU of this machine; a queue is asked for one only where a user says so."""
    return 0 if is_queued() else 1


def needs(*stages, kind=None):
    """Write the resources of jobs that do some stages: memory and time, from the sizes of the study.

    They are for one subject, or for all subjects of a job that makes a kind of output.
    """

    def of(wildcards, threads):
        n_subjects = 1 if kind is None else len(subjects_of(wildcards, kind))
        return NEEDS.of(stages, threads, n_subjects)

    return {
        "mem_mb": lambda wildcards, threads, attempt: of(wildcards, threads).memory_mb(
            attempt
        )
        + is_queued() * BESIDE_MB,
        "runtime": lambda wildcards, threads, attempt: of(wildcards, threads).minutes(
            attempt, threads
        ),
    }


# On one machine, jobs side by side have no more memory than there is; --resources mem_mb=... says otherwise.
if not workflow.remote_exec and workflow.nodes is None:
    if workflow.global_resources.get("mem_mb").value is None:
        workflow.register_resource("mem_mb", machine_bytes() // MB)
    if workflow.is_main_process:
        warn_of_shortage(PLAN)


def targets():
    """Return the files that a run is for."""
    return PLAN.targets()
