"""Headers of the contract on a broker that takes rights away: a reply topic that may not be written holds up nothing."""

import uuid

import pytest
from confluent_kafka.admin import AclBinding, AclBindingFilter, AclOperation, AclPermissionType, ResourcePatternType, ResourceType

import harness
from probe import LISTEN, Probe

ACCOUNT = str(uuid.uuid4())
NUMBERS = [f"+3150000{i:04}" for i in range(40)]
INVENTORY = [
    {"type": "account", "id": ACCOUNT, "name": "one"},
    {"type": "channel", "account_id": ACCOUNT, "name": "trunk", "subscription": "sip_trunk"},
    *({"type": "number", "number": n, "account_id": ACCOUNT, "kind": "fixed", "state": "available"} for n in NUMBERS),
]
AUTHORIZER = ("authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer\n"
              "allow.everyone.if.no.acl.found=true\n")


@pytest.fixture(scope="module")
def strict():
    """A broker that heeds rights; everything is allowed until a rule says otherwise."""
    with harness.own_servers("replies-servers", prepare={"kafka/extra.properties": AUTHORIZER}) as servers:
        yield servers


def rule(topic, operation, permission):
    return AclBinding(ResourceType.TOPIC, topic, ResourcePatternType.LITERAL, "User:ANONYMOUS", "*", operation, permission)


def deny(servers, topic, *operations):
    rules = [rule(topic, operation, AclPermissionType.DENY) for operation in operations]
    # with any rule on a topic, what no rule allows is refused
    rules.append(rule(topic, AclOperation.ALL, AclPermissionType.ALLOW))
    for future in servers.admin.create_acls(rules).values():
        future.result(20)


def allow_again(servers, topic):
    every = AclBindingFilter(ResourceType.TOPIC, topic, ResourcePatternType.LITERAL, None, None, AclOperation.ANY,
                             AclPermissionType.ANY)
    for future in servers.admin.delete_acls([every]).values():
        future.result(20)


def connects(numbers, topic):
    headers = [("kafka_replyTopic", topic.encode())]
    return [harness.command("ConnectNumber", account_id=ACCOUNT, channel_name="trunk", number=n, headers=headers) for n in numbers]


@pytest.mark.parametrize("operations", [("WRITE",), ("DESCRIBE", "WRITE"), ("DESCRIBE_CONFIGS",)], ids="-".join)
def test_a_reply_topic_that_may_not_be_written(strict, operations):
    open_topic, closed = harness.unique("open"), harness.unique("closed")
    harness.create_topics(strict, {open_topic: harness.PARTITIONS, closed: harness.PARTITIONS})
    deny(strict, closed, *(AclOperation[name] for name in operations))
    with harness.Stack(strict) as stack:
        stack.load_inventory(INVENTORY)
        worker = stack.worker(http__listen=LISTEN, replies__allowed_topics=f"{open_topic},{closed}")
        mixed = [c for pair in zip(connects(NUMBERS[:20], open_topic), connects(NUMBERS[20:], closed)) for c in pair]
        sent = stack.send(mixed)
        stack.wait_drained()
        results = stack.read_results()
        assert sorted(r.result["command_id"] for r in results) == sorted(c.fields["command_id"] for c in sent)
        assert {r.result["outcome"] for r in results} == {"APPLIED"}
        warned = [event for event in worker.events("reply-topic") if event["topic"] == closed]
        assert warned and len(warned) < 5
        shunned = [event for event in worker.events("reply-topic") if "for a while" in event["msg"]]
        counted = Probe(worker).metrics().by("siptrunk_reply_topics_shunned_total", "lane")
        assert counted.get(("interactive",), 0) == len(shunned) and (shunned or operations != ("WRITE",))

        allow_again(strict, closed)
        answered = stack.read(closed)
        assert operations == ("DESCRIBE_CONFIGS",) or answered == []
        assert worker.process.poll() is None
