# The service in a container. For a CPU and for a CUDA card:
#   docker build -t solotune:cpu --build-arg DEVICE=cpu .
#   docker build -t solotune:cuda --build-arg DEVICE=cuda .
# The image holds no model: the run folder is mounted (see deploy/compose.yaml and docs/serving.md).
ARG PYTHON=3.11
ARG DEVICE=cpu

FROM python:${PYTHON}-slim-bookworm AS base
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONUNBUFFERED=1 \
    RAY_USAGE_STATS_ENABLED=0 HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgomp1 procps \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 10001 solotune
WORKDIR /opt/solotune
COPY requirements.lock ./

# PyTorch without CUDA is a tenth of the size: give the address of its CPU wheels as TORCH_INDEX. Without it this stage
# gets the same PyTorch as the next, which runs on a CPU as well.
FROM base AS cpu
ARG TORCH_INDEX=
RUN if [ -n "$TORCH_INDEX" ]; then \
        pip install --no-deps --index-url "$TORCH_INDEX" "$(grep '^torch==' requirements.lock)"; \
    fi \
    && pip install -r requirements.lock

# PyTorch's own wheels bring CUDA; the driver comes from the host through the NVIDIA container toolkit. Triton compiles
# its kernels with a C compiler. EXTRA takes what is not pinned here, such as vllm.
FROM base AS cuda
ARG EXTRA=
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
RUN pip install -r requirements.lock ${EXTRA}

FROM ${DEVICE} AS service
COPY . ./
RUN pip install --no-deps --no-build-isolation --editable .
USER solotune
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=10m CMD \
    ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/ready', timeout=4)"]
ENTRYPOINT ["python", "-m", "jobs.serve"]
CMD ["/etc/solotune/config.yaml", "--run", "/var/lib/solotune/run"]
