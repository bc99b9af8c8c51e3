"""Scores -> p values: over subjects, and over conditions."""

if STUDY.inference is not None and STUDY.searchlight is not None:

    rule permute_group:
        input:
            patterns=PLAN.all("brain"),
            references=PLAN.references() + PLAN.fused(STUDY.subjects),
        output:
            PLAN.path("group_permutations"),
        log:
            f"{LOGS}/{{part}}permute_group.log",
        priority: 1
        conda:
            "../../envs/cpu.yaml"
        threads: threads_of("permute_group")
        resources:
            **needs("permute_group"),
        params:
            subjects=STUDY.subjects,
            searchlight=options("searchlight", STUDY.searchlight),
            distance=STUDY.brain_distance,
            shrinkage=STUDY.shrinkage or "",
            comparison=STUDY.comparison,
            analysis=analysis,
            inference=options("inference", STUDY.inference),
        shell:
            "python -m rsa permute-conditions --patterns {input.patterns} --references {input.references} "
            "--subjects {params.subjects} {params.searchlight} --distance {params.distance} --shrinkage {params.shrinkage} "
            "--comparison {params.comparison} {params.analysis} {params.inference} --threads {threads} --memory-mb $(({resources.mem_mb} - BESIDE_MB)) --output {output} "
            "--log {log}"

    use rule permute_group as permute_subject with:
        input:
            patterns=PLAN.path("brain"),
            references=lambda wildcards: PLAN.compared(wildcards.subject),
        output:
            PLAN.path("subject_permutations"),
        log:
            f"{LOGS}/{{part}}permute_sub-{{subject}}.log",
        threads: threads_of("permute_subject", kind="subject_permutations")
        resources:
            **needs("permute_subject"),
        params:
            subjects=lambda wildcards: wildcards.subject,
            searchlight=options("searchlight", STUDY.searchlight),
            distance=STUDY.brain_distance,
            shrinkage=STUDY.shrinkage or "",
            comparison=STUDY.comparison,
            analysis=analysis,
            inference=options("inference", STUDY.inference.over_conditions()),

    rule flip_subjects:
        input:
            scores=lambda wildcards: PLAN.all_scores(wildcards.part),
            participants=PLAN.participants(),
        output:
            PLAN.path("group_flips"),
        log:
            f"{LOGS}/{{part}}flip_subjects.log",
        priority: 1
        conda:
            "../../envs/cpu.yaml"
        threads: threads_of("flip_subjects")
        resources:
            **needs("flip_subjects"),
        params:
            inference=options("inference", STUDY.inference),
            paired="--paired" if PLAN.is_paired else "",
            stride=STUDY.searchlight.stride,
        shell:
            "python -m rsa flip-subjects --scores {input.scores} {params.inference} {params.paired} --stride {params.stride} "
            "--threads {threads} --output {output} --log {log}"
