"""A worker's HTTP endpoints as its clients see them; the metrics read by Prometheus' own Python parser."""

import contextlib
import http.client
import socket

from prometheus_client.parser import text_string_to_metric_families

import harness

LISTEN = "127.0.0.1:0"  # for http.listen: a free port, which the log names


class Answer:
    """status, headers (lower case), text."""

    def __init__(self, response):
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.getheaders()}
        self.text = response.read().decode()


class Probe:
    """Of a worker that was started with http.listen=LISTEN, also before it is ready."""

    def __init__(self, worker):
        self.port = worker.wait_event("http")["port"]

    def get(self, path, method="GET", body=None, deadline_s=20):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=deadline_s)
        with contextlib.closing(connection):
            connection.request(method, path, body)
            return Answer(connection.getresponse())

    def connect(self, sends=b"", deadline_s=30):
        """A bare connection that has sent these bytes."""
        made = socket.create_connection(("127.0.0.1", self.port), deadline_s)
        made.sendall(sends)
        return made

    def wait_status(self, path, status, *words, deadline_s=40):
        """The answer with that status and these words."""
        last = []

        def look():
            last[:] = [self.get(path)]
            return last[0].status == status and all(word in last[0].text for word in words) and last[0]

        return harness.wait_for(lambda: f"{path} is {status} with {words}, not {last[0].status}: {last[0].text}", look,
                                deadline_s, 0.1)

    def families(self):
        answer = self.get("/metrics")
        assert answer.status == 200
        return list(text_string_to_metric_families(answer.text))

    def metrics(self):
        return Metrics(self.families())


class Metrics:
    """Samples of one scrape."""

    def __init__(self, families):
        self.families = families
        self.samples = {}
        for family in families:
            for sample in family.samples:
                key = sample.name, frozenset(sample.labels.items())
                assert key not in self.samples, f"{key} is there twice"
                self.samples[key] = sample.value

    def value(self, name, **labels):
        return self.samples.get((name, frozenset(labels.items())))

    def by(self, name, *labels):
        """The values other than 0, by the values of these labels, which are all that the metric has."""
        found = {}
        for (sample, having), value in self.samples.items():
            if sample == name and value:
                having = dict(having)
                assert sorted(having) == sorted(labels), f"{name} has the labels {sorted(having)}"
                found[tuple(having[label] for label in labels)] = value
        return found

    def falls_below(self, former):
        """Counters, and what histograms count, that are less than in a scrape before."""
        counted = {sample.name for family in self.families if family.type in ("counter", "histogram")
                   for sample in family.samples if not sample.name.endswith("_created")}
        return [key for key, value in former.samples.items() if key[0] in counted and self.samples.get(key, 0) < value]
