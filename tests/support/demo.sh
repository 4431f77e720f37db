#!/usr/bin/env bash
# The demonstration: ./dev demo calls this with servers up, the environment set and build/release built. Sends the
# guide's commands through the real broker into the real database, and shows what came of each.
set -euo pipefail

export PATH="$PWD/build/release/bin:$PATH"
export SIPTRUNK_INSTANCE_ID=demo SIPTRUNK_LOG_FORMAT=text
account=013dc5c1-ff09-4ece-ad3a-7f8f60949407
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

# id N: a command id of this run, the same each time it is asked for.
id() {
    printf '%s' "$batch-$1" | sha256sum | sed -E 's/^(.{8})(.{4}).(.{3}).(.{3})(.{12}).*/\1-\2-4\3-8\4-\5/'
}

connect() {
    printf '{"type":"ConnectNumber","command_id":"%s","account_id":"%s","batch_id":"%s","channel_name":"%s","number":"%s"}\n' \
        "$1" "$account" "$batch" "$2" "$3"
}

disconnect() {
    printf '{"type":"DisconnectNumber","command_id":"%s","account_id":"%s","batch_id":"%s","number":"%s"}\n' \
        "$1" "$account" "$batch" "$2"
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

dead_letters() {
    kcat -b "$SIPTRUNK_KAFKA_BOOTSTRAP_SERVERS" -C -t siptrunk.commands.v1-dlt -e -q -f '%h\n' 2>/dev/null
}

count_dead_letters() {
    dead_letters | wc -l
}

step 'Database schema, topics, inventory'
siptrunkctl migrate up
siptrunkctl topics apply --partitions 6
siptrunkctl inventory load tests/support/guide-inventory.jsonl

step "Worker (its log: $log)"
: >"$log"
siptrunk-worker 2>"$log" &
worker=$!
wait_for 1 20 sh -c "grep -q ' claimed ' '$log' && echo 1"
printf 'started, process %s\n' "$worker"
unreadable_before=$(count_dead_letters)

step 'Commands, as JSON; the program sends them as Avro'
{
    connect "$(id connect)" name +31500000000
    connect "$(id connect)" name +31500000000
    connect "$(id connect)" name 004921141873130
    connect "$(id refused)" no-such-channel +31500000000
    disconnect "$(id disconnect)" +31500000000
} | tee "$work/commands" | siptrunkctl send
cat "$work/commands"
printf 'not Avro at all' | kcat -b "$SIPTRUNK_KAFKA_BOOTSTRAP_SERVERS" -P -t siptrunk.commands.v1 -k "$account"
printf 'and one record that nobody can read\n'

step 'What happened'
wait_for 4 20 sh -c "build/release/bin/siptrunkctl results --json --batch '$batch' 2>/dev/null | wc -l"
wait_for "$((unreadable_before + 1))" 20 count_dead_letters
results >"$work/results"
outcome() {
    sed -nE "s/.*\"command_id\":\"$1\".*\"outcome\":\"([A-Z_]+)\".*\"error_reason\":(null|\"[^\"]*\").*\"account_sequence\":([0-9]+).*/\1 \2 \3/p" "$work/results"
}
# replays EVENT_ID: how many committed copies of the event are marked as the answer to a resend.
replays() {
    kcat -b "$SIPTRUNK_KAFKA_BOOTSTRAP_SERVERS" -C -t siptrunk.results.v1 -e -q -X isolation.level=read_committed -f '%h\n' |
        grep "ce_id=$1," | grep -c 'replayed=true' || true
}
event=$(sed -nE "s/^\{\"event_id\":\"([^\"]*)\".*\"command_id\":\"$(id connect)\".*\"APPLIED\".*/\1/p" "$work/results")
row() {
    printf '%-34s %-12s %-10s %s\n' "$1" "$2" "$3" "$4"
}
# describe WHAT LINE: a row for one result.
describe() {
    local outcome reason sequence
    read -r outcome reason sequence <<<"$2"
    reason=${reason//\"/}
    row "$1" "$outcome" "$sequence" "${reason/#null/}"
}
copies=$(replays "$event")
[[ $copies == 1 ]] || {
    printf 'the resend was answered %s times instead of once\n' "$copies" >&2
    exit 1
}
row 'sent' 'outcome' 'sequence' 'reason'
row '----' '-------' '--------' '------'
describe 'connect +31500000000' "$(outcome "$(id connect)" | sed -n 1p)"
row 'the same record again' replayed '' "answered once more with event $event"
describe 'its id for another number' "$(outcome "$(id connect)" | sed -n 2p)"
describe 'connect to an unknown channel' "$(outcome "$(id refused)")"
describe 'disconnect +31500000000' "$(outcome "$(id disconnect)")"
row 'a record that nobody can read' 'dead letter' '-' "$(dead_letters | tail -n 1 | sed -E 's/.*kafka_dlt-exception-fqcn=([^,]*),.*/\1/')"

step 'The same from the results topic: siptrunkctl results --batch '"$batch"
siptrunkctl results --batch "$batch"
