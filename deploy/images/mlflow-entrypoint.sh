#!/bin/sh
# Runs what it is given; `migrate` brings both databases to this version's schema, and ends.
set -eu

if [ "${1:-}" = migrate ]; then
    # On a command line the databases' passwords would be shown by `ps`.
    exec python - <<'PYTHON'
import os

from mlflow.db import upgrade as upgrade_runs
from mlflow.server.auth.db.cli import upgrade as upgrade_users

upgrade_runs.callback(os.environ["MLFLOW_BACKEND_STORE_URI"])
upgrade_users.callback(os.environ["MLFLOW_AUTH_DATABASE_URI"], "head")
print("both databases are up to date")
PYTHON
fi

# MLflow is told where its users are kept by a file alone, in which a % begins a reference.
if [ -n "${MLFLOW_AUTH_DATABASE_URI:-}" ]; then
    umask 077
    export MLFLOW_AUTH_CONFIG_PATH="${HOME}/mlflow-auth.ini"
    printf '[mlflow]\ndefault_permission = %s\ndatabase_uri = %s\nauth_cache_ttl_seconds = 60\n' \
        "${MLFLOW_AUTH_DEFAULT_PERMISSION:-NO_PERMISSIONS}" \
        "$(printf %s "${MLFLOW_AUTH_DATABASE_URI}" | sed 's/%/%%/g')" > "${MLFLOW_AUTH_CONFIG_PATH}"
    unset MLFLOW_AUTH_DATABASE_URI
fi
exec "$@"
