"""Snakemake, which asks once a second what became of its jobs: the executor for Slurm waits for up to 3 minutes."""

import sys

from snakemake.cli import main
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor

RemoteExecutor.next_seconds_between_status_checks = property(lambda _: 1.0, lambda *_: None)

if __name__ == "__main__":
    sys.exit(main())
