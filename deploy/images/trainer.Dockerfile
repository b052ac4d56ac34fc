# The image of drivers, of Ray's head and of its workers: this project and all that requirements.txt pins.
#
#   docker build -f deploy/images/trainer.Dockerfile -t bptt-trainer:0.1.0 --build-arg TORCH_INDEX=ADDRESS .
#   docker build -f deploy/images/trainer.Dockerfile -t bptt-trainer-gpu:0.1.0 --build-arg ACCELERATOR=gpu .
#
# Package indexes have torch for CUDA, several GB of it. TORCH_INDEX is the index for CPUs that PyTorch's own page on
# installing names; leave it empty where pip finds a torch for CPUs by itself. Both are checked at the end.
ARG BASE_IMAGE=python:3.11.15-slim-bookworm

# Everything but this project, which changes most: of an image that is built anew the layer of 1.8 GB stays as it was.
FROM ${BASE_IMAGE} AS dependencies
ARG ACCELERATOR=cpu
ARG TORCH_INDEX=""
# Hashes are seeded so that what is compiled is the same each time.
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore PYTHONHASHSEED=0
# What is shipped has no pip: it installs nothing.
RUN python3 -m venv /opt/build && python3 -m venv --without-pip /opt/bptt
ENV PIP="/opt/build/bin/pip --python /opt/bptt/bin/python install --no-compile"
WORKDIR /source
COPY requirements.txt ./
# The largest layers first. torch for CUDA brings what it needs, pinned by itself.
RUN torch="$(grep '^torch==' requirements.txt)" && \
    if [ -n "${TORCH_INDEX}" ]; then $PIP --no-deps --index-url "${TORCH_INDEX}" "${torch}"; \
    else $PIP --constraint requirements.txt "${torch}"; fi && \
    /opt/bptt/bin/python -c "import sys, torch; found = 'gpu' if torch.version.cuda else 'cpu'; \
sys.exit(found != sys.argv[1] and f'torch is built for {found}, the image is for {sys.argv[1]}: see TORCH_INDEX')" \
    "${ACCELERATOR}"
RUN $PIP --no-deps --requirement requirements.txt
# Headers, Java and the packages' own tests are no use here. The root is read-only, so what is not compiled now is
# compiled at every start, which takes torch alone three seconds; unchecked, since the files' times are not kept.
RUN cd /opt/bptt/lib/python3*/site-packages && \
    rm -rf torch/include torch/test ray/jars ray/cpp pyarrow/include && \
    find torch/bin -type f ! -name torch_shm_manager -delete && \
    find . -type d -name tests -prune -exec rm -rf {} + && find . -type d -name __pycache__ -prune -exec rm -rf {} + && \
    { /opt/bptt/bin/python -m compileall -qq -j 0 --invalidation-mode unchecked-hash . || true; } && \
    /opt/bptt/bin/python -c "import mlflow.pyfunc, optuna, psycopg, pyarrow.fs, ray, sklearn, statsmodels.api, torch"
COPY deploy/images/sbom-requirements.txt ./
RUN python3 -m venv /opt/bill && /opt/bill/bin/pip install --no-compile --no-deps --requirement sbom-requirements.txt

FROM dependencies AS build
COPY . .
RUN $PIP --no-deps --no-build-isolation --root /own . && \
    /opt/bptt/bin/python -m compileall -qq --invalidation-mode unchecked-hash -s /own /own && \
    cp -a /own/opt/bptt/. /opt/bptt/ && /opt/bptt/bin/bptt --version && mkdir -p /usr/share/sbom && \
    /opt/bill/bin/cyclonedx-py environment --output-reproducible --pyproject pyproject.toml \
    --output-file /usr/share/sbom/python.cdx.json /opt/bptt/bin/python && \
    dpkg-query --show --showformat '${Package} ${Version}\n' > /usr/share/sbom/debian.txt

FROM ${BASE_IMAGE}
# A new user's file of passwords has the day in it.
RUN export SOURCE_DATE_EPOCH=86400 && groupadd --gid 10001 bptt && \
    useradd --uid 10001 --gid 10001 --create-home --home-dir /home/bptt --shell /bin/bash --no-log-init bptt && \
    install --directory --owner 10001 --group 10001 /data
# A login shell, which some operators start, sets PATH anew.
RUN echo 'PATH=/opt/bptt/bin:$PATH' > /etc/profile.d/bptt.sh
COPY --from=dependencies /opt/bptt /opt/bptt
COPY --from=build /own/opt/bptt /opt/bptt
COPY --from=build /usr/share/sbom /usr/share/sbom
# Ray without a token lets everyone run code: a container that is given none does not start one.
ENV PATH=/opt/bptt/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    HOME=/home/bptt LANG=C.UTF-8 PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0 MLFLOW_DISABLE_TELEMETRY=true \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 10001:10001
WORKDIR /home/bptt
# Of a Ray node, head or worker; other containers switch it off.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=6 \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:52365/api/healthz', timeout=4)"]
CMD ["bptt", "--help"]
# What differs between two builds of the same files comes last.
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="bptt-trainer" \
      org.opencontainers.image.description="Sweeps over truncation length, hidden size and cell type for recurrent networks" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
