"""Floor 3: access rules for RabbitMQ: a shell script of rabbitmqctl commands; pure."""

from __future__ import annotations

from collections.abc import Sequence

from .comments import fill
from .rules import Rules

_HEADER = """\
#!/bin/sh
# Partyline's access rules for RabbitMQ: each client writes only below its own name.
#
# Save this file as partyline-acl.sh. Run it where rabbitmqctl works, for all clients, and again for each new one:
# sh partyline-acl.sh alice bob. The users have to exist: rabbitmqctl add_user alice (it asks for the password).
# RabbitMQ needs no restart; a connected client gets its rights when it connects again.
# Give nobody else permissions for amq.topic: RabbitMQ lets a user without topic permissions write and read every topic
# of the exchanges that it may use.
# Enable the plugin: rabbitmq-plugins enable rabbitmq_mqtt. Forbid anonymous logins in rabbitmq.conf
# (mqtt.allow_anonymous = false up to 3.13, anonymous_login_user = none from 4.0). The rules assume the defaults
# mqtt.vhost = / and mqtt.exchange = amq.topic.
#
<names>
# MQTT's chat/to/alice/# is the routing key chat.to.alice.# here; RabbitMQ replaces {username} by the name.
# RabbitMQ refuses a subscription that covers more than is allowed, such as #.
# For your other topics, add them to the expressions, for example ^(plant[.].*|…)$.
set -eu
vhost=/
"""

_ALLOW = """
# allow NAME WRITE READ: the queues of MQTT sessions and the exchange; then the topics to write and to read there.
allow() {
    rabbitmqctl set_permissions -p "$vhost" "$1" '^mqtt-subscription-.*$' \\
        '^(mqtt-subscription-.*|amq[.]topic)$' '^(mqtt-subscription-.*|amq[.]topic)$'
    rabbitmqctl set_topic_permissions -p "$vhost" "$1" amq.topic "$2" "$3"
}
"""


def rabbitmq_rules(rules: Rules, user: str, clients: Sequence[str]) -> str:
    """Return a shell script for the clients that are listed, or that it gets as arguments."""
    everything = _regex([rules.everything])
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
    return fill(_HEADER, "#", user) + "\n".join(lines) + "\n"


def _regex(filters: Sequence[str]) -> str:
    """Return one expression for the routing keys, or the binding keys of subscriptions, that MQTT filters stand for."""
    wild = {"+": "[^.]+", "#": ".*"}
    keys = ["[.]".join(wild.get(level, level) for level in each.split("/")) for each in filters]
    return f"^({'|'.join(keys)})$"
