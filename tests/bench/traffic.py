"""The benchmarks' commands, as records of single-object encoding."""
import io
import json
import os
import uuid

import fastavro

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
ACCOUNTS, CHANNELS_EACH, NUMBERS = 1000, 2, 100_000


def load_schema(path):
    schema = json.load(open(os.path.join(ROOT, path)))
    canonical = fastavro.schema.to_parsing_canonical_form(schema)
    fingerprint = bytes.fromhex(fastavro.schema.fingerprint(canonical, "CRC-64-AVRO"))
    return fastavro.parse_schema(schema), b"\xc3\x01" + fingerprint


SCHEMAS = {name: load_schema(f"schemas/commands/{name}.avsc")
           for name in ("ConnectNumber", "DisconnectNumber", "EditChannel", "SetOperatorConnectNumberType")}


def account_id(index):
    return str(uuid.UUID(int=index + 1))


def number_of(index):
    return "+315" + str(index + 1).rjust(8, "0")


def command(name, account, **fields):
    """Key and value of a record."""
    schema, prefix = SCHEMAS[name]
    out = io.BytesIO()
    out.write(prefix)
    fastavro.schemaless_writer(out, schema, {"command_id": str(uuid.uuid4()), "account_id": account, **fields})
    return account, out.getvalue()


def connect_number(n, channel):
    return command("ConnectNumber", account_id(n % ACCOUNTS), channel_name=f"trunk-{channel % CHANNELS_EACH}", number=number_of(n))


def disconnect_number(n):
    return command("DisconnectNumber", account_id(n % ACCOUNTS), number=number_of(n))


def connect(index):
    """A connect of number index % NUMBERS to a channel of its account."""
    n = index % NUMBERS
    return connect_number(n, n + 1)


def there_and_back(commands, numbers):
    """Connects of so many numbers, as far apart as they can be; then they are disconnected, and so on: each changes something."""
    step = max(1, numbers // commands)
    for index in range(commands):
        n, back = index * step % numbers, index * step // numbers % 2
        yield disconnect_number(n) if back else connect_number(n, n)


def hot(commands, channels):
    """All of one account, and of so many of its channels."""
    mine = NUMBERS // ACCOUNTS
    for index in range(commands):
        n, back = index % mine * ACCOUNTS, index // mine % 2
        yield disconnect_number(n) if back else connect_number(n, index % channels)


def edit(index):
    """An edit of ten settings, whose values change with each round over the channels."""
    a, round_ = index % ACCOUNTS, index // ACCOUNTS
    odd = bool(round_ % 2)
    return command("EditChannel", account_id(a), channel_name=f"trunk-{round_ % CHANNELS_EACH}", area_code=str(100 + round_ % 800),
                   block_caller_id=odd, full_e164=odd,
                   sip_trunk={"forward_clip": odd, "t38_codec": not odd, "destination_filter": f"filter {round_}",
                              "ip_whitelist": f"10.0.{round_ % 250}.1;10.1.0.0/16", "ping": 1 + round_ % 3, "ringing_timeout": 60 + round_ % 100},
                   failover={"forward_to": f"1234{round_}"})


def mixed(index):
    """70% connect and disconnect, 20% edit of ten settings, 10% operator-connect."""
    kind, n = index % 10, index * 7919 % NUMBERS
    if kind < 4:
        return connect_number(n, n)
    if kind < 7:
        return disconnect_number(n)
    if kind < 9:
        return edit(index)
    n = n // 100 * 100 + 99  # on the account's Operator-Connect channel, and of no other kind of command
    return command("SetOperatorConnectNumberType", account_id(n % ACCOUNTS), channel_name="operator-connect", number=number_of(n),
                   number_type=("User", "Resource Account", "")[index // 10 % 3])
