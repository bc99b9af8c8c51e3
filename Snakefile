"""From images to brain maps: `snakemake --cores 8`, or with `--configfile my.yaml` another study."""

# A study is one file: settings of config.yaml never leak into another study.
if not workflow.overwrite_configfiles:

    configfile: "config.yaml"


include: "workflow/rules/common.smk"
include: "workflow/rules/fetch.smk"
include: "workflow/rules/simulate.smk"
include: "workflow/rules/features.smk"
include: "workflow/rules/brain.smk"
include: "workflow/rules/time.smk"
include: "workflow/rules/sensors.smk"
include: "workflow/rules/compare.smk"
include: "workflow/rules/inference.smk"
include: "workflow/rules/group.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/groups.smk"


onstart:
    WATCH and WATCH.begin()


onsuccess:
    WATCH and WATCH.end()
    RUN and RUN.succeeded()


onerror:
    WATCH and WATCH.end()
    RUN and RUN.failed(log)


localrules:
    all,


rule all:
    default_target: True
    input:
        targets(),
