#!/usr/bin/env bash
# The benchmarks, of the worker and, as "verify", of siptrunkctl verify: ./dev bench calls this with servers up, the environment set
# and build/release built.
set -euo pipefail
what=bench
[[ ${1:-} != verify ]] || { what=verify; shift; }
exec "$SIPTRUNK_DEV_PYTHON" "tests/bench/$what.py" "$@"
