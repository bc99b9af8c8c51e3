"""Simulated data, in the files from which a real study reads its own."""

if PLAN.simulates_stimuli:

    rule simulate_stimuli:
        output:
            STUDY.stimuli.table,
        log:
            f"{LOGS}/simulate_stimuli.log",
        priority: 1
        conda:
            "../../envs/cpu.yaml"
        resources:
            **needs("simulate_stimuli"),
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
            PLAN.simulated_brain(PLAN.of_job("brain")),
        log:
            log_of("simulate_brain", "brain"),
        priority: 1
        conda:
            "../../envs/cpu.yaml"
        resources:
            **needs("simulate_brain", kind="brain"),
        params:
            simulation=options("simulation", STUDY.simulate),
            brain=options("brain", STUDY.brain),
            each=for_each("brain", lambda *_: {}),
        shell:
            "python -m rsa simulate-brain {params.simulation} {params.brain} --rdms {input.rdms} {params.each} --log {log}"


if STUDY.simulate is not None and STUDY.simulate.epochs is not None:

    rule simulate_epochs:
        input:
            PLAN.all("model_rdms"),
        output:
            PLAN.simulated_epochs(PLAN.of_job("movie")),
        log:
            log_of("simulate_epochs", "movie"),
        priority: 1
        conda:
            "../../envs/cpu.yaml"
        resources:
            **needs("simulate_epochs", kind="movie"),
        params:
            simulation=options("simulation", STUDY.simulate),
            meeg=options("meeg", STUDY.meeg),
            each=for_each("movie", lambda *_: {}),
        shell:
            "python -m rsa simulate-epochs {params.simulation} {params.meeg} --rdms {input} {params.each} --log {log}"
