"""What describes a study's results as a whole: its settings, pictures, and the page."""


rule describe:
    output:
        f"{OUT}/study.json",
        f"{OUT}/dataset_description.json",
        f"{OUT}/.bidsignore",
        f"{OUT}/README",
    log:
        f"{LOGS}/describe.log",
    conda:
        "../../envs/cpu.yaml"
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
        directory(PLAN.figures("references")),
    log:
        f"{LOGS}/draw_references.log",
    conda:
        "../../envs/cpu.yaml"
    params:
        comparison=STUDY.comparison,
        stimuli=options("stimuli", STUDY.stimuli),
    shell:
        "python -m rsa draw-references --references {input.references} --comparison {params.comparison} {params.stimuli} "
        "--folder {output} --log {log}"


rule draw_subject:
    input:
        PLAN.scores("{subject}", "{part}"),
    output:
        directory(PLAN.figures("sub-{subject}", "{part}")),
    log:
        f"{LOGS}/{{part}}draw_subject_sub-{{subject}}.log",
    conda:
        "../../envs/cpu.yaml"
    params:
        space=PLAN.space,
        derived=PLAN.derived_option(),
    shell:
        "python -m rsa draw-subject --scores {input} --subject {wildcards.subject} --space {params.space} {params.derived} "
        "--folder {output} --log {log}"


rule draw_group:
    input:
        scores=lambda wildcards: PLAN.all_scores(wildcards.part),
        group=lambda wildcards: PLAN.all_group_scores(wildcards.part),
    output:
        directory(PLAN.figures("group", "{part}")),
    log:
        f"{LOGS}/{{part}}draw_group.log",
    conda:
        "../../envs/cpu.yaml"
    params:
        space=PLAN.group_space,
        derived=PLAN.derived_option(),
    shell:
        "python -m rsa draw-group --scores {input.scores} --group {input.group} --space {params.space} {params.derived} "
        "--folder {output} --log {log}"


rule draw_regions:
    input:
        PLAN.region_fits("{part}"),
    output:
        directory(PLAN.figures("regions", "{part}")),
    log:
        f"{LOGS}/{{part}}draw_regions.log",
    conda:
        "../../envs/cpu.yaml"
    shell:
        "python -m rsa draw-regions --fits {input} --folder {output} --log {log}"


rule report:
    input:
        study=f"{OUT}/study.json",
        references=PLAN.references(),
        brain=PLAN.all_brain(),
        scores=PLAN.own_scores(),
        resampled=PLAN.resampled(),
        fits=PLAN.all_region_fits(),
        tables=PLAN.analysis_tables(),
        maps=PLAN.all_maps(),
        figures=PLAN.all_figures(),
        movies=PLAN.all_movies(),
        time=PLAN.all_time(),
        sensors=PLAN.all_sensor_scores(),
        peaks=PLAN.all_sensor_peaks(),
    output:
        f"{OUT}/report.html",
    log:
        f"{LOGS}/report.log",
    conda:
        "../../envs/cpu.yaml"
    params:
        folder=OUT,
    shell:
        "python -m rsa report --study {input.study} --references {input.references} --brain {input.brain} "
        "--scores {input.scores} --resampled {input.resampled} --fits {input.fits} --movies {input.movies} "
        "--time {input.time} --sensors {input.sensors} --folder {params.folder} --output {output} --log {log}"
