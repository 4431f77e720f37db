"""For the tests of siptrunkctl: the program pointed at a test's own database and topics."""

import pathlib
import subprocess

import pytest

import harness


class Ctl:
    """Calls siptrunkctl. settings are its configuration, as -X; what a call gives as **more is added to them."""

    def __init__(self, settings):
        self.settings = dict(settings)

    def words(self, words, **more):
        """The command line without the program's name."""
        settings = {**self.settings, **{key.replace("__", "."): str(value) for key, value in more.items()}}
        return [word for key, value in settings.items() for word in ("-X", f"{key}={value}")] + [str(w) for w in words]

    def __call__(self, *words, code=0, stdin="", environment=None, deadline_s=60, **more):
        """Runs it to its end, which must be that exit code (None: any)."""
        return harness.run_program("siptrunkctl", self.words(words, **more), environment, deadline_s, code, stdin)

    def start(self, *words, environment=None, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
              **more):
        """The process, as text, which the caller must end."""
        return subprocess.Popen([str(harness.BIN / "siptrunkctl"), *self.words(words, **more)], stdin=stdin,
                                stdout=stdout, stderr=stderr, text=True, env=harness.program_environment(environment))


@pytest.fixture(scope="session")
def servers():
    return harness.Servers.shared()


def _database(servers, migrated):
    conninfo = servers.new_database(migrated)
    yield conninfo
    name = harness.psycopg.conninfo.conninfo_to_dict(conninfo)["dbname"]
    servers.admin_sql("drop database if exists {} with (force)", name)


@pytest.fixture
def database(servers):
    """The connection string of a fresh database that is up to date."""
    yield from _database(servers, True)


@pytest.fixture
def empty_database(servers):
    """The connection string of a fresh database without our schema."""
    yield from _database(servers, False)


@pytest.fixture
def ctl(servers, database):
    """With a database of its own. The topics are the default ones, and no test may touch those."""
    return Ctl({"kafka.bootstrap.servers": servers.bootstrap, "postgres.conninfo": database})


@pytest.fixture
def stack_ctl(stack):
    """With the database and the topics of stack."""
    return Ctl({"kafka.bootstrap.servers": stack.servers.bootstrap, "postgres.conninfo": stack.conninfo,
                **stack.topics.settings})


@pytest.fixture(scope="session")
def pg_program(servers):
    """Calls a program of PostgreSQL on a database; what it printed."""
    directory = servers.environment.get("SIPTRUNK_DEV_PG_BIN")

    def run(name, conninfo, *words, stdin="", code=0):
        path = str(pathlib.Path(directory, name)) if directory else name
        done = subprocess.run([path, "-d", conninfo, *words], input=stdin, capture_output=True, text=True, timeout=60,
                              env=harness.program_environment())
        assert done.returncode == code, f"{name} left with {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    return run
