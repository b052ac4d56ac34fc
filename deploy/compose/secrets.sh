#!/bin/sh
# Makes the secrets of this machine's own deployment, once: run it before the first `docker compose up`.
#
# They are files in secrets/ beside this script, readable by you alone. Secrets that are there already are kept:
# PostgreSQL and MLflow know them from their first start.
set -eu
umask 077
cd "$(dirname "$0")"

if [ -e secrets ]; then
    echo "secrets/ is there already and stays as it is; to start anew, remove it and the volumes (docker compose down -v)"
    exit 0
fi

secret() { od -An -N32 -tx1 /dev/urandom | tr -d ' \n'; }

# Only whole: a run that breaks off leaves nothing that the next one would keep.
new=$(mktemp -d secrets.XXXXXX)
trap 'rm -rf "$new"' EXIT
superuser=$(secret) sweeps=$(secret) mlflow=$(secret) mlflow_auth=$(secret)
admin=$(secret) flask=$(secret) token=$(secret) key_id=$(secret) key=$(secret)

cat > "$new/postgres.env" <<END
POSTGRES_PASSWORD=$superuser
SWEEPS_PASSWORD=$sweeps
MLFLOW_PASSWORD=$mlflow
MLFLOW_AUTH_PASSWORD=$mlflow_auth
END
cat > "$new/storage.env" <<END
AWS_ACCESS_KEY_ID=$(printf %.20s "$key_id")
AWS_SECRET_ACCESS_KEY=$key
END
cat > "$new/mlflow.env" <<END
MLFLOW_BACKEND_STORE_URI=postgresql+psycopg://mlflow:$mlflow@postgres:5432/mlflow
MLFLOW_AUTH_DATABASE_URI=postgresql+psycopg://mlflow_auth:$mlflow_auth@postgres:5432/mlflow_auth
MLFLOW_AUTH_ADMIN_USERNAME=bptt
MLFLOW_AUTH_ADMIN_PASSWORD=$admin
MLFLOW_FLASK_SERVER_SECRET_KEY=$flask
END
echo "RAY_AUTH_TOKEN=$token" > "$new/ray.env"
# Of databases and MLflow the nodes that train know nothing.
cat > "$new/driver.env" <<END
BPTT_STUDY_URL=postgresql+psycopg://sweeps:$sweeps@postgres:5432/sweeps
MLFLOW_TRACKING_USERNAME=bptt
MLFLOW_TRACKING_PASSWORD=$admin
END
# What a terminal on this machine needs, by the ports that are open to it.
cat > "$new/terminal.env" <<END
BPTT_RAY_ADDRESS=http://127.0.0.1:8265
BPTT_STUDY_URL=postgresql+psycopg://sweeps:$sweeps@127.0.0.1:5432/sweeps
BPTT_TRACKING_URI=http://127.0.0.1:5000
MLFLOW_TRACKING_USERNAME=bptt
MLFLOW_TRACKING_PASSWORD=$admin
RAY_AUTH_TOKEN=$token
END
mv "$new" secrets
trap - EXIT
echo "secrets/ is made; the password of user bptt at http://127.0.0.1:5000 is in secrets/mlflow.env"
