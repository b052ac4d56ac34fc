#!/bin/bash
# Run once, by the image, on an empty volume: a database and a role each for sweeps, MLflow's runs and MLflow's users.
set -euo pipefail
for name in sweeps mlflow mlflow_auth; do
    # psql reads the password from its environment: on a command line it would show in the list of processes.
    variable="${name^^}_PASSWORD" && export ROLE_PASSWORD="${!variable}"
    psql --username "$POSTGRES_USER" --set ON_ERROR_STOP=1 --set name="$name" <<'SQL'
\getenv password ROLE_PASSWORD
CREATE ROLE :"name" LOGIN PASSWORD :'password';
CREATE DATABASE :"name" OWNER :"name";
REVOKE ALL ON DATABASE :"name" FROM PUBLIC;
SQL
done
