"""siptrunkctl topics: makes what the configuration names, leaves alone what is there, and says what is wrong with it."""

import contextlib

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import ConfigResource, NewTopic, ResourceType

import harness
from conftest import Ctl

SUFFIX = "-dead"


@pytest.fixture
def names():
    prefix = harness.unique("topics")
    return {kind: f"{prefix}.{kind}" for kind in ("commands", "more", "bulk", "results", "results.bulk")}


@pytest.fixture
def ctl(servers, names):
    """Two command topics of the interactive lane, and results of the bulk lane apart."""
    yield Ctl({"kafka.bootstrap.servers": servers.bootstrap, "topics.commands": f"{names['commands']}, {names['more']}",
               "topics.bulk": names["bulk"], "topics.results": names["results"],
               "topics.results.bulk": names["results.bulk"], "topics.dead_letter.suffix": SUFFIX,
               "replies.allowed_topics": names["commands"] + ".replies"})
    with contextlib.suppress(KafkaException):
        servers.admin.delete_topics(every(names), operation_timeout=0, request_timeout=5)


def every(names):
    """In the order in which they are shown."""
    lanes = [names[kind] + suffix for kind in ("commands", "more", "bulk") for suffix in ("", SUFFIX)]
    return lanes + [names["results"], names["results.bulk"]]


def create(servers, name, partitions=1, **config):
    settings = {key.replace("_", "."): value for key, value in config.items()}
    new = NewTopic(name, partitions, 1, config=settings)
    servers.admin.create_topics([new], operation_timeout=20)[name].result(20)
    harness.wait_for(f"{name} is known", lambda: name in servers.admin.list_topics(timeout=20).topics)


def settings_of(servers, topic):
    resource = ConfigResource(ResourceType.TOPIC, topic)
    entries = servers.admin.describe_configs([resource])[resource].result(20)
    return {name: entry.value for name, entry in entries.items()}


def partitions_of(servers, topic):
    return len(servers.admin.list_topics(topic, timeout=20).topics[topic].partitions)


def rows(status):
    """The table below its heads, as lists of words."""
    return [line.split() for line in status.stdout.splitlines()[1:]]


def test_apply_makes_what_is_missing_once(ctl, servers, names):
    done = ctl("topics", "apply", "--partitions", 3, "--replication", 1)
    assert done.stdout.splitlines() == [f"{name} created, with 3 partitions" for name in every(names)]
    assert [partitions_of(servers, name) for name in every(names)] == [3] * 8
    again = ctl("topics", "apply", "--partitions", 5)
    assert again.stdout.splitlines() == [f"{name} is there, with 3 partitions" for name in every(names)]
    assert [row[0] for row in rows(ctl("topics", "status"))] == every(names)
    others = set(servers.admin.list_topics(timeout=20).topics)
    assert names["commands"] + ".replies" not in others, "reply topics belong to others"


def test_results_are_kept_longer_than_commands_and_nothing_is_compacted(ctl, servers, names):
    ctl("topics", "apply", "--partitions", 1)
    kept = {name: settings_of(servers, name) for name in every(names)}
    assert {kept[name]["cleanup.policy"] for name in kept} == {"delete"}
    days = {name: int(kept[name]["retention.ms"]) / 86400000 for name in kept}
    results = {names["results"], names["results.bulk"]}
    assert all(days[name] == (365 if name in results else 14) for name in days), days


def test_default_is_twelve_partitions(ctl, servers, names):
    ctl("topics", "apply")
    assert partitions_of(servers, names["commands"]) == 12


def test_status_names_what_is_missing(ctl, servers, names):
    create(servers, names["commands"], 2)
    status = rows(ctl("topics", "status", code=7))
    assert status[0][:2] == [names["commands"], "2"] and status[0][-1] == "ok"
    assert all(row[1:3] == ["0", "MISSING:"] for row in status[1:]) and len(status) == 8
    ctl("topics", "apply")
    ctl("topics", "status")


@pytest.mark.parametrize("kind", ["results", "commands", "bulk"])
def test_status_names_what_is_compacted(ctl, servers, names, kind):
    create(servers, names[kind], 1, cleanup_policy="compact")
    ctl("topics", "apply", "--partitions", 1)
    status = {row[0]: row for row in rows(ctl("topics", "status", code=7))}
    assert status[names[kind]][3:5] == ["compact", "WRONG:"]
    assert sum(row[-1] == "ok" for row in status.values()) == 7


def test_says_what_the_broker_refuses(ctl):
    assert "replication factor" in ctl("topics", "apply", "--replication", 3, code=3).stderr


def test_unreachable_broker(ctl):
    done = ctl("topics", "apply", code=5, kafka__bootstrap__servers="127.0.0.1:1")
    assert "127.0.0.1:1" in done.stderr and done.stdout == ""


@pytest.mark.parametrize("words", [[], ["aply"], ["apply", "status"], ["apply", "--partitions", "0"],
                                   ["apply", "--partitions", "many"], ["apply", "--replication"], ["apply", "--partition=3x"]],
                         ids=" ".join)
def test_usage_errors(ctl, words):
    assert "siptrunkctl topics --help" in ctl("topics", *words, code=2).stderr
