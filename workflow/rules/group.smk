"""Maps of subjects -> maps of the group."""

if STUDY.group:

    rule group:
        input:
            PLAN.all_scores(),
        output:
            scores=PLAN.group_scores(),
            maps=directory(PLAN.maps("")),
        log:
            f"{LOGS}/group.log",
        conda:
            "../../envs/cpu.yaml"
        params:
            space=PLAN.space,
            folder=OUT,
            tests=STUDY.group,
            derived=PLAN.derived_option(),
        shell:
            "python -m rsa group --scores {input} --space {params.space} --folder {params.folder} --tests {params.tests} "
            "{params.derived} --output {output.scores} --log {log}"
