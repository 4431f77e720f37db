"""siptrunkctl as a whole: help, mistyped words, where settings come from, refused credentials, and that no secret is ever in
what it says."""

import pathlib
import re
import socket
import time

import psycopg
import pytest

import harness
from conftest import Ctl

COMMANDS = re.findall(r'^COMMAND_ROW\((\w+), "', (harness.ROOT / "ctl" / "commands.def").read_text(), re.M)


def options_of(command):
    """From the table of the file of its name."""
    source = (harness.ROOT / "ctl" / f"{command}.c").read_text()
    return ["--" + name for name in re.findall(r'\{"([a-z-]+)", (?:no|required|optional)_argument', source)]


@pytest.fixture
def ctl():
    return Ctl({})


# --- help and mistakes ------------------------------------------------------------------------------------------------


def test_help_names_commands_keys_and_exit_codes(ctl):
    done = ctl("--help")
    assert done.stderr == "" and ctl("-h").stdout == done.stdout
    assert re.findall(r"^  ([a-z]+) +[a-z]", done.stdout, re.M)[: len(COMMANDS)] == COMMANDS
    assert "topics.commands=siptrunk.commands.v1" in done.stdout and "Exit status" in done.stdout
    assert ctl(code=2).stdout == done.stdout
    assert len(COMMANDS) >= 6 and len(options_of("send")) >= 8, "the tables were not found"


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_each_command_names_its_options(ctl, command):
    done = ctl(command, "--help")
    assert f"siptrunkctl {command}" in done.stdout and done.stderr == ""
    assert sorted(set(re.findall("--[a-z][a-z-]+", done.stdout)) & set(options_of(command))) == sorted(options_of(command))
    assert ctl(command, "-h").stdout == ctl(command, "x", "--help").stdout == done.stdout


def test_help_needs_no_configuration(ctl):
    ctl("send", "--help", no__such__key="x")


@pytest.mark.parametrize("command", COMMANDS)
def test_each_option_is_there_and_its_neighbour_is_not(ctl, command):
    for option in options_of(command):
        typo = option[:-1] + "qq"
        said = ctl(command, typo, code=2).stderr
        assert f"there is no option {typo}" in said
        if len(option) > 6:
            assert f"did you mean {option}?" in said


@pytest.mark.parametrize("typed, meant", [("migrat", "migrate"), ("topic", "topics"), ("sned", "send"), ("result", "results"),
                                          ("inventry", "inventory"), ("decoed", "decode"), ("frobnicate", None), ("", None)])
def test_a_mistyped_command_names_the_nearest(ctl, typed, meant):
    said = ctl(typed, code=2).stderr
    assert f"there is no command {typed}" in said and "siptrunkctl --help" in said
    assert (f"did you mean {meant}?" in said) == bool(meant)


def test_version(ctl):
    assert re.fullmatch(r"siptrunkctl \d+\.\d+\.\d+\n", ctl("--version").stdout)


@pytest.mark.parametrize("words", [["-X"], ["-c"], ["--frobnicate"], ["-z"], ["--help=x"]], ids=" ".join)
def test_usage_errors(ctl, words):
    assert "See siptrunkctl --help" in ctl(*words, code=2).stderr


def test_too_many_overrides(ctl):
    assert "more than 64 times -X" in ctl(*["-X", "log.level=info"] * 65, "topics", code=2).stderr


# --- where settings come from -----------------------------------------------------------------------------------------


def server_that_is_meant(ctl, words=(), environment=None):
    """The port of the database that it tries to reach; nobody listens there."""
    said = ctl(*words, "migrate", "status", environment=environment, code=5).stderr
    return re.search(r"port (\d)\b", said)[1]


def test_later_sources_win(ctl, tmp_path):
    config, value = tmp_path / "siptrunk.conf", tmp_path / "value"
    config.write_text("# ours\npostgres.conninfo = host=127.0.0.1 port=1\n")
    value.write_text("host=127.0.0.1 port=3\n")
    file, override = ["-c", config], ["-X", "postgres.conninfo=host=127.0.0.1 port=4"]
    variable = {"SIPTRUNK_POSTGRES_CONNINFO": "host=127.0.0.1 port=2"}
    assert server_that_is_meant(ctl, file) == "1"
    assert server_that_is_meant(ctl, file, variable) == "2"
    assert server_that_is_meant(ctl, file, {"SIPTRUNK_POSTGRES_CONNINFO_FILE": str(value)}) == "3"
    assert server_that_is_meant(ctl, [*file, *override], variable) == "4"
    assert server_that_is_meant(ctl, [*override, "-X", "postgres.conninfo=host=127.0.0.1 port=5"]) == "5"
    assert server_that_is_meant(ctl, [], {"PGHOST": "127.0.0.1", "PGPORT": "6"}) == "6"


def test_what_is_wrong_with_a_setting_is_said_with_its_place(ctl, tmp_path):
    config = tmp_path / "siptrunk.conf"
    config.write_text("log.level=info\ntopics.comands=x\n")
    said = ctl("-c", config, "topics", "status", code=3).stderr
    assert f"{config}:2: topics.comands: there is no such key; did you mean topics.commands?" in said
    assert "No such file" in ctl("-c", tmp_path / "nowhere", "topics", "status", code=3).stderr
    assert "did you mean kafka.linger.ms?" in ctl("topics", "status", code=3, kafka__lingr__ms=1).stderr
    assert "cannot be changed" in ctl("topics", "status", code=3, kafka__acks=1).stderr
    said = ctl("topics", "status", code=3, environment={"SIPTRUNK_TOPICS_COMANDS": "x"}).stderr
    assert "did you mean SIPTRUNK_TOPICS_COMMANDS?" in said


def test_variables_of_others_that_begin_like_ours_are_passed_over(ctl):
    others = {"SIPTRUNK_DEV_PYTHON": "x", "SIPTRUNK_DEV_INSTANCE_DIR": "x", "SIPTRUNK_FAILPOINT": "x:y",
              "SIPTRUNK_FAILPOINTS": "x", "SIPTRUNK_FAILPOINT_DIR": "x"}
    ctl("decode", "/dev/null", "--hex", environment=others)


# --- secrets and credentials ------------------------------------------------------------------------------------------


SECRETS = [
    "postgres.conninfo=host=127.0.0.1 port=1 password=hunter2",
    "postgres.conninfo=host=127.0.0.1 port=1 password='hunter2",
    "postgres.conninfo=hunter2",
    "postgres.conninfo=host=127.0.0.1 hunter2",
    "postgres.conninfo=host=127.0.0.1 pasword=hunter2",
    "postgres.conninfo=postgresql://u:hunter2@127.0.0.1:1/x",
    "postgres.conninfo=postgresql://u:hunter2/x@127.0.0.1:1/x",
    "postgres.conninfo=postgresql://u:8080/hunter2@127.0.0.1:1/x",
    "postgres.conninfo=postgresql://u:hunter2#@[127.0.0.1:1/x",
    "postgres.conninfo=postgresql://u:hunter2%zz@127.0.0.1:1/x",
    "postgres.conninfo=postgresql://127.0.0.1:1/x?password=hunter2",
    "postgres.conninfo=postgresql://127.0.0.1:1/x?passwort=hunter2",
    "postgres.conninfo=postgresql://127.0.0.1:1/x?hunter2",
    "schema.registry.url=ftp://u:hunter2@127.0.0.1",
    "kafka.sasl.password=hunter2\x01",
    "kafka.ssl.key.pem=hunter2",
    "kafka.sasl.oauthbearer.config=hunter2",
    "kafka.sasl.pasword=hunter2",
    "hunter2",
]


@pytest.mark.parametrize("setting", SECRETS)
def test_no_message_holds_a_password(ctl, servers, setting, tmp_path):
    around = ["-X", "postgres.conninfo=host=127.0.0.1 port=1", "-X", f"kafka.bootstrap.servers={servers.bootstrap}"]
    words = ["topics" if setting.startswith("kafka") else "migrate", "status"]
    config = tmp_path / "config"
    config.write_text(setting)
    for more in (["-X", setting], ["-c", config]):
        done = ctl(*around, *more, *words, code=None)
        assert done.returncode in (3, 5, 7)
        assert "hunter2" not in done.stderr + done.stdout


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def guarded():
    """Servers that want a password: PostgreSQL of the role locked, Kafka of everybody who comes to its second port."""
    with harness.own_servers("ctl-run", "all") as servers:
        rules = pathlib.Path(servers.environment["SIPTRUNK_DEV_PG_PID_FILE"]).parent / "pg_hba.conf"
        rules.write_text("host all locked 127.0.0.1/32 scram-sha-256\nhost all banned 127.0.0.1/32 reject\n"
                         + rules.read_text())
        servers.admin_sql("create role locked login superuser password 'right'")
        servers.admin_sql("create role banned login")
        servers.admin_sql("select pg_reload_conf()")
        port, second = int(servers.bootstrap.split(":")[1]), free_port()
        extra = servers.directory / "kafka" / "extra.properties"
        extra.write_text(f"""
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{port + 1},GUARDED://127.0.0.1:{second}
advertised.listeners=PLAINTEXT://127.0.0.1:{port},GUARDED://127.0.0.1:{second}
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,GUARDED:SASL_PLAINTEXT
sasl.enabled.mechanisms=PLAIN
listener.name.guarded.plain.sasl.jaas.config=\\
    org.apache.kafka.common.security.plain.PlainLoginModule required user_ann="right";
""")
        try:
            servers.do("restart", "kafka")
            servers.guarded = f"127.0.0.1:{second}"
            yield servers
        finally:
            extra.unlink()


@pytest.mark.parametrize("words", [["migrate", "status"], ["migrate", "up"], ["inventory", "load", "-"]], ids=" ".join)
def test_refused_by_the_database(ctl, guarded, words):
    for user, password, why in (("locked", "wrong", "password authentication failed"), ("locked", "", "no password"),
                                ("banned", "", "pg_hba.conf"), ("nobody_at_all", "", "does not exist")):
        secret = {"password": password} if password else {}
        conninfo = psycopg.conninfo.make_conninfo(guarded.conninfo, user=user, **secret)
        said = ctl(*words, code=4, postgres__conninfo=conninfo).stderr
        assert why in said and "wrong" not in said
    conninfo = psycopg.conninfo.make_conninfo(guarded.conninfo, user="locked", password="right")
    ctl("migrate", "up", postgres__conninfo=conninfo)


def test_a_full_database_may_have_room_later(ctl, guarded):
    guarded.admin_sql("create database small connection limit 0")
    guarded.admin_sql("create role anybody login connection limit 0")
    conninfo = psycopg.conninfo.make_conninfo(guarded.database("small"), user="anybody")
    for role in ("nosuperuser connection limit 1", "nosuperuser connection limit 0"):
        guarded.admin_sql(f"alter role anybody {role}")
        assert "too many connections" in ctl("migrate", "status", code=5, postgres__conninfo=conninfo).stderr


@pytest.mark.parametrize("words", [["topics", "status"], ["send"], ["results"], ["decode", "--topic", "x"]], ids=" ".join)
def test_refused_by_the_broker(ctl, guarded, words):
    login = {"kafka__security__protocol": "sasl_plaintext", "kafka__sasl__mechanism": "PLAIN", "kafka__sasl__username": "ann",
             "kafka__bootstrap__servers": guarded.guarded}
    began = time.monotonic()
    said = ctl(*words, code=4, **login, kafka__sasl__password="wrong-one").stderr
    assert "uthentication" in said and "wrong-one" not in said
    assert time.monotonic() - began < 4
    ctl(*words, code=7, **login, kafka__sasl__password="right")  # there are no topics, but it has got so far
