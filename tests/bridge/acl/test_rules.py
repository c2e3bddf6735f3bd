"""The access rules for other brokers: what they allow when each broker's language is evaluated."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from bridge.acl import BROKERS, broker_rules, client_rules, server_rules
from tests.support.brokers import Mosquitto
from tests.support.brokers.access import READS, WRITES
from wire.errors import LocalError
from wire.mqtt import matches
from wire.topics import TABLE, Writer


def covers(allowed: str, asked: str) -> bool:
    """Return True if the filter `allowed` covers every topic that `asked` covers."""
    wanted, levels = allowed.split("/"), asked.split("/")
    for at, level in enumerate(wanted):
        if level == "#":
            return True
        if at == len(levels) or levels[at] == "#" or level not in ("+", levels[at]):
            return False
    return len(wanted) == len(levels)


def ask_mosquitto(text: str, write: bool, topic: str, me: str) -> bool:
    """Evaluate an acl_file: `topic` lines apply to the user above them, `pattern` lines to everyone."""
    allowed, user = [], ""
    for line in text.splitlines():
        word, _, rest = line.partition(" ")
        if word == "user":
            user = rest
        elif word == "pattern" or (word == "topic" and user == me):
            access, _, pattern = rest.partition(" ")
            if access in ("readwrite", "write" if write else "read"):
                allowed.append(pattern.replace("%u", me))
    return any(covers(each, topic) for each in allowed)


def ask_emqx(text: str, write: bool, topic: str, me: str) -> bool:
    """Evaluate an acl.conf: the first term that matches decides."""
    for line in text.splitlines():
        if not line or line.startswith("%%"):
            continue
        if line == "{deny, all}.":
            return False
        found = re.fullmatch(r'\{(allow|deny), (all|\{user, "[^"]+"\}), (all|publish|subscribe), \[(.*)\]\}\.', line)
        assert found is not None, line
        verdict, who, action, topics = found.groups()
        patterns = [each.replace("${username}", me) for each in re.findall(r'"([^"]+)"', topics)]
        mine = who in ("all", f'{{user, "{me}"}}')
        asked = action in ("all", "publish" if write else "subscribe")
        if mine and asked and any(matches(each, topic) for each in patterns):
            return verdict == "allow"
    raise AssertionError("no rule at the end")


def ask_nats(text: str, write: bool, topic: str, me: str) -> bool:
    """Evaluate the permissions of NATS, which are about subjects."""
    block = re.search(rf'user: "{me}".*\n.*\n\s*publish: \[(.*)\]\n\s*subscribe: \[(.*)\]\n', text)
    assert block is not None, text
    wild = {"*": "+", ">": "#"}
    subjects = re.findall(r'"([^"]+)"', block[1 if write else 2])
    allowed = ["/".join(wild.get(token, token) for token in each.split(".")) for each in subjects]
    return any(covers(each, topic) for each in allowed)


def ask_rabbitmq(text: str, write: bool, topic: str, me: str) -> bool:
    """Evaluate RabbitMQ's topic permissions: expressions over routing keys and binding keys."""
    commands = [line for line in text.replace("\\\n", "").splitlines() if not line.startswith("#")]
    listed = {parts[1]: parts[2:] for parts in map(shlex.split, commands) if parts[:1] == ["allow"]}
    expressions = listed.get(me, listed["$client"])
    key = topic.replace("/", ".").replace("+", "*")
    return re.search(expressions[0 if write else 1].replace("{username}", me), key) is not None


ASK: dict[str, Callable[[str, bool, str, str], bool]] = {
    "mosquitto": ask_mosquitto,
    "emqx": ask_emqx,
    "nats": ask_nats,
    "rabbitmq": ask_rabbitmq,
}


def test_the_rules_cover_every_row_of_the_table_of_topics() -> None:
    rules = client_rules("chat", "%u")
    assert set(rules.writes) == {"chat/from/%u/#", "chat/direct/+/%u"}
    assert set(rules.reads) == {
        "chat/channels/#", "chat/presence/#", "chat/server", "chat/to/%u/#", "chat/direct/%u/+"
    }  # fmt: skip
    for row in TABLE:  # also a row that is added later
        topic = f"chat/{row.pattern}".replace("<me>", "%u")
        patterns = rules.writes if row.writer is Writer.CLIENT else rules.reads
        assert any(matches(each, topic) for each in patterns), row


@pytest.mark.parametrize("root", ["chat", "site/hall2", "c"])
def test_what_one_client_may_write_and_read(root: str) -> None:
    rules = client_rules(root, "alice")
    assert {topic: rules.may_write(root + topic[4:]) for topic in WRITES} == WRITES
    topics = {topic: allowed for topic, allowed in READS.items() if "#" not in topic and "+" not in topic}
    assert {topic: rules.may_read(root + topic[4:]) for topic in topics} == topics
    assert not rules.may_write(root)
    for outside in ("sensors/hall", f"{root}ter/from/bob/x", f"{root.upper()}/from/bob/x", f"x/{root}/to/bob/x"):
        assert rules.may_write(outside)
        assert rules.may_read(outside)
    for topic in (*WRITES, *topics):
        assert server_rules(root).may_write(root + topic[4:])
        assert server_rules(root).may_read(root + topic[4:])


@pytest.mark.parametrize("broker", BROKERS)
def test_the_rules_of_every_broker_allow_the_same(broker: str) -> None:
    text = broker_rules(broker, clients=["alice", "bob"])
    ask = ASK[broker]
    assert {topic: ask(text, True, topic, "alice") for topic in WRITES} == WRITES
    assert {topic: ask(text, False, topic, "alice") for topic in READS} == READS
    for topic in WRITES:
        assert ask(text, True, topic, "partyline")
        assert ask(text, False, topic, "partyline")
    assert ask(text, False, "chat/#", "partyline")
    assert not ask(text, True, "elsewhere", "alice")


@pytest.mark.parametrize("broker", BROKERS)
def test_another_root_and_user(broker: str) -> None:
    text = broker_rules(broker, "site/hall2", "bridge-1", ["alice"])
    assert ASK[broker](text, True, "site/hall2/from/alice/say/lab", "alice")
    assert not ASK[broker](text, True, "chat/from/alice/say/lab", "alice")
    assert ASK[broker](text, False, "site/hall2/#", "bridge-1")
    assert "logs in as bridge-1" in text
    assert "restart" in text.lower()


def test_the_recommended_mosquitto_settings_are_those_that_the_tests_use() -> None:
    """`autosave_on_changes` alone saves after `autosave_interval` changes, by default 1,800."""
    page = (Path(__file__).parents[3] / "docs" / "brokers.md").read_text()
    told = broker_rules("mosquitto")
    for setting in Mosquitto.KEEPS:
        assert f"`{setting}`" in page
        assert f"#   {setting}\n" in told


def test_without_clients_the_nats_rules_have_one_commented_example() -> None:
    text = broker_rules("nats")
    listed = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    assert "alice" not in "\n".join(listed)
    uncommented = re.sub(r"^    # ", "    ", text, flags=re.MULTILINE)
    assert uncommented == broker_rules("nats", clients=["alice"])


def test_the_script_for_rabbitmq_runs() -> None:
    """With a shell function as rabbitmqctl: for the clients in the script, or for those given as arguments."""
    printed = 'rabbitmqctl() { printf "%s|" "$@"; echo; }\n' + broker_rules("rabbitmq", clients=["alice", "bob"])
    for given, names in (([], ["alice", "bob"]), (["carol"], ["carol"])):
        done = subprocess.run(["sh", "-s", *given], input=printed, capture_output=True, text=True, check=True)
        commands = [line.split("|") for line in done.stdout.splitlines()]
        assert [command[3] for command in commands] == [name for name in ["partyline", *names] for _ in range(2)]
        assert {tuple(command[:3]) for command in commands} == {
            ("set_permissions", "-p", "/"),
            ("set_topic_permissions", "-p", "/"),
        }
        assert all(command[4] == "amq.topic" for command in commands[1::2])


def test_wrong_arguments_are_refused() -> None:
    for arguments, part in (
        (("hivemq",), "choose mosquitto, emqx, nats or rabbitmq"),
        (("nats", "my chat"), "has only letters, digits"),
        (("nats", "a.b"), "has only letters, digits"),
        (("nats", "chat", "a/b"), "A user name has"),
        (("nats", "chat", "partyline", ["a", "+"]), "A user name has"),
        (("nats", "chat", "partyline", ["partyline"]), "the server's own"),
    ):
        with pytest.raises(LocalError, match=re.escape(part)):
            broker_rules(*arguments)
