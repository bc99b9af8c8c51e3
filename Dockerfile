# Everything in one image, in the versions that are tested (constraints.txt); some 8 GB, most of it CUDA for torch.
#
#   docker build --tag brain-model-rsa .
#   docker run --rm --user "$(id -u):$(id -g)" --volume "$PWD:/study" brain-model-rsa run my.yaml --cores 8
#
# For a cluster with Apptainer: docker save brain-model-rsa > image.tar; apptainer build rsa.sif docker-archive:image.tar
FROM python:3.11-slim

COPY pyproject.toml setup.py MANIFEST.in constraints.txt README.md LICENSE Snakefile config.yaml /source/
COPY rsa /source/rsa
COPY workflow /source/workflow
COPY profiles /source/profiles
COPY envs /source/envs

RUN pip install --no-cache-dir --disable-pip-version-check --constraint /source/constraints.txt /source \
    && rm -r /source \
    && cd / \
    && python -m rsa.pipeline.warm

# What Snakemake, matplotlib and torch keep between runs; a user without an entry in the image has no home.
ENV HOME=/tmp XDG_CACHE_HOME=/tmp/cache MPLCONFIGDIR=/tmp/matplotlib

WORKDIR /study
ENTRYPOINT ["brain-model-rsa"]
