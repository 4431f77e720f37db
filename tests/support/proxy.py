"""A TCP proxy that knows enough of Kafka's and of PostgreSQL's protocol to name each request and each answer, and does
harm to those that a test has chosen. What came of it is for others to judge.

    with proxy.Proxy(proxy.KafkaTalk, ("127.0.0.1", 9092)) as link:
        lost = link.add(proxy.Fault("EndTxn", "answer", proxy.cut_before, nth=3))
        lost.wait()

A frame is one Kafka request or answer, or all messages of one PostgreSQL statement or of its answer. An act decides
what becomes of a frame; acts on one link come one after the other, as TCP would have it.
"""

import asyncio
import collections
import contextlib
import dataclasses
import random
import socket
import struct
import threading

import harness

LATE_ANSWER_S = 5
LAST_WORDS_S = 1


@dataclasses.dataclass
class Frame:
    side: str  # "request" or "answer"
    name: str  # Kafka: the request's, as in KAFKA_NAMES; PostgreSQL: the prepared statement's
    owner: str  # Kafka: client.id; PostgreSQL: the database
    subject: str  # Kafka: transactional id or group, what the request begins with; PostgreSQL: application_name
    data: bytes  # as it goes over the wire
    key: int | str  # Kafka: the correlation id; PostgreSQL: what kind of request it is
    begin: int = 0  # Kafka: of what stands behind the subject
    fault: "Fault | None" = None  # that holds it back from a client which is gone


class Fault:
    """Which frames, and what is done to them. nth: the first of them; chance: of each from there on; times: how often
    at most, None for ever; after: nothing counts before that other fault has hit."""

    def __init__(self, name, side, act, *, owner=None, subject=None, nth=1, times=1, chance=1.0, rng=None, after=None):
        self.names = {name} if isinstance(name, str) else set(name)
        self.side, self.act, self.owner, self.subject = side, act, owner, subject
        self.nth, self.times, self.chance, self.after = nth, times, chance, after
        self.rng = rng or random.Random(0)
        self.seen = self.hits = 0
        self.hit = []  # the frames
        self.answers = []  # to frames that were delivered when their client was gone
        self.loop = None
        self.released = asyncio.Event()

    def takes(self, frame):
        if frame.name not in self.names or frame.side != self.side or self.hits == self.times:
            return False
        if self.owner not in (None, frame.owner) or self.subject not in (None, frame.subject):
            return False
        if self.after and not self.after.hits:
            return False
        self.seen += 1
        if self.seen < self.nth or self.rng.random() >= self.chance:
            return False
        self.hits += 1
        self.hit.append(frame)
        return True

    def release(self):
        """Lets go of what it holds, and of what it would hold later."""
        self.loop.call_soon_threadsafe(self.released.set)

    def wait(self, hits=1, deadline_s=30):
        harness.wait_for(lambda: f"{self.side} of {self.names}, hit {hits} times (now {self.hits}, seen {self.seen})",
                         lambda: self.hits >= hits, deadline_s, 0.002)
        return self.hit[hits - 1]


# --- acts -------------------------------------------------------------------------------------------------------------


async def passes(link, frame, fault):
    await link.deliver(frame)


async def cut_before(link, frame, fault):
    link.cut()


async def cut_inside(link, frame, fault):
    await link.write(frame.side, frame.data[: len(frame.data) // 2])
    link.cut()


async def cut_after(link, frame, fault):
    await link.deliver(frame)
    link.cut()


async def drop(link, frame, fault):
    pass


async def duplicate(link, frame, fault):
    await link.deliver(frame)
    await link.write(frame.side, frame.data)


async def hold(link, frame, fault):
    """Nothing goes this way on this link until release; when the client has left by then, it is a late packet."""
    await fault.released.wait()
    await link.deliver(frame)


async def set_aside(link, frame, fault):
    """Until release; what comes behind it passes, as if it had been sent before."""
    async def later():
        await fault.released.wait()
        await link.deliver(frame)

    link.tasks.append(asyncio.ensure_future(later()))


async def late(link, frame, fault):
    """The client's connection is reset, and the request stays in the network until release."""
    frame.fault = fault
    link.reset_client()
    await fault.released.wait()
    await link.deliver(frame)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LATE_ANSWER_S):
            while not fault.answers:
                await asyncio.sleep(0.002)


def delay(seconds):
    async def act(link, frame, fault):
        await asyncio.sleep(seconds)
        await link.deliver(frame)

    return act


def change(alter):
    """Delivers what alter makes of the frame: other bytes, which the server then judges by itself."""

    async def act(link, frame, fault):
        frame.data = alter(frame)
        await link.deliver(frame)

    return act


# --- Kafka ------------------------------------------------------------------------------------------------------------

KAFKA_NAMES = {0: "Produce", 9: "OffsetFetch", 12: "Heartbeat", 22: "InitProducerId", 24: "AddPartitionsToTxn",
               25: "AddOffsetsToTxn", 26: "EndTxn", 28: "TxnOffsetCommit"}
_FLEXIBLE_FROM = {0: 9, 9: 6, 12: 4, 22: 2, 24: 3, 25: 3, 26: 3, 28: 3}  # the version since which texts are compact


class KafkaTalk:
    """One connection. The requests of KAFKA_NAMES all begin with a transactional id or a group id."""

    def __init__(self, link):
        self.asked = {}  # correlation id -> the request's frame

    async def request(self, reader):
        size = await reader.readexactly(4)
        body = await reader.readexactly(int.from_bytes(size, "big"))
        api, version, correlation, client_size = struct.unpack_from(">hhih", body)
        begin = 10 + max(0, client_size)
        owner, subject = body[10:begin].decode(), ""
        if api in KAFKA_NAMES:
            flexible = version >= _FLEXIBLE_FROM[api]
            subject, begin = kafka_text(body, begin + flexible, flexible)
        name = KAFKA_NAMES.get(api, str(api))
        return Frame("request", name, owner, subject, size + body, correlation, 4 + begin)

    def sent(self, frame):
        self.asked[frame.key] = frame

    async def answer(self, reader):
        size = await reader.readexactly(4)
        body = await reader.readexactly(int.from_bytes(size, "big"))
        asked = self.asked.pop(int.from_bytes(body[:4], "big"), None)
        if asked is None:  # of a duplicate
            return None
        return Frame("answer", asked.name, asked.owner, asked.subject, size + body, asked.key, fault=asked.fault)


def kafka_text(body, at, compact):
    """A text, and what stands behind it. Ours are shorter than 127 bytes, so a compact length is one byte."""
    size, begin = (body[at] - 1, at + 1) if compact else (int.from_bytes(body[at : at + 2], "big", signed=True), at + 2)
    end = begin + max(0, size)
    return body[begin:end].decode(), end


def kafka_error(answer):
    """The first error code in an answer about one topic and its first partition, or about all."""
    data = answer.data[8:]  # behind size and correlation id
    if answer.name == "Produce":  # version 3 to 8: topics, name, partitions, partition
        return int.from_bytes(data[kafka_text(data, 4, False)[1] + 8 :][:2], "big", signed=True)
    if answer.name == "TxnOffsetCommit":  # version 3: tags, throttle, topics, name, partitions, partition
        return int.from_bytes(data[kafka_text(data, 6, True)[1] + 5 :][:2], "big", signed=True)
    return int.from_bytes(data[4:6], "big", signed=True)  # EndTxn, AddOffsetsToTxn: throttle


def spoiled(frame):
    """The same request with a field behind its subject that the broker must refuse: acks, the generation, the
    transaction's timeout, else the producer id."""
    at = frame.begin
    if frame.name == "TxnOffsetCommit":
        at = kafka_text(frame.data, at, True)[1] + 10  # group, producer id and epoch
    size = {"Produce": 2, "Heartbeat": 4, "InitProducerId": 4, "TxnOffsetCommit": 4}.get(frame.name, 8)
    wrong = {"Produce": 7, "InitProducerId": 2**31 - 1}.get(frame.name)
    if wrong is None:
        wrong = int.from_bytes(frame.data[at : at + size], "big") + 1_000_000
    return frame.data[:at] + wrong.to_bytes(size, "big") + frame.data[at + size :]


# --- PostgreSQL -------------------------------------------------------------------------------------------------------

_SSL_REQUEST, _GSS_REQUEST = 80877103, 80877104
_ENDS_OF_ANSWERS = b"CIsEZR"  # command complete, empty query, portal suspended, error, ready, authentication


class PostgresTalk:
    """One session. A frame's name is the statement's: of a Bind; 'prepare NAME' of a Parse; else its first word."""

    def __init__(self, link):
        self.link = link
        self.owner = self.subject = ""
        self.started = False
        self.under_way = collections.deque()  # (kind, name) of what the server has not answered to the end yet

    def frame(self, side, kind, name, data):
        return Frame(side, name, self.owner, self.subject, data, kind)

    async def request(self, reader):
        if not self.started:
            return await self.startup(reader)
        data, name = b"", ""
        while True:
            kind, body = await pg_read(reader)
            data += pg_message(kind, body)
            if kind == b"B":
                name = name or body.split(b"\0")[1].decode()
            elif kind == b"P":
                statement, text = body.split(b"\0")[:2]
                if statement:
                    return self.frame("request", "prepare", "prepare " + statement.decode(), data)
                name = first_word(text)
            elif kind == b"E":
                return self.frame("request", "execute", name, data)
            elif kind == b"Q":
                return self.frame("request", "query", first_word(body), data)
            elif kind != b"D":
                return self.frame("request", "sync" if kind == b"S" else "", "sync" if kind == b"S" else "", data)

    async def startup(self, reader):
        while True:
            size = await reader.readexactly(4)
            body = await reader.readexactly(int.from_bytes(size, "big") - 4)
            if int.from_bytes(body[:4], "big") not in (_SSL_REQUEST, _GSS_REQUEST):
                break
            self.link.client.write(b"N")
        words = body[4:].split(b"\0")
        options = dict(zip(words[::2], words[1::2]))
        self.owner, self.subject = (options.get(key, b"").decode() for key in (b"database", b"application_name"))
        self.started = True
        return self.frame("request", "startup", "startup", size + body)

    def sent(self, frame):
        if frame.key:
            self.under_way.append((frame.key, frame.name))

    async def answer(self, reader):
        data = b""
        while True:
            kind, body = await pg_read(reader)
            data += pg_message(kind, body)
            under_way, name = self.under_way[0] if self.under_way else ("", "")
            if kind in _ENDS_OF_ANSWERS or (kind == b"1" and under_way == "prepare"):
                self.answered(kind)
                return self.frame("answer", under_way, name, data)

    def answered(self, kind):
        """After an error all is passed over up to what 'ready' answers."""
        if kind in b"CIs1" and self.under_way and self.under_way[0][0] in ("execute", "prepare"):
            self.under_way.popleft()
        elif kind in b"EZ":
            while self.under_way and self.under_way[0][0] in ("execute", "prepare"):
                self.under_way.popleft()
            if kind == b"Z" and self.under_way:
                self.under_way.popleft()


async def pg_read(reader):
    head = await reader.readexactly(5)
    return head[:1], await reader.readexactly(int.from_bytes(head[1:], "big") - 4)


def pg_message(kind, body):
    return kind + (len(body) + 4).to_bytes(4, "big") + body


def first_word(text):
    return (text.split(b"\0")[0].split() or [b""])[0].decode()


def raises(sqlstate):
    """The statement is replaced by one that fails with this SQLSTATE, so that the server's state is what it then is."""
    text = f"DO $$BEGIN RAISE EXCEPTION 'forged' USING ERRCODE = '{sqlstate}'; END$$".encode()
    extended = (pg_message(b"P", b"\0" + text + b"\0\0\0") + pg_message(b"B", b"\0\0" + bytes(6))
                + pg_message(b"D", b"P\0") + pg_message(b"E", b"\0" + bytes(4)))
    simple = pg_message(b"Q", text + b"\0")
    return change(lambda frame: simple if frame.data[:1] == b"Q" else extended)


def fatal(sqlstate):
    """In the place of the frame the client gets a FATAL error and the end of the session. As an act on an answer, what
    it answers was done."""
    fields = b"SFATAL\0VFATAL\0C" + sqlstate.encode() + b"\0Mforged\0\0"

    async def act(link, frame, fault):
        await link.write("answer", pg_message(b"E", fields))
        link.end()

    return act


# --- links ------------------------------------------------------------------------------------------------------------


class Link:
    """A client's connection and the one to the server that was made for it."""

    def __init__(self, proxy, client_reader, client):
        self.proxy, self.client_reader, self.client = proxy, client_reader, client
        self.talk = proxy.talk(self)
        self.client_gone = self.ended = False
        self.tasks = []  # that acts have left behind

    async def run(self):
        try:
            await self.proxy.flowing.wait()
            self.server_reader, self.server = await asyncio.open_connection(*self.proxy.target)
            answers = asyncio.ensure_future(self.pump(self.talk.answer, self.server_reader))
            self.proxy.links.add(self)
            try:
                await self.pump(self.talk.request, self.client_reader)
                self.end()
                with contextlib.suppress(TimeoutError, ConnectionError):
                    async with asyncio.timeout(LAST_WORDS_S):  # so that the server sees to the end what it was given
                        await answers
                        while await self.server_reader.read(1 << 16):
                            pass
            finally:
                self.proxy.links.discard(self)
                for task in [answers, *self.tasks]:
                    task.cancel()
                self.server.transport.abort()
        finally:
            self.client.transport.abort()

    async def pump(self, read, reader):
        """Until either side is gone."""
        ours = reader is self.client_reader
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while not (self.ended or (ours and self.client_gone)):
                frame = await read(reader)
                if frame is not None:
                    await self.proxy.flowing.wait()
                    faults = () if self.client_gone or self.ended else self.proxy.faults
                    fault = next((fault for fault in faults if fault.takes(frame)), None)
                    await (fault.act if fault else passes)(self, frame, fault)
        if not ours:
            self.end()

    async def deliver(self, frame):
        if frame.side == "request":
            self.talk.sent(frame)
        elif self.client_gone:
            if frame.fault:
                frame.fault.answers.append(frame)
            return
        await self.write(frame.side, frame.data)

    async def write(self, side, data):
        to = self.server if side == "request" else self.client
        to.write(data)
        with contextlib.suppress(ConnectionError):
            await to.drain()

    def reset_client(self):
        self.client_gone = True
        with contextlib.suppress(OSError):  # it may have closed in this moment
            self.client.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.client.transport.abort()

    def cut(self):
        """The client's side is reset. The server gets what was delivered, and then the end."""
        self.reset_client()
        self.end()

    def end(self):
        if not self.ended:
            self.ended = True
            with contextlib.suppress(OSError):
                self.server.write_eof()
            if not self.client_gone:
                self.client.close()


class Proxy:
    """Listens on 127.0.0.1:port, in a thread of its own, and connects to target for each client."""

    def __init__(self, talk, target):
        self.talk, self.target = talk, target
        self.faults = []
        self.links = set()
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, name="proxy", daemon=True)

    def __enter__(self):
        self.thread.start()
        self.port = self._run(self._listen())
        return self

    def __exit__(self, *failure):
        self._run(self._close())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)
        self.loop.close()

    def _run(self, work):
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(10)

    async def _listen(self):
        self.flowing = asyncio.Event()
        self.flowing.set()
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self.server.sockets[0].getsockname()[1]

    async def _serve(self, reader, writer):
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            await Link(self, reader, writer).run()

    async def _close(self):
        self.server.close()
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    def add(self, fault):
        fault.loop = self.loop
        self.faults = [*self.faults, fault]
        return fault

    def remove(self, *faults):
        """They take nothing any more; what they hold is let go."""
        self.faults = [fault for fault in self.faults if fault not in faults]
        for fault in faults:
            fault.release()

    def cut(self):
        """All connections."""
        self.loop.call_soon_threadsafe(lambda: [link.cut() for link in list(self.links)])

    def stall(self):
        """Nothing passes, and nothing is lost."""
        self.loop.call_soon_threadsafe(self.flowing.clear)

    def resume(self):
        self.loop.call_soon_threadsafe(self.flowing.set)
