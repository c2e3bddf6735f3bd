"""Floor 3: the brokers for which `server.py acl` prints rules, one row each; pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from wire.errors import LocalError
from wire.names import NAME, shorten
from wire.topics import ROOT

from .emqx import emqx_rules
from .mosquitto import mosquitto_rules
from .nats import nats_rules
from .rabbitmq import rabbitmq_rules
from .rules import SERVER_USER, Rules, client_rules

# A root that means the same in the syntax of every broker. Without these rules, more characters are allowed.
_PLAIN_ROOT = re.compile(r"[A-Za-z0-9_-]+(?:/[A-Za-z0-9_-]+)*")

_WRITERS: dict[str, tuple[str, Callable[[Rules, str, Sequence[str]], str]]] = {
    # The broker's placeholder for the user name, and the function that writes the file.
    "mosquitto": ("%u", mosquitto_rules),
    "emqx": ("${username}", emqx_rules),
    "nats": ("{client}", nats_rules),
    "rabbitmq": ("{username}", rabbitmq_rules),
}
BROKERS = tuple(_WRITERS)
NEED_CLIENTS = ("nats", "rabbitmq")  # they have no rule for any user: each client is listed


def broker_rules(broker: str, root: str = ROOT, user: str = SERVER_USER, clients: Sequence[str] = ()) -> str:
    """Return the rules in the broker's own language; comments say where to save them. Raises LocalError.

    `user` is the server's own user name; `clients` are the users to list, for NEED_CLIENTS.
    """
    if broker not in _WRITERS:
        raise LocalError(f"Unknown broker {shorten(broker)!r}: choose {', '.join(BROKERS[:-1])} or {BROKERS[-1]}.")
    if _PLAIN_ROOT.fullmatch(root) is None:
        raise LocalError(f"A root in access rules has only letters, digits, -, _ and /, not {shorten(root)!r}.")
    for name in (user, *clients):
        if NAME.fullmatch(name) is None:
            raise LocalError(f"A user name has 1 to 32 letters, digits, - and _, not {shorten(name)!r}.")
    if user in clients:
        raise LocalError(f"{user} is the server's own user name; a client needs another one.")
    placeholder, write = _WRITERS[broker]
    return write(client_rules(root, placeholder), user, clients)
