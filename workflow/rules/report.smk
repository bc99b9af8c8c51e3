"""What describes a study's results as a whole: its settings, pictures, and the pages."""


rule describe:
    output:
        PLAN.path("settings"),
        PLAN.path("description"),
        PLAN.path("bidsignore"),
        PLAN.path("readme"),
    log:
        f"{LOGS}/describe.log",
    conda:
        "../../envs/cpu.yaml"
    resources:
        **needs("describe"),
    params:
        settings=lambda wildcards: settings_option(),
        folder=OUT,
    shell:
        "python -m rsa describe {params.settings} --folder {params.folder} --log {log}"


rule draw_references:
    input:
        references=PLAN.references(),
        stimuli=PLAN.stimulus_table(),
    output:
        directory(PLAN.path("references_figures")),
    log:
        f"{LOGS}/draw_references.log",
    conda:
        "../../envs/cpu.yaml"
    resources:
        **needs("draw_references"),
    params:
        comparison=STUDY.comparison,
        stimuli=options("stimuli", STUDY.stimuli),
    shell:
        "python -m rsa draw-references --references {input.references} --comparison {params.comparison} {params.stimuli} "
        "--folder {output} --log {log}"


rule draw_regions:
    input:
        fits=PLAN.path("region_fits"),
        tests=lambda wildcards: PLAN.all("region_group", wildcards.part),
    output:
        directory(PLAN.path("region_figures")),
    log:
        f"{LOGS}/{{part}}draw_regions.log",
    conda:
        "../../envs/cpu.yaml"
    resources:
        **needs("draw_regions"),
    params:
        alpha="" if STUDY.inference is None else f"--alpha {STUDY.inference.alpha}",
        models=PLAN.names(),
    shell:
        "python -m rsa draw-regions --fits {input.fits} --tests {input.tests} {params.alpha} --models {params.models:q} "
        "--folder {output} --log {log}"


rule report:
    input:
        study=PLAN.path("settings"),
        references=PLAN.references(),
        brain=PLAN.all("brain"),
        scores=PLAN.all("scores"),
        resampled=PLAN.all("resampled"),
        fits=PLAN.all("region_fits"),
        tables=PLAN.every(
            "region_fits",
            "ranking",
            "networks",
            "units",
            "unit_changes",
            "time",
            "sensor_peaks",
        ),
        maps=PLAN.every("maps", "group_maps"),
        figures=PLAN.figures(),
        movies=PLAN.all("movie"),
        time=PLAN.all("time"),
        sensors=PLAN.all("sensor_scores"),
    output:
        report=PLAN.path("report"),
        pages=directory(PLAN.path("pages")),
    log:
        f"{LOGS}/report.log",
    conda:
        "../../envs/cpu.yaml"
    resources:
        **needs("report"),
    params:
        folder=OUT,
    shell:
        "python -m rsa report --study {input.study} --references {input.references} --brain {input.brain} "
        "--scores {input.scores} --resampled {input.resampled} --fits {input.fits} --movies {input.movies} "
        "--time {input.time} --sensors {input.sensors} --folder {params.folder} --output {output.report} --pages {output.pages} --log {log}"


if STUDY.searchlight is not None:

    rule explore:
        input:
            **PLAN.explored(),
            study=PLAN.path("settings"),
        output:
            directory(PLAN.path("explorer")),
        log:
            f"{LOGS}/explore.log",
        conda:
            "../../envs/cpu.yaml"
        resources:
            **needs("explore"),
        shell:
            "python -m rsa explore --study {input.study} --scores {input.scores} --group {input.group} "
            "--inference {input.inference} --brain {input.brain} --references {input.references} "
            "--anatomy {input.anatomy:q} "
            "--output {output} --log {log}"
