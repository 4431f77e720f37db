"""/livez and /readyz while servers go and come, the HTTP server against clients that mean no good, and siptrunkctl health."""

import pathlib
import socket
import time

import pytest

import harness
from conftest import Ctl
from probe import LISTEN, Probe

ACCOUNT = "013dc5c1-ff09-4ece-ad3a-7f8f60949407"
NUMBER = "+31500000000"
STOP_S = 5
MORE_THAN_ALLOWED = 40  # connections
LANES = ("interactive", "bulk")


@pytest.fixture(scope="module")
def servers():
    with harness.own_servers("health-run") as own:
        yield own


@pytest.fixture
def own_stack(servers):
    with harness.Stack(servers) as made:
        yield made


@pytest.fixture
def taken():
    """A port that somebody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def ready(probe, deadline_s=60):
    return probe.wait_status("/readyz", 200, deadline_s=deadline_s).text == "ready\n"


def ask_health(worker, code):
    """siptrunkctl health of that worker."""
    return Ctl({"http.listen": f"127.0.0.1:{worker.wait_event('http')['port']}"})("health", code=code)


# --- servers that go and come -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("server, harm, repair, reason, up", [
    ("pg", "kill", "start", "postgres-conn", "siptrunk_database_up"),
    ("kafka", "kill", "start", "kafka", "siptrunk_broker_up"),
    ("kafka", "pause", "resume", "kafka", "siptrunk_broker_up"),
])
def test_is_not_ready_while_a_server_is_away(own_stack, server, harm, repair, reason, up):
    worker = own_stack.worker(http__listen=LISTEN)
    probe = Probe(worker)
    assert ready(probe)
    own_stack.servers.do(harm, server)
    try:
        answer = probe.wait_status("/readyz", 503, *(f"-{lane}-0: {reason}" for lane in LANES))
        assert len(answer.text.splitlines()) == 2, answer.text
        assert probe.get("/livez").status == 200, "a restart would not help"
        harness.wait_for(f"{up} is 0", lambda: probe.metrics().value(up) == 0)
        assert probe.metrics().by("siptrunk_threads_ready", "lane") == {}
        assert reason in ask_health(worker, 7).stdout
    finally:
        own_stack.servers.do(repair, server)
    assert ready(probe)
    harness.wait_for(f"{up} is 1", lambda: probe.metrics().value(up) == 1)
    own_stack.load_inventory(harness.GUIDE_INVENTORY)
    own_stack.send([harness.command("ConnectNumber", account_id=ACCOUNT, channel_name="name", number=NUMBER)])
    own_stack.read_results(count=1)


def test_is_not_ready_while_diverged(stack):
    probe = Probe(stack.worker(http__listen=LISTEN))
    assert ready(probe)
    stack.rows("update siptrunk.installation set state = 'diverged', state_reason = 'restored' returning 1")
    answer = probe.wait_status("/readyz", 503, *(f"-{lane}-0: diverged: " for lane in LANES))
    assert "restored" in answer.text
    stack.rows("update siptrunk.installation set state = 'normal', state_reason = null returning 1")
    assert ready(probe)


@pytest.mark.parametrize("settings, reason", [
    ({"kafka__bootstrap__servers": "127.0.0.1:1"}, "kafka-unreachable"),
    ({"postgres__conninfo": "host=127.0.0.1 port=1 user=x dbname=x"}, "port 1"),
], ids=["broker", "database"])
def test_says_what_the_start_waits_for(stack, settings, reason):
    worker = stack.worker(ready=False, http__listen=LISTEN, **settings)
    probe = Probe(worker)
    assert probe.wait_status("/readyz", 503, reason).text.startswith("siptrunk-worker: ")
    assert probe.get("/livez").status == 200
    assert probe.metrics().value("siptrunk_database_up") == 0
    assert worker.terminate(STOP_S)[0] == 0


def test_threads_without_partitions_are_ready():
    with harness.Stack(harness.Servers.shared(), partitions=1) as stack:
        worker = stack.worker(http__listen=LISTEN, threads__interactive=3, threads__bulk=0)
        probe = Probe(worker)
        assert ready(probe)
        assert probe.metrics().by("siptrunk_threads_ready", "lane") == {("interactive",): 3}
        claimed = {event["worker"] for event in worker.events("claimed")}
        assert len(claimed) < 3, "there is one partition"


def test_starts_as_not_ready(stack):
    """Threads that have not joined their group own nothing, which must not count as owning no partitions."""
    worker = stack.worker(ready=False, http__listen=LISTEN)
    probe, seen = Probe(worker), []
    while (answer := probe.get("/readyz")).status == 503:
        seen.append(answer.text)
        assert len(seen) < 10000
    assert any("-interactive-0: starting\n" in text for text in seen), seen
    given = {event["client"] for event in worker.events("rebalance")}
    assert len(given) == 2, f"ready before the group gave partitions to both threads\n{worker.log()}"


# --- addresses --------------------------------------------------------------------------------------------------------


def test_two_workers_with_the_default_address_run(stack):
    """Whoever comes first has the port; the other one does without, and says so."""
    workers = [stack.worker(name, http__listen=None) for name in ("first", "second")]
    line = workers[1].wait_event("http-off")
    assert line["level"] == "warn" and "127.0.0.1:9464" in line["msg"] and workers[1].events("http") == []
    assert workers[1].terminate(STOP_S)[0] == 0


def test_an_address_that_was_asked_for_must_be_free(stack, taken):
    worker = stack.worker(ready=False, http__listen=f"127.0.0.1:{taken}")
    assert worker.exit_code(20) == 3, worker.log()
    said = worker.events("not-ready")[0]["msg"]
    assert f"127.0.0.1:{taken}" in said and "in use" in said and "http.listen" in said


def test_an_address_must_be_one_of_this_machine(stack):
    worker = stack.worker(ready=False, http__listen="no-such-host.invalid:9464")
    assert worker.exit_code(20) == 3 and "no-such-host.invalid" in worker.events("not-ready")[0]["msg"]


def test_check_does_not_listen(stack, taken):
    assert stack.worker(ready=False, words=["--check"], http__listen=f"127.0.0.1:{taken}").exit_code(20) == 0


# --- clients ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def probe(stack):
    return Probe(stack.worker(http__listen=LISTEN, threads__bulk=0))


@pytest.mark.parametrize("method, path, body, status", [
    ("GET", "/livez", None, 200), ("GET", "/readyz?verbose", None, 200), ("HEAD", "/metrics", None, 200),
    ("GET", "/", None, 404), ("GET", "/metrics/", None, 404), ("GET", "/../etc/passwd", None, 404),
    ("POST", "/metrics", b"x" * 100000, 405), ("PUT", "/livez", b"", 405), ("DELETE", "/livez", None, 405),
    ("OPTIONS", "/", None, 405), ("TRACE", "/livez", None, 405),
])
def test_serves_three_pages_to_two_methods(probe, method, path, body, status):
    ready(probe)
    answer = probe.get(path, method, body)
    assert answer.status == status
    assert answer.headers.get("allow") == ("GET, HEAD" if status == 405 else None)
    assert answer.headers["connection"] == "close"
    if method == "HEAD":
        assert answer.text == "" and int(answer.headers["content-length"]) > 10000


def closed_in_time(connections):
    """Each of them has been closed by the other side, whatever came before."""
    for connection in connections:
        with connection:
            try:
                while connection.recv(65536):
                    pass
            except ConnectionResetError:
                pass


def test_silent_clients_are_given_up(stack, probe):
    ready(probe)
    began = time.monotonic()
    silent = [probe.connect() if i % 2 else probe.connect(b"GET /metrics HTTP/1.1\r\nHost: x\r\nX-Slow: ")
              for i in range(MORE_THAN_ALLOWED)]
    stack.load_inventory(harness.GUIDE_INVENTORY)
    stack.send([harness.command("ConnectNumber", account_id=ACCOUNT, channel_name="name", number=NUMBER)])
    stack.read_results(count=1)
    assert time.monotonic() - began < 30
    closed_in_time(silent)
    assert ready(probe, 10)


@pytest.mark.parametrize("bytes_sent", [
    b"GET /" + b"x" * 100000 + b" HTTP/1.1\r\n\r\n",
    b"GET /livez HTTP/1.1\r\nHost: x\r\n" + b"X-Header: y\r\n" * 20000 + b"\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
    b"\r\n" * 5000,
], ids=["long path", "many headers", "TLS", "empty lines"])
def test_requests_of_any_size_and_form_are_survived(probe, bytes_sent):
    ready(probe)
    connection = probe.connect()
    try:
        connection.sendall(bytes_sent)
    except (ConnectionResetError, BrokenPipeError):
        pass
    closed_in_time([connection])
    assert probe.get("/livez").status == 200


def test_a_client_that_does_not_read_holds_nothing_up(probe):
    ready(probe)
    greedy = socket.socket()
    greedy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
    with greedy:
        greedy.connect(("127.0.0.1", probe.port))
        greedy.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        for _ in range(20):
            assert probe.get("/metrics", deadline_s=5).status == 200


def test_leaves_in_time_with_open_connections(stack):
    worker = stack.worker(http__listen=LISTEN)
    probe = Probe(worker)
    open_ones = [probe.connect(b"GET /metr") for _ in range(3)] + [probe.connect()]
    code, seconds = worker.terminate(STOP_S)
    assert code == 0 and seconds < STOP_S, worker.log()
    assert not worker.events("stop-forced")
    closed_in_time(open_ones)


# --- siptrunkctl health -----------------------------------------------------------------------------------------------


def test_health_repeats_what_the_worker_says(stack):
    worker = stack.worker(http__listen=LISTEN)
    ready(Probe(worker))
    done = ask_health(worker, 0)
    assert (done.stdout, done.stderr) == ("ready\n", "")


def test_health_asks_on_this_machine_when_the_worker_listens_everywhere(stack):
    worker = stack.worker(http__listen="0.0.0.0:0")
    ready(Probe(worker))
    port = worker.wait_event("http")["port"]
    assert Ctl({"http.listen": f"0.0.0.0:{port}"})("health", environment={"http_proxy": "http://127.0.0.1:1"}).stdout == "ready\n"


def test_health_says_why_not(stack):
    worker = stack.worker(ready=False, http__listen=LISTEN, kafka__bootstrap__servers="127.0.0.1:1")
    Probe(worker).wait_status("/readyz", 503, "kafka-unreachable")
    assert "kafka-unreachable" in ask_health(worker, 7).stdout


def test_health_of_nobody():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        assert address in Ctl({"http.listen": address})("health", code=5).stderr


def test_health_of_somebody_who_does_not_answer(taken):
    assert f"{taken}" in Ctl({"http.listen": f"127.0.0.1:{taken}"})("health", code=5, deadline_s=20).stderr


def test_health_without_an_address():
    assert "http.listen" in Ctl({"http.listen": ""})("health", code=3).stderr


def test_health_takes_no_words():
    assert "nonsense" in Ctl({})("health", "nonsense", code=2).stderr


def test_compose_asks_the_same():
    text = pathlib.Path(harness.ROOT, "docker-compose.yml").read_text()
    assert '["CMD", "siptrunkctl", "health"]' in text and "SIPTRUNK_HTTP_LISTEN: 0.0.0.0:9464" in text
