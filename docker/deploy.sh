#!/usr/bin/env bash
# Builds the image, brings it to a cluster, and starts the job there.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: docker/deploy.sh [OPTION...]

  --overlay NAME     what to start: one (a Job of one pod), several (a Job of two), nightly (a CronJob) [one]
  --image NAME:TAG   the image [millstream:latest]
  --namespace NAME   where it runs [the current one]
  --push             push the image to its registry
  --kind NAME        load the image into this kind cluster instead
  --minikube NAME    ... or into this minikube profile
  --k3s              ... or into the k3s of this machine
  --builder TOOL     docker, podman or buildah [the first that is there]
  --skip-build       the image is built already
  --replace          end a Job that is still running, and start anew
  --dry-run          show the commands and the manifests, and do nothing
TEXT
}

fail() { echo "deploy.sh: $*" >&2; exit 2; }

overlay=one image=millstream:latest namespace= deliver= target= builder= build=yes dry_run= replace=
while (($#)); do
  case "$1" in
    --overlay|--image|--namespace|--builder) (($# > 1)) || fail "$1 wants a value"; declare "${1#--}=$2"; shift 2 ;;
    --kind|--minikube) (($# > 1)) || fail "$1 wants a value"; deliver=${1#--} target=$2; shift 2 ;;
    --push|--k3s) deliver=${1#--}; shift ;;
    --skip-build) build=; shift ;;
    --replace) replace=yes; shift ;;
    --dry-run) dry_run=yes; shift ;;
    -h|--help) usage; exit ;;
    *) usage >&2; fail "unknown option $1" ;;
  esac
done

root=$(cd "$(dirname "$0")/.." && pwd)
[[ $overlay =~ ^(one|several|nightly)$ ]] || fail "no overlay $overlay; there are one, several and nightly"
[[ $image == *:* ]] || fail "the image $image has no tag; wanted NAME:TAG"
command -v kubectl >/dev/null || fail "kubectl is not there"
if [[ -z $builder ]]; then
  for builder in docker podman buildah none; do command -v "$builder" >/dev/null && break; done
fi
[[ $builder == none && -n $build$deliver ]] && fail "none of docker, podman and buildah is there"

run() {
  printf '+ %s\n' "$*" >&2
  [[ -n $dry_run ]] || "$@"
}

# As clusters look for it: podman and buildah call a name without a registry localhost/NAME otherwise.
[[ $builder == docker || $image == */* ]] || image=docker.io/library/$image

if [[ -n $build ]]; then
  revision=$(git -C "$root" rev-parse --short HEAD 2>/dev/null || echo unknown)
  run "$builder" build -f "$root/docker/Dockerfile" --build-arg "REVISION=$revision" -t "$image" "$root"
fi

archive=
save() {
  archive=$(mktemp -u "${TMPDIR:-/tmp}/millstream-XXXXXX.tar")
  trap 'rm -f "$archive"' EXIT
  case "$builder" in
    buildah) run buildah push "$image" "docker-archive:$archive:$image" ;;
    *) run "$builder" save -o "$archive" "$image" ;;
  esac
}
case "$deliver" in
  push) run "$builder" push "$image" ;;
  kind) save; run kind load image-archive "$archive" --name "$target" ;;
  minikube) save; run minikube image load "$archive" --profile "$target" ;;
  k3s) save; run k3s ctr images import "$archive" ;;
esac

# The overlay with this image.
work=$(mktemp -d)
trap 'rm -rf "$work" ${archive:+"$archive"}' EXIT
cat > "$work/kustomization.yaml" <<TEXT
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [$(realpath --relative-to="$(realpath "$work")" "$root/docker/k8s/$overlay")]
images: [{name: millstream, newName: "${image%:*}", newTag: "${image##*:}"}]
TEXT
kubectl kustomize "$work" > "$work/manifests.yaml"

in_namespace=(${namespace:+--namespace "$namespace"})
# A Job that is there can't be changed, only replaced; its pods must be gone before others take their names.
if [[ $overlay != nightly ]]; then
  if [[ -z $dry_run$replace && -n $(kubectl "${in_namespace[@]}" get job millstream -o 'jsonpath={.status.active}' --ignore-not-found) ]]; then
    fail "the Job millstream is still running; wait for it, or give --replace"
  fi
  run kubectl "${in_namespace[@]}" delete job millstream --ignore-not-found --cascade=foreground --wait
fi
run kubectl "${in_namespace[@]}" apply -f "$work/manifests.yaml"
if [[ -n $dry_run ]]; then cat "$work/manifests.yaml"; fi
