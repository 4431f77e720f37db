#!/usr/bin/env bash
# The demonstration: ./dev demo calls this with servers up, the environment set and build/release built. Sends the
# guide's commands through the real broker into the real database, and shows what came of each.
set -euo pipefail

export PATH="$PWD/build/release/bin:$PATH"
export SIPTRUNK_INSTANCE_ID=demo SIPTRUNK_LOG_FORMAT=text
run=$(date -u +%Y%m%dT%H%M%S)
batch="demo-$run"
log=.dev/demo-worker.log
work=$(mktemp -d)
worker=

finish() {
    local status=$?
    if [[ -n $worker ]]; then
        kill -TERM "$worker" 2>/dev/null || true
        wait "$worker" || true
    fi
    rm -rf "$work"
    if ((status)); then
        printf 'The demonstration failed; the worker said (%s):\n' "$log" >&2
        tail -n 20 "$log" >&2 || true
    fi
}
trap finish EXIT

step() {
    printf '\n== %s\n' "$1"
}

# wait_for N SECONDS COMMAND...: until COMMAND prints N.
wait_for() {
    local wanted=$1 deadline=$((SECONDS + $2))
    shift 2
    until [[ $("$@") == "$wanted" ]]; do
        ((SECONDS < deadline)) || {
            printf 'waited in vain for: %s\n' "$*" >&2
            return 1
        }
        sleep 0.1
    done
}

results() {
    siptrunkctl results --json --batch "$batch" 2>/dev/null
}

count_results() {
    results | wc -l
}

dead_letters() {
    kcat -b "$SIPTRUNK_KAFKA_BOOTSTRAP_SERVERS" -C -t siptrunk.commands.v1-dlt -e -q -f '%h\n' 2>/dev/null
}

count_dead_letters() {
    dead_letters | wc -l
}

# Every committed record of the results topic: where it stands, and its headers.
committed() {
    kcat -b "$SIPTRUNK_KAFKA_BOOTSTRAP_SERVERS" -C -t siptrunk.results.v1 -e -q -X isolation.level=read_committed \
        -f 'partition %p, offset %o: %h\n'
}

step 'Database schema, topics, inventory'
siptrunkctl migrate up
siptrunkctl topics apply --partitions 6
siptrunkctl inventory load tests/support/guide-inventory.jsonl

step "Worker (its log: $log)"
(umask 077 && printf 'demo:%s\n' "$(openssl rand -hex 32)" >"$work/keys")
: >"$log"
siptrunk-worker -X secrets.key_file="$work/keys" 2>"$log" &
worker=$!
wait_for 1 20 sh -c "grep -q ' claimed ' '$log' && echo 1"
printf 'started, process %s\n' "$worker"

step 'Commands, as JSON; the program sends them as Avro'
python3 tests/support/demo.py commands "$batch" | tee "$work/commands" | siptrunkctl send
cut -c 1-160 "$work/commands"
printf 'not Avro at all' | kcat -b "$SIPTRUNK_KAFKA_BOOTSTRAP_SERVERS" -P -t siptrunk.commands.v1
printf 'and one record that nobody can read\n'

# Each event once: one less than commands, since one of them was sent twice.
wait_for "$(($(wc -l <"$work/commands") - 1))" 20 count_results
wait_for 1 20 count_dead_letters
results >"$work/results"

step 'What happened'
python3 tests/support/demo.py table "$batch" "$work/results"
printf '%-42s%-13s%-10s%s\n' 'the record that nobody can read' 'dead letter' '-' \
    "$(dead_letters | tail -n 1 | sed -E 's/.*kafka_dlt-exception-fqcn=urn:error:sip-trunk:([^,]*),.*/\1/')"

step 'Committed records of the first command: its result, and the copy for the resend'
committed | python3 tests/support/demo.py copies "$batch"

step 'The same from the results topic: siptrunkctl results --batch '"$batch"
siptrunkctl results --batch "$batch"
