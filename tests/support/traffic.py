"""Commands as order systems send them, mistakes and repetitions included, chosen by a seeded generator."""

import random
import threading
import uuid

import check
import harness

CHANNELS = ("east", "west")
SUBSCRIPTIONS = {"east": "sip_trunk", "west": "operator_connect"}
LISTS = ("ListProxies", "ListCallerIds", "ListTemplates", "ListCallBarrings")
NAMES = CHANNELS + ("north", "south")  # that a channel may get


class Traffic:
    """Accounts with two channels and some numbers each, and an endless supply of commands about them, lists % of them
    reads."""

    def __init__(self, rng=None, accounts=4, numbers=8, lists=2):
        self.rng = rng or random.Random(1)
        self.lists = lists
        self.accounts = [self._uuid() for _ in range(accounts)]
        self.numbers = {account: [f"+4930{a:04d}{n:03d}" for n in range(numbers)]
                        for a, account in enumerate(self.accounts)}
        self.made = []  # readable commands that can be sent again, or their ids be used again

    def _uuid(self):
        return str(uuid.UUID(int=self.rng.getrandbits(128), version=4))

    def inventory(self):
        for account in self.accounts:
            yield {"type": "account", "id": account}
            for channel, subscription in SUBSCRIPTIONS.items():
                yield {"type": "channel", "account_id": account, "name": channel, "subscription": subscription}
            for number in self.numbers[account]:
                yield {"type": "number", "number": number, "account_id": account, "kind": "fixed", "state": "available"}

    def _command(self, type_name, **fields):
        headers = [(check.TOKEN, self.rng.randbytes(8))]
        made = harness.command(type_name, headers=headers, **{"command_id": self._uuid(), **fields})
        self.made.append(made)
        return made

    def connect(self, account=None, **fields):
        account = account or self.rng.choice(self.accounts)
        return self._command("ConnectNumber", **{"account_id": account, "channel_name": self.rng.choice(CHANNELS),
                                                 "number": self.rng.choice(self.numbers[account]), **fields})

    def disconnect(self, account=None, **fields):
        account = account or self.rng.choice(self.accounts)
        return self._command("DisconnectNumber", **{"account_id": account, "number": self.rng.choice(self.numbers[account]),
                                                    **fields})

    def edit(self):
        """A few settings, now and then the name."""
        account, rng = self.rng.choice(self.accounts), self.rng
        fields = {
            "area_code": str(rng.randrange(1000)),
            "block_caller_id": rng.random() < 0.5,
            "sip_trunk": {"ping": rng.randrange(1, 4), "reference": rng.choice(["", "a", "b"])},
            "audio_stream": {"rtp_timeout": {"value": rng.choice([None, "30", "60"])}},
            "did": {"filter": rng.choice(["", "x"])},
        }
        chosen = {name: fields[name] for name in rng.sample(sorted(fields), rng.randrange(4))}
        if rng.random() < 0.1:
            chosen["new_name"] = rng.choice(NAMES)
        return self._command("EditChannel", account_id=account, channel_name=rng.choice(NAMES), **chosen)

    def type_of_number(self):
        """Set or removed; often there is none, or the channel is of the other kind."""
        account = self.rng.choice(self.accounts)
        fields = {"account_id": account, "channel_name": self.rng.choice(NAMES),
                  "number": self.rng.choice(self.numbers[account])}
        if self.rng.random() < 0.3:
            return self._command("RemoveOperatorConnectNumberType", **fields)
        return self._command("SetOperatorConnectNumberType", number_type=self.rng.choice(["User", "Resource Account", ""]),
                             **fields)

    def listing(self):
        made = self._command(self.rng.choice(LISTS), account_id=self.rng.choice(self.accounts))
        self.made.pop()  # sending it again is no resend, and its id is nobody's
        return made

    def refused(self):
        """Well-formed or not, but never applied."""
        return self.rng.choice([
            lambda: self.connect(channel_name="nowhere"),
            lambda: self.connect(number="4930"),
            lambda: self.connect(number="+49309999999"),
            lambda: self.connect(command_id="no uuid"),
            lambda: self.connect(self.accounts[0], account_id=self._uuid()),
            lambda: self.connect(self.accounts[0], account_id="no uuid"),
        ])()

    def resent(self):
        """A record that was sent before, under a token of its own."""
        former = self.rng.choice(self.made) if self.made else self.connect()
        return self.copy(former)

    def copy(self, item):
        """The same command as another record: a token of its own."""
        copy = harness.again(item)
        copy.headers = [(check.TOKEN, self.rng.randbytes(8))]
        return copy

    def reused(self):
        """Another command under the id of a former one."""
        former = self.rng.choice(self.made) if self.made else self.connect()
        account = former.fields["account_id"]
        fields = {"account_id": account, "command_id": former.fields["command_id"]}
        return self._command("DisconnectNumber", number="+49301111111", **fields)

    def unreadable(self):
        return harness.raw(self.rng.choice([b"", b"{}", b"\xc3\x01unknown schema"]), self.rng.randbytes(6),
                           [(check.TOKEN, self.rng.randbytes(8))])

    def tombstone(self):
        return harness.raw(None, self.rng.randbytes(6))

    def usual(self):
        """What mostly comes."""
        return self.rng.choices(
            [self.connect, self.disconnect, self.edit, self.type_of_number, self.listing, self.resent, self.reused,
             self.refused, self.unreadable, self.tombstone],
            [42 - self.lists, 20, 15, 13, self.lists, 4, 2, 2, 1, 1])[0]()

    def batch(self, count):
        """At least one of each kind when count is 10 or more; the others as usual."""
        kinds = [self.connect, self.edit, self.resent, self.reused, self.unreadable, self.refused, self.disconnect,
                 self.tombstone, self.listing, self.type_of_number]
        chosen = (kinds + [self.usual] * count)[:count]
        first, rest = chosen[:2], chosen[2:]
        self.rng.shuffle(rest)
        return [make() for make in first + rest]


class Load(threading.Thread):
    """Sends on both lanes until it is told to stop: some records on one, some on both, where they race. A command that
    the broker could not take is sent again, as an order system does that does not know what became of it."""

    def __init__(self, stack, traffic, per_second):
        super().__init__(name="load", daemon=True)
        self.stack, self.traffic, self.per_second = stack, traffic, per_second
        self.stopped = threading.Event()
        self.sent, self.error = 0, None

    def run(self):
        try:
            while not self.stopped.wait(0.1):
                self.send(self.per_second // 10)
        except Exception as error:  # shown by the test
            self.error = error

    def send(self, count):
        twice = [self.traffic.usual() for _ in range(count // 3)]
        for topic in (self.stack.topics.commands, self.stack.topics.bulk):
            own = [self.traffic.usual() for _ in range(count - len(twice))]
            batch = own + [self.traffic.copy(item) for item in twice]
            self.traffic.rng.shuffle(batch)
            while batch:
                refused = []
                self.stack.send(batch, topic, deadline_s=300, refused=refused)
                self.sent += len(batch)
                batch = [self.traffic.copy(item) for item in refused]

    def stop(self):
        self.stopped.set()
        self.join(300)
        assert not self.error and not self.is_alive(), self.error
