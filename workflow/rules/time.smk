"""M/EEG -> RDMs over time, layers over time, and what the fMRI data are fused with."""

if STUDY.meeg is not None:

    rule movie:
        input:
            of_each("movie", lambda subject, _: PLAN.meeg_files(subject)),
        output:
            PLAN.each("movie"),
        log:
            log_of("movie", "movie"),
        priority: 1
        conda:
            "../../envs/cpu.yaml"
        threads: 1  # subjects side by side take less time than one on two threads, half of it imports
        resources:
            **needs("movie", kind="movie"),
        params:
            meeg=options("meeg", STUDY.meeg),
            movie=options("movie", STUDY.movie),
            stimuli=options("stimuli", STUDY.stimuli),
            each=for_each(
                "movie",
                lambda subject, _: {"output": [PLAN.path("movie", subject=subject)]},
            ),
        shell:
            "python -m rsa movie {params.meeg} {params.movie} {params.stimuli} --threads {threads} {params.each} --log {log}"

    rule group_movie:
        input:
            PLAN.all("movie"),
        output:
            PLAN.path("group_movie"),
        log:
            f"{LOGS}/group_movie.log",
        priority: 1
        conda:
            "../../envs/cpu.yaml"
        resources:
            **needs("group_movie"),
        params:
            comparison=STUDY.comparison,
        shell:
            "python -m rsa group-movie --movies {input} --comparison {params.comparison} --output {output} --log {log}"

    rule layer_time:
        input:
            movies=PLAN.all("movie"),
            references=PLAN.references(),
        output:
            tables=directory(PLAN.path("time")),
            figures=directory(PLAN.path("time_figures")),
        log:
            f"{LOGS}/{{part}}layer_time.log",
        conda:
            "../../envs/cpu.yaml"
        resources:
            **needs("layer_time", "draw_time"),
        params:
            comparison=STUDY.comparison,
            generalisation=lambda wildcards: PLAN.generalisation(wildcards.part),
            analysis=analysis,
            inference=options("inference", STUDY.inference),
            alpha="" if STUDY.inference is None else f"--alpha {STUDY.inference.alpha}",
        shell:
            "python -m rsa layer-time --movies {input.movies} --references {input.references} --comparison {params.comparison} "
            "--generalisation {params.generalisation} {params.analysis} {params.inference} --folder {output.tables} "
            "--then draw-time --tables {output.tables} --folder {output.figures} --comparison {params.comparison} "
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
        resources:
            **needs("draw_fusion"),
        params:
            space=PLAN.group_space,
            stimuli=options("stimuli", STUDY.stimuli),
            times=STUDY.film_times_s,
        shell:
            "python -m rsa draw-fusion --scores {input.scores} --movie {input.movie} --space {params.space} {params.stimuli} "
            "--times-s {params.times} --folder {output} --log {log}"
