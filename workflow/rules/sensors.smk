"""M/EEG -> scores over sensors and time."""

if STUDY.sensors is not None:

    rule sensor_searchlight:
        input:
            epochs=lambda wildcards: PLAN.meeg_files(wildcards.subject),
            references=PLAN.references(),
        output:
            scores=PLAN.path("sensor_scores"),
            evokeds=PLAN.path("sensor_evokeds"),
        log:
            f"{LOGS}/{{part}}sensor_searchlight_sub-{{subject}}.log",
        conda:
            "../../envs/cpu.yaml"
        threads: 2
        resources:
            **needs("sensor_searchlight"),
        params:
            meeg=options("meeg", STUDY.meeg),
            sensors=options("sensors", STUDY.sensors),
            movie=options("movie", STUDY.movie),
            stimuli=options("stimuli", STUDY.stimuli),
            comparison=STUDY.comparison,
            analysis=analysis,
        shell:
            "python -m rsa sensor-searchlight {params.meeg} --subject {wildcards.subject} {params.sensors} {params.movie} "
            "{params.stimuli} --references {input.references} --comparison {params.comparison} {params.analysis} "
            "--threads {threads} --output {output.scores} --evokeds {output.evokeds} --log {log}"

    rule sensor_peaks:
        input:
            lambda wildcards: PLAN.all("sensor_scores", wildcards.part),
            lambda wildcards: PLAN.all("sensor_group", wildcards.part),
        output:
            PLAN.path("sensor_peaks"),
        log:
            f"{LOGS}/{{part}}sensor_peaks.log",
        conda:
            "../../envs/cpu.yaml"
        resources:
            **needs("sensor_peaks"),
        shell:
            "python -m rsa sensor-peaks --scores {input} --output {output} --log {log}"

    rule draw_sensors:
        input:
            lambda wildcards: PLAN.drawn_sensors(wildcards.part),
        output:
            directory(PLAN.path("sensor_figures")),
        log:
            f"{LOGS}/{{part}}draw_sensors.log",
        conda:
            "../../envs/cpu.yaml"
        resources:
            **needs("draw_sensors"),
        params:
            title=PLAN.sensor_title(),
        shell:
            "python -m rsa draw-sensors --scores {input[0]} --evokeds {input[1]} --title {params.title:q} --folder {output} "
            "--log {log}"


for TESTS, PARTS in PLAN.sensor_groups().items():

    rule:
        name:
            "sensor_group" if "" in PARTS else "sensor_group_of_shares"
        input:
            scores=lambda wildcards: PLAN.all("sensor_scores", wildcards.part),
            evokeds=lambda wildcards: PLAN.all("sensor_evokeds", wildcards.part)[0],
            participants=PLAN.participants(),
        output:
            scores=PLAN.path("sensor_group"),
            evokeds=[PLAN.path("sensor_group_evokeds", test=test) for test in TESTS],
        log:
            f"{LOGS}/{{part}}sensor_group.log",
        wildcard_constraints:
            part=f"({'|'.join(PARTS)})",
        conda:
            "../../envs/cpu.yaml"
        threads: 2
        resources:
            **needs("sensor_group"),
        params:
            tests=TESTS,
            inference=options("inference", STUDY.inference),
        shell:
            "python -m rsa sensor-group --scores {input.scores} --evokeds {input.evokeds} --tests {params.tests} "
            "{params.inference} --threads {threads} --output {output.scores} --log {log}"
