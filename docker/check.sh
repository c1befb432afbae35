#!/usr/bin/env bash
# Checks what lies in this folder, without a cluster: the manifests against the published schemas of Kubernetes, the
# scripts, and the DAG, which a real Airflow loads and runs (its pods replaced by the same command on this machine).
#
#   docker/check.sh MILLSTREAM      the program that takes the place of the pods
#
# Installs what docker/requirements.txt names into a virtual environment; VENV=DIR keeps it.
set -euo pipefail
millstream=$(realpath "${1:?usage: docker/check.sh MILLSTREAM}")
cd "$(dirname "$0")"
here=$PWD

if ! python3 -c 'import venv, ensurepip' 2>/dev/null; then
  echo "SKIPPED: manifests and DAG: no python3 with venv" >&2
  exit
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
venv=${VENV:-$work/venv}
[[ -x $venv/bin/python ]] || python3 -m venv "$venv"
"$venv/bin/pip" install --quiet --disable-pip-version-check -r requirements.txt

for overlay in one several nightly live; do
  if command -v kubectl >/dev/null; then
    kubectl kustomize "k8s/$overlay" > "$work/$overlay.yaml"
  else
    echo "SKIPPED: kustomize of k8s/$overlay: no kubectl; its files are checked one by one" >&2
    for file in k8s/{volume/volume,several/volume,job/job,several/service,several/network,nightly/cronjob,live/statefulset,live/service}.yaml; do echo ---; cat "$file"; done > "$work/$overlay.yaml"
  fi
done
# Compose files are checked as far as can be without Docker: every file that is mounted is there.
"$venv/bin/python" - <<'PYTHON'
import os, yaml
compose = yaml.safe_load(open("compose.yaml"))
for name, service in compose["services"].items():
    for volume in service.get("volumes", []):
        source = volume.split(":")[0]
        if source.startswith(("./", "../")) and not os.path.exists(source):
            raise SystemExit(f"compose.yaml: {name}: {source} is not there")
    missing = [secret for secret in service.get("secrets", []) if secret not in compose["secrets"]]
    if missing:
        raise SystemExit(f"compose.yaml: {name}: no secret {missing}")
PYTHON
"$venv/bin/kubernetes-validate" --strict "$work"/*.yaml airflow/pod.yaml
if command -v kubectl >/dev/null; then
  for overlay in one several nightly; do
    ./deploy.sh --overlay "$overlay" --skip-build --dry-run --image example.com/millstream:1 > "$work/deployed" 2>&1
    grep -q 'image: example.com/millstream:1' "$work/deployed"
  done
fi


(cd "$work" && env -u PYTHONPATH "$venv/bin/python" "$here/airflow/check.py" "$millstream")
