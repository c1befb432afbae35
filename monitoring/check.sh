#!/usr/bin/env bash
# Checks the alerts with promtool, and asks a Prometheus that scrapes a running service each query of the dashboard and
# of the alerts: monitoring/check.sh MILLSTREAM. Without a Prometheus it says so and does nothing.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
millstream=$(realpath "${1:?wanted the program}")
if ! command -v prometheus >/dev/null || ! command -v promtool >/dev/null; then
  echo "no Prometheus: the alerts and the dashboard are not checked"
  exit 0
fi
promtool check rules "$here/alerts.yaml" >/dev/null
promtool test rules "$here/alerts_test.yaml" >/dev/null
work=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$work"' EXIT
cd "$work"
port=$((20000 + RANDOM % 9000))
"$millstream" generate --scale 0.002 --output shop >/dev/null
"$millstream" serve --input shop --output tables --as-of 1998-12-01 --listen "127.0.0.1:$port" 2>serve.log &
cat >prometheus.yaml <<CONFIG
global: {scrape_interval: 1s, evaluation_interval: 1s}
rule_files: ["$here/alerts.yaml"]
scrape_configs:
  - {job_name: millstream, static_configs: [{targets: ["127.0.0.1:$port"]}]}
CONFIG
prometheus --config.file=prometheus.yaml --storage.tsdb.path=data --web.listen-address="127.0.0.1:$((port + 1))" \
  2>prometheus.log &
api="http://127.0.0.1:$((port + 1))/api/v1"
for _ in $(seq 300); do
  if curl -sf "127.0.0.1:$port/readyz" >/dev/null; then break; fi
  sleep 0.2
done
for _ in $(seq 20); do
  curl -sf "127.0.0.1:$port/v1/orders" -H 'content-type: application/json' \
    -d '[{"order_id": 1, "quantity": 2}, {"order_id": 2, "order_date": "soon"}]' >/dev/null
  curl -sf "127.0.0.1:$port/v1/status" >/dev/null
  sleep 0.3
done
curl -sf -X POST "127.0.0.1:$port/v1/verify" >/dev/null
sleep 5
queries() {
  python3 - "$here" <<'PYTHON'
import json, re, sys
folder = sys.argv[1]
dashboard = json.load(open(folder + "/grafana/millstream.json"))
for panel in dashboard["panels"]:
    for target in panel["targets"]:
        print(target["expr"].replace("$instance", ".*").replace("$__rate_interval", "1m"))
PYTHON
}
count=0
while IFS= read -r query; do
  answer=$(curl -sf "$api/query" --data-urlencode "query=$query") || { echo "not understood: $query"; exit 1; }
  if [[ $answer != *'"value":'* ]]; then echo "no answer: $query: $answer"; exit 1; fi
  count=$((count + 1))
done < <(queries)
rules=$(curl -sf "$api/rules")
if [[ $rules == *'"health":"err"'* || $rules != *'"health":"ok"'* ]]; then echo "rules: $rules"; exit 1; fi
# One alert for real: a service that is killed.
kill -9 %1
for _ in $(seq 50); do
  if curl -sf "$api/alerts" | grep -q '"alertname":"MillstreamDown"'; then
    echo "$count queries are answered, the rules are evaluated, and a killed service is noticed"
    exit 0
  fi
  sleep 0.5
done
echo "a killed service is not noticed"
exit 1
