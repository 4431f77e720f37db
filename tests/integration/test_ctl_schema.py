"""What the schema refuses by itself, whoever writes: each constraint by name, and no reference from one account to another.
What readers see: the columns of the three views."""

import psycopg
import pytest

import harness

A, B = "013dc5c1-ff09-4ece-ad3a-7f8f60949407", "00000000-0000-4000-8000-00000000000b"
PROXY, TEMPLATE, NOBODY = (f"00000000-0000-4000-8000-0000000000c{digit}" for digit in "123")
LEDGER = ("insert into siptrunk.command_ledger (account_id, command_id, account_sequence, applied_at, source_offset,"
          " source_timestamp, result_schema, source_partition, source_topic, command_type, outcome, error_reason,"
          f" mac_key_id, mac, result) values ('{A}', gen_random_uuid(), %s, 0, 0, 0, 0, 0, 't', 'ConnectNumber', %s, %s,"
          " 'k', '', '')")
BASE = f"""
insert into siptrunk.account values ('{A}', 'A'), ('{B}', 'B');
insert into siptrunk.subscription values ('{A}', 'sip_trunk'), ('{B}', 'sip_trunk'), ('{B}', 'operator_connect');
insert into siptrunk.proxy values ('{PROXY}', 'p');
insert into siptrunk.template values ('{TEMPLATE}', 't');
insert into siptrunk.call_barring values ('CODE', 'c');
insert into siptrunk.account_proxy values ('{A}', '{PROXY}');
insert into siptrunk.account_template values ('{A}', '{TEMPLATE}');
insert into siptrunk.account_call_barring values ('{A}', 'CODE');
insert into siptrunk.account_caller_id values ('{A}', '+3150');
insert into siptrunk.channel (account_id, name, subscription)
  values ('{A}', 'a', 'sip_trunk'), ('{A}', 'a2', 'sip_trunk'), ('{B}', 'b', 'operator_connect');
insert into siptrunk.number (account_id, e164, kind, state) values ('{A}', '+31500', 'fixed', 'available');
insert into siptrunk.partition_position (topic, partition, next_offset) values ('t', 0, 0);
insert into siptrunk.record_attempt values ('t', 0, 0, 0);
"""


def channel(**columns):
    """Of channel a, these columns set to these SQL expressions."""
    return "update siptrunk.channel set " + ", ".join(f"{k} = {v}" for k, v in columns.items()) + " where name = 'a'"


def number(**columns):
    return "update siptrunk.number set " + ", ".join(f"{k} = {v}" for k, v in columns.items())


def installation(**columns):
    return "update siptrunk.installation set " + ", ".join(f"{k} = {v}" for k, v in columns.items())


def position(**columns):
    return "update siptrunk.partition_position set " + ", ".join(f"{k} = {v}" for k, v in columns.items())


def text_of(length):
    return f"repeat('x', {length})"


CHANNEL_A = "(select channel_id from siptrunk.channel where name = 'a')"
CHANNEL_B = "(select channel_id from siptrunk.channel where name = 'b')"

REFUSED = [
    ("installation_pk", "insert into siptrunk.installation (mac_key_id, mac_key) select mac_key_id, mac_key"
                        " from siptrunk.installation"),
    ("installation_singleton", installation(singleton="false")),
    ("installation_state", installation(state="'odd'")),
    ("installation_mac_key", installation(mac_key="'short'")),

    ("account_pk", f"insert into siptrunk.account values ('{A}', 'again')"),
    ("account_name_length", f"update siptrunk.account set name = {text_of(256)}"),
    ("account_tail_pk", f"insert into siptrunk.account_tail values ('{A}')"),
    ("account_tail_account_fk", f"insert into siptrunk.account_tail values ('{NOBODY}')"),
    ("account_tail_sequence", "update siptrunk.account_tail set last_sequence = -1"),
    ("account_tail_chain", "update siptrunk.account_tail set last_chain = '\\x00'"),
    ("subscription_pk", f"insert into siptrunk.subscription values ('{A}', 'sip_trunk')"),
    ("subscription_kind", f"insert into siptrunk.subscription values ('{A}', 'isdn')"),
    ("subscription_account_fk", f"insert into siptrunk.subscription values ('{NOBODY}', 'sip_trunk')"),

    ("proxy_pk", f"insert into siptrunk.proxy values ('{PROXY}', 'again')"),
    ("proxy_name_length", "update siptrunk.proxy set name = ''"),
    ("proxy_name_length", f"update siptrunk.proxy set name = {text_of(256)}"),
    ("template_pk", f"insert into siptrunk.template values ('{TEMPLATE}', 'again')"),
    ("template_name_length", "update siptrunk.template set name = ''"),
    ("template_name_length", f"update siptrunk.template set name = {text_of(256)}"),
    ("call_barring_pk", "insert into siptrunk.call_barring values ('CODE', 'again')"),
    ("call_barring_code_length", "insert into siptrunk.call_barring values ('', 'x')"),
    ("call_barring_code_length", f"insert into siptrunk.call_barring values ({text_of(65)}, 'x')"),
    ("call_barring_name_length", f"update siptrunk.call_barring set name = {text_of(256)}"),

    ("account_proxy_pk", f"insert into siptrunk.account_proxy values ('{A}', '{PROXY}')"),
    ("account_proxy_account_fk", f"insert into siptrunk.account_proxy values ('{NOBODY}', '{PROXY}')"),
    ("account_proxy_proxy_fk", f"insert into siptrunk.account_proxy values ('{A}', '{NOBODY}')"),
    ("account_template_pk", f"insert into siptrunk.account_template values ('{A}', '{TEMPLATE}')"),
    ("account_template_account_fk", f"insert into siptrunk.account_template values ('{NOBODY}', '{TEMPLATE}')"),
    ("account_template_template_fk", f"insert into siptrunk.account_template values ('{A}', '{NOBODY}')"),
    ("account_call_barring_pk", f"insert into siptrunk.account_call_barring values ('{A}', 'CODE')"),
    ("account_call_barring_account_fk", f"insert into siptrunk.account_call_barring values ('{NOBODY}', 'CODE')"),
    ("account_call_barring_code_fk", f"insert into siptrunk.account_call_barring values ('{A}', 'code')"),
    ("account_caller_id_pk", f"insert into siptrunk.account_caller_id values ('{A}', '+3150')"),
    ("account_caller_id_account_fk", f"insert into siptrunk.account_caller_id values ('{NOBODY}', '+3150')"),
    ("e164_format", f"insert into siptrunk.account_caller_id values ('{A}', '3150')"),
    ("e164_format", f"insert into siptrunk.account_caller_id values ('{A}', '+0150')"),
    ("e164_format", f"insert into siptrunk.account_caller_id values ('{A}', '+1')"),
    ("e164_format", f"insert into siptrunk.account_caller_id values ('{A}', '+1234567890123456')"),
    ("e164_format", f"insert into siptrunk.account_caller_id values ('{A}', E'+3150\\n')"),

    ("channel_pk", f"insert into siptrunk.channel (account_id, channel_id, name, subscription) overriding system value"
                   f" values ('{A}', {CHANNEL_A}, 'other', 'sip_trunk')"),
    ("channel_name_unique", f"insert into siptrunk.channel (account_id, name, subscription)"
                            f" values ('{A}', 'a', 'sip_trunk')"),
    ("channel_subscription_fk", channel(subscription="'operator_connect'")),
    ("channel_template_fk", channel(trunk_template_id=f"'{PROXY}'")),
    ("channel_proxy_fk", channel(trunk_proxy_id=f"'{TEMPLATE}'")),
    ("channel_version", channel(version="0")),
    *(("channel_name_format", channel(name=name)) for name in ("''", text_of(65), "' x'", "'x '", "E'x\\ty'", "E'x\\n'")),
    *(("channel_password", channel(**dict(zip(("password_key_id", "password_nonce", "password_ciphertext"), values))))
      for values in (("'k'", "null", "null"), ("null", "''", "''"), ("'k'", "'short'", "'x'"), ("'k'", "null", "'x'"))),
    *(("channel_area_code", channel(area_code=code)) for code in ("''", "'123456789'", "'+31'", "E'31\\n'")),
    *(("channel_call_barrings", channel(call_barrings=codes)) for codes in ("'{}'", "'{{A,B}}'", "'{A,NULL}'")),
    *(("channel_destination_filter", channel(trunk_destination_filter=text)) for text in ("''", text_of(256))),
    *(("channel_ip_whitelist", channel(trunk_ip_whitelist=entries)) for entries in (
        "'{}'", "'{{10.0.0.0/8}}'", "'{10.0.0.0/8,NULL}'", "array_fill('10.0.0.0/8'::cidr, array[65])")),
    *(("channel_reference", channel(trunk_reference=text)) for text in ("''", text_of(256))),
    *(("channel_ping", channel(trunk_ping=value)) for value in (0, 4)),
    *(("channel_ringing_timeout", channel(trunk_ringing_timeout=value)) for value in (0, 601)),
    *(("channel_dtmf", channel(audio_dtmf=value)) for value in (-1, 256)),
    *(("channel_rtp_timeout", channel(audio_rtp_timeout=value)) for value in (0, 100000)),
    *(("channel_rtp_hold_timeout", channel(audio_rtp_hold_timeout=value)) for value in (0, 100000)),
    *(("channel_rtp_hold_greater", channel(audio_rtp_timeout=1800, audio_rtp_hold_timeout=hold)) for hold in (1, 1800)),
    *(("channel_clip_method", channel(clip_method=value)) for value in (-1, 4, 6)),
    *(("channel_clip_restrict_value", channel(clip_restrict_value=text)) for text in ("''", text_of(256))),
    *(("channel_did_filter", channel(did_filter=text)) for text in ("''", text_of(256))),
    *(("channel_forward_to", channel(failover_forward_to=text)) for text in ("''", "'+'", "'a'", text_of(33))),

    ("number_pk", f"insert into siptrunk.number (account_id, e164, kind, state)"
                  f" values ('{B}', '+31500', 'fixed', 'available')"),
    ("number_account_fk", number(account_id=f"'{NOBODY}'")),
    ("number_channel_fk", number(channel_id="-1")),
    ("number_kind", number(kind="'satellite'")),
    ("number_state", number(state="'connected'")),
    ("number_type_value", number(channel_id=CHANNEL_A, number_type="'user'")),
    ("number_type_needs_channel", number(number_type="'User'")),

    ("command_ledger_pk", f"with one as (select * from siptrunk.command_ledger) insert into siptrunk.command_ledger"
                          f" select * from one"),
    ("command_ledger_outcome", (LEDGER, (1, "DONE", None))),
    ("command_ledger_reason", (LEDGER, (1, "REJECTED", None))),
    ("command_ledger_reason", (LEDGER, (1, "APPLIED", "urn:x"))),
    ("command_ledger_sequence", (LEDGER, (-1, "APPLIED", None))),

    ("partition_position_pk", "insert into siptrunk.partition_position select * from siptrunk.partition_position"),
    ("partition_position_partition", position(partition=-1)),
    ("partition_position_next_offset", position(next_offset=-1)),
    ("partition_position_committed_offset", position(committed_offset=-1)),
    ("partition_position_epoch", position(epoch=-1)),
    ("partition_position_claims", position(claims_without_progress=-1)),
    ("partition_position_held", position(held_reason="'x'")),
    ("partition_position_held", position(held_since="now()")),
    ("partition_position_held_reason", position(held_since="now()", held_reason="''")),
    ("partition_position_held_reason", position(held_since="now()", held_reason=text_of(201))),
    ("record_attempt_pk", "insert into siptrunk.record_attempt values ('t', 0, 1, 1)"),
    ("record_attempt_offset", "update siptrunk.record_attempt set \"offset\" = -1"),
    ("record_attempt_attempts", "update siptrunk.record_attempt set attempts = -1"),
]

ACCEPTED = [
    channel(name=text_of(64)), channel(name="repeat('ü', 64)"), channel(name="'a b'"),
    channel(password_key_id="'k'", password_nonce="'123456789012'", password_ciphertext="'x'"),
    channel(password_key_id="'plain'", password_nonce="''", password_ciphertext="'x'"),
    channel(area_code="'1'"), channel(area_code="'12345678'"), channel(call_barrings="'{A}'"),
    channel(trunk_ip_whitelist="array_fill('2001:db8::/32'::cidr, array[64])"),
    channel(trunk_template_id=f"'{TEMPLATE}'", trunk_proxy_id=f"'{PROXY}'"),
    channel(trunk_ping=1, trunk_ringing_timeout=600, audio_dtmf=255), channel(trunk_ping=3, audio_dtmf=0),
    channel(audio_rtp_timeout=99998, audio_rtp_hold_timeout=99999), channel(audio_rtp_hold_timeout=1),
    *(channel(clip_method=value) for value in (0, 1, 2, 3, 5)),
    channel(failover_forward_to="'+49211*#'"), channel(failover_forward_to="repeat('9', 32)"),
    number(channel_id=CHANNEL_A, number_type="'Resource Account'"),
    *(number(state=f"'{state}'") for state in ("available", "reserved", "porting", "quarantined", "in_other_service")),
    *(number(kind=f"'{kind}'") for kind in ("fixed", "mobile", "toll_free", "other")),
    f"insert into siptrunk.account_caller_id values ('{A}', '+12'), ('{A}', '+123456789012345')",
    # One statement may pass a name from one channel to another.
    "update siptrunk.channel set name = case name when 'a' then 'a2' else 'a' end where name in ('a', 'a2')",
    (LEDGER, (0, "REJECTED", "urn:x")),
]

# What would mix up two customers, whatever the command or the mistake.
CROSS_ACCOUNT = [
    ("number_channel_fk", number(channel_id=CHANNEL_B)),
    ("number_channel_fk", f"insert into siptrunk.number (account_id, channel_id, e164, kind, state)"
                          f" values ('{A}', {CHANNEL_B}, '+31501', 'fixed', 'available')"),
    ("number_channel_fk", (number(channel_id=CHANNEL_A), number(account_id=f"'{B}'"))),
    ("number_channel_fk", (number(channel_id=CHANNEL_A), channel(account_id=f"'{B}'"))),
    ("number_channel_fk", (number(channel_id=CHANNEL_A), "delete from siptrunk.channel where name = 'a'")),
    ("channel_subscription_fk", channel(subscription="'operator_connect'")),
    ("channel_subscription_fk", f"delete from siptrunk.subscription where account_id = '{A}'"),
]


@pytest.fixture(scope="module")
def database(servers):
    conninfo = servers.new_database()
    with psycopg.connect(conninfo, autocommit=True) as db:
        db.execute(BASE)
        db.execute(LEDGER, (1, "APPLIED", None))
        yield db
    name = psycopg.conninfo.conninfo_to_dict(conninfo)["dbname"]
    servers.admin_sql("drop database {} with (force)", name)


@pytest.fixture
def db(database):
    """Nothing that a test does stays."""
    with database.transaction(force_rollback=True):
        yield database


def run(db, what):
    """A statement, a statement with its parameters, or several statements."""
    if isinstance(what, str):
        return db.execute(what)
    if isinstance(what[1], tuple):
        return db.execute(*what)
    for statement in what:
        db.execute(statement)


@pytest.mark.parametrize("constraint, what", REFUSED + CROSS_ACCOUNT, ids=[name for name, _ in REFUSED + CROSS_ACCOUNT])
def test_refuses(db, constraint, what):
    with pytest.raises(psycopg.errors.IntegrityError) as refusal:
        run(db, what)
    assert refusal.value.diag.constraint_name == constraint


@pytest.mark.parametrize("what", ACCEPTED, ids=str)
def test_accepts(db, what):
    run(db, what)
    db.execute("set constraints all immediate")


def test_each_constraint_has_a_case(db):
    known = {name for name, in db.execute("select conname from pg_constraint where connamespace = 'siptrunk'::regnamespace"
                                          " and contype in ('c', 'f', 'p', 'u')")}
    assert known == {name for name, _ in REFUSED}


def test_each_foreign_key_between_rows_of_accounts_has_the_account_in_it(db):
    """So that a cross-account reference cannot be stored, whatever the program does."""
    owned = "array(select attrelid from pg_attribute where attname = 'account_id')"
    without = db.execute(
        f"select conname from pg_constraint where contype = 'f' and connamespace = 'siptrunk'::regnamespace"
        f" and conrelid = any({owned}) and confrelid = any({owned}) and not exists (select from unnest(conkey, confkey)"
        f" as pair (mine, theirs) join pg_attribute a on a.attrelid = conrelid and a.attnum = mine"
        f" join pg_attribute b on b.attrelid = confrelid and b.attnum = theirs"
        f" where a.attname = 'account_id' and b.attname = 'account_id')").fetchall()
    assert without == []


def test_a_new_account_gets_its_tail(db):
    tail = db.execute("select last_sequence, last_chain from siptrunk.account_tail where account_id = %s", [A]).fetchone()
    assert tail == (0, bytes(32))


# --- the views --------------------------------------------------------------------------------------------------------


def columns(db, view):
    return db.execute("select column_name, coalesce(domain_name, data_type) from information_schema.columns"
                      " where table_schema = 'siptrunk' and table_name = %s order by ordinal_position", [view]).fetchall()


@pytest.mark.parametrize("view, wanted", [
    ("channel_view", [("account_id", "uuid"), ("channel_name", "text"), ("subscription", "text"), ("version", "bigint"),
                      ("settings", "jsonb")]),
    ("number_view", [("number", "text"), ("account_id", "uuid"), ("kind", "text"), ("state", "text"),
                     ("channel_name", "text"), ("number_type", "text")]),
    ("result_view", [("account_id", "uuid"), ("account_sequence", "bigint"), ("command_id", "uuid"),
                     ("command_type", "text"), ("outcome", "text"), ("error_reason", "text"), ("batch_id", "text"),
                     ("applied_at", "timestamp with time zone")]),
])
def test_views_have_the_columns_of_the_contract(db, view, wanted):
    assert columns(db, view) == wanted


def test_there_are_three_views(db):
    views = db.execute("select table_name from information_schema.views where table_schema = 'siptrunk' order by 1")
    assert views.fetchall() == [("channel_view",), ("number_view",), ("result_view",)]


def leaves(settings, path=()):
    for key, value in settings.items():
        yield from leaves(value, (*path, key)) if isinstance(value, dict) else [("/".join((*path, key)), value)]


def test_channel_view_has_each_setting_of_the_guide_and_null_where_none_was_set(db):
    settings, = db.execute("select settings from siptrunk.channel_view where channel_name = 'a'").fetchone()
    shown = dict(leaves(settings))
    assert {name: value for name, value in shown.items() if value is not None} == {"password_set": False}
    fields = {field["name"]: field["type"] for field in harness.COMMAND_SCHEMAS["EditChannel"].json["fields"]}
    common = {field["name"] for field in harness.COMMAND_SCHEMAS["ListProxies"].json["fields"]}
    wanted = set()
    for name in set(fields) - common - {"channel_name", "new_name"}:
        record = [t for t in fields[name] if isinstance(t, dict) and t["type"] == "record"]
        wanted |= {f"{name}/{field['name']}" for field in record[0]["fields"]} if record else {name}
    second_spellings = {"sip_trunk/channel_template_id", "sip_trunk/channel_proxy_id",
                        "audio_stream/call_forwarding_facilities"}
    assert set(shown) == wanted - second_spellings - {"password"} | {"password_set"}


def test_channel_view_shows_settings_as_the_guide_writes_them(db):
    db.execute(channel(trunk_ip_whitelist="'{10.0.0.1/32,10.1.0.0/16,2001:db8::1/128,2001:db8::/32}'", area_code="'0211'",
                       audio_rtp_timeout="1800", password_key_id="'k'", password_nonce="''", password_ciphertext="'secret'",
                       trunk_proxy_id=f"'{PROXY}'", call_barrings="'{A,B}'", clip_deny="false", trunk_ping="2"))
    settings, = db.execute("select settings from siptrunk.channel_view where channel_name = 'a'").fetchone()
    assert {name: value for name, value in leaves(settings) if value is not None} == {
        "sip_trunk/ip_whitelist": "10.0.0.1;10.1.0.0/16;2001:db8::1;2001:db8::/32", "area_code": "0211",
        "audio_stream/rtp_timeout": "1800", "password_set": True, "sip_trunk/proxy_id": PROXY, "call_barrings": ["A", "B"],
        "clip/deny": False, "sip_trunk/ping": 2}


def test_number_view_calls_a_number_with_a_channel_connected(db):
    row = "select state, channel_name, number_type from siptrunk.number_view where number = '+31500'"
    assert db.execute(row).fetchone() == ("available", None, None)
    db.execute(number(channel_id=CHANNEL_A, number_type="'User'"))
    assert db.execute(row).fetchone() == ("connected", "a", "User")
