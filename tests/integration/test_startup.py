"""What a worker says, and with which exit code it leaves, when something is not as it must be at its start."""

import pathlib
import time

import psycopg
import pytest

import harness

ACCOUNT = "013dc5c1-ff09-4ece-ad3a-7f8f60949407"


def refusal(stack, *words, code, **settings):
    """The message of a worker that leaves at once with that code."""
    worker = stack.worker(ready=False, words=words, **settings)
    assert worker.exit_code(20) == code, worker.log()
    errors = [event["msg"] for event in worker.events() if event["level"] == "error" and event["event"] != "librdkafka"]
    assert len(errors) == 1, f"one clear message is wanted\n{worker.log()}"
    return errors[0]


# --- configuration ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key, value, wanted", [
    ("topics.comands", "x", ["topics.comands", "topics.commands"]),
    ("instance.ids", "x", ["instance.ids", "instance.id"]),
    ("batch.max.commands.bulk", "many", ["batch.max.commands.bulk", "many"]),
    ("kafka.enable.auto.commit", "true", ["kafka.enable.auto.commit"]),
    ("kafka.isolation.level", "read_uncommitted", ["kafka.isolation.level"]),
    ("kafka.no.such.property", "1", ["no.such.property"]),
])
def test_names_the_key_that_it_refuses(stack, key, value, wanted):
    said = refusal(stack, code=3, **{key.replace(".", "__"): value})
    assert all(text in said for text in wanted), said


CONTRADICTIONS = [
    ({"kafka.session.timeout.ms": 2000, "kafka.heartbeat.interval.ms": 3000},
     ["kafka.session.timeout.ms", "kafka.heartbeat.interval.ms"]),
    ({"kafka.session.timeout.ms": 400000}, ["session.timeout.ms", "max.poll.interval.ms"]),
    ({"kafka.transaction.timeout.ms": 5000}, ["transaction.timeout.ms", "message.timeout.ms"]),
]


@pytest.mark.parametrize("words", [[], ["--check"]])
@pytest.mark.parametrize("settings, wanted", CONTRADICTIONS)
def test_names_the_keys_that_do_not_fit_together(stack, settings, wanted, words):
    """Before any server is asked."""
    said = refusal(stack, *words, code=3, postgres__conninfo="host=127.0.0.1 port=1",
                   **{key.replace(".", "__"): value for key, value in settings.items()})
    assert all(text in said for text in wanted), said


@pytest.mark.parametrize("settings, wanted", [
    ({"kafka.transaction.timeout.ms": 2000000}, "kafka.transaction.timeout.ms"),
    ({"kafka.session.timeout.ms": 2000000, "kafka.max.poll.interval.ms": 2000000}, "kafka.session.timeout.ms"),
])
def test_names_the_key_that_the_broker_refuses(stack, settings, wanted):
    said = refusal(stack, code=3, threads__bulk=0, **{key.replace(".", "__"): value for key, value in settings.items()})
    assert wanted in said


def test_refuses_a_topic_in_both_lanes(stack):
    said = refusal(stack, code=3, topics__bulk=f"other,{stack.topics.commands}")
    assert stack.topics.commands in said


def test_shows_how_it_is_called(stack):
    done = harness.run_program("siptrunk-worker", ["--no-such-option"], code=2)
    assert "--help" in done.stderr
    done = harness.run_program("siptrunk-worker", ["--help"])
    assert "topics.commands" in done.stdout
    assert harness.run_program("siptrunk-worker", ["--version"]).stdout.startswith("siptrunk-worker ")


# --- what it needs around it ------------------------------------------------------------------------------------------


def test_check_says_that_all_is_well(stack):
    worker = stack.worker(ready=False, words=["--check"])
    assert worker.exit_code(20) == 0, worker.log()
    assert worker.events("check")


@pytest.mark.parametrize("setting", ["topics.results", "topics.commands", "topics.bulk", "topics.dead_letter.suffix"])
def test_names_a_topic_that_is_missing(stack, setting):
    missing = harness.unique("missing")
    said = refusal(stack, code=7, **{setting.replace(".", "__"): missing})
    assert missing in said and "topics apply" in said


def test_says_that_the_database_has_no_schema(stack):
    empty = stack.servers.new_database(migrated=False)
    said = refusal(stack, code=7, postgres__conninfo=empty)
    assert "siptrunkctl migrate up" in said


def test_says_that_there_is_no_such_database(stack):
    said = refusal(stack, code=7, postgres__conninfo=stack.servers.database("nowhere"))
    assert "nowhere" in said


@pytest.mark.parametrize("settings, wanted", [
    ({"kafka__bootstrap__servers": "127.0.0.1:1"}, "127.0.0.1:1"),
    ({"postgres__conninfo": "host=127.0.0.1 port=1 user=x dbname=x"}, "port 1"),
], ids=["broker", "database"])
def test_waits_for_a_server_and_says_why(stack, settings, wanted):
    checking = stack.worker("checking", ready=False, words=["--check"], **settings)
    waiting = stack.worker("waiting", ready=False, **settings)
    assert wanted in waiting.wait_event("waiting")["msg"]
    assert waiting.terminate(5)[0] == 0
    assert checking.exit_code(20) == 5, checking.log()
    assert wanted in checking.events("not-ready")[0]["msg"]


# --- two of one name --------------------------------------------------------------------------------------------------


def test_second_of_one_name_leaves_and_the_first_is_not_disturbed(stack):
    stack.load_inventory(harness.GUIDE_INVENTORY)
    first = stack.worker("twin")
    events = len(first.events())
    began = time.monotonic()
    second = stack.worker("twin", ready=False)
    sent = stack.send([harness.command("ConnectNumber", account_id=ACCOUNT, channel_name="name", number="+31500000000")])
    stack.read_results(count=len(sent), deadline_s=5)
    assert second.exit_code(20) == 7, second.log()
    assert 9 < time.monotonic() - began < 14
    said = second.events("worker-failed")[0]["msg"]
    assert "twin" in said and "instance.id" in said
    sent = stack.send([harness.command("DisconnectNumber", account_id=ACCOUNT, number="+31500000000")])
    stack.read_results(count=2, deadline_s=5)
    assert first.events()[events:] == [], "the first one was disturbed"


# --- a PostgreSQL of its own ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def own_database():
    with harness.own_servers("startup-run", "pg") as servers:
        yield servers


@pytest.fixture
def own_stack(own_database):
    with harness.Stack(own_database) as made:
        yield made


def test_says_that_the_password_is_wrong(own_stack):
    servers = own_stack.servers
    rules = pathlib.Path(servers.environment["SIPTRUNK_DEV_PG_PID_FILE"]).parent / "pg_hba.conf"
    rules.write_text("host all locked 127.0.0.1/32 scram-sha-256\n" + rules.read_text())
    servers.admin_sql("create role locked login superuser password 'right'")
    servers.admin_sql("select pg_reload_conf()")
    conninfo = psycopg.conninfo.make_conninfo(own_stack.conninfo, user="locked")
    said = refusal(own_stack, "--check", code=4, postgres__conninfo=f"{conninfo} password=wrong")
    assert "locked" in said and "wrong" not in said
    checking = own_stack.worker(ready=False, words=["--check"], postgres__conninfo=f"{conninfo} password=right")
    assert checking.exit_code(20) == 0, checking.log()


def test_refuses_a_database_that_may_lose_what_it_acknowledged(own_stack):
    servers = own_stack.servers
    servers.admin_sql("alter system set fsync = off")
    servers.admin_sql("select pg_reload_conf()")
    try:
        assert "fsync = on" in refusal(own_stack, code=7)
    finally:
        servers.admin_sql("alter system reset fsync")
        servers.admin_sql("select pg_reload_conf()")
