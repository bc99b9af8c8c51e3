"""Pictures -> responses of layers -> layer RDMs; and the other reference RDMs."""

if STUDY.keep_activations:  # another distance then needs no network

    rule extract:
        input:
            stimuli=lambda wildcards: PLAN.model_stimuli(wildcards.model),
            weights=lambda wildcards: PLAN.model(wildcards.model).files(),
        output:
            PLAN.path("activations"),
        log:
            f"{LOGS}/extract_model-{{model}}.log",
        priority: 1
        conda:
            "../../envs/gpu.yaml"
        threads: threads_of("extract")
        resources:
            **needs("extract"),
            gpu=gpu_of_extraction,
        params:
            model=lambda wildcards: options_of("model", PLAN.model(wildcards.model)),
            stimuli=options("stimuli", STUDY.stimuli),
        shell:
            "python -m rsa extract {params.model} {params.stimuli} --output {output} --log {log}"

    rule layer_rdms:
        input:
            PLAN.path("activations"),
        output:
            PLAN.path("model_rdms"),
        log:
            f"{LOGS}/layer_rdms_model-{{model}}.log",
        priority: 1
        conda:
            "../../envs/cpu.yaml"
        threads: 2
        resources:
            **needs("layer_rdms"),
        params:
            distance=STUDY.layer_distance,
        shell:
            "python -m rsa layer-rdms --activations {input} --distance {params.distance} --output {output} --log {log}"

else:

    rule layer_rdms:
        input:
            stimuli=lambda wildcards: PLAN.model_stimuli(wildcards.model),
            weights=lambda wildcards: PLAN.model(wildcards.model).files(),
        output:
            rdms=PLAN.path("model_rdms"),
            cost=PLAN.path("model_cost"),
        log:
            f"{LOGS}/layer_rdms_model-{{model}}.log",
        priority: 1
        conda:
            "../../envs/gpu.yaml"
        threads: threads_of("model_rdms")
        resources:
            **needs("model_rdms"),
            gpu=gpu_of_extraction,
        params:
            model=lambda wildcards: options_of("model", PLAN.model(wildcards.model)),
            stimuli=options("stimuli", STUDY.stimuli),
            distance=STUDY.layer_distance,
            cache=PLAN.cache,
        shell:
            "python -m rsa model-rdms {params.model} {params.stimuli} --distance {params.distance} --cache {params.cache} "
            "--memory-mb $(({resources.mem_mb} - BESIDE_MB)) --output {output.rdms} --log {log}"


rule reference:
    input:
        lambda wildcards: PLAN.reference_files(wildcards.reference),
    output:
        PLAN.path("reference_rdms"),
    log:
        f"{LOGS}/reference_{{reference}}.log",
    priority: 1
    conda:
        "../../envs/cpu.yaml"
    resources:
        **needs("reference"),
    params:
        reference=lambda wildcards: options_of(
            "reference", PLAN.reference(wildcards.reference)
        ),
        stimuli=options("stimuli", STUDY.stimuli),
    shell:
        "python -m rsa reference {params.reference} {params.stimuli} --output {output} --log {log}"


if STUDY.units is not None:

    rule units:
        input:
            stimuli=lambda wildcards: PLAN.model_stimuli(wildcards.watched),
            weights=lambda wildcards: PLAN.model(wildcards.watched).files(),
            names=lambda wildcards: STUDY.watched[wildcards.watched].files(),
            rdms=lambda wildcards: PLAN.path("model_rdms", model=wildcards.watched),
            brain=PLAN.all("region_rdms"),
            fits=PLAN.all("region_fits"),
        output:
            tables=directory(PLAN.path("units")),
            figures=directory(PLAN.path("units_figures")),
        log:
            f"{LOGS}/units_model-{{watched}}.log",
        conda:
            "../../envs/gpu.yaml"
        threads: threads_of("units")
        resources:
            **needs("units", "draw_units"),
            gpu=gpu_of_extraction,
        params:
            model=lambda wildcards: options_of("model", PLAN.model(wildcards.watched)),
            stimuli=options("stimuli", STUDY.stimuli),
            units=lambda wildcards: options_of("units", PLAN.units(wildcards.watched)),
            distance=STUDY.layer_distance,
            comparison=STUDY.comparison,
        shell:
            "python -m rsa units {params.model} {params.stimuli} {params.units} --rdms {input.rdms} --brain {input.brain} "
            "--fits {input.fits} --distance {params.distance} --comparison {params.comparison} "
            "--memory-mb $(({resources.mem_mb} - BESIDE_MB)) --output {output.tables} "
            "--then draw-units --tables {output.tables} --folder {output.figures} --log {log}"


if STUDY.unit_comparisons:

    rule unit_changes:
        input:
            study=PLAN.path("settings"),
            units=PLAN.all("units"),
        output:
            tables=directory(PLAN.path("unit_changes")),
            figures=directory(PLAN.path("unit_changes_figures")),
        log:
            f"{LOGS}/unit_changes.log",
        conda:
            "../../envs/cpu.yaml"
        resources:
            **needs("unit_changes", "draw_unit_changes"),
        shell:
            "python -m rsa unit-changes --study {input.study} --units {input.units} --output {output.tables} "
            "--then draw-unit-changes --units {input.units} --tables {output.tables} "
            "--folder {output.figures} --log {log}"
