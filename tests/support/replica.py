"""Copies of a test's own PostgreSQL: a base backup, which may take the server's place later, and a standby, which may be
left behind and promoted."""

import pathlib
import socket
import subprocess

import psycopg

import harness

_SCRIPT = pathlib.Path(__file__).with_name("servers.sh")
_LISTENING_S = 30


def _as_server(home, command, *words):
    """Runs a line of shell where the server's data is; $1.. are the words, as_pg runs a program as the server's user."""
    prelude = f'source "{_SCRIPT}"; cd "{home}"; as_pg() {{ local p=$1; shift; "${{AS_PG[@]}}" "$(pg_bin)/$p" "$@"; }}\n'
    done = subprocess.run(["bash", "-c", prelude + command, "bash", *map(str, words)], capture_output=True, text=True,
                          timeout=120, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


def home_of(servers):
    """Where the data of its PostgreSQL is."""
    return (pathlib.Path(servers.directory) / "pg").resolve()


def base_backup(servers, name, *words):
    """A copy of the running server's data in the directory of that name beside it."""
    parts = psycopg.conninfo.conninfo_to_dict(servers.conninfo)
    _as_server(home_of(servers), 'rm -rf "$1" && mkdir -m 700 "$1" && { ((EUID != 0)) || chown postgres: "$1"; } &&'
               ' as_pg pg_basebackup -h "$2" -p "$3" -U siptrunk -D "$1" -c fast "${@:4}"', name, parts["host"],
               parts["port"], *words)


def put_back(servers, name):
    """The copy takes the place of the data of the server, which is down."""
    _as_server(home_of(servers), 'rm -rf data && mv "$1" data', name)


class Standby:
    """Follows the server on a port of its own, until it is left behind; a server like any other once promoted."""

    def __init__(self, servers):
        self.home = home_of(servers)
        base_backup(servers, "standby", "-R", "-X", "stream")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        parts = psycopg.conninfo.conninfo_to_dict(servers.conninfo)
        self.conninfo = psycopg.conninfo.make_conninfo(servers.conninfo, port=self.port, dbname="postgres")
        self.both = {"host": f'{parts["host"]},{parts["host"]}', "port": f'{parts["port"]},{self.port}',
                     "target_session_attrs": "read-write"}
        self.pid = int(_as_server(self.home, 'setsid "${AS_PG[@]}" "$(pg_bin)/postgres" -D "$PWD/standby" -p "$1"'
                                  ' -c cluster_name=standby >>standby.log 2>&1 </dev/null & printf %s "$!"', self.port))
        harness.wait_for("the standby answers", self._answers, _LISTENING_S)

    def _answers(self):
        try:
            return self.sql("select 1")
        except psycopg.OperationalError:
            return None

    def sql(self, statement):
        with psycopg.connect(self.conninfo, autocommit=True, connect_timeout=5) as db:
            return db.execute(statement).fetchall()

    def leave_behind(self):
        """What the server does from now on never gets here."""
        with psycopg.connect(self.conninfo, autocommit=True) as db:
            db.execute("alter system set primary_conninfo = ''")
            db.execute("select pg_reload_conf()")
            harness.wait_for("the standby follows no more",
                             lambda: not db.execute("select 1 from pg_stat_wal_receiver").fetchall())

    def promote(self):
        assert self.sql("select pg_promote(true, 60)") == [(True,)]

    def stop(self):
        _as_server(self.home, 'as_pg pg_ctl -D "$PWD/standby" -m immediate stop')
