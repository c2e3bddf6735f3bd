"""Floor 3: access rules for EMQX 5: an acl.conf; pure."""

from __future__ import annotations

from collections.abc import Sequence

from .comments import fill, quoted
from .rules import Rules

_HEADER = """\
%% Partyline's access rules for EMQX 5: each client writes only below its own name.
%%
%% Save this file as etc/acl.conf (/etc/emqx/acl.conf in packages), or paste it into the Dashboard (Access Control,
%% Authorization, File). Add to emqx.conf:
%%   authorization { no_match = deny, deny_action = ignore,
%%     sources = [{ type = file, enable = true, path = "etc/acl.conf" }] }
%% EMQX accepts everybody until it has an authenticator: create one (Access Control, Authentication) with the user
%% <user> and one user for each client. Restart EMQX: systemctl restart emqx. The Dashboard needs no restart.
%%
<names>
%% EMQX compares the filter of a subscription: it refuses a filter that covers more than is allowed, such as #.
%% The first rule that matches decides.
"""


def emqx_rules(rules: Rules, user: str, _: Sequence[str]) -> str:
    """Return an acl.conf: Erlang terms, of which the first that matches decides."""
    lines = [
        "",
        "%% The server itself.",
        f'{{allow, {{user, "{user}"}}, all, ["{rules.everything}"]}}.',
        "",
        "%% Every client.",
        f"{{allow, all, publish, {quoted(rules.writes)}}}.",
        f"{{allow, all, subscribe, {quoted(rules.reads)}}}.",
        f'{{deny, all, all, ["{rules.everything}"]}}.',
        "",
        "%% Add your other topics here, for example:",
        '%% {allow, all, all, ["plant/#"]}.',
        "",
        "%% Everything else. This rule has to be the last one, as #, +/# and the like cover the topics above.",
        "{deny, all}.",
    ]
    return fill(_HEADER, "%%", user) + "\n".join(lines) + "\n"
