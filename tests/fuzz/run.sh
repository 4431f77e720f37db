#!/bin/sh
# run.sh PROGRAM KEEP [ARGS]: runs one fuzz target from its corpus; what it finds goes to the directory KEEP, or is
# thrown away where that is empty. ARGS are libFuzzer's. A finding is shown as hexadecimal digits, so that a log is enough.
set -eu
program=$1
keep=$2
shift 2
target=${program##*/fuzz_}
here=$(dirname "$(readlink -f "$0")")
[ "$keep" ] || { keep=$(mktemp -d) && trap 'rm -rf "$keep"' EXIT; }
mkdir -p "$keep/corpus"
[ ! -f "$here/$target.dict" ] || set -- "-dict=$here/$target.dict" "$@"
export ASAN_OPTIONS="${ASAN_OPTIONS:-detect_leaks=1:handle_segv=2:allocator_may_return_null=1}"
# avro-c keeps pointers where they are not aligned.
export LSAN_OPTIONS="${LSAN_OPTIONS:-use_unaligned=1}"
export UBSAN_OPTIONS="${UBSAN_OPTIONS:-print_stacktrace=1}"
status=0
"$program" -timeout=10 -rss_limit_mb=1024 -max_len=4096 -print_final_stats=1 "-artifact_prefix=$keep/" "$@" \
    "$keep/corpus" "$here/corpus/$target" || status=$?
[ "$status" -eq 0 ] || for finding in "$keep"/crash-* "$keep"/leak-* "$keep"/oom-* "$keep"/timeout-*; do
    [ ! -f "$finding" ] || { echo "$finding:" && xxd -p "$finding"; }
done
exit "$status"
