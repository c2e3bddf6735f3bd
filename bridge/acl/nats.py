"""Floor 3: access rules for NATS: users and their permissions; pure."""

from __future__ import annotations

from collections.abc import Sequence

from .comments import fill, quoted
from .rules import Rules

_HEADER = """\
# Partyline's access rules for NATS: each client writes only below its own name.
#
# Save this file as partyline-users.conf beside nats-server.conf. Add to nats-server.conf:
#   server_name: nats1
#   jetstream { store_dir: "/var/lib/nats" }
#   mqtt { port: 1883 }
#   include "partyline-users.conf"
# Restart NATS: systemctl restart nats-server. Later changes of the users need only `nats-server --signal reload`.
#
# NATS has no rule for any user: list each one. For your own users: server.py acl nats --clients alice,bob
# The passwords are variables. Define them here, above `authorization`, or in the environment of nats-server:
#   PASSWORD_<user>: "…"          # or its bcrypt hash, which `nats server passwd` makes
#
<names>
# MQTT's chat/to/alice/# is chat.to.alice.> here. NATS itself delivers QoS 1 messages below $MQTT.sub.
# These users may connect by MQTT only: over NATS's own protocol, $MQTT.sub.> would show them the others' messages.
# NATS refuses a subscription that covers more than is allowed, such as #. For your other topics, add their subjects.

authorization {
  users = [
"""


def nats_rules(rules: Rules, user: str, clients: Sequence[str]) -> str:
    """Return the users with their permissions; without clients, one commented example to copy."""
    listed = [_user(user, [rules.everything], [rules.everything])]
    for client in clients or ["alice"]:
        writes, reads = ([each.replace("{client}", client) for each in side] for side in (rules.writes, rules.reads))
        entry = _user(client, writes, reads)
        listed.append(entry if clients else entry.replace("    ", "    # ", 1).replace("\n    ", "\n    # "))
    return f"{fill(_HEADER, '#', user)}{''.join(listed)}  ]\n}}\n"


def _user(name: str, writes: Sequence[str], reads: Sequence[str]) -> str:
    subscribes = [subject for each in reads for subject in _subjects(each)]
    subscribes += ["$MQTT.sub.>", "$MQTT.deliver.pubrel.>"]
    return (
        f'    {{ user: "{name}", password: $PASSWORD_{name}, allowed_connection_types: ["MQTT"],\n'
        f"      permissions: {{\n"
        f"        publish: {quoted([_subject(each) for each in writes])}\n"
        f"        subscribe: {quoted(subscribes)}\n"
        f"      }} }}\n"
    )


def _subject(topic_filter: str) -> str:
    """Return an MQTT filter as a NATS subject."""
    wild = {"+": "*", "#": ">"}
    return ".".join(wild.get(level, level) for level in topic_filter.split("/"))


def _subjects(topic_filter: str) -> list[str]:
    """Return the subjects to which NATS subscribes for an MQTT filter: for `a/#`, `a.>` and also `a`."""
    subject = _subject(topic_filter)
    return [subject, subject.removesuffix(".>")] if subject.endswith(".>") else [subject]
