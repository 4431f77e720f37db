"""siptrunkctl migrate: up, down and status on databases in every state, two runners at once, and the same files and the
same bookkeeping in the hands of other tools."""

import re
import subprocess
import time

import psycopg
import pytest

import harness

FILES = sorted((harness.ROOT / "migrations").glob("*.sql"))
VERSIONS = [re.match("[0-9]+", path.name)[0] for path in FILES]
NAMES = [path.stem for path in FILES]
LATER = "29991231235959"


@pytest.fixture
def database(empty_database):
    """What ctl is pointed at."""
    return empty_database


@pytest.fixture
def db(empty_database):
    with psycopg.connect(empty_database, autocommit=True) as db:
        yield db


@pytest.fixture
def catalog(pg_program, empty_database):
    """The schema as pg_dump has it, without what differs from run to run."""

    def dump():
        lines = pg_program("pg_dump", empty_database, "--schema-only", "--no-owner").splitlines()
        return [line for line in lines if line and not line.startswith((r"\restrict", r"\unrestrict", "--"))]

    return dump


def blocks_of(path):
    """The two parts of a migration file."""
    parts = r"-- migrate:up[^\n]*\n(.*)^-- migrate:down[^\n]*\n(.*)"
    return re.fullmatch(parts, path.read_text(), re.S | re.M).groups()


def down_all(ctl):
    return [ctl("migrate", "down").stdout for _ in FILES]


# --- there and back ---------------------------------------------------------------------------------------------------


def test_up_down_up_gives_the_same_catalog(ctl, catalog):
    ctl("migrate", "up")
    first = catalog()
    down_all(ctl)
    bare = catalog()
    assert not [line for line in bare if "siptrunk" in line]
    ctl("migrate", "up")
    assert catalog() == first
    assert len(first) > len(bare) + 200, "nothing was compared"


def test_says_what_it_did_and_leaves_with_the_codes_of_the_contract(ctl):
    pending = ctl("migrate", "status", code=7).stdout
    assert re.findall(r"^(\S+) +(\w+)$", pending, re.M) == [(name, "pending") for name in NAMES]
    assert ctl("migrate", "up").stdout == "".join(f"applied {name}\n" for name in NAMES)
    applied = ctl("migrate", "status").stdout
    assert re.findall(r"^(\S+) +(\w+)$", applied, re.M) == [(name, "applied") for name in NAMES]
    assert ctl("migrate", "up").stdout == "nothing to do: the schema is up to date\n"
    assert down_all(ctl) == [f"took back {name}\n" for name in reversed(NAMES)]
    assert "no migration to take back" in ctl("migrate", "down", code=7).stderr
    assert ctl("migrate", "status", code=7).stdout == pending


def test_status_changes_nothing(ctl, catalog):
    before = catalog()
    ctl("migrate", "status", code=7)
    assert catalog() == before


def test_leaves_what_belongs_to_others(ctl, db):
    db.execute("create table public.theirs (x int); create schema neighbour; create table neighbour.t (x int)")
    ctl("migrate", "up")
    down_all(ctl)
    db.execute("select x from public.theirs join neighbour.t using (x)")


def test_means_the_same_whatever_search_path_it_is_run_with(ctl, db, catalog):
    ctl("migrate", "up")
    first = catalog()
    down_all(ctl)
    db.execute(f"create schema odd; alter database {db.info.dbname} set search_path = odd, public")
    ctl("migrate", "up")
    db.execute("drop schema odd")
    assert catalog() == first


# --- what is in the way -----------------------------------------------------------------------------------------------


def test_keeps_off_a_database_of_a_later_release(ctl, db):
    ctl("migrate", "up")
    db.execute("insert into public.schema_migrations values (%s)", [LATER])
    status = ctl("migrate", "status", code=7).stdout
    assert re.search(rf"^{LATER} +newer", status, re.M)
    for word in ("up", "down"):
        said = ctl("migrate", word, code=7).stderr
        assert LATER in said and "later release" in said
    assert db.execute("select to_regclass('siptrunk.channel') is not null").fetchone() == (True,)


def test_a_failed_migration_leaves_nothing_and_is_named(ctl, db):
    db.execute("create schema siptrunk; create view siptrunk.number_view as select 1 as x")
    said = ctl("migrate", "up", code=7).stderr
    assert NAMES[0] in said and "already exists" in said
    assert db.execute("select count(*) from pg_class where relnamespace = 'siptrunk'::regnamespace").fetchone() == (1,)
    assert db.execute("select version from public.schema_migrations").fetchall() == []
    db.execute("drop schema siptrunk cascade")
    ctl("migrate", "up")


def test_a_role_without_the_right_is_told_so(ctl, db, servers):
    role = harness.unique("r").replace("-", "_")
    db.execute(f"create role {role} login")
    try:
        conninfo = psycopg.conninfo.make_conninfo(ctl.settings["postgres.conninfo"], user=role)
        assert "permission denied" in ctl("migrate", "up", code=7, postgres__conninfo=conninfo).stderr
    finally:
        db.execute(f"drop owned by {role}; drop role {role}")


# --- reaching the database --------------------------------------------------------------------------------------------


def test_says_that_there_is_no_such_database(ctl, servers):
    assert "nowhere" in ctl("migrate", "up", code=7, postgres__conninfo=servers.database("nowhere")).stderr


def test_waits_only_as_long_as_it_is_told(ctl):
    nobody = "host=127.0.0.1 port=1 user=x dbname=x password=hunter2"
    began = time.monotonic()
    said = ctl("migrate", "up", code=5, postgres__conninfo=nobody).stderr
    assert time.monotonic() - began < 4
    assert "port 1" in said and "hunter2" not in said
    began = time.monotonic()
    ctl("migrate", "up", "--wait", 2, code=5, postgres__conninfo=nobody)
    assert 1.9 < time.monotonic() - began < 6


# --- two at once ------------------------------------------------------------------------------------------------------


def test_of_several_runners_one_does_it_and_the_others_find_it_done(ctl):
    runners = [ctl.start("migrate", "up") for _ in range(4)]
    said = [runner.communicate(timeout=60) for runner in runners]
    assert [runner.returncode for runner in runners] == [0] * 4, said
    assert sorted(out for out, _ in said) == sorted(
        ["".join(f"applied {name}\n" for name in NAMES)] + 3 * ["nothing to do: the schema is up to date\n"])


def test_waits_while_another_one_is_at_work(ctl, db):
    key = int.from_bytes(b"siptrunk", "big")
    db.execute("select pg_advisory_lock(%s)", [key])
    runner = ctl.start("migrate", "up")
    try:
        with pytest.raises(subprocess.TimeoutExpired):
            runner.wait(1)
        # Whoever waits must not hold a snapshot, or CREATE INDEX CONCURRENTLY of the other one would wait for it.
        waiting = db.execute("select count(*) from pg_stat_activity where datname = current_database()"
                             " and backend_xmin is not null and pid <> pg_backend_pid()")
        assert waiting.fetchone() == (0,)
        db.execute("select pg_advisory_unlock(%s)", [key])
        assert runner.wait(20) == 0
    finally:
        runner.kill()
        runner.communicate()


# --- other tools ------------------------------------------------------------------------------------------------------


def test_goes_on_where_dbmate_left_off(ctl, db, pg_program, empty_database):
    """dbmate keeps its versions in a table of one column in the schema public."""
    db.execute("create table public.schema_migrations (version character varying(128) primary key)")
    for path, version in zip(FILES, VERSIONS):
        pg_program("psql", empty_database, "-X", "-1", "-v", "ON_ERROR_STOP=1", "-f", "-", stdin=blocks_of(path)[0])
        db.execute("insert into public.schema_migrations values (%s)", [version])
    ctl("migrate", "status")
    assert "nothing to do" in ctl("migrate", "up").stdout
    down_all(ctl)


def test_leaves_the_bookkeeping_that_dbmate_expects(ctl, db):
    ctl("migrate", "up")
    assert [row[0] for row in db.execute("select version from public.schema_migrations order by 1")] == VERSIONS
    columns = db.execute("select column_name, data_type, is_nullable from information_schema.columns"
                         " where table_schema = 'public' and table_name = 'schema_migrations'").fetchall()
    assert columns == [("version", "character varying", "NO")]


def test_versions_of_another_program_in_the_same_table_are_left_alone(ctl, db):
    db.execute("create table public.schema_migrations (version varchar(128) primary key);"
               "insert into public.schema_migrations values ('20200101000000')")
    ctl("migrate", "up")
    down_all(ctl)
    assert db.execute("select version from public.schema_migrations").fetchall() == [("20200101000000",)]


def test_each_file_also_runs_with_psql(ctl, catalog, pg_program, empty_database):
    ctl("migrate", "up")
    ours = catalog()
    down_all(ctl)
    for path in FILES:
        pg_program("psql", empty_database, "-X", "-q", "-1", "-v", "ON_ERROR_STOP=1", "-f", "-", stdin=blocks_of(path)[0])
    assert catalog() == ours
    for path in reversed(FILES):
        pg_program("psql", empty_database, "-X", "-q", "-1", "-v", "ON_ERROR_STOP=1", "-f", "-", stdin=blocks_of(path)[1])
    assert not [line for line in catalog() if "siptrunk" in line]


# --- what else needs the schema ---------------------------------------------------------------------------------------


def test_a_command_that_needs_the_schema_says_how_to_get_it(ctl):
    assert "siptrunkctl migrate up" in ctl("inventory", "load", "-", code=7).stderr


# --- usage ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [[], ["upp"], ["up", "down"], ["up", "--wait"], ["up", "--wait", "x"],
                                   ["up", "--wait", "-1"], ["--force", "up"]], ids=" ".join)
def test_usage_errors(ctl, words):
    done = ctl("migrate", *words, code=2)
    assert "siptrunkctl migrate --help" in done.stderr and done.stdout == ""
