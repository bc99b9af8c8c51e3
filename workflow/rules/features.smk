"""Pictures -> responses of layers -> layer RDMs; and the other reference RDMs."""


rule extract:
    input:
        stimuli=PLAN.stimulus_files(),
        weights=lambda wildcards: PLAN.model(wildcards.model).files(),
    output:
        PLAN.activations("{model}") if STUDY.keep_activations else temp(PLAN.activations("{model}")),
    params:
        model=lambda wildcards: options_of("model", PLAN.model(wildcards.model)),
        stimuli=options("stimuli", STUDY.stimuli),
    log:
        f"{LOGS}/extract_model-{{model}}.log",
    threads: 4
    resources:
        gpu=1,
    conda:
        "../../envs/gpu.yaml"
    shell:
        "{RSA} extract {params.model} {params.stimuli} --output {output} --log {log}"


rule layer_rdms:
    input:
        PLAN.activations("{model}"),
    output:
        PLAN.model_rdms("{model}"),
    params:
        distance=STUDY.layer_distance,
    log:
        f"{LOGS}/layer_rdms_model-{{model}}.log",
    threads: 2
    conda:
        "../../envs/cpu.yaml"
    shell:
        "{RSA} layer-rdms --activations {input} --distance {params.distance} --output {output} --log {log}"


rule reference:
    input:
        lambda wildcards: PLAN.reference_files(wildcards.reference),
    output:
        PLAN.reference_rdms("{reference}"),
    params:
        reference=lambda wildcards: options_of("reference", PLAN.reference(wildcards.reference)),
        stimuli=options("stimuli", STUDY.stimuli),
    log:
        f"{LOGS}/reference_{{reference}}.log",
    conda:
        "../../envs/cpu.yaml"
    shell:
        "{RSA} reference {params.reference} {params.stimuli} --output {output} --log {log}"
