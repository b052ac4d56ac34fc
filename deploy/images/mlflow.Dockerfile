# The image of the MLflow server, which also migrates its databases; without torch, Ray or this project.
#
#   docker build -f deploy/images/mlflow.Dockerfile -t bptt-mlflow:0.1.0 .
ARG BASE_IMAGE=python:3.11.15-slim-bookworm

FROM ${BASE_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore PYTHONHASHSEED=0
RUN python3 -m venv /opt/build && python3 -m venv --without-pip /opt/mlflow
WORKDIR /source
COPY requirements.txt requirements-dev.txt ./
# Versions are the project's own; boto3 and Flask-WTF, which its tests alone need, are among those for development.
RUN /opt/build/bin/pip --python /opt/mlflow/bin/python install --no-compile \
    --constraint requirements.txt --constraint requirements-dev.txt 'mlflow[auth]' 'psycopg[binary]' boto3
RUN cd /opt/mlflow/lib/python3*/site-packages && \
    find . -type d -name tests -prune -exec rm -rf {} + && find . -type d -name __pycache__ -prune -exec rm -rf {} + && \
    { /opt/mlflow/bin/python -m compileall -qq -j 0 --invalidation-mode unchecked-hash . || true; } && \
    /opt/mlflow/bin/python -c "import boto3, mlflow.server, psycopg, sklearn"

FROM build AS bill
COPY deploy/images/sbom-requirements.txt ./
RUN python3 -m venv /opt/bill && /opt/bill/bin/pip install --no-compile --no-deps --requirement sbom-requirements.txt && \
    mkdir -p /usr/share/sbom && \
    /opt/bill/bin/cyclonedx-py environment --output-reproducible \
    --output-file /usr/share/sbom/python.cdx.json /opt/mlflow/bin/python && \
    dpkg-query --show --showformat '${Package} ${Version}\n' > /usr/share/sbom/debian.txt

FROM ${BASE_IMAGE}
# A new user's file of passwords has the day in it.
RUN export SOURCE_DATE_EPOCH=86400 && groupadd --gid 10001 bptt && \
    useradd --uid 10001 --gid 10001 --create-home --home-dir /home/bptt --shell /bin/bash --no-log-init bptt
# A login shell, which some operators start, sets PATH anew.
RUN echo 'PATH=/opt/mlflow/bin:$PATH' > /etc/profile.d/bptt.sh
COPY --from=build /opt/mlflow /opt/mlflow
COPY --from=bill /usr/share/sbom /usr/share/sbom
COPY --chmod=0755 deploy/images/mlflow-entrypoint.sh /usr/local/bin/mlflow-entrypoint
# One worker and no helper processes: 0.6 GB rather than 2.3.
ENV PATH=/opt/mlflow/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    HOME=/home/bptt LANG=C.UTF-8 PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 MLFLOW_DISABLE_TELEMETRY=true \
    MLFLOW_HOST=0.0.0.0 MLFLOW_PORT=5000 MLFLOW_WORKERS=1 MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false
USER 10001:10001
WORKDIR /home/bptt
EXPOSE 5000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=6 \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:5000/health', timeout=4)"]
ENTRYPOINT ["mlflow-entrypoint"]
CMD ["mlflow", "server", "--app-name", "basic-auth"]
# What differs between two builds of the same files comes last.
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="bptt-mlflow" \
      org.opencontainers.image.description="MLflow behind a password, on PostgreSQL and S3" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
