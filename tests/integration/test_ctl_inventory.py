"""siptrunkctl inventory load: the lines of the contract, what a second load does, who owns what, bad lines, and loads at the
same time as others."""

import json
import random
import re
import subprocess
import threading

import psycopg
import pytest

import harness

A, B, C, NOBODY = (f"00000000-0000-4000-8000-00000000000{digit}" for digit in "abcd")
P1, P2, T1 = (f"00000000-0000-4000-8000-0000000000{digits}" for digits in ("01", "02", "11"))
BLOCK = 10000

CATALOGUE = [
    {"type": "proxy", "id": P1, "name": "Proxy 1"},
    {"type": "proxy", "id": P2, "name": "Proxy 2"},
    {"type": "template", "id": T1, "name": "Template 1"},
    {"type": "call_barring", "code": "DENUMINFO", "name": "Auskunft"},
    {"type": "call_barring", "code": "MOBILE", "name": "Mobil"},
]
ACCOUNT = {"type": "account", "id": A, "name": "Example", "proxies": [P1], "templates": [T1],
           "call_barrings": ["DENUMINFO", "MOBILE"], "caller_ids": ["+4921100000000"]}
CHANNEL = {"type": "channel", "account_id": A, "name": "name", "subscription": "sip_trunk"}
OPERATOR = {"type": "channel", "account_id": A, "name": "teams", "subscription": "operator_connect"}
NUMBER = {"type": "number", "number": "+31500000000", "account_id": A, "kind": "fixed", "state": "available"}
CONNECTED = {"type": "number", "number": "+31500000001", "account_id": A, "kind": "mobile", "state": "available",
             "channel": "teams", "number_type": "User"}
ALL = CATALOGUE + [ACCOUNT, CHANNEL, OPERATOR, NUMBER, CONNECTED]


def lines(items):
    return "".join((item if isinstance(item, str) else json.dumps(item)) + "\n" for item in items)


@pytest.fixture
def load(ctl):
    """Loads objects and texts as lines; the completed process."""

    def run(items, code=0, **more):
        return ctl("inventory", "load", "-", stdin=items if isinstance(items, str) else lines(items), code=code, **more)

    return run


@pytest.fixture
def db(database):
    with psycopg.connect(database, autocommit=True) as db:
        yield db


TABLES = ["account", "account_tail", "subscription", "proxy", "template", "call_barring", "account_proxy", "account_template",
          "account_call_barring", "account_caller_id", "channel", "number"]


def contents(db, system=""):
    """All rows of the inventory's tables; with "xmin, ctid, " in front of each, an update that changes nothing shows."""
    return {table: sorted(map(str, db.execute(f"select {system} t from siptrunk.{table} t"))) for table in TABLES}


def grants(db, table, account=A):
    return sorted(str(row[1]) for row in db.execute(f"select * from siptrunk.{table} where account_id = %s", [account]))


def number(db, e164="+31500000000"):
    return db.execute("select account_id::text, kind, state, channel_name, number_type from siptrunk.number_view"
                      " where number = %s", [e164]).fetchone()


# --- what is loaded ---------------------------------------------------------------------------------------------------


def test_loads_the_lines_of_the_contract(load, db):
    done = load(ALL)
    assert done.stdout == "loaded 10 lines: proxy 2, template 1, call_barring 2, account 1, channel 2, number 2\n"
    assert db.execute("select proxy_id::text, name from siptrunk.proxy order by 1").fetchall() == [
        (P1, "Proxy 1"), (P2, "Proxy 2")]
    assert db.execute("select template_id::text, name from siptrunk.template").fetchall() == [(T1, "Template 1")]
    assert db.execute("select code, name from siptrunk.call_barring order by 1").fetchall() == [
        ("DENUMINFO", "Auskunft"), ("MOBILE", "Mobil")]
    assert db.execute("select account_id::text, name from siptrunk.account").fetchall() == [(A, "Example")]
    assert [grants(db, f"account_{what}") for what in ("proxy", "template", "call_barring", "caller_id")] == [
        [P1], [T1], ["DENUMINFO", "MOBILE"], ["+4921100000000"]]
    assert db.execute("select channel_name, subscription, version from siptrunk.channel_view order by 1").fetchall() == [
        ("name", "sip_trunk", 1), ("teams", "operator_connect", 1)]
    assert number(db) == (A, "fixed", "available", None, None)
    assert number(db, "+31500000001") == (A, "mobile", "connected", "teams", "User")


def test_loads_the_guides_inventory_as_the_tests_do(load, db, servers):
    load(harness.GUIDE_INVENTORY.read_text())
    with harness.Stack(servers) as stack, stack.connect() as other:
        stack.load_inventory(harness.GUIDE_INVENTORY)
        views = ["select * from siptrunk.number_view", "select * from siptrunk.channel_view",
                 *(f"select * from siptrunk.{table}" for table in TABLES if table not in ("channel", "number"))]
        for view in views:
            assert sorted(map(str, db.execute(view))) == sorted(map(str, other.execute(view))), view


def test_a_file_a_pipe_and_odd_but_harmless_lines(ctl, load, db, tmp_path):
    path = tmp_path / "inventory.jsonl"
    path.write_bytes(b"\n  \t\r\n" + lines(ALL).replace("\n", "\r\n").encode()[:-2])
    assert "loaded 12 lines" in ctl("inventory", "load", path).stdout
    first = contents(db)
    load(ALL)
    assert contents(db) == first
    assert load("").stdout == "loaded 0 lines\n"


def test_loading_again_changes_no_row(load, db):
    load(ALL)
    before = contents(db, "xmin, ctid,")
    load(ALL)
    assert contents(db, "xmin, ctid,") == before


def test_what_is_referred_to_may_stand_later_in_the_same_transaction(load, db):
    load(reversed(ALL))
    assert number(db, "+31500000001") == (A, "mobile", "connected", "teams", "User")
    assert grants(db, "account_proxy") == [P1]


def test_ids_and_numbers_are_stored_in_one_spelling(load, db):
    load(CATALOGUE + [{**ACCOUNT, "id": A.upper(), "proxies": [P1.upper()], "caller_ids": ["004921100000000"]},
                      {**CHANNEL, "account_id": A.upper()}, {**NUMBER, "number": "0031500000000"}])
    assert number(db)[0] == A
    assert grants(db, "account_caller_id") == ["+4921100000000"]


def test_texts_come_through_as_they_are(load, db):
    names = ["\\N", "\\.", 'a "quoted" \\ one', "{NULL}", "ü € 𝔘", "a' or 1=1 --", "%s", "x" * 255]
    codes = ["\\N", 'q"', "{a,b}", "NULL", "ü", "a\\", "x,y"]
    load([{"type": "call_barring", "code": code, "name": name} for code, name in zip(codes, names)]
         + [{**ACCOUNT, "proxies": [], "templates": [], "call_barrings": codes, "name": names[2]}]
         + [{**CHANNEL, "name": name} for name in ("\\N", 'a "b" \\', "x" * 64, "ü" * 64)])
    assert sorted(db.execute("select code, name from siptrunk.call_barring").fetchall()) == sorted(zip(codes, names))
    assert grants(db, "account_call_barring") == sorted(codes)
    assert db.execute("select name from siptrunk.account").fetchone() == (names[2],)
    assert {name for name, in db.execute("select name from siptrunk.channel")} == {"\\N", 'a "b" \\', "x" * 64, "ü" * 64}


# --- loading over what is there ---------------------------------------------------------------------------------------


def test_lists_replace_what_is_stored_and_missing_ones_leave_it(load, db):
    load(CATALOGUE + [ACCOUNT, {**ACCOUNT, "id": B}])
    load([{"type": "account", "id": A, "name": "Renamed", "proxies": [P2], "call_barrings": []}])
    assert grants(db, "account_proxy") == [P2]
    assert grants(db, "account_call_barring") == []
    assert grants(db, "account_template") == [T1]
    assert grants(db, "account_caller_id") == ["+4921100000000"]
    assert grants(db, "account_proxy", B) == [P1], "another account's"
    assert db.execute("select name from siptrunk.account where account_id = %s", [A]).fetchone() == ("Renamed",)


def test_of_two_lines_about_the_same_the_later_counts(load, db):
    load(CATALOGUE + [ACCOUNT, {"type": "proxy", "id": P1, "name": "new"}, {**ACCOUNT, "proxies": [P2]},
                      {"type": "account", "id": A, "name": "last"}, NUMBER, {**NUMBER, "state": "porting"}])
    assert db.execute("select name from siptrunk.proxy where proxy_id = %s", [P1]).fetchone() == ("new",)
    assert db.execute("select name from siptrunk.account").fetchone() == ("last",)
    assert grants(db, "account_proxy") == [P2]
    assert number(db)[2] == "porting"


def test_nothing_is_deleted(load, db):
    load(ALL)
    load([{"type": "account", "id": B, "name": "alone"}])
    assert number(db) and db.execute("select count(*) from siptrunk.channel").fetchone() == (2,)


def test_channel_and_type_of_a_number_are_set_only_when_it_is_new(load, db):
    load(ALL)
    load([{**NUMBER, "channel": "name"}])
    assert number(db) == (A, "fixed", "available", None, None)
    db.execute("update siptrunk.number set channel_id = null, number_type = null where e164 = %s", [CONNECTED["number"]])
    load([CONNECTED])
    assert number(db, CONNECTED["number"]) == (A, "mobile", "available", None, None), "the worker took it off"


def test_a_load_leaves_a_channel_as_the_worker_made_it(load, db):
    load(ALL)
    db.execute("update siptrunk.channel set version = 7, area_code = '0211' where name = 'name'")
    before = contents(db)
    load(ALL)
    assert contents(db) == before


def test_owner_kind_and_state_of_a_number_follow_the_inventory(load, db):
    load(ALL + [{**ACCOUNT, "id": B}])
    load([{**NUMBER, "account_id": B, "kind": "toll_free", "state": "quarantined"}])
    assert number(db) == (B, "toll_free", "quarantined", None, None)


# --- bad lines --------------------------------------------------------------------------------------------------------

BAD = [
    ("not json", "", "this is not JSON: column 3"),
    ('{"type":"proxy"', "", "ends too early"),
    ("[1]", "", "not a JSON object"),
    ('{"type":"proxy","id":"x","id":"y"}', "", "a key stands there twice"),
    (b'{"type":"proxy","name":"\xff"}\n', "", "not UTF-8"),
    ('{"type":"proxy","name":"a\\u0000b"}', "", "zero byte"),
    ({"name": "x"}, "/type", "must be proxy, template"),
    ({"type": "prxy", "id": P1, "name": "x"}, "/type", "must be proxy, template"),
    ({"type": 3}, "/type", "must be proxy"),
    ({"type": "proxy", "id": P1}, "/name", "is missing"),
    ({"type": "proxy", "id": "4711", "name": "x"}, "/id", "is not a UUID"),
    ({"type": "proxy", "id": P1, "name": ""}, "/name", "must not be empty"),
    ({"type": "proxy", "id": P1, "name": "x" * 256}, "/name", "longer than 255"),
    ({"type": "proxy", "id": P1, "name": "a\tb"}, "/name", "control characters"),
    ({"type": "proxy", "id": P1, "name": "a\u0085b"}, "/name", "control characters"),
    ({"type": "proxy", "id": P1, "name": 7}, "/name", "must be a string"),
    ({"type": "proxy", "id": P1, "nmae": "x"}, "/nmae", "did you mean name?"),
    ({"type": "call_barring", "code": "x" * 65, "name": "x"}, "/code", "longer than 64"),
    ({**ACCOUNT, "proxies": P1}, "/proxies", "must be an array"),
    ({**ACCOUNT, "proxies": [P1, "x"]}, "/proxies/1", "is not a UUID"),
    ({**ACCOUNT, "proxies": [P1, NOBODY]}, "/proxies/1", "no such entry"),
    ({**ACCOUNT, "templates": [P1]}, "/templates/0", "no such entry"),
    ({**ACCOUNT, "call_barrings": ["DENUMINFO", "denuminfo"]}, "/call_barrings/1", "no such entry"),
    ({**ACCOUNT, "caller_ids": ["+4921100000000", "0211"]}, "/caller_ids/1", ""),
    ({**ACCOUNT, "proxies": None}, "/proxies", "must be an array"),
    ({**CHANNEL, "name": " name"}, "/name", "space"),
    ({**CHANNEL, "name": "x" * 65}, "/name", "longer than 64"),
    ({**CHANNEL, "subscription": "isdn"}, "/subscription", "sip_trunk or operator_connect"),
    ({**CHANNEL, "subscription": "operator_connect"}, "/subscription", "exists with subscription sip_trunk"),
    ({**CHANNEL, "account_id": NOBODY}, "/account_id", "no account"),
    ({**NUMBER, "account_id": NOBODY}, "/account_id", "no account"),
    ({**NUMBER, "number": "31500000000"}, "/number", ""),
    ({**NUMBER, "number": "+0500000000"}, "/number", ""),
    ({**NUMBER, "kind": "satellite"}, "/kind", "fixed, mobile, toll_free or other"),
    ({**NUMBER, "state": "connected"}, "/state", "available, reserved"),
    ({**NUMBER, "state": "reserved", "channel": "name"}, "/state", "available when there is a channel"),
    ({**NUMBER, "number_type": "User"}, "/number_type", "needs a channel"),
    ({**NUMBER, "number": "+31500000009", "channel": "nowhere"}, "/channel", "no channel of that name"),
    ({**NUMBER, "number": "+31500000009", "channel": "b"}, "/channel", "no channel of that name"),
    ({**NUMBER, "number": "+31500000009", "channel": "name", "number_type": "User"}, "/number_type", "operator_connect"),
    ({**CONNECTED, "number": "+31500000009", "number_type": "user"}, "/number_type", '"User" or "Resource Account"'),
    ({"type": "number", "number": "+31500000001", "account_id": B, "kind": "fixed", "state": "available"}, "/account_id",
     "is connected to a channel of account"),
]


@pytest.fixture(scope="module")
def loaded(servers):
    """A database with ALL and a second account, which no bad line may change."""
    conninfo = servers.new_database()
    words = ["-X", f"postgres.conninfo={conninfo}", "inventory", "load", "-"]
    more = [{"type": "account", "id": B, "name": "B"}, {**CHANNEL, "account_id": B, "name": "b"}]
    harness.run_program("siptrunkctl", words, stdin=lines(ALL + more))
    with psycopg.connect(conninfo, autocommit=True) as db:
        yield db, words
    servers.admin_sql("drop database {} with (force)", psycopg.conninfo.conninfo_to_dict(conninfo)["dbname"])


@pytest.mark.parametrize("bad, pointer, why", BAD, ids=[f"{pointer}-{why[:25]}" for _, pointer, why in BAD])
def test_a_bad_line_is_named_and_nothing_is_stored(loaded, tmp_path, bad, pointer, why):
    db, words = loaded
    before = contents(db)
    path = tmp_path / "bad.jsonl"
    before_it = lines([{"type": "proxy", "id": P1, "name": "changed"}, {**ACCOUNT, "id": C, "proxies": []}])
    behind_it = lines([{**NUMBER, "state": "reserved"}])
    path.write_bytes(before_it.encode() + (bad if isinstance(bad, bytes) else lines([bad]).encode()) + behind_it.encode())
    done = harness.run_program("siptrunkctl", [*words[:-1], str(path)], code=3)
    assert f"line 3: {pointer}{': ' if pointer else ''}" in done.stderr, done.stderr
    assert why in done.stderr
    assert "nothing is stored" in done.stderr and done.stdout == ""
    assert contents(db) == before


def test_what_came_before_the_bad_lines_block_stays(load, db):
    numbers = [{**NUMBER, "number": f"+3150{i:07}"} for i in range(BLOCK - 2)]
    bad = {**NUMBER, "number": "+31999", "state": "gone"}
    said = load(["", ACCOUNT | {"proxies": [], "templates": [], "call_barrings": []}, *numbers, {**NUMBER, "number": "+3177"},
                 bad], code=3).stderr
    assert f"line {BLOCK + 2}: /state" in said
    assert f"lines 1 to {BLOCK} are stored, nothing from line {BLOCK + 1} on" in said
    assert db.execute("select count(*) from siptrunk.number").fetchone() == (BLOCK - 2,)
    assert number(db, "+3177") is None


def test_the_first_of_several_bad_lines_is_named(load):
    assert "line 2: /kind" in load([NUMBER, {**NUMBER, "kind": "x"}, {**NUMBER, "state": "x"}], code=3).stderr
    assert "line 3: /account_id" in load([CATALOGUE[0], ACCOUNT | {"proxies": [], "templates": [], "call_barrings": []},
                                          {**NUMBER, "account_id": C}, {**NUMBER, "account_id": B}], code=3).stderr


def test_a_number_that_two_lines_give_to_two_accounts(load, db):
    load(ALL + [{**ACCOUNT, "id": B}])
    twice = [{**CONNECTED, "number": "+3177"}, {**NUMBER, "number": "+3177", "account_id": B}]
    assert "line 2: /account_id: the number is connected to a channel of account" in load(twice, code=3).stderr
    assert number(db, "+3177") is None
    load([{**NUMBER, "number": "+3177"}, {**NUMBER, "number": "+3177", "account_id": B}])
    assert number(db, "+3177")[0] == B


def test_a_lost_connection_leaves_whole_blocks(ctl, db):
    numbers = [{**NUMBER, "number": f"+31{i:08}"} for i in range(2 * BLOCK - 1)]
    text = lines([{"type": "account", "id": A, "name": "x"}, *numbers]).splitlines(True)
    loading = ctl.start("inventory", "load", "-", stdin=subprocess.PIPE)
    loading.stdin.writelines(text[:BLOCK])
    loading.stdin.flush()
    stored = lambda: db.execute("select count(*) from siptrunk.number").fetchone()[0]
    harness.wait_for("the first block is stored", lambda: stored() == BLOCK - 1)
    db.execute("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'siptrunkctl inventory'"
               " and datname = current_database()")
    _, said = loading.communicate("".join(text[BLOCK:]), timeout=30)
    assert loading.returncode == 5
    assert f"lines 1 to {BLOCK} are stored, nothing from line {BLOCK + 1} on" in said
    assert stored() == BLOCK - 1
    ctl("inventory", "load", "-", stdin="".join(text))
    assert stored() == 2 * BLOCK - 1


def test_usage_and_files_that_are_not_there(ctl, tmp_path):
    assert "say load and a file" in ctl("inventory", code=2).stderr
    assert "say load and a file" in ctl("inventory", "laod", "x", code=2).stderr
    assert "No such file" in ctl("inventory", "load", tmp_path / "nowhere", code=3).stderr
    assert "Is a directory" in ctl("inventory", "load", tmp_path, code=3).stderr


# --- at the same time -------------------------------------------------------------------------------------------------


def deadlocks(db):
    """Statistics of other backends come late, but before these end."""
    return db.execute("select deadlocks from pg_stat_database where datname = current_database()").fetchone()[0]


def test_two_loads_of_the_same_in_opposite_order(ctl, db, tmp_path):
    accounts = [f"00000000-0000-4000-9000-{i:012}" for i in range(200)]
    items = [{"type": "account", "id": a, "name": "x", "caller_ids": ["+3150"]} for a in accounts]
    items += [{"type": "channel", "account_id": a, "name": "c", "subscription": "sip_trunk"} for a in accounts]
    items += [{**NUMBER, "number": f"+31{i:09}", "account_id": accounts[i % 200], "channel": "c"} for i in range(1, 4000)]
    paths = [tmp_path / name for name in ("forth", "back")]
    for round_ in range(3):
        changed = [{**item, "kind": ["fixed", "mobile", "other"][round_]} if "kind" in item else item for item in items]
        paths[0].write_text(lines(changed))
        paths[1].write_text(lines(reversed(changed)))
        runs = [ctl.start("inventory", "load", path) for path in paths]
        said = [run.communicate(timeout=60) for run in runs]
        assert [run.returncode for run in runs] == [0, 0], said
    assert db.execute("select count(*), count(channel_id), min(kind), max(kind) from siptrunk.number").fetchone() == (
        3999, 3999, "other", "other")
    assert deadlocks(db) == 0


def test_a_load_and_a_worker_do_not_deadlock(stack, stack_ctl, tmp_path):
    """Both change the same numbers all the time, the load in transactions of its own through empty lines."""
    accounts = [f"00000000-0000-4000-9000-{i:012}" for i in range(4)]
    items = [{"type": "account", "id": a, "name": "x"} for a in accounts]
    items += [{"type": "channel", "account_id": a, "name": "c", "subscription": "sip_trunk"} for a in accounts]
    numbers = [{**NUMBER, "number": f"+31{i:09}", "account_id": accounts[i % 4]} for i in range(1, 401)]
    initial, changes = tmp_path / "initial.jsonl", tmp_path / "changes.jsonl"
    initial.write_text(lines(items + numbers))
    changes.write_text("".join(lines([{**n, "state": state} for n in reversed(numbers)]) + (BLOCK - len(numbers)) * "\n"
                               for state in 20 * ["reserved", "available"]))
    stack_ctl("inventory", "load", initial)
    stack.worker()
    failures, done = [], threading.Event()

    def load_on_and_on():
        while not done.is_set() and not failures:
            try:
                stack_ctl("inventory", "load", changes)
            except AssertionError as failure:
                failures.append(str(failure))

    loader = threading.Thread(target=load_on_and_on)
    loader.start()
    try:
        sent = []
        for kind, more in 10 * [("ConnectNumber", {"channel_name": "c"}), ("DisconnectNumber", {})]:
            batch = [harness.command(kind, account_id=n["account_id"], number=n["number"], **more) for n in numbers]
            sent += stack.send(random.Random(len(sent)).sample(batch, len(batch)))
        results = [record.result for record in stack.read_results(count=len(sent), deadline_s=90)]
    finally:
        done.set()
        loader.join(60)
    assert not failures
    reasons = {re.sub(".*:", "", result["error_reason"] or "") for result in results}
    assert reasons <= {"", "number-not-available", "number-not-connected"}, reasons
    assert sum(result["outcome"] == "APPLIED" for result in results) > 100
    with stack.connect() as db:
        assert deadlocks(db) == 0
