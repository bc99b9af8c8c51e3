"""From a configuration to files: settings, checks, the plan for Snakemake, stages, the command line."""
