#!/usr/bin/env bash
# Makes the two base images of docker/Dockerfile without a registry, of Debian packages: localhost/millstream-build has
# the compiler of this machine, localhost/millstream-runtime the C library and what it needs, and no shell.
# Needs root, debootstrap, buildah and a Rust toolchain. Then:
#
#   buildah build -f docker/Dockerfile --build-arg BUILD_IMAGE=localhost/millstream-build \
#     --build-arg RUNTIME_IMAGE=localhost/millstream-runtime -t millstream .
set -euo pipefail
suite=${SUITE:-bookworm}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

debootstrap --variant=minbase --include=gcc,libc6-dev,ca-certificates "$suite" "$work/build"
toolchain=$(rustc --print sysroot)
mkdir -p "$work/build/usr/local/rust"
cp -a "$toolchain"/{bin,lib} "$work/build/usr/local/rust/"
# Where this machine reaches the world by a certificate of its own, so must the build.
cp -L /etc/ssl/certs/ca-certificates.crt "$work/build/etc/ssl/certs/ca-certificates.crt"
build=$(buildah from scratch)
buildah copy -q "$build" "$work/build" /
buildah config --env PATH=/usr/local/rust/bin:/usr/local/bin:/usr/bin:/bin --env CARGO_HOME=/usr/local/cargo "$build"
buildah commit -q --rm "$build" localhost/millstream-build

mkdir -p "$work"/runtime/usr/{lib,lib64}
ln -s usr/lib usr/lib64 "$work/runtime/"
for package in base-files libc6 libgcc-s1; do
  chroot "$work/build" dpkg -L "$package"
done | while read -r path; do
  case "$path" in
    /usr/share/doc/*/copyright|/usr/share/common-licenses/*) ;;
    /lib|/lib64|/bin|/sbin|/usr/share/*|*/gconv/*) continue ;;
  esac
  if [[ -f "$work/build$path" || -L "$work/build$path" ]]; then
    install -d "$work/runtime$(dirname "$path")"
    cp -a "$work/build$path" "$work/runtime$path"
  fi
done
install -d -m 1777 "$work/runtime/tmp"
echo 'nonroot:x:65532:65532:nonroot:/data:/sbin/nologin' > "$work/runtime/etc/passwd"
echo 'nonroot:x:65532:' > "$work/runtime/etc/group"
printf 'hosts: files dns\n' > "$work/runtime/etc/nsswitch.conf"
runtime=$(buildah from scratch)
buildah copy -q "$runtime" "$work/runtime" /
buildah commit -q --rm "$runtime" localhost/millstream-runtime
buildah images
