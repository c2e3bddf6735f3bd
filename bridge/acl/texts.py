"""Floor 3: the access rules in the languages of Mosquitto, EMQX, NATS and RabbitMQ; pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .rules import Rules

# What has to be said to all: the name that the broker checks is the name that the chat shows.
_NAMES = """\
A client's user name at the broker has to be its name in the chat, written as in its topics: 1 to 32 letters, digits,
- and _. Names that differ only in upper and lower case are one person in the chat: give each name to one client.
The server itself logs in as <user>, so nobody else may have that name.
"""


def _fill(text: str, mark: str, user: str) -> str:
    """A head with the names in it; `mark` begins a comment."""
    names = "".join(f"{mark} {line}\n" for line in _NAMES.splitlines())
    return text.replace("<names>\n", names).replace("<user>", user)


_MOSQUITTO = """\
# Partyline's access rules for Mosquitto: each client writes only below its own name.
#
# Save them as /etc/mosquitto/partyline.acl (readable for the user mosquitto), and have in mosquitto.conf:
#   allow_anonymous false
#   password_file /etc/mosquitto/partyline.passwd
#   acl_file /etc/mosquitto/partyline.acl
#   max_queued_messages 0
#   persistence true
#   autosave_on_changes true
#   autosave_interval 1
# Make the users: mosquitto_passwd -c /etc/mosquitto/partyline.passwd <user>, and without -c each client.
# Restart it: systemctl restart mosquitto (after a change of these two files alone, a SIGHUP is enough).
#
<names>
# What is not allowed here is forbidden, also outside of the root: add your other topics at the end.
# Mosquitto grants every subscription, and delivers only what may be read. It warns of patterns without %u:
# they are meant so, as a `topic` line above the first user would be for anonymous clients alone.
"""


def mosquitto(rules: Rules, user: str, _: Sequence[str]) -> str:
    """An acl_file: `pattern` lines are for every user, with %u for the name."""
    lines = [
        "",
        "# The server itself.",
        f"user {user}",
        f"topic readwrite {rules.all}",
        "",
        "# Every client.",
        *(f"pattern write {each}" for each in rules.writes),
        *(f"pattern read {each}" for each in rules.reads),
        "",
        "# Your other topics, for example:",
        "# pattern readwrite plant/#",
    ]
    return _fill(_MOSQUITTO, "#", user) + "\n".join(lines) + "\n"


_EMQX = """\
%% Partyline's access rules for EMQX 5: each client writes only below its own name.
%%
%% Save them as etc/acl.conf (packages have /etc/emqx/acl.conf; or paste them in the Dashboard: Access Control,
%% Authorization, File), and have in emqx.conf:
%%   authorization { no_match = deny, deny_action = ignore,
%%     sources = [{ type = file, enable = true, path = "etc/acl.conf" }] }
%% EMQX lets everybody in until there is an authenticator: make one (Access Control, Authentication) with the user
%% <user> and one for each client. Restart it: systemctl restart emqx (a change in the Dashboard needs none).
%%
<names>
%% EMQX looks at the filter of a subscription: one that takes in more than is allowed, such as #, is refused.
%% The first rule that fits counts.
"""


def emqx(rules: Rules, user: str, _: Sequence[str]) -> str:
    """An acl.conf: Erlang terms, of which the first that fits decides."""
    lines = [
        "",
        "%% The server itself.",
        f'{{allow, {{user, "{user}"}}, all, ["{rules.all}"]}}.',
        "",
        "%% Every client.",
        f"{{allow, all, publish, {_list(rules.writes)}}}.",
        f"{{allow, all, subscribe, {_list(rules.reads)}}}.",
        f'{{deny, all, all, ["{rules.all}"]}}.',
        "",
        "%% Your other topics go here, for example:",
        '%% {allow, all, all, ["plant/#"]}.',
        "",
        "%% The rest; it has to be the end, as #, +/# and the like take in the topics above.",
        "{deny, all}.",
    ]
    return _fill(_EMQX, "%%", user) + "\n".join(lines) + "\n"


def _list(items: Sequence[str]) -> str:
    return "[" + ", ".join(f'"{each}"' for each in items) + "]"


_NATS = """\
# Partyline's access rules for NATS: each client writes only below its own name.
#
# Save them as partyline-users.conf beside nats-server.conf, and have in that:
#   server_name: nats1
#   jetstream { store_dir: "/var/lib/nats" }
#   mqtt { port: 1883 }
#   include "partyline-users.conf"
# Restart it: systemctl restart nats-server; from then on `nats-server --signal reload` takes changes of the users.
#
# NATS has no rule for whoever comes: each user is listed. For your own: server.py acl nats --clients alice,bob
# The passwords are variables. They stand here, above `authorization`, or in the environment of nats-server:
#   PASSWORD_<user>: "…"          # or its bcrypt hash, which `nats server passwd` makes
#
<names>
# MQTT's chat/to/alice/# is chat.to.alice.> here. $MQTT.sub is where NATS itself hands over what comes at QoS 1.
# These users may come by MQTT only: by NATS's own protocol, $MQTT.sub.> would show them the others' messages.
# A subscription that takes in more than is allowed, such as #, is refused. Your other topics: add their subjects.

authorization {
  users = [
"""


def nats(rules: Rules, user: str, clients: Sequence[str]) -> str:
    """The users with their permissions; without clients there is one as a comment, to be copied."""
    listed = [_nats_user(user, [rules.all], [rules.all])]
    for client in clients or ["alice"]:
        writes, reads = ([each.replace("{client}", client) for each in side] for side in (rules.writes, rules.reads))
        entry = _nats_user(client, writes, reads)
        listed.append(entry if clients else entry.replace("    ", "    # ", 1).replace("\n    ", "\n    # "))
    return f"{_fill(_NATS, '#', user)}{''.join(listed)}  ]\n}}\n"


def _nats_user(name: str, writes: Sequence[str], reads: Sequence[str]) -> str:
    """One user."""
    heard = [subject for each in reads for subject in _subjects(each)] + ["$MQTT.sub.>", "$MQTT.deliver.pubrel.>"]
    return (
        f'    {{ user: "{name}", password: $PASSWORD_{name}, allowed_connection_types: ["MQTT"],\n'
        f"      permissions: {{\n"
        f"        publish: {_list([_subject(each) for each in writes])}\n"
        f"        subscribe: {_list(heard)}\n"
        f"      }} }}\n"
    )


def _subject(topic_filter: str) -> str:
    """An MQTT filter as NATS has it."""
    wild = {"+": "*", "#": ">"}
    return ".".join(wild.get(level, level) for level in topic_filter.split("/"))


def _subjects(topic_filter: str) -> list[str]:
    """What NATS subscribes to for it: `a/#` is `a.>`, and `a` as well."""
    subject = _subject(topic_filter)
    return [subject, subject.removesuffix(".>")] if subject.endswith(".>") else [subject]


_RABBITMQ = """\
#!/bin/sh
# Partyline's access rules for RabbitMQ: each client writes only below its own name.
#
# Save them as partyline-acl.sh and run it where rabbitmqctl works, for all clients, and again for each new one:
# sh partyline-acl.sh alice bob. The users have to be there: rabbitmqctl add_user alice (it asks for the password).
# Nothing has to be restarted; a client that is connected has its rights when it connects again.
# Nobody else should have permissions for amq.topic: RabbitMQ lets a user without topic permissions write and read
# every topic of the exchanges that it may use.
# The plugin has to be on: rabbitmq-plugins enable rabbitmq_mqtt. rabbitmq.conf has to forbid anonymous logins
# (mqtt.allow_anonymous = false up to 3.13, anonymous_login_user = none from 4.0). The rules are for its defaults
# mqtt.vhost = / and mqtt.exchange = amq.topic.
#
<names>
# MQTT's chat/to/alice/# is the routing key chat.to.alice.# here; RabbitMQ puts the name in for {username}.
# A subscription that takes in more than is allowed, such as #, is refused.
# Your other topics: add them to the expressions, for example ^(plant[.].*|…)$.
set -eu
vhost=/
"""

_ALLOW = """
# allow NAME WRITE READ: the queues of MQTT sessions and the exchange; then what may go in and come out there.
allow() {
    rabbitmqctl set_permissions -p "$vhost" "$1" '^mqtt-subscription-.*$' \\
        '^(mqtt-subscription-.*|amq[.]topic)$' '^(mqtt-subscription-.*|amq[.]topic)$'
    rabbitmqctl set_topic_permissions -p "$vhost" "$1" amq.topic "$2" "$3"
}
"""


def rabbitmq(rules: Rules, user: str, clients: Sequence[str]) -> str:
    """A shell script of rabbitmqctl commands, for the clients that are listed or given to it."""
    everything = _regex([rules.all])
    lines = [
        f'clients="${{*:-{" ".join(clients)}}}"',
        _ALLOW,
        "# The server itself.",
        f"allow {user} '{everything}' '{everything}'",
        "",
        "# Every client.",
        "for client in $clients; do",
        '    allow "$client" \\',
        f"        '{_regex(rules.writes)}' \\",
        f"        '{_regex(rules.reads)}'",
        "done",
    ]
    return _fill(_RABBITMQ, "#", user) + "\n".join(lines) + "\n"


def _regex(filters: Sequence[str]) -> str:
    """The routing keys, or the binding keys of subscriptions, that MQTT filters stand for, as one expression."""
    wild = {"+": "[^.]+", "#": ".*"}
    keys = ["[.]".join(wild.get(level, level) for level in each.split("/")) for each in filters]
    return f"^({'|'.join(keys)})$"
