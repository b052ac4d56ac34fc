#!/bin/sh
# PostgreSQL's first start: a database for each service, each with a role of its own that may enter no other.
set -eu
psql --set ON_ERROR_STOP=1 --username "${POSTGRES_USER:-postgres}" --dbname postgres <<'SQL'
\getenv sweeps SWEEPS_PASSWORD
\getenv mlflow MLFLOW_PASSWORD
\getenv mlflow_auth MLFLOW_AUTH_PASSWORD
CREATE ROLE sweeps LOGIN PASSWORD :'sweeps';
CREATE ROLE mlflow LOGIN PASSWORD :'mlflow';
CREATE ROLE mlflow_auth LOGIN PASSWORD :'mlflow_auth';
CREATE DATABASE sweeps OWNER sweeps;
CREATE DATABASE mlflow OWNER mlflow;
CREATE DATABASE mlflow_auth OWNER mlflow_auth;
REVOKE CONNECT ON DATABASE sweeps, mlflow, mlflow_auth FROM PUBLIC;
SQL
