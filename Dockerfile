# docker build -t regmix .                                   proxies are trained on the CPU
# docker build --build-arg TORCH_INDEX= -t regmix:cuda .     on CUDA: PyPI's own torch, about 3 GB
# docker run --rm -v "$PWD:/work" regmix run --demo
# docker run --rm -v "$PWD:/work" -p 3000:3000 regmix ui --host 0.0.0.0
ARG BASE=docker.io/library/python:3.12-slim-bookworm

FROM ${BASE} AS build
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ARG EXTRAS=train,lineage,ray,s3,postgres
WORKDIR /source
COPY constraints.txt pyproject.toml README.md LICENSE ./
COPY studies studies
COPY assets assets
COPY resources resources
COPY regmix_pipeline regmix_pipeline
RUN python3 -m venv /opt/regmix \
    && /opt/regmix/bin/pip install --no-cache-dir --disable-pip-version-check -c constraints.txt \
        ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} ".[$EXTRAS]"

FROM ${BASE}
# lightgbm and torch are linked against it. Its version is the base image's to say.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends libgomp1 && rm -rf /var/lib/apt/lists/*
COPY --from=build /opt/regmix /opt/regmix
ENV PATH=/opt/regmix/bin:$PATH
# Homes, corpora and study files are in the folder that is mounted here, and belong to whoever runs the container.
WORKDIR /work
ENTRYPOINT ["regmix"]
CMD ["--help"]
