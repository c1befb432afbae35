#!/usr/bin/env bash
# Compares the window functions with PostgreSQL's on random tables.
#
#   operators/tests/postgres.sh             with a PostgreSQL that is there
#   operators/tests/postgres.sh --install   installs Debian's first
#
# A server of its own is started in a temporary folder, on a socket there, and stopped at the end.
set -euo pipefail
cd "$(dirname "$0")/../.."

if [[ "${1:-}" == --install ]]; then
  apt-get update && apt-get install -y --no-install-recommends postgresql
fi
programs=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -n 1 || true)
if [[ -z "$programs" ]]; then
  echo "no PostgreSQL in /usr/lib/postgresql: run with --install, or install it" >&2
  exit 1
fi

folder=$(mktemp -d)
as_server() { if [[ $EUID -eq 0 ]]; then (cd / && runuser -u postgres -- "$@"); else "$@"; fi; }
stop() { as_server "$programs/pg_ctl" -D "$folder/data" -m immediate stop >/dev/null 2>&1 || true; rm -rf "$folder"; }
trap stop EXIT
if [[ $EUID -eq 0 ]]; then chown postgres "$folder"; fi

as_server "$programs/initdb" -D "$folder/data" -U postgres --auth=trust --no-sync >/dev/null
as_server "$programs/pg_ctl" -D "$folder/data" -w -l "$folder/log" -o "-k $folder -c listen_addresses=''" start >/dev/null
PGHOST="$folder" PGUSER=postgres PGDATABASE=postgres cargo test -p millstream-operators --test postgres
