"""M/EEG -> scores over sensors and time."""

if STUDY.sensors is not None:

    rule sensor_searchlight:
        input:
            epochs=lambda wildcards: PLAN.meeg_files(wildcards.subject),
            references=PLAN.references(),
        output:
            scores=PLAN.sensor_scores("{subject}"),
            evokeds=PLAN.sensor_evokeds("{subject}"),
        log:
            f"{LOGS}/sensor_searchlight_sub-{{subject}}.log",
        conda:
            "../../envs/cpu.yaml"
        threads: 2
        params:
            meeg=options("meeg", STUDY.meeg),
            sensors=options("sensors", STUDY.sensors),
            movie=options("movie", STUDY.movie),
            stimuli=options("stimuli", STUDY.stimuli),
            comparison=STUDY.comparison,
        shell:
            "python -m rsa sensor-searchlight {params.meeg} --subject {wildcards.subject} {params.sensors} {params.movie} "
            "{params.stimuli} --references {input.references} --comparison {params.comparison} --threads {threads} "
            "--output {output.scores} --evokeds {output.evokeds} --log {log}"

    rule sensor_peaks:
        input:
            PLAN.all_sensor_scores(),
            PLAN.sensor_group()[:1],
        output:
            PLAN.sensor_peaks(),
        log:
            f"{LOGS}/sensor_peaks.log",
        conda:
            "../../envs/cpu.yaml"
        shell:
            "python -m rsa sensor-peaks --scores {input} --output {output} --log {log}"

    rule draw_sensors:
        input:
            scores=PLAN.drawn_sensors()[0],
            evokeds=PLAN.drawn_sensors()[1],
        output:
            directory(PLAN.figures("sensors")),
        log:
            f"{LOGS}/draw_sensors.log",
        conda:
            "../../envs/cpu.yaml"
        params:
            title=PLAN.sensor_title(),
        shell:
            "python -m rsa draw-sensors --scores {input.scores} --evokeds {input.evokeds} --title {params.title:q} "
            "--folder {output} --log {log}"


if PLAN.sensor_group():

    rule sensor_group:
        input:
            scores=PLAN.all_sensor_scores(),
            evokeds=PLAN.sensor_evokeds(STUDY.meeg.subjects[0]),
        output:
            scores=PLAN.sensor_group()[0],
            evokeds=PLAN.sensor_group()[1:],
        log:
            f"{LOGS}/sensor_group.log",
        conda:
            "../../envs/cpu.yaml"
        shell:
            "python -m rsa sensor-group --scores {input.scores} --evokeds {input.evokeds} --output {output.scores} "
            "--log {log}"
