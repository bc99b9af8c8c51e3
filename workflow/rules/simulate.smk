"""Simulated data, in the files from which a real study reads its own."""

if PLAN.simulates_stimuli:

    rule simulate_stimuli:
        output:
            STUDY.stimuli.table,
        log:
            f"{LOGS}/simulate_stimuli.log",
        conda:
            "../../envs/cpu.yaml"
        params:
            simulation=options("simulation", STUDY.simulate),
            stimuli=options("stimuli", STUDY.stimuli),
        shell:
            "python -m rsa simulate-stimuli {params.simulation} {params.stimuli} --log {log}"


if STUDY.simulate is not None and STUDY.brain is not None:

    rule simulate_brain:
        input:
            rdms=PLAN.all("model_rdms"),
            files=PLAN.simulation_files(),
        output:
            PLAN.simulated_brain("{subject}"),
        log:
            f"{LOGS}/simulate_brain_sub-{{subject}}.log",
        conda:
            "../../envs/cpu.yaml"
        params:
            simulation=options("simulation", STUDY.simulate),
            brain=options("brain", STUDY.brain),
        shell:
            "python -m rsa simulate-brain {params.simulation} {params.brain} --subject {wildcards.subject} "
            "--rdms {input.rdms} --log {log}"


if STUDY.simulate is not None and STUDY.simulate.epochs is not None:

    rule simulate_epochs:
        input:
            PLAN.all("model_rdms"),
        output:
            PLAN.simulated_epochs("{subject}"),
        log:
            f"{LOGS}/simulate_epochs_sub-{{subject}}.log",
        conda:
            "../../envs/cpu.yaml"
        params:
            simulation=options("simulation", STUDY.simulate),
            meeg=options("meeg", STUDY.meeg),
        shell:
            "python -m rsa simulate-epochs {params.simulation} {params.meeg} --subject {wildcards.subject} "
            "--rdms {input} --log {log}"
