#!/usr/bin/env bash
# Runs the examples of http.md as they stand there, against a service: the shell's, Python's and Rust's.
#
#   docs/check_http.sh MILLSTREAM HTTP_CLIENT      the program, and the built example of the Rust client
#
# Python's packages are installed into a virtual environment; VENV=DIR keeps it.
set -euo pipefail
usage="usage: docs/check_http.sh MILLSTREAM HTTP_CLIENT"
millstream=$(realpath "${1:?$usage}") client=$(realpath "${2:?$usage}")
cd "$(dirname "$0")"
page=$PWD/http.md example=$PWD/../examples/http_client.rs

work=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; wait; rm -rf "$work"' EXIT
mkdir "$work/bin"; ln -s "$millstream" "$work/bin/millstream"; export PATH="$work/bin:$PATH"
port=$(( 20000 + RANDOM % 10000 ))
while (exec 3<> "/dev/tcp/127.0.0.1/$port") 2>/dev/null; do port=$(( port + 1 )); done   # somebody listens there
failed() { echo "FAILED: $*" >&2; exit 1; }
says() { grep -q -- "$2" "$work/$1" || failed "$1 lacks '$2':" "$(cat "$work/$1")"; }

# The nth block of a language, at another port.
block() { awk -v fence='```'"$1" -v nth="$2" '$0 == "```" {on = 0} on {print} $0 == fence {on = (++n == nth)}' "$page" | sed "s/8080/$port/g"; }

diff <(block rust 1 | sed "s/$port/8080/g") <(sed -n '/^use std::io/,$p' "$example") || failed "http.md and http_client.rs differ"

cd "$work"
# The commands that make the shop and start the service, and those that ask it.
block sh 1 | sed '/&$/q' > start.sh
block sh 1 | sed '1,/&$/d' > ask.sh
source start.sh 2> service.log > /dev/null
curl() { command curl --silent --show-error --max-time 3 "$@"; }
for _ in $(seq 600); do curl --fail "localhost:$port/readyz" > /dev/null 2>&1 && break; sleep 0.2; done
curl --fail "localhost:$port/readyz" > /dev/null || failed "the service is not ready: $(cat service.log)"

source ask.sh > shell.txt 2> shell.err || true   # the last one follows changes until it is ended
says shell.txt '"accepted":1'
says shell.txt '"order_date":"2024-05-01"'
says shell.txt '"table":"enriched_data"'
says shell.txt 'event: changes'

"$client" "http://localhost:$port" > rust.txt
says rust.txt 'in all tables since epoch'
says rust.txt '"order_id":9000003'
says rust.txt 'event: snapshot'

if ! python3 -c 'import venv, ensurepip' 2>/dev/null; then
  echo "SKIPPED: the examples in Python: no python3 with venv" >&2
  exit
fi
venv=${VENV:-$work/venv}
[[ -x $venv/bin/python ]] || python3 -m venv "$venv"
"$venv/bin/pip" install --quiet --disable-pip-version-check requests pyarrow duckdb
block python 1 > example.py
env -u PYTHONPATH "$venv/bin/python" example.py > python.txt
[[ $(sed -n 1p python.txt) == 1 && $(wc -l < python.txt) == 3 ]] || failed "python.txt: $(cat python.txt)"
echo "the examples of http.md do what it says"
