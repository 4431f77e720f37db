#!/usr/bin/env bash
# A benchmark of tests/bench by its name, "throughput" unless told: ./dev bench calls this with servers up, the environment set and
# build/release built.
set -euo pipefail
what=throughput
[[ ! -f tests/bench/${1:-}.py ]] || { what=$1; shift; }
mkdir -p .dev/bench-logs
[[ $what != report ]] || "$SIPTRUNK_DEV_PYTHON" -m pip install --quiet --requirement tests/bench/requirements.txt
# BENCH_LIBRDKAFKA=newer: with the one that the tests' Python client brings instead of the system's.
if [[ ${BENCH_LIBRDKAFKA:-} == newer ]]; then
    mkdir -p .dev/librdkafka
    for library in .dev/venv/lib/python3*/site-packages/confluent_kafka.libs/*; do
        name=${library##*/}
        ln -sfn "$PWD/$library" ".dev/librdkafka/${name/librdkafka-*.so/librdkafka.so}"
    done
    export LD_LIBRARY_PATH=$PWD/.dev/librdkafka
fi
exec "$SIPTRUNK_DEV_PYTHON" -B "tests/bench/$what.py" "$@"
