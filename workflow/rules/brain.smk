"""Brain images, or ready RDMs -> what is compared with the references."""


rule brain:
    input:
        of_each("brain", lambda subject, _: PLAN.brain_files(subject)),
    output:
        PLAN.each("brain"),
    log:
        log_of("brain", "brain"),
    priority: 1
    conda:
        "../../envs/cpu.yaml"
    resources:
        **needs("brain", kind="brain"),
    params:
        brain=options("brain", STUDY.brain),
        stimuli=options("stimuli", STUDY.stimuli),
        noise=options("noise", STUDY.noise),
        remove_mean="--remove-mean" if STUDY.remove_mean else "",
        each=for_each(
            "brain",
            lambda subject, _: {"output": [PLAN.path("brain", subject=subject)]},
        ),
    shell:
        "python -m rsa brain {params.brain} {params.stimuli} {params.noise} {params.remove_mean} {params.each} --log {log}"


if STUDY.regions is not None:

    rule region_rdms:
        input:
            patterns=PLAN.path("brain"),
            regions=lambda wildcards: PLAN.region_files(wildcards.subject),
        output:
            PLAN.path("region_rdms"),
        log:
            f"{LOGS}/region_rdms_sub-{{subject}}.log",
        conda:
            "../../envs/cpu.yaml"
        resources:
            **needs("region_rdms"),
        params:
            regions=options("regions", STUDY.regions),
            distance=STUDY.brain_distance,
            shrinkage=STUDY.shrinkage or "",
        shell:
            "python -m rsa region-rdms --patterns {input.patterns} {params.regions} --subject {wildcards.subject} "
            "--distance {params.distance} --shrinkage {params.shrinkage} --output {output} --log {log}"
