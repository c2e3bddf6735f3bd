"""Floor 3: access rules for Mosquitto: an acl_file; pure."""

from __future__ import annotations

from collections.abc import Sequence

from .comments import fill
from .rules import Rules

_HEADER = """\
# Partyline's access rules for Mosquitto: each client writes only below its own name.
#
# Save this file as /etc/mosquitto/partyline.acl, readable for the user mosquitto. Add to mosquitto.conf:
#   allow_anonymous false
#   password_file /etc/mosquitto/partyline.passwd
#   acl_file /etc/mosquitto/partyline.acl
#   max_queued_messages 0
#   persistence true
#   autosave_on_changes true
#   autosave_interval 1
# Create the users: mosquitto_passwd -c /etc/mosquitto/partyline.passwd <user>, then each client without -c.
# Restart Mosquitto: systemctl restart mosquitto. After a change of these two files alone, a SIGHUP is enough.
#
<names>
# Mosquitto forbids every topic that is not listed, also outside the root: add your other topics at the end.
# Mosquitto grants every subscription, and delivers only what the client may read. It warns about patterns without %u:
# ignore that, as a `topic` line above the first user would apply to anonymous clients only.
"""


def mosquitto_rules(rules: Rules, user: str, _: Sequence[str]) -> str:
    """Return an acl_file. Its `pattern` lines apply to every user, with the user name in place of %u."""
    lines = [
        "",
        "# The server itself.",
        f"user {user}",
        f"topic readwrite {rules.everything}",
        "",
        "# Every client.",
        *(f"pattern write {each}" for each in rules.writes),
        *(f"pattern read {each}" for each in rules.reads),
        "",
        "# Your other topics, for example:",
        "# pattern readwrite plant/#",
    ]
    return fill(_HEADER, "#", user) + "\n".join(lines) + "\n"
