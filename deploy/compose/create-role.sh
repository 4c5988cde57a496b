#!/bin/sh
# The role of the application, which owns no table; run once, by the image of PostgreSQL, in an empty database.
set -eu
psql --set ON_ERROR_STOP=1 --set password="$DATABASE_PASSWORD" --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" <<'SQL'
CREATE ROLE slmstudio LOGIN PASSWORD :'password';
REVOKE TEMPORARY ON DATABASE slmstudio FROM PUBLIC;
SQL
