# docker build -t gcp_repro .
# docker run --rm -v "$PWD/out:/out" gcp_repro                  make reproduce; runs and the report come into ./out
# docker run --rm gcp_repro make test
# With a GPU: docker build --build-arg TORCH_INDEX=https://pypi.org/simple -t gcp_repro . and docker run --gpus all ...

FROM python:3.12-slim-bookworm AS tools
# g++: torch.compile; git: the revision that results record
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ git make \
    && rm -rf /var/lib/apt/lists/*
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ENV PIP_EXTRA_INDEX_URL=$TORCH_INDEX PIP_NO_CACHE_DIR=1

FROM tools
RUN useradd --create-home gcp && install --directory --owner gcp /gcp_repro /out
USER gcp
WORKDIR /gcp_repro
COPY --chown=gcp . .
RUN make .venv/.installed-dev
ENV PATH=/gcp_repro/.venv/bin:$PATH
CMD ["make", "reproduce", "RUNS=/out/runs", "REPORT=/out/report.html"]
