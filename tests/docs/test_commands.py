"""docs/commands against the schemas, the catalogue of errors and the acceptance cases: a field, an error or a warning that
a command has stands on its page, and nothing else does. Needs no server."""

import json
import os
import re
import subprocess

import pytest

from pages import ROOT, Page, all_pages, codes, json_objects

COMMON = Page(ROOT / "docs/commands/README.md")
PAGES = {
    "ConnectNumber": "ConnectNumber.md",
    "DisconnectNumber": "DisconnectNumber.md",
    "EditChannel": "EditChannel.md",
    "SetOperatorConnectNumberType": "SetOperatorConnectNumberType.md",
    "RemoveOperatorConnectNumberType": "RemoveOperatorConnectNumberType.md",
    "ListCallerIds": "lists.md",
    "ListProxies": "lists.md",
    "ListTemplates": "lists.md",
    "ListCallBarrings": "lists.md",
}
FILES = {name: Page(ROOT / "docs/commands" / name) for name in sorted(set(PAGES.values()))}
SCHEMAS = {path.stem: json.loads(path.read_text()) for path in sorted(ROOT.glob("schemas/commands/*.avsc"))}
RESULT = json.loads((ROOT / "schemas/results/CommandResult.avsc").read_text())
CATALOGUE = json.loads((ROOT / "schemas/errors.json").read_text())
ENVELOPE = 9  # fields of every command, the first ones of each schema
FIELD_HEAD = ("field", "type", "required", "rule")
ERROR_HEAD = ("reason", "pointer", "when", "what to do")
WARNING_HEAD = ("code", "pointer", "when")
DEAD_LETTER_HEAD = ("reason", "when", "what to do")

# Optional for Avro, since the object around them is; a rule of the worker asks for them.
REQUIRED_BY_RULE = {"/microsoft_teams_configuration/microsoft_tenant_id"}
# In the catalogue, for a store that refuses a command: no worker gives it yet, and no case can.
NOT_GIVEN = {"internal:bug"}  # in no case: tests/faults/test_poison.py brings it about
# On a page, and tried by hand, but in no acceptance case yet: page -> pairs. A pair goes away with its first case.
NO_CASE_YET = {
    "RemoveOperatorConnectNumberType.md": {("number-converted-from-00", "/number")},
}


# ---- schemas ----


def branches(kind):
    """A type without the null that makes it optional."""
    return [branch for branch in (kind if isinstance(kind, list) else [kind]) if branch != "null"]


def shown_type(kind):
    """As a page says it, and as JSON has it."""

    def one(branch):
        if isinstance(branch, dict) and branch["type"] == "record":
            return "string or null" if branch["name"] == "NullableString" else "object"
        if isinstance(branch, dict) and branch["type"] == "array":
            return f"array of {branch['items']}s"
        plain = branch["type"] if isinstance(branch, dict) else branch
        return {"int": "integer", "long": "integer", "NullableString": "string or null"}.get(plain, plain)

    return " or ".join(one(branch) for branch in branches(kind))


def groups_of(schema):
    """Record name, or "" for the command itself -> its own fields."""
    groups = {"": schema["fields"][ENVELOPE:]}
    for field in groups[""]:
        for branch in branches(field["type"]):
            if isinstance(branch, dict) and branch["type"] == "record":
                groups[field["name"]] = branch["fields"]
    return groups


def rows_of(fields, group=""):
    for field in fields:
        pointer = f"/{group}/{field['name']}" if group else f"/{field['name']}"
        required = "default" not in field or pointer in REQUIRED_BY_RULE
        yield [f"`{field['name']}`", shown_type(field["type"]), "yes" if required else "no"]


def pointers_of(schema):
    """Pointer -> type of each own field; an item of a list has <index>."""
    found = {}
    for group, fields in groups_of(schema).items():
        for field in fields:
            pointer = f"/{group}/{field['name']}" if group else f"/{field['name']}"
            found[pointer] = shown_type(field["type"])
            if found[pointer].startswith("array of "):
                found[f"{pointer}/<index>"] = "string"
    return found


# ---- acceptance cases ----


def steps():
    """(command type or None, expectation) of each step of each case."""
    for path in sorted(ROOT.glob("tests/acceptance/*.json")):
        for case in json.loads(path.read_text())["cases"]:
            shared, types = case.get("all", {}), []
            for step in case["steps"]:
                if "resend" in step:
                    types.append(types[step["resend"]])
                else:
                    types.append({**shared.get("send", {}), **step.get("send", {})}.get("type") if "send" in step else None)
                yield types[-1], {**shared.get("expect", {}), **step.get("expect", {})}


def without_index(pointer):
    return re.sub(r"/\d+$", "/<index>", pointer)


def expected(key):
    """Command type -> the (name, pointer) pairs that cases expect under key."""
    found = {name: set() for name in SCHEMAS}
    for kind, expectation in steps():
        for name, pointer, *_ in expectation.get(key) or []:
            if kind in found:
                found[kind].add((name, without_index(pointer)))
    return found


REFUSED = expected("refused")
WARNED = expected("warnings")
DEAD = {expectation["dead_letter"] for _, expectation in steps() if "dead_letter" in expectation}


# ---- pages ----


def pairs(table):
    """(name, pointer) for each pointer in backticks; and (name, "any field" or "any text") as it stands."""
    found = set()
    for row in table.rows:
        (name,) = codes(row[0])
        found |= {(name, pointer) for pointer in codes(row[1])}
        found |= {(name, phrase) for phrase in ("any field", "any text") if phrase in row[1]}
    return found


def the_table(page, head):
    tables = page.tables_of(*head)
    assert len(tables) == 1, f"{page} has {len(tables)} tables of {head}"
    return tables[0]


def common_pairs():
    return pairs(the_table(COMMON, ERROR_HEAD))


def covered_by(phrase, pointers):
    return {pointer for pointer, kind in pointers.items() if phrase == "any field" or "string" in kind}


def no_case_yet(page, sign):
    """Errors, whose names have a colon, or warnings, whose names have none."""
    return {pair for pair in NO_CASE_YET.get(page.path.name, set()) if (":" in pair[0]) == bool(sign)}


def commands_on(page):
    return [name for name in PAGES if FILES[PAGES[name]] is page]


# ---- tests ----


def test_every_command_has_a_page():
    assert set(PAGES) == set(SCHEMAS)
    linked = {link.split("#")[0] for link in COMMON.links}
    assert set(PAGES.values()) <= linked


def test_fields_of_every_command():
    heads = [schema["fields"][:ENVELOPE] for schema in SCHEMAS.values()]
    assert all(head == heads[0] for head in heads)
    assert [row[:3] for row in the_table(COMMON, FIELD_HEAD).rows] == list(rows_of(heads[0]))


@pytest.mark.parametrize("name", SCHEMAS)
def test_own_fields(name):
    page = FILES[PAGES[name]]
    shared = len(commands_on(page)) > 1
    groups = {group: list(rows_of(fields, group)) for group, fields in groups_of(SCHEMAS[name]).items() if fields}
    shown = {}
    for table in page.tables_of(*FIELD_HEAD):
        (heading,) = codes(table.heading) or [""]
        if not shared or heading == name:
            shown["" if shared else heading if heading in groups else ""] = [row[:3] for row in table.rows]
    assert shown == groups


@pytest.mark.parametrize("page", FILES.values(), ids=str)
def test_errors_of_a_page_are_those_of_the_cases(page):
    names = commands_on(page)
    produced = set().union(*(REFUSED[name] for name in names)) - common_pairs()
    shown = pairs(the_table(page, ERROR_HEAD)) - common_pairs()
    pointers = {pointer: kind for name in names for pointer, kind in pointers_of(SCHEMAS[name]).items()}
    plain = {pair for pair in shown if pair[1].startswith("/")}
    grouped = {(reason, pointer) for reason, phrase in shown - plain for pointer in covered_by(phrase, pointers)}
    assert produced - plain - grouped == set(), "a case expects these, and the page has them not"
    assert plain - produced == no_case_yet(page, ":"), "the page has these, and no case expects them"
    for reason, phrase in shown - plain:
        assert any((reason, pointer) in produced for pointer in covered_by(phrase, pointers)), f"no case of {reason}"


def test_errors_that_any_command_can_give():
    everything = set().union(*REFUSED.values())
    assert common_pairs() <= everything


@pytest.mark.parametrize("page", FILES.values(), ids=str)
def test_warnings_of_a_page_are_those_of_the_cases(page):
    produced = set().union(*(WARNED[name] for name in commands_on(page)))
    tables = page.tables_of(*WARNING_HEAD)
    assert (pairs(tables[0]) if tables else set()) == produced | no_case_yet(page, "")
    assert produced & no_case_yet(page, "") == set()


def test_the_catalogue_is_on_the_pages_and_nothing_else():
    ours = {":".join(entry["urn"].split(":")[3:]) for entry in CATALOGUE["errors"] if entry["produced_by"] == "worker"}
    dead = {codes(cell)[0] for cell in the_table(COMMON, DEAD_LETTER_HEAD).column("reason")}
    shown = {reason for page in [COMMON, *FILES.values()] for reason, _ in pairs(the_table(page, ERROR_HEAD))}
    assert dead == DEAD
    assert shown | dead == ours - NOT_GIVEN
    warnings = {code for page in FILES.values() for table in page.tables_of(*WARNING_HEAD) for code, _ in pairs(table)}
    assert warnings == {entry["code"] for entry in CATALOGUE["warnings"]}


def examples():
    """Lines for siptrunkctl send, in blocks of JSON and in quotes; and results."""
    commands, results = [], []
    for page in all_pages():
        commands += [(page, command) for command in page.quoted_commands()]
        if page.path.parts[0] == "tests":
            continue  # an outline of a case, not an example
        for _, text in (block for block in page.blocks if block[0] == "json"):
            values = json_objects(text)
            results += [(page, value) for value in values if "outcome" in value]
            commands += [(page, json.dumps(value)) for value in values if "type" in value]
    return commands, results


def test_examples_are_commands(tmp_path):
    """siptrunkctl reads all lines before it looks for a broker: a last line that is bad keeps it from looking for one, and
    must be the only one that it complains of."""
    commands, _ = examples()
    assert {json.loads(line)["type"] for _, line in commands} == set(SCHEMAS)
    path = tmp_path / "commands.jsonl"
    path.write_text("".join(f"{line}\n" for _, line in commands) + '{"type":"Planted"}\n')
    environment = {key: value for key, value in os.environ.items() if not key.startswith("SIPTRUNK_")}
    ctl = os.path.join(os.environ["SIPTRUNK_TEST_BIN"], "siptrunkctl")
    done = subprocess.run([ctl, "send", "--generate-ids", path], env=environment, capture_output=True, text=True, timeout=20)
    last = len(commands) + 1
    complaints = [f"{commands[int(number) - 1][0]}: {what}" for number, what in re.findall(r"^line (\d+): (.*)$", done.stderr, re.M)
                  if int(number) != last]
    assert complaints == []
    assert f"\nline {last}: /type: " in "\n" + done.stderr and f"\nsiptrunkctl send: 1 of {last} commands " in done.stderr
    assert done.returncode == 3


def test_results_have_the_schema_s_fields_in_its_order():
    _, results = examples()
    order = [field["name"] for field in RESULT["fields"]]
    items = {field["name"]: [inner["name"] for inner in branch["items"]["fields"]] for field in RESULT["fields"]
             for branch in branches(field["type"]) if isinstance(branch, dict) and branch["type"] == "array"}
    assert results
    for page, result in results:
        assert list(result) == [name for name in order if name in result], page
        for name in set(items) & set(result):
            assert all(list(item) == items[name] for item in result[name] or []), page
    assert any(list(result) == order for _, result in results)
