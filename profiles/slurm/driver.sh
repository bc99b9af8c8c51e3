#!/usr/bin/env bash
# Snakemake itself as a job of Slurm, where login nodes end what runs for long:
#
#   sbatch profiles/slurm/driver.sh my.yaml [options of Snakemake]
#
# It needs one CPU, little memory, and as much time as the whole study takes, waiting included. Three minutes before its
# time is over it ends its jobs and says how to go on; the same command then goes on. docs/cluster.md says more.
#SBATCH --job-name=brain-model-rsa
#SBATCH --cpus-per-task=1
#SBATCH --mem=2000
#SBATCH --time=2-00:00:00
#SBATCH --signal=B:INT@180
#SBATCH --output=driver-%j.log
set -euo pipefail
study=${1:?"error: name the file of the study: sbatch profiles/slurm/driver.sh my.yaml"}
shift
exec brain-model-rsa run "$study" --workflow-profile slurm "$@"
