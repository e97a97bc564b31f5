#!/bin/sh
# Builds the container images of kiosk and pager's server for this architecture, after the packages are in dist/.
# Called by `make images`; BUILD names another command than podman or buildah, or options of theirs.
set -eu
cd "$(dirname "$0")/.."
arch=${ARCH:-$(dpkg --print-architecture)}
build=${BUILD:-$(command -v podman > /dev/null && echo "podman build --format docker" || echo "buildah bud --format docker")}
for package in edge-agent edge-agent-pager; do
    # shellcheck disable=SC2086
    $build --platform "linux/$arch" --build-arg "PACKAGE=$package" --build-arg "TARGETARCH=$arch" \
        --target "$package" -f packaging/Containerfile -t "localhost/$package" .
done
