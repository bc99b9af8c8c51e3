"""Public data, downloaded once; what is there stays."""

if STUDY.fetch is not None:

    localrules:
        fetch,

    rule fetch:
        output:
            PLAN.fetched(),
        log:
            f"{LOGS}/fetch.log",
        conda:
            "../../envs/cpu.yaml"
        resources:
            **needs("fetch"),
        params:
            dataset=STUDY.fetch,
            folder=STUDY.brain.root,
            subjects=STUDY.brain.subjects,
        shell:
            "python -m rsa fetch --dataset {params.dataset} --folder {params.folder:q} --subjects {params.subjects} --log {log}"
