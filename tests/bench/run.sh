#!/usr/bin/env bash
# The benchmark: ./dev bench calls this with servers up, the environment set and build/release built.
set -euo pipefail
exec "$SIPTRUNK_DEV_PYTHON" tests/bench/bench.py "$@"
