"""The examples of docs/commands on real servers, by roles that have no other rights than docs/operating.md gives them: each
result on a page is the one that comes."""

import json
import secrets

import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

import harness
from pages import ROOT, Page, json_objects

# Of the run, not of the command.
OF_THE_RUN = {"received_at", "applied_at", "source_topic", "source_partition", "source_offset", "chain"}
ROLES = ("owner", "worker", "inventory", "keys", "operator", "purge", "reader")


def examples():
    """(command, its result on the page or None) in the order of the command ids."""
    found = {}
    for path in sorted(ROOT.glob("docs/commands/*.md")):
        last = None
        for language, text in Page(path).blocks:
            for value in json_objects(text) if language == "json" else []:
                if "type" in value:
                    last = value["command_id"]
                    known = found.setdefault(last, [value, []])
                    assert known[0] == value, f"{path.name}: {last} is another command elsewhere"
                elif "outcome" in value:
                    found[value.get("command_id", last)][1].append(value)
    return [found[command_id] for command_id in sorted(found)]


@pytest.fixture
def roles():
    """An own database with the schema, owned by a role that is no superuser, and the roles of the page: name -> conninfo."""
    servers = harness.Servers.shared()
    prefix = harness.unique("prov").replace("-", "_")
    database = servers.new_database(migrated=False)
    name = harness.psycopg.conninfo.conninfo_to_dict(database)["dbname"]
    of = {role: make_conninfo(database, user=f"{prefix}_{role}") for role in ROLES}
    try:
        for role in ROLES:
            servers.admin_sql("create role {} login", f"{prefix}_{role}")
            servers.admin_sql("grant connect on database {} to {}", name, f"{prefix}_{role}")
        servers.admin_sql("alter database {} owner to {}", name, f"{prefix}_owner")
        servers.admin_sql("revoke temporary on database {} from public", name)
        servers.admin_sql("grant temporary on database {} to {}", name, f"{prefix}_inventory")
        harness.run_program("siptrunkctl", ["-X", f"postgres.conninfo={of['owner']}", "migrate", "up"])
        (grants,) = [text for language, text in Page(ROOT / "docs/operating.md").blocks if language == "sql"]
        with harness.psycopg.connect(of["owner"], autocommit=True) as db:
            db.execute(grants.replace("prov_", f"{prefix}_"))
        yield of
    finally:
        servers.admin_sql("drop database if exists {} with (force)", name)
        for role in ROLES:
            servers.admin_sql("drop role if exists {}", f"{prefix}_{role}")


def key_line(name):
    return f"{name}:{secrets.token_hex(32)}\n"


def test_examples_by_roles_of_few_rights(roles, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text(key_line("first"))
    with harness.Stack(harness.Servers.shared(), database=roles["worker"], settings={"secrets.key_file": str(keys)}) as stack:
        settings = {**stack.settings, **stack.topics.settings, "kafka.bootstrap.servers": stack.servers.bootstrap,
                    "kafka.group.id": stack.group}

        def ctl(role, *words, **more):
            given = {**settings, "postgres.conninfo": roles[role]}
            return harness.run_program("siptrunkctl", [w for k, v in given.items() for w in ("-X", f"{k}={v}")] + list(words), **more)

        for _ in range(2):
            ctl("inventory", "inventory", "load", str(harness.GUIDE_INVENTORY))
        stack.worker()
        sent = examples()
        ctl("reader", "send", "--wait", stdin="".join(json.dumps(command) + "\n" for command, _ in sent))
        lines = ctl("reader", "results", "--json").stdout.splitlines()
        results = {result["command_id"]: result for result in map(json.loads, lines)}
        for command, shown in sent:
            for expected in shown:
                compare(results[command["command_id"]], expected)
        hold(ctl, stack.topics.commands)
        purge(ctl, stack)
        change_keys(ctl, keys)
        read_views(roles["reader"])


def compare(result, shown):
    """A page may show the first changes only."""
    kept = {name: value for name, value in shown.items() if name not in OF_THE_RUN}
    real = {name: result[name] for name in kept}
    if "changes" in kept:
        real["changes"] = real["changes"][: len(kept["changes"])]
    assert real == kept
    if "event_id" not in shown:
        left_out = {"event_id", "command_id", "account_id", "command_type"} | OF_THE_RUN
        assert {name for name, value in result.items() if value not in (None, [], "")} - left_out == set(shown)


def hold(ctl, topic):
    """A partition that a worker owns, and, with the rows gone, one that none has ever had."""
    assert {json.loads(line)["owner"] for line in ctl("operator", "partitions", "--json").stdout.splitlines()} == {"w1"}
    assert "is held at offset" in ctl("operator", "partitions", "hold", f"{topic}/0", "--reason", "try").stdout
    assert "goes on from offset" in ctl("operator", "partitions", "release", f"{topic}/0").stdout


def purge(ctl, stack):
    """The first command of each partition: its record is deleted, its row as if it were old."""
    parts = [harness.TopicPartition(stack.topics.commands, p, 1) for p, end in stack.ends(stack.topics.commands).items() if end]
    for future in stack.servers.admin.delete_records(parts).values():
        future.result(20)
    with harness.psycopg.connect(stack.servers.database(harness.psycopg.conninfo.conninfo_to_dict(stack.conninfo)["dbname"])) as db:
        aged = db.execute("update siptrunk.command_ledger set source_timestamp = 0, applied_at = 0 where source_offset = 0").rowcount
    assert aged > 0
    assert f" {aged} deleted" in ctl("purge", "ledger", "purge", "--older-than", "30").stdout


def change_keys(ctl, keys):
    assert ctl("keys", "secrets", "status").stdout .startswith("key first: 1 passwords, ")
    keys.write_text(key_line("second") + keys.read_text())
    assert ctl("keys", "secrets", "rotate").stdout == "1 password sealed anew with key second\n"
    assert ctl("keys", "secrets", "status").stdout .endswith("key second: 1 passwords, 0 commands\n")


def read_views(conninfo):
    with harness.psycopg.connect(conninfo, autocommit=True) as db:
        for view in ("channel_view", "number_view", "result_view"):
            assert db.execute(sql.SQL("select count(*) from siptrunk.{}").format(sql.Identifier(view))).fetchone()[0] > 0
        with pytest.raises(harness.psycopg.errors.InsufficientPrivilege):
            db.execute("select 1 from siptrunk.channel")
