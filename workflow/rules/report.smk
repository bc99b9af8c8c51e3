"""What describes a study's results as a whole: its settings, pictures, and the page."""


rule describe:
    output:
        f"{OUT}/study.json",
        f"{OUT}/dataset_description.json",
        f"{OUT}/.bidsignore",
    params:
        settings=lambda wildcards: PLAN.settings(),
        folder=OUT,
    log:
        f"{LOGS}/describe.log",
    conda:
        "../../envs/cpu.yaml"
    shell:
        "{RSA} describe --settings {params.settings:q} --folder {params.folder} --log {log}"
