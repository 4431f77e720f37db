#!/usr/bin/env bash
# Starts, stops and kills the Kafka broker and the PostgreSQL of an instance directory, for developers and for tests.
# Installs nothing and fetches nothing (./dev deps does), and leaves to its caller which instances there are.
#
#   servers.sh start|stop|restart|kill|pause|resume|status kafka|pg|all INSTANCE_DIR
#   servers.sh env|wipe INSTANCE_DIR
#
# kill is SIGKILL for the server and, with PostgreSQL, for all its processes at once, as when the machine dies; pause and
# resume are SIGSTOP and SIGCONT. Each returns when the effect is there: after start, the server answers. Exit status: 0
# done, 1 failed (the reason is on standard error), 2 usage, 3 something is not installed; status: 4 when one is down.
#
# An instance directory holds:
#   env          shell exports that point clients, tests and the worker at the two servers
#   kafka/       server.properties (written at each start), extra.properties (yours, may be absent), data, kafka.log
#   pg/          server.conf (written at each start), extra.conf (yours, may be absent), data, sock, postgres.log;
#                a link when the server's user cannot come here, see pg_make_home
#   kafka.port, pg.port   a port, once chosen, stays: a server that a test kills comes back where its clients look
#
# Both listen on 127.0.0.1 only.
set -euo pipefail

SERVERS_SCRIPT=$(readlink -f "${BASH_SOURCE[0]}")
SERVERS_ROOT=${SERVERS_SCRIPT%/tests/support/servers.sh}
SERVERS_DEV=$SERVERS_ROOT/.dev
KAFKA_HOME=$SERVERS_DEV/kafka
KAFKA_LIBS=$KAFKA_HOME/libs

READY_DEADLINE_MS=60000
STOP_DEADLINE_MS=20000
KILL_DEADLINE_MS=10000

# --- small tools ------------------------------------------------------------------------------------------------------

say() {
    printf '%s\n' "$*" >&2
}

# die STATUS REASON...
die() {
    local status=$1
    shift
    say "$*"
    exit "$status"
}

now_ms() {
    local us=${EPOCHREALTIME/[.,]/}
    printf '%s' "$((us / 1000))"
}

# seconds_since MS: as 1.42
seconds_since() {
    local ms=$(($(now_ms) - $1))
    printf '%d.%02d' "$((ms / 1000))" "$((ms % 1000 / 10))"
}

# await DEADLINE_MS COMMAND...: true as soon as COMMAND is, false when the deadline has passed.
await() {
    local until=$(($(now_ms) + $1))
    shift
    until "$@"; do
        (($(now_ms) < until)) || return 1
        sleep 0.02
    done
}

# A path below the working directory reads better without it.
shorten() {
    printf '%s' "${1#"$PWD"/}"
}

# write_file FILE: replaces it in one step by what comes on standard input.
write_file() {
    cat >"$1.new"
    mv -f "$1.new" "$1"
}

# with_lock FILE COMMAND...: one at a time. What COMMAND leaves running must give up its descriptors.
with_lock() {
    local file=$1
    shift
    {
        flock 9
        "$@"
    } 9>"$file"
}

# A server that inherits a descriptor would keep a lock, or a pipe that its reader waits for, long after its starter.
# Leaves alone what bash has marked as its own, from 255 on.
give_up_descriptors() {
    local fd
    for fd in /proc/self/fd/*; do
        fd=${fd##*/}
        ((fd < 3 || fd > 254)) || eval "exec $fd>&-"
    done
}

# first_word FILE: nothing when there is no such file.
first_word() {
    local word=
    [[ ! -f $1 ]] || read -r word _ <"$1" || true
    printf '%s' "$word"
}

last_lines_of() {
    say "the end of $(shorten "$1"):"
    tail -n 15 "$1" | sed 's/^/    /' >&2
}

# --- processes --------------------------------------------------------------------------------------------------------

# A process that has ended but was not yet waited for counts as gone.
alive() {
    local stat=
    { read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 1
    [[ ${stat##*) } != Z* ]]
}

gone() {
    ! alive "$1"
}

# A process id read from a file proves nothing: its process may have died and the number been given to another. So a
# process is taken for ours only when one of its arguments is a path of the instance.
runs_with_argument() {
    local pid=$1 argument=$2
    [[ $pid =~ ^[1-9][0-9]*$ ]] && alive "$pid" && grep -qzxFs -- "$argument" "/proc/$pid/cmdline"
}

# end_process PID SIGNAL: asks, waits, and insists when that took too long. One that is paused must first be let go on.
end_process() {
    local pid=$1 signal=$2
    kill "-$signal" "$pid" 2>/dev/null || true
    kill -CONT "$pid" 2>/dev/null || true
    await "$STOP_DEADLINE_MS" gone "$pid" && return 0
    say "process $pid did not end within $((STOP_DEADLINE_MS / 1000)) s of SIG$signal: killing it"
    kill -KILL "$pid" 2>/dev/null || true
    await "$KILL_DEADLINE_MS" gone "$pid"
}

# --- ports ------------------------------------------------------------------------------------------------------------

# Asks the kernel's table instead of connecting, which would show in the logs of whoever listens.
port_is_taken() {
    local hex
    printf -v hex '%04X' "$1"
    grep -qsE "^ *[0-9]+: [0-9A-F]+:$hex [0-9A-F]+:[0-9A-F]+ 0A " /proc/net/tcp /proc/net/tcp6
}

# A broker takes two neighbours: one for clients, the next for its controller.
ports_are_free() {
    local server=$1 port=$2
    ! port_is_taken "$port" && { [[ $server != kafka ]] || ! port_is_taken "$((port + 1))"; }
}

# Stays below the range that the kernel takes the ports of outgoing connections from.
random_port() {
    local server=$1 port tries
    for ((tries = 0; tries < 200; tries++)); do
        port=$((20000 + 2 * (RANDOM % 6000)))
        if ports_are_free "$server" "$port"; then
            printf '%s' "$port"
            return 0
        fi
    done
    die 1 "$server: found no free port between 20000 and 32000"
}

server_port() {
    first_word "$2/$1.port"
}

# choose_port SERVER DIR [WANTED [USUAL]]: settles the port of a server that is down. WANTED is an order and fails when
# it cannot be had. Without one it is USUAL, else the port of the last time, else any that is free.
choose_port() {
    local server=$1 dir=$2 wanted=${3:-} usual=${4:-} port='' candidate last
    last=$(server_port "$server" "$dir")
    if [[ $wanted ]]; then
        ports_are_free "$server" "$wanted" || die 1 "$server: port $wanted was asked for, and is taken"
        port=$wanted
    else
        for candidate in "$usual" "$last"; do
            [[ $candidate ]] && ports_are_free "$server" "$candidate" && port=$candidate && break
        done
        port=${port:-$(random_port "$server")}
        [[ $port == "${usual:-${last:-$port}}" ]] || say "$server: port ${usual:-$last} is taken, so it is $port"
    fi
    printf '%s\n' "$port" | write_file "$dir/$server.port"
}

# --- Kafka ------------------------------------------------------------------------------------------------------------

kafka_log() {
    printf '%s' "$1/kafka/kafka.log"
}

# kafka_pid DIR: of the broker; false when it is down.
kafka_pid() {
    local pid
    pid=$(first_word "$1/kafka/kafka.pid")
    runs_with_argument "$pid" "$1/kafka/server.properties" && printf '%s' "$pid"
}

# Kafka 4 wants Java 17 or newer; where several are installed, `java` may be an older one.
java_program() {
    local candidate
    for candidate in "${SIPTRUNK_DEV_JAVA:-}" /usr/lib/jvm/java-17-openjdk-*/bin/java "$(command -v java)"; do
        [[ -n $candidate && -x $candidate ]] && readlink -f "$candidate" && return 0
    done
    die 3 "kafka: no Java found, run ./dev deps"
}

# kafka_properties KAFKA_DIR PORT: one KRaft node. It lets a group start without waiting for more members (3 s by
# default), and comes back 4 s after a kill instead of 13, because it forgets its own dead predecessor within a second.
kafka_properties() {
    local dir=$1 port=$2
    cat <<PROPERTIES
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$((port + 1))
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$((port + 1))
advertised.listeners=PLAINTEXT://127.0.0.1:$port
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs=$dir/data

# Long enough for the threads of a worker to join together: one that joins while another is being told its partitions sends that
# one back, and librdkafka asks again only 1 to 2 s later. The default is 3 s.
group.initial.rebalance.delay.ms=100
group.min.session.timeout.ms=1000
broker.session.timeout.ms=1000
broker.heartbeat.interval.ms=200

# How long after its timeout a dead worker's transaction may still hold readers back: 10 s by default.
transaction.abort.timed.out.transaction.cleanup.interval.ms=1000

# A topic that nobody created is a mistake, and should show.
auto.create.topics.enable=false

# With one node every internal topic has one copy; few partitions are loaded faster.
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=4

# Small: two cores for all, the disk space of deleted topics back soon, no 128 MiB for the log cleaner.
num.network.threads=2
num.io.threads=2
log.segment.delete.delay.ms=1000
log.cleaner.dedupe.buffer.size=2097152
PROPERTIES
}

kafka_write_properties() {
    local dir=$1/kafka port=$2
    {
        kafka_properties "$dir" "$port"
        [[ ! -f $dir/extra.properties ]] || cat "$dir/extra.properties"
    } | write_file "$dir/server.properties"
}

# kafka_spawn DIR JVM_FLAG...: starts a broker in a session of its own and prints its process id at once. The first-tier
# compiler starts fast and leaves the cores to the worker. SIPTRUNK_DEV_KAFKA_JVM adds flags; a later one wins.
kafka_spawn() {
    local dir=$1/kafka java
    shift
    java=$(java_program)
    give_up_descriptors
    cd "$dir"
    # shellcheck disable=SC2086  # several flags in one variable
    setsid "$java" -Xms96m -Xmx384m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -XX:+ExitOnOutOfMemoryError \
        -Dorg.slf4j.simpleLogger.defaultLogLevel=warn -Dorg.slf4j.simpleLogger.showDateTime=true \
        "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSS" \
        "$@" ${SIPTRUNK_DEV_KAFKA_JVM:-} -cp "$KAFKA_LIBS/*" kafka.Kafka "$dir/server.properties" \
        </dev/null >>"$dir/kafka.log" 2>&1 &
    printf '%s\n' "$!" | write_file "$dir/kafka.pid"
    printf '%s' "$!"
}

# kafka_answers PORT: the port opens before the controller has let the broker in; in its own metadata it shows after.
kafka_answers() {
    port_is_taken "$1" && kcat -b "127.0.0.1:$1" -L -m 2 2>/dev/null | grep -qF "broker 1 at 127.0.0.1:$1"
}

kafka_answers_or_died() {
    gone "$1" || kafka_answers "$2"
}

# kafka_run DIR JVM_FLAG...: a broker on prepared data; returns when it answers.
kafka_run() {
    local dir=$1 port pid
    port=$(server_port kafka "$dir")
    kafka_write_properties "$dir" "$port"
    pid=$(kafka_spawn "$@")
    await "$READY_DEADLINE_MS" kafka_answers_or_died "$pid" "$port" && alive "$pid" && return 0
    alive "$pid" || say "kafka: the broker ended while it started"
    last_lines_of "$(kafka_log "$dir")"
    return 1
}

kafka_start() {
    local dir=$1
    kafka_prepare || return 1
    mkdir -p "$dir/kafka"
    rm -rf "$dir/kafka/data.new"
    if [[ ! -d $dir/kafka/data ]]; then
        cp -a --reflink=auto "$KAFKA_TEMPLATE" "$dir/kafka/data.new" || return 1
        mv "$dir/kafka/data.new" "$dir/kafka/data"
    fi
    if [[ -s $KAFKA_CLASSES ]]; then
        kafka_run "$dir" "-XX:SharedArchiveFile=$KAFKA_CLASSES" -Xshare:auto 2>/dev/null && return 0
    fi
    kafka_run "$dir" || return 1
    [[ ! -s $KAFKA_CLASSES ]] || kafka_give_up_classes
}

# Java ignores an archive of another Java, but a damaged one can crash it.
kafka_give_up_classes() {
    say "kafka: Java could not use its class-data archive, which is made anew at the next start"
    rm -f "$KAFKA_CLASSES"
}

kafka_stop() {
    end_process "$(kafka_pid "$1")" TERM
}

kafka_signal() {
    kill "-$2" "$(kafka_pid "$1")"
}

kafka_is_gone() {
    ! kafka_pid "$1" >/dev/null
}

# Two things make a start take one second instead of three: a formatted data directory to copy, and an archive of the
# loaded classes. The archive fits one Java and one set of jars in one place, so its name is a hash of these; a Java that
# cannot use it says so in the log and starts as without. An empty archive marks one that could not be made.
kafka_prepare() {
    local jars java made_of
    jars=$(first_word "$KAFKA_LIBS/.stamp")
    [[ $jars ]] || die 3 "kafka: its jars are missing, run ./dev deps"
    java=$(java_program)
    made_of=$(stat -L -c '%n %s %Y' "$java" "${java%/bin/java}/lib/modules" "$KAFKA_LIBS" | sha256sum)
    KAFKA_TEMPLATE=$KAFKA_HOME/template-${jars:0:12}
    KAFKA_CLASSES=$KAFKA_HOME/classes-${jars:0:12}-${made_of:0:12}.jsa
    [[ -d $KAFKA_TEMPLATE && -e $KAFKA_CLASSES ]] || with_lock "$KAFKA_HOME/prepare.lock" kafka_make_what_is_missing
}

kafka_make_what_is_missing() {
    [[ -d $KAFKA_TEMPLATE ]] || kafka_make_template
    [[ -e $KAFKA_CLASSES ]] || kafka_make_classes
}

kafka_make_template() {
    local dir=$KAFKA_HOME/preparing
    rm -rf "$dir"
    mkdir -p "$dir/kafka"
    kafka_write_properties "$dir" 19092
    "$(java_program)" -Xmx128m -XX:TieredStopAtLevel=1 -Dorg.slf4j.simpleLogger.defaultLogLevel=warn \
        -cp "$KAFKA_LIBS/*" kafka.tools.StorageTool format -t c2lwdHJ1bmstZGV2LTAwMQ \
        -c "$dir/kafka/server.properties" >"$dir/kafka/kafka.log" 2>&1 || {
        last_lines_of "$(kafka_log "$dir")"
        die 1 "kafka: could not format a data directory"
    }
    mv "$dir/kafka/data" "$KAFKA_TEMPLATE"
    rm -rf "$dir"
}

# A broker that is used once, for all that our programs ask of one, and writes down its classes when it ends.
kafka_make_classes() {
    local dir=$KAFKA_HOME/preparing new=$KAFKA_HOME/preparing/classes.jsa SIPTRUNK_DEV_KAFKA_JVM=
    rm -rf "$dir" "$KAFKA_HOME"/classes-*.jsa
    mkdir -p "$dir/kafka"
    cp -a "$KAFKA_TEMPLATE" "$dir/kafka/data"
    choose_port kafka "$dir"
    say "kafka: making a class-data archive, once, so that brokers start in half the time"
    { kafka_run "$dir" "-XX:ArchiveClassesAtExit=$new" && kafka_warm_up "$dir"; } || say "kafka: that broker was not used in full"
    kafka_is_gone "$dir" || kafka_stop "$dir"
    if [[ -s $new ]]; then
        mv "$new" "$KAFKA_CLASSES"
    else
        say "kafka: no archive came of it, brokers start as without; see $(shorten "$(kafka_log "$dir")")"
        : >"$KAFKA_CLASSES"
        return 0
    fi
    rm -rf "$dir"
}

kafka_warm_up() {
    local python=$SERVERS_DEV/venv/bin/python
    [[ -x $python ]] || return 1
    "$python" "$SERVERS_ROOT/tests/support/kafka/warm_up.py" "127.0.0.1:$(server_port kafka "$1")"
}

# --- PostgreSQL -------------------------------------------------------------------------------------------------------

# pg_home DIR: free of links, as the server's own arguments have it.
pg_home() {
    readlink -m "$1/pg"
}

pg_log() {
    printf '%s' "$(pg_home "$1")/postgres.log"
}

# pg_cluster_name DIR: what the titles of all the server's processes begin with, so that they are told from another's.
pg_cluster_name() {
    printf 'siptrunk-%s' "$(printf '%s' "$1" | sha256sum | head -c 12)"
}

# pg_pid DIR: of the postmaster; false when it is down.
pg_pid() {
    local data pid
    data=$(pg_home "$1")/data
    pid=$(first_word "$data/postmaster.pid")
    runs_with_argument "$pid" "$data" && printf '%s' "$pid"
}

# pg_pids DIR: of the postmaster and of all its children, also of those whose postmaster is dead.
pg_pids() {
    pg_pid "$1" && printf '\n'
    grep -lzs "^postgres: $(pg_cluster_name "$1"): " /proc/[0-9]*/cmdline | cut -d/ -f3 || true
}

pg_is_gone() {
    [[ -z $(pg_pids "$1") ]]
}

# The figures in the documentation were measured with 15, so it goes first; a newer one does as well.
pg_bin() {
    local dir
    while read -r dir; do
        [[ -x $dir/postgres ]] && printf '%s' "$dir" && return 0
    done < <(
        printf '%s\n' "${SIPTRUNK_DEV_PG_BIN:-}" /usr/lib/postgresql/15/bin
        printf '%s\n' /usr/lib/postgresql/*/bin | sort -rV
    )
    die 3 "pg: no PostgreSQL server found, run ./dev deps"
}

# PostgreSQL refuses to run as root; for root it runs as the user that Debian's package makes.
AS_PG=()
((EUID != 0)) || AS_PG=(setpriv --reuid=postgres --regid=postgres --init-groups --)

# The user must be able to come here, and the path of a socket ends at 107 bytes.
pg_can_live_in() {
    local socket=$1/pg/sock/.s.PGSQL.65535
    ((${#socket} <= 107)) && "${AS_PG[@]}" test -x "$1"
}

# pg_make_home DIR: DIR/pg, or a link from there to a directory under /var/tmp when PostgreSQL cannot live in DIR.
pg_make_home() {
    local dir=$1 home linked=
    [[ -L $dir/pg || -d $dir/pg ]] || pg_can_live_in "$dir" || {
        linked=/var/tmp/$(pg_cluster_name "$dir")-$EUID
        say "pg: its user cannot use $(shorten "$dir"), so the data is in $linked, with a link to it"
        ln -s "$linked" "$dir/pg"
    }
    home=$(pg_home "$dir")
    [[ -d $home ]] || mkdir -m 711 "$home"
    [[ -O $home ]] || die 1 "pg: $home belongs to somebody else"
    [[ -z $linked ]] || pg_forget_the_former "$dir" "$home"
    mkdir -p "$home/sock"
    ((EUID != 0)) || chown postgres: "$home/sock"
}

# An earlier instance in the same place may have been removed while its data, elsewhere, stayed.
pg_forget_the_former() {
    pg_end_orphans "$1"
    rm -rf "$2/data" "$2/postgres.log"
}

# pg_make_data HOME: a cluster with the superuser and the database that everybody uses. initdb takes seconds, so its
# work is kept and copied; a template that is copied whole needs no sync.
pg_make_data() {
    local home=$1 bin template
    bin=$(pg_bin)
    template=$SERVERS_DEV/pg/template-$(stat -L -c '%s %Y' "$bin/postgres" | sha256sum | head -c 12)-$EUID
    rm -rf "$home/data.new"
    if [[ -d $template ]]; then
        cp -a --reflink=auto "$template" "$home/data.new" || return 1
    else
        mkdir "$home/data.new"
        ((EUID != 0)) || chown postgres: "$home/data.new"
        (cd / && pg_initialise "$bin" "$home/data.new") >"$home/postgres.log" 2>&1 || {
            last_lines_of "$home/postgres.log"
            die 1 "pg: could not make a database cluster"
        }
        mkdir -p "$SERVERS_DEV/pg"
        rm -rf "$template.new"
        cp -a --reflink=auto "$home/data.new" "$template.new"
        mv "$template.new" "$template"
    fi
    mv "$home/data.new" "$home/data"
}

pg_initialise() {
    local bin=$1 data=$2
    "${AS_PG[@]}" "$bin/initdb" -D "$data" -U siptrunk -A trust -E UTF8 --locale=C.UTF-8 --no-sync &&
        "${AS_PG[@]}" "$bin/postgres" --single -D "$data" postgres <<<"create database siptrunk" &&
        printf "\n# Written anew at each start:\ninclude '../server.conf'\n" >>"$data/postgresql.conf"
}

pg_write_settings() {
    local dir=$1 home=$2
    {
        pg_settings "$dir" "$home"
        [[ ! -f $home/extra.conf ]] || printf "include 'extra.conf'\n"
    } | write_file "$home/server.conf"
}

# A crash must cost what it costs in production, so nothing of the durability is turned off.
pg_settings() {
    local dir=$1 home=$2
    cat <<SETTINGS
listen_addresses = '127.0.0.1'
port = $(server_port pg "$dir")
unix_socket_directories = '$home/sock'
cluster_name = '$(pg_cluster_name "$dir")'
max_connections = 200
shared_buffers = 256MB
max_wal_size = 2GB

fsync = on
full_page_writes = on
synchronous_commit = on

log_line_prefix = '%m [%p] %q%u@%d %a '
log_lock_waits = on
SETTINGS
}

# pg_spawn DIR HOME: starts a postmaster in a session of its own and prints its process id at once.
pg_spawn() {
    local home=$2 bin
    bin=$(pg_bin)
    give_up_descriptors
    cd "$home"
    setsid "${AS_PG[@]}" "$bin/postgres" -D "$home/data" </dev/null >>"$home/postgres.log" 2>&1 &
    printf '%s' "$!"
}

# The eighth line of its own file says whether it is starting, ready or stopping.
pg_is_ready() {
    local line
    { mapfile -t line <"$1/postmaster.pid"; } 2>/dev/null && [[ ${line[7]:-} == ready* ]]
}

pg_is_ready_or_died() {
    gone "$1" || pg_is_ready "$2"
}

pg_start() {
    local dir=$1 home pid
    pg_make_home "$dir" || return 1
    home=$(pg_home "$dir")
    pg_end_orphans "$dir"
    [[ -d $home/data ]] || with_lock "$SERVERS_DEV/pg.lock" pg_make_data "$home" || return 1
    rm -f "$home/data/postmaster.pid" "$home"/sock/.s.PGSQL.*
    pg_write_settings "$dir" "$home"
    pid=$(pg_spawn "$dir" "$home")
    await "$READY_DEADLINE_MS" pg_is_ready_or_died "$pid" "$home/data" && alive "$pid" && return 0
    alive "$pid" || say "pg: the server ended while it started"
    last_lines_of "$home/postgres.log"
    return 1
}

# Children outlive a killed postmaster for a moment, and a new one must never share the data with them. With all of them
# gone its leftover lock files mean nothing, even if their number now belongs to another process or to a zombie.
pg_end_orphans() {
    pg_is_gone "$1" && return 0
    pg_signal "$1" KILL
    await "$KILL_DEADLINE_MS" pg_is_gone "$1" || die 1 "pg: processes of a killed server will not end"
}

# SIGINT is the fast shutdown: sessions are ended, nothing is lost.
pg_stop() {
    pg_signal "$1" CONT
    end_process "$(pg_pid "$1")" INT
    pg_end_orphans "$1"
}

pg_signal() {
    local pids
    mapfile -t pids < <(pg_pids "$1")
    kill "-$2" "${pids[@]}" 2>/dev/null || true
}

# --- an instance ------------------------------------------------------------------------------------------------------

# write_env DIR: what is not known yet is left out.
write_env() {
    local dir=$1 kafka_port pg_port
    kafka_port=$(server_port kafka "$dir")
    pg_port=$(server_port pg "$dir")
    {
        printf '# Source this to reach the servers of %s.\n' "$dir"
        export_line SIPTRUNK_DEV_INSTANCE_DIR "$dir"
        export_line SIPTRUNK_DEV_SERVERS "$SERVERS_SCRIPT"
        export_line SIPTRUNK_DEV_PYTHON "$SERVERS_DEV/venv/bin/python"
        if [[ $kafka_port ]]; then
            export_line SIPTRUNK_KAFKA_BOOTSTRAP_SERVERS "127.0.0.1:$kafka_port"
            export_line SIPTRUNK_DEV_KAFKA_LIBS "$KAFKA_LIBS"
            export_line SIPTRUNK_DEV_KAFKA_LOG "$(kafka_log "$dir")"
            export_line SIPTRUNK_DEV_KAFKA_PID_FILE "$dir/kafka/kafka.pid"
        fi
        if [[ $pg_port ]]; then
            export_line SIPTRUNK_POSTGRES_CONNINFO "host=127.0.0.1 port=$pg_port user=siptrunk dbname=siptrunk"
            export_line SIPTRUNK_DEV_PG_BIN "$(pg_bin)"
            export_line SIPTRUNK_DEV_PG_LOG "$(pg_log "$dir")"
            export_line SIPTRUNK_DEV_PG_PID_FILE "$(pg_home "$dir")/data/postmaster.pid"
            export_line SIPTRUNK_DEV_PG_SOCKET_DIR "$(pg_home "$dir")/sock"
        fi
    } | write_file "$dir/env"
}

export_line() {
    printf "export %s='%s'\n" "$1" "${2//\'/\'\\\'\'}"
}

# server_up SERVER DIR [WANTED_PORT [USUAL_PORT]]: starts it unless it runs, and says which.
server_up() {
    local server=$1 dir=$2 began state
    began=$(now_ms)
    if "${server}_pid" "$dir" >/dev/null; then
        state="was up already"
    else
        choose_port "$server" "$dir" "${3:-}" "${4:-}"
        "${server}_start" "$dir" || return 1
        state="up in $(seconds_since "$began") s"
    fi
    printf '%-6s 127.0.0.1:%s  %s  log %s\n' "$server" "$(server_port "$server" "$dir")" "$state" \
        "$(shorten "$("${server}_log" "$dir")")"
}

server_down() {
    local server=$1 dir=$2 began
    began=$(now_ms)
    if "${server}_is_gone" "$dir"; then
        printf '%-6s was down already\n' "$server"
    else
        "${server}_stop" "$dir" || return 1
        printf '%-6s down in %s s\n' "$server" "$(seconds_since "$began")"
    fi
}

server_kill() {
    "${1}_signal" "$2" KILL
    await "$KILL_DEADLINE_MS" "${1}_is_gone" "$2"
}

server_status() {
    local server=$1 dir=$2 pid
    if pid=$("${server}_pid" "$dir"); then
        printf '%-6s up at 127.0.0.1:%s, process %s\n' "$server" "$(server_port "$server" "$dir")" "$pid"
    else
        printf '%-6s down\n' "$server"
        return 4
    fi
}

# each_server FUNCTION DIR ARGUMENT...: for both at the same time, each under its lock.
each_server() {
    local function=$1 dir=$2 kafka pg status=0
    shift 2
    locked kafka "$dir" "$function" "$@" &
    kafka=$!
    locked pg "$dir" "$function" "$@" &
    pg=$!
    wait "$kafka" || status=$?
    wait "$pg" || status=$?
    return "$status"
}

# locked SERVER DIR FUNCTION ARGUMENT...
locked() {
    with_lock "$2/$1.lock" "$3" "$1" "$2" "${@:4}"
}

# wipe DIR: back to an instance that never ran, but for its ports and your extra.* files.
wipe() {
    local dir=$1 home
    { kafka_is_gone "$dir" && pg_is_gone "$dir"; } || die 1 "servers of $(shorten "$dir") are running, stop them first"
    home=$(pg_home "$dir")
    rm -rf "$dir/kafka/data" "$dir/kafka/kafka.log" "$home/data" "$home/data.new" "$home/postgres.log"
}

instance_directory() {
    umask 022
    mkdir -p "$1"
    readlink -f "$1"
}

server_restart() {
    server_down "$@" || return 1
    server_up "$@"
}

server_pause() {
    "${1}_signal" "$2" STOP
}

server_resume() {
    "${1}_signal" "$2" CONT
}

usage() {
    sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$SERVERS_SCRIPT"
}

servers_main() {
    local verb=${1:-} server dir
    umask 022
    case $verb in
        start) verb=server_up ;;
        stop) verb=server_down ;;
        restart | kill | pause | resume | status) verb=server_$verb ;;
        env | wipe)
            (($# == 2)) || die 2 "$(usage)"
            dir=$(instance_directory "$2")
            if [[ $verb == env ]]; then cat "$dir/env"; else wipe "$dir"; fi
            return
            ;;
        help | --help | -h)
            usage
            return
            ;;
        *) die 2 "$(usage)" ;;
    esac
    (($# == 3)) || die 2 "$(usage)"
    server=$2
    dir=$(instance_directory "$3")
    case $server in
        kafka | pg) locked "$server" "$dir" "$verb" ;;
        all) each_server "$verb" "$dir" ;;
        *) die 2 "$(usage)" ;;
    esac
    case $verb in server_up | server_restart) write_env "$dir" ;; esac
}

[[ ${BASH_SOURCE[0]} != "$0" ]] || servers_main "$@"
