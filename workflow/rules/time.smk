"""M/EEG -> RDMs over time, layers over time, and what the fMRI data are fused with."""

if STUDY.meeg is not None:

    rule movie:
        input:
            lambda wildcards: PLAN.meeg_files(wildcards.subject),
        output:
            PLAN.path("movie"),
        log:
            f"{LOGS}/movie_sub-{{subject}}.log",
        conda:
            "../../envs/cpu.yaml"
        threads: 1  # subjects side by side take less time than one on two threads, half of it imports
        params:
            meeg=options("meeg", STUDY.meeg),
            movie=options("movie", STUDY.movie),
            stimuli=options("stimuli", STUDY.stimuli),
        shell:
            "python -m rsa movie {params.meeg} --subject {wildcards.subject} {params.movie} {params.stimuli} "
            "--threads {threads} --output {output} --log {log}"

    rule group_movie:
        input:
            PLAN.all("movie"),
        output:
            PLAN.path("group_movie"),
        log:
            f"{LOGS}/group_movie.log",
        conda:
            "../../envs/cpu.yaml"
        params:
            comparison=STUDY.comparison,
        shell:
            "python -m rsa group-movie --movies {input} --comparison {params.comparison} --output {output} --log {log}"

    rule layer_time:
        input:
            movies=PLAN.all("movie"),
            references=PLAN.references(),
        output:
            directory(PLAN.path("time")),
        log:
            f"{LOGS}/{{part}}layer_time.log",
        conda:
            "../../envs/cpu.yaml"
        params:
            comparison=STUDY.comparison,
            generalisation=lambda wildcards: PLAN.generalisation(wildcards.part),
            analysis=analysis,
            inference=options("inference", STUDY.inference),
        shell:
            "python -m rsa layer-time --movies {input.movies} --references {input.references} --comparison {params.comparison} "
            "--generalisation {params.generalisation} {params.analysis} {params.inference} --folder {output} --log {log}"

    rule draw_time:
        input:
            PLAN.path("time"),
        output:
            directory(PLAN.path("time_figures")),
        log:
            f"{LOGS}/{{part}}draw_time.log",
        conda:
            "../../envs/cpu.yaml"
        params:
            comparison=STUDY.comparison,
            generalisation=lambda wildcards: PLAN.generalisation(wildcards.part),
            alpha="" if STUDY.inference is None else f"--alpha {STUDY.inference.alpha}",
        shell:
            "python -m rsa draw-time --tables {input} --folder {output} --comparison {params.comparison} "
            "--generalisation {params.generalisation} {params.alpha} --log {log}"


if PLAN.has_films:

    rule draw_fusion:
        input:
            scores=PLAN.filmed_scores(),
            movie=PLAN.path("group_movie"),
        output:
            directory(PLAN.path("fusion_figures")),
        log:
            f"{LOGS}/draw_fusion.log",
        conda:
            "../../envs/cpu.yaml"
        params:
            space=PLAN.group_space,
            stimuli=options("stimuli", STUDY.stimuli),
            times=STUDY.film_times_s,
        shell:
            "python -m rsa draw-fusion --scores {input.scores} --movie {input.movie} --space {params.space} {params.stimuli} "
            "--times-s {params.times} --folder {output} --log {log}"
