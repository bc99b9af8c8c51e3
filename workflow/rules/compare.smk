"""Brain x references -> scores -> maps and tables."""


rule searchlight:
    input:
        patterns=PLAN.path("brain"),
        references=lambda wildcards: PLAN.compared(wildcards.subject),
        others=lambda wildcards: PLAN.others(wildcards.part, wildcards.subject),
    output:
        PLAN.path("scores"),
    log:
        f"{LOGS}/{{part}}searchlight_sub-{{subject}}.log",
    conda:
        "../../envs/gpu.yaml"
    threads: threads_of_subject
    params:
        searchlight=options("searchlight", STUDY.searchlight),
        distance=STUDY.brain_distance,
        shrinkage=STUDY.shrinkage or "",
        comparison=STUDY.comparison,
        analysis=analysis,
    shell:
        "python -m rsa searchlight --patterns {input.patterns} --references {input.references} --subject {wildcards.subject} "
        "{params.searchlight} --distance {params.distance} --shrinkage {params.shrinkage} --comparison {params.comparison} "
        "{params.analysis} --others {input.others} --threads {threads} --output {output} --log {log}"


if STUDY.template is not None:

    rule resample:
        input:
            scores=PLAN.path("scores"),
            files=lambda wildcards: PLAN.template_files(wildcards.subject),
        output:
            PLAN.path("resampled"),
        log:
            f"{LOGS}/{{part}}resample_sub-{{subject}}.log",
        conda:
            "../../envs/cpu.yaml"
        params:
            template=options("template", STUDY.template),
        shell:
            "python -m rsa resample --scores {input.scores} --subject {wildcards.subject} {params.template} "
            "--output {output} --log {log}"


rule maps:
    input:
        scores=PLAN.in_spaces(),
        inference=lambda wildcards: PLAN.subject_inference(
            wildcards.part, wildcards.subject
        ),
    output:
        directory(PLAN.path("maps")),
    log:
        f"{LOGS}/{{part}}maps_sub-{{subject}}.log",
    conda:
        "../../envs/cpu.yaml"
    params:
        space=PLAN.spaces(),
        folder=lambda wildcards: PLAN.root(wildcards.part),
        derived=PLAN.derived_option(),
        surfaces=options("surfaces", PLAN.surfaces),
    shell:
        "python -m rsa maps --scores {input.scores} --inference {input.inference} --subject {wildcards.subject} --space {params.space} --folder {params.folder} "
        "{params.derived} {params.surfaces} --log {log}"


rule region_fits:
    input:
        brain=PLAN.all("region_rdms"),
        references=PLAN.references() + PLAN.fused(STUDY.subjects),
        participants=PLAN.participants(),
    output:
        **PLAN.region_inference(),
        table=PLAN.path("region_fits"),
        dictionary=PLAN.path("region_dictionary"),
    log:
        f"{LOGS}/{{part}}region_fits.log",
    conda:
        "../../envs/cpu.yaml"
    params:
        comparison=STUDY.comparison,
        analysis=analysis,
        inference=options("inference", STUDY.inference),
        group=lambda wildcards, output: output.get("group", ""),
    shell:
        "python -m rsa region-fits --brain {input.brain} --references {input.references} --comparison {params.comparison} "
        "{params.analysis} {params.inference} --group {params.group} --output {output.table} --log {log}"
