#!/usr/bin/env bash
# Brings about what each alert is for, and waits until Prometheus fires it: monitoring/fire.sh MILLSTREAM.
#
# It wants prometheus, strace and PostgreSQL, and takes some minutes. The expressions are those of alerts.yaml; only `for` is
# shortened.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
millstream=$(realpath "${1:?wanted the program}")
programs=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -n 1 || true)
for needed in prometheus strace psql "${programs:-/usr/lib/postgresql}/initdb"; do
  command -v "$needed" >/dev/null || { echo "wanted $needed, which is not installed"; exit 1; }
done
work=$(mktemp -d)
as_server() { if [[ $EUID -eq 0 ]]; then (cd / && runuser -u postgres -- "$@"); else "$@"; fi; }
end() {
  as_server "$programs/pg_ctl" -D "$work/database/data" -m immediate stop >/dev/null 2>&1 || true
  kill -9 $(jobs -p) 2>/dev/null || true
  wait 2>/dev/null || true
  rm -rf "$work"
}
trap end EXIT
cd "$work"
port=$((20000 + RANDOM % 9000))
prometheus_port=$((port + 100))
sed 's/^\( *for:\).*/\1 3s/' "$here/alerts.yaml" >rules.yaml
cat >prometheus.yaml <<CONFIG
global: {scrape_interval: 1s, evaluation_interval: 1s}
rule_files: [rules.yaml]
scrape_configs:
  - {job_name: millstream, static_configs: [{targets: [$(seq -s, -f "'127.0.0.1:%.0f'" "$port" $((port + 4)))]}]}
CONFIG
"$millstream" generate --scale 0.01 --output shop >/dev/null
"$millstream" generate --scale 1 --output large >/dev/null
prometheus --config.file=prometheus.yaml --storage.tsdb.path=data --web.listen-address="127.0.0.1:$prometheus_port" \
  2>prometheus.log &

# serve N ARGS: a service at the Nth port.
serve() {
  local at=$1
  shift
  "$millstream" serve --as-of 1998-12-01 --listen "127.0.0.1:$((port + at))" "$@" 2>"serve$at.log" &
}
ready() {
  for _ in $(seq 300); do
    if curl -sf "127.0.0.1:$((port + $1))/readyz" >/dev/null; then return; fi
    sleep 0.2
  done
  echo "not ready: $(tail -1 "serve$1.log")"
  exit 1
}
post() {
  curl -s -m 3 "127.0.0.1:$((port + $1))/v1/$2" -H 'content-type: application/json' \
    --data-binary @- <<<"$3" >/dev/null || true
}
# Waits until an alert fires at the Nth service, while it does something again and again.
fires() {
  local alert=$1 at=$2
  shift 2
  for _ in $(seq 240); do
    "$@"
    if curl -sf "127.0.0.1:$prometheus_port/api/v1/alerts" >alerts.json && python3 -c '
import json, sys
name, instance = sys.argv[1:]
alerts = json.load(open("alerts.json"))["data"]["alerts"]
has = lambda one: one["labels"]["alertname"] == name and one["labels"].get("instance") == instance
sys.exit(not any(has(one) and one["state"] == "firing" for one in alerts))' "$alert" "127.0.0.1:$((port + at))"; then
      echo "fired: $alert"
      echo "$alert" >>fired
      return
    fi
    sleep 0.5
  done
  echo "not fired: $alert"
  exit 1
}
# Each sync of the Nth service takes so many microseconds more.
slow_syncs() {
  strace -qq -f -p "$(pgrep -f "[s]erve .*:$((port + $1)) ")" -e trace=fsync,fdatasync \
    -e inject=fsync,fdatasync:delay_enter="$2" 2>/dev/null &
  slow=$!
}
order() {
  echo "[{\"order_id\": $1, \"customer_id\": 1, \"product_id\": 1, \"order_date\": \"1998-03-01\", \"quantity\": 1}]"
}

echo "a service that loads, then takes files that are never compacted"
serve 0 --input large --output tables0 --workers 1
loading=$!
fires MillstreamNotReady 0 true
{ kill -9 "$loading" && wait "$loading"; } 2>/dev/null || true
fires MillstreamDown 0 true

serve 1 --input shop --output tables1 --state state1 --checkpoint-every 100GB
ready 1
for file in large/orders/*; do
  cp "$file" "shop/.next" && mv "shop/.next" "shop/orders/large-$(basename "$file")"
done
fires MillstreamLogGrows 1 true

echo "the output folder is replaced by a file"
rm -rf tables1 && touch tables1
fires MillstreamPublishFailed 1 curl -s -X POST "127.0.0.1:$((port + 1))/v1/publish" -o /dev/null

rm -rf shop/orders/large-*
serve 2 --input shop --output tables2 --state state2 --checkpoint-every 20KB
ready 2

echo "rows that are rejected"
fires MillstreamRejectsRows 2 post 2 orders '[{"order_id": 1, "order_date": "soon"}]'

echo "a slow disk"
slow_syncs 2 800000
fires MillstreamSlowCommits 2 post 2 orders "$(order 2)"
kill "$slow"

echo "a state that is damaged while it is used"
for id in $(seq 5); do post 2 orders "$(order "$id")"; done
for file in state2/log-*; do
  printf 'damaged!' | dd of="$file" bs=1 seek=4200 conv=notrunc status=none
done
fires MillstreamVerifyFailed 2 curl -s -X POST "127.0.0.1:$((port + 2))/v1/verify" -o /dev/null
fires MillstreamServerErrors 2 curl -s -m 5 -X POST "127.0.0.1:$((port + 2))/v1/rejected/retry" -o /dev/null
many="[$(for id in $(seq 2000); do order "$id"; done | tr -d '[]' | paste -sd,)]"
fires MillstreamCheckpointFailed 2 post 2 orders "$many"

echo "a disk that hangs"
serve 3 --input shop --output tables3
ready 3
slow_syncs 3 30000000
fires MillstreamBehind 3 post 3 orders "$(order 3)"
kill "$slow"

echo "a database that is followed and delivered to"
install -d database && if [[ $EUID -eq 0 ]]; then chmod 755 "$work" && chown postgres database; fi
database=$work/database/data
as_server "$programs/initdb" -D "$database" -U postgres --auth=trust --no-sync >/dev/null
begin() {
  as_server "$programs/pg_ctl" -D "$database" -w -l "$database/log" \
    -o "-p $((port + 50)) -k '' -c listen_addresses=127.0.0.1 -c wal_level=logical -c fsync=off" start >/dev/null
}
begin
sql() { psql -q -h 127.0.0.1 -p "$((port + 50))" -U postgres "$@"; }
sql -c 'CREATE TABLE customers (customer_id bigint PRIMARY KEY)' -c 'CREATE PUBLICATION shop FOR TABLE customers'
url=postgres://postgres@127.0.0.1:$((port + 50))/postgres
cat >database.yaml <<CONFIG
sources:
  - {name: web, type: http}
  - {name: db, type: postgres, url: "$url", publication: shop, tables: {customers: customers}}
sinks: [{name: bi, type: postgres, url: "$url", tables: [daily_sales]}]
CONFIG
serve 4 --input shop --output tables4 --config database.yaml
ready 4
(echo 'BEGIN; LOCK TABLE shop.daily_sales;' && sleep 150) | sql >/dev/null &
locking=$!
sleep 1
post 4 orders "$(order 4)"
fires MillstreamSinkBehind 4 true
kill "$locking"
sql -c 'SELECT pg_terminate_backend(pid) FROM pg_locks WHERE relation = $$shop.daily_sales$$::regclass' >/dev/null 2>&1 || true
(echo 'BEGIN; INSERT INTO customers VALUES (1);' && sleep 150) | sql >/dev/null &
fill() { sql -c 'SELECT pg_logical_emit_message(false, $$fill$$, repeat($$x$$, 50000000))' >/dev/null; }
fires MillstreamSourceHoldsLog 4 fill
as_server "$programs/pg_ctl" -D "$database" -m immediate stop >/dev/null
fires MillstreamSourceStopped 4 true
fires MillstreamSinkFails 4 post 4 orders "$(order 5)"
grep -o 'alert: .*' "$here/alerts.yaml" | cut -d' ' -f2 | sort >wanted
diff <(sort fired) wanted && echo "each alert of alerts.yaml has fired"
