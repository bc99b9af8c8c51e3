"""Maps of subjects -> maps of the group."""

if STUDY.noise_ceiling:

    rule noise_ceiling:
        input:
            PLAN.all("brain"),
        output:
            PLAN.path("noise_ceiling"),
        log:
            f"{LOGS}/noise_ceiling.log",
        priority: 1
        conda:
            "../../envs/cpu.yaml"
        threads: threads_of("noise_ceiling")
        resources:
            **needs("noise_ceiling"),
        params:
            searchlight=options("searchlight", STUDY.searchlight),
            distance=STUDY.brain_distance,
            shrinkage=STUDY.shrinkage or "",
            comparison=STUDY.comparison,
        shell:
            "python -m rsa noise-ceiling --patterns {input} {params.searchlight} --distance {params.distance} "
            "--shrinkage {params.shrinkage} --comparison {params.comparison} --threads {threads} --memory-mb $(({resources.mem_mb} - BESIDE_MB)) "
            "--output {output} --log {log}"


if STUDY.group:

    rule group:
        input:
            scores=lambda wildcards: PLAN.all_scores(wildcards.part),
            ceiling=lambda wildcards: PLAN.all("noise_ceiling", wildcards.part),
            inference=lambda wildcards: PLAN.group_inference(wildcards.part),
            regions=lambda wildcards: PLAN.cluster_region_files(wildcards.part),
            anatomy=PLAN.anatomy(),
        output:
            scores=PLAN.path("group_scores"),
            maps=directory(PLAN.path("group_maps")),
            figures=directory(PLAN.path("group_figures")),
        log:
            f"{LOGS}/{{part}}group.log",
        priority: 1
        conda:
            "../../envs/cpu.yaml"
        resources:
            **needs("group", "draw_group"),
        params:
            space=PLAN.group_space,
            folder=lambda wildcards: PLAN.root(wildcards.part),
            tests=lambda wildcards: PLAN.group_tests(wildcards.part),
            derived=PLAN.derived_option(),
            surfaces=options("surfaces", PLAN.surfaces),
            regions=lambda wildcards: options_of(
                "regions", PLAN.cluster_regions(wildcards.part)
            ),
            models=PLAN.names(),
        shell:
            "python -m rsa group --scores {input.scores} --space {params.space} --folder {params.folder} --tests {params.tests} "
            "--ceiling {input.ceiling} --inference {input.inference} {params.regions} {params.derived} {params.surfaces} --output {output.scores} "
            "--then draw-group --scores {input.scores} --group {output.scores} --space {params.space} {params.derived} "
            "--models {params.models:q} --anatomy {input.anatomy:q} --folder {output.figures} --log {log}"

elif STUDY.searchlight is not None and len(STUDY.subjects) > 1:

    rule draw_group:
        input:
            scores=lambda wildcards: PLAN.all_scores(wildcards.part),
            anatomy=PLAN.anatomy(),
        output:
            directory(PLAN.path("group_figures")),
        log:
            f"{LOGS}/{{part}}draw_group.log",
        conda:
            "../../envs/cpu.yaml"
        resources:
            **needs("draw_group"),
        params:
            space=PLAN.group_space,
            derived=PLAN.derived_option(),
            models=PLAN.names(),
        shell:
            "python -m rsa draw-group --scores {input.scores} --space {params.space} {params.derived} "
            "--models {params.models:q} --anatomy {input.anatomy:q} --folder {output} --log {log}"
