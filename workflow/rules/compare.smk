"""Brain x references -> scores -> maps and tables."""


rule searchlight:
    input:
        references=PLAN.shared_references(),
        own=of_each("scores", lambda *of: chain(*searched(*of).values())),
    output:
        PLAN.each("scores"),
    log:
        log_of("searchlight", "scores", "{part}"),
    priority: 1
    conda:
        "../../envs/gpu.yaml"
    threads: threads_of("searchlight", kind="scores")
    resources:
        **needs("searchlight", kind="scores"),
    params:
        searchlight=options("searchlight", STUDY.searchlight),
        distance=STUDY.brain_distance,
        shrinkage=STUDY.shrinkage or "",
        comparison=STUDY.comparison,
        analysis=analysis,
        each=for_each(
            "scores",
            lambda subject, wildcards: {
                **searched(subject, wildcards),
                "output": [PLAN.path("scores", part=wildcards.part, subject=subject)],
            },
        ),
    shell:
        "python -m rsa searchlight {params.searchlight} --distance {params.distance} --shrinkage {params.shrinkage} "
        "--comparison {params.comparison} {params.analysis} --references {input.references} --threads {threads} "
        "--memory-mb $(({resources.mem_mb} - BESIDE_MB)) {params.each} --log {log}"


if STUDY.template is not None:

    rule resample:
        input:
            scores=PLAN.path("scores"),
            files=lambda wildcards: PLAN.template_files(wildcards.subject),
        output:
            PLAN.path("resampled"),
        log:
            f"{LOGS}/{{part}}resample_sub-{{subject}}.log",
        priority: 1
        conda:
            "../../envs/cpu.yaml"
        resources:
            **needs("resample"),
        params:
            template=options("template", STUDY.template),
        shell:
            "python -m rsa resample --scores {input.scores} --subject {wildcards.subject} {params.template} "
            "--output {output} --log {log}"


# Single subjects are drawn by the main analysis, and by others where there is no group.
for DRAWN, PARTS in PLAN.maps_of_subjects().items():

    rule:
        name:
            "maps" if DRAWN else "maps_alone"
        input:
            scores=PLAN.in_spaces(),
            inference=lambda wildcards: PLAN.subject_inference(
                wildcards.part, wildcards.subject
            ),
            anatomy=lambda wildcards: PLAN.anatomy(wildcards.subject),
        output:
            **{kind: directory(PLAN.path(kind)) for kind in DRAWN},
            maps=directory(PLAN.path("maps")),
        log:
            f"{LOGS}/{{part}}maps_sub-{{subject}}.log",
        wildcard_constraints:
            part=f"({'|'.join(PARTS)})",
        conda:
            "../../envs/cpu.yaml"
        resources:
            **needs("maps", *(["draw_subject"] if DRAWN else [])),
        params:
            space=PLAN.spaces(),
            folder=lambda wildcards: PLAN.root(wildcards.part),
            derived=PLAN.derived_option(),
            surfaces=options("surfaces", PLAN.surfaces),
            draw=drawing_of_subject,
        shell:
            "python -m rsa maps --scores {input.scores} --inference {input.inference} --subject {wildcards.subject} "
            "--space {params.space} --folder {params.folder} {params.derived} {params.surfaces} {params.draw} --log {log}"


if STUDY.network_comparisons:

    rule networks:
        input:
            study=PLAN.path("settings"),
            fits=PLAN.all("region_fits"),
            references=PLAN.references(),
            scores=PLAN.moved_scores(),
        output:
            tables=directory(PLAN.path("networks")),
            figures=directory(PLAN.path("networks_figures")),
        log:
            f"{LOGS}/networks.log",
        conda:
            "../../envs/cpu.yaml"
        resources:
            **needs("networks", "draw_networks"),
        shell:
            "python -m rsa networks --study {input.study} --fits {input.fits} --references {input.references} "
            "--scores {input.scores} --output {output.tables} "
            "--then draw-networks --study {input.study} --tables {output.tables} --folder {output.figures} --log {log}"


if STUDY.ranking is not None:

    rule ranking:
        input:
            brain=PLAN.all("region_rdms"),
            references=PLAN.references(),
        output:
            table=PLAN.path("ranking"),
            dictionary=PLAN.path("ranking_dictionary"),
            pairs=PLAN.path("ranking_pairs"),
            pairs_dictionary=PLAN.path("ranking_pairs_dictionary"),
            figures=directory(PLAN.path("ranking_figures")),
        log:
            f"{LOGS}/ranking.log",
        conda:
            "../../envs/cpu.yaml"
        resources:
            **needs("ranking", "draw_ranking"),
        params:
            comparison=STUDY.comparison,
            ranking=options("ranking", STUDY.ranking),
            models=PLAN.names(),
        shell:
            "python -m rsa ranking --brain {input.brain} --references {input.references} --comparison {params.comparison} "
            "{params.ranking} --output {output.table} --pairs {output.pairs} "
            "--then draw-ranking --table {output.table} --models {params.models:q} --folder {output.figures} --log {log}"


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
    threads: threads_of("region_fits")
    resources:
        **needs("region_fits"),
    params:
        comparison=STUDY.comparison,
        analysis=analysis,
        inference=options("inference", STUDY.inference),
        group=lambda wildcards, output: output.get("group", ""),
    shell:
        "python -m rsa region-fits --brain {input.brain} --references {input.references} --comparison {params.comparison} "
        "{params.analysis} {params.inference} --group {params.group} --threads {threads} --output {output.table} "
        "--log {log}"
