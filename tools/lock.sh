#!/usr/bin/env bash
# Rewrites 3rdparty/*.lock after a change of 3rdparty/*.txt. Pins that still fit stay; `tools/lock.sh --upgrade` moves them.
# The locks hold versions and hashes, no URLs, so that they serve any package index.
set -euo pipefail
cd "$(dirname "$0")/.."
lock() { # PYTHON NAME ARGS...
  uv pip compile -q --universal --python-version "$1" --generate-hashes --no-emit-index-url --no-annotate --no-header \
    "3rdparty/$2.txt" -o "3rdparty/$2.lock" "${@:3}"
}
lock 3.9 pants-launcher "$@"
lock 3.11 default "$@"
for tool in pytest mypy ruff black; do lock 3.11 "$tool" -c 3rdparty/default.lock "$@"; done
for set in triton triton-models triton-graph; do lock 3.11 "$set" --no-deps "$@"; done
