"""A new setting is one row in the table of settings, one field in the schema and one migration.

The build makes a worker whose table has a row for sip_trunk.lines (tests/acceptance.cmake) and is otherwise the same
program. Here come the field and the migration, on an installation that has worked before.
"""

import copy
import json
import os
import pathlib

import harness

ACCOUNT = "013dc5c1-ff09-4ece-ad3a-7f8f60949407"
POINTER = "/sip_trunk/lines"
INVENTORY = [
    {"type": "account", "id": ACCOUNT},
    {"type": "channel", "account_id": ACCOUNT, "name": "name", "subscription": "sip_trunk"},
]
OLD = harness.COMMAND_SCHEMAS["EditChannel"]


def newer_schema():
    """Ours with the new field at the end of its record."""
    schema = copy.deepcopy(OLD.json)
    trunk = next(field for field in schema["fields"] if field["name"] == "sip_trunk")["type"][1]
    trunk["fields"].append({"name": "lines", "type": ["null", "int"], "default": None})
    return harness.Schema(json.dumps(schema))


def migrate(stack):
    view, = stack.rows("select pg_get_viewdef('siptrunk.channel_view')")[0]
    assert view.count("'ping'") == 1
    view = view.replace("'ping'", "'lines', trunk_lines, 'ping'")
    with stack.connect() as db:
        db.execute("alter table siptrunk.channel add column trunk_lines integer constraint channel_lines"
                   " check (trunk_lines between 1 and 600)")
        db.execute(f"create or replace view siptrunk.channel_view as {view}")


def edit(schema, number, **fields):
    fields = {"command_id": f"00000000-0000-4000-8000-{number:012d}", "account_id": ACCOUNT, "channel_name": "name", **fields}
    return harness.raw(schema.encode(fields), key=ACCOUNT.encode())


def answers(stack, commands):
    """Their results, with what the commands before them were answered left out."""
    before = len(stack.read(stack.topics.results))
    stack.send(commands)
    stack.wait_drained()
    return stack.read(stack.topics.results)[before:]


def changes(answer):
    assert answer.result["outcome"] == "APPLIED", answer.result
    return [(change["pointer"], change["before"], change["after"]) for change in answer.result["changes"]]


def settings(stack):
    (view,), = stack.rows("select settings from siptrunk.channel_view")
    return view


def test_one_row_one_field_and_one_migration_make_a_setting(tmp_path, monkeypatch):
    newer = newer_schema()
    (tmp_path / "newer.avsc").write_text(json.dumps(newer.json))
    with harness.Stack(harness.Servers.shared(), settings={"threads.bulk": "0", "schema.dir": tmp_path}) as stack:
        stack.load_inventory(INVENTORY)
        worker = stack.worker()
        first, = answers(stack, [edit(OLD, 1, area_code="036", sip_trunk={"ping": 2})])
        assert changes(first) == [("/area_code", None, "036"), ("/sip_trunk/ping", None, "2")]
        worker.terminate()

        migrate(stack)
        before = settings(stack)
        assert before["sip_trunk"]["lines"] is None and before["sip_trunk"]["ping"] == 2
        monkeypatch.setattr(harness, "BIN", pathlib.Path(os.environ["SIPTRUNK_TEST_NEW_SETTING_BIN"]))
        stack.worker()

        # What was sent before is the same command still, by either schema.
        for resent in answers(stack, [edit(OLD, 1, area_code="036", sip_trunk={"ping": 2}),
                                      edit(newer, 1, area_code="036", sip_trunk={"ping": 2})]):
            assert resent.replayed and resent.body == first.body

        refused, = answers(stack, [edit(newer, 2, area_code="1", sip_trunk={"lines": 0})])
        assert [(error["reason"].split(":")[-1], error["pointer"]) for error in refused.result["errors"]] == [("out-of-range", POINTER)]
        assert settings(stack) == before

        applied, = answers(stack, [edit(newer, 3, sip_trunk={"lines": 30, "ping": 3, "reference": "r"})])
        assert changes(applied) == [("/sip_trunk/reference", None, "r"), (POINTER, None, "30"), ("/sip_trunk/ping", "2", "3")]
        again, patched, reused = answers(stack, [edit(newer, 4, sip_trunk={"lines": 30}), edit(OLD, 5, sip_trunk={"ping": 1}),
                                                 edit(newer, 3, sip_trunk={"ping": 3, "reference": "r"})])
        assert again.result["outcome"] == "NO_CHANGE"
        assert changes(patched) == [("/sip_trunk/ping", "3", "1")]
        assert reused.result["error_reason"].endswith(":command-id-reused")

        after = settings(stack)
        expected = copy.deepcopy(before)
        expected["sip_trunk"].update(lines=30, ping=1, reference="r")
        assert after == expected
