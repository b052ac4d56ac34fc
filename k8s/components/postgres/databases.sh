#!/bin/bash
# Run once, by the image, on an empty volume: a database and a role each for sweeps, MLflow's runs and MLflow's users.
# The image runs this file where it may be executed, and sources it else: in a shell of its own it leaves nothing behind.
(
    set -euo pipefail
    for name in sweeps mlflow mlflow_auth; do
        variable="${name^^}_PASSWORD"
        # psql reads the password from its environment: on a command line it would show in the list of processes.
        export ROLE_PASSWORD="${!variable:-}"
        if [ -z "$ROLE_PASSWORD" ]; then echo "databases.sh: $variable is not set" >&2 && exit 1; fi
        psql --username "$POSTGRES_USER" --set ON_ERROR_STOP=1 --set name="$name" <<'SQL'
\getenv password ROLE_PASSWORD
CREATE ROLE :"name" LOGIN PASSWORD :'password';
CREATE DATABASE :"name" OWNER :"name";
REVOKE ALL ON DATABASE :"name" FROM PUBLIC;
SQL
    done
)
