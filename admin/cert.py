"""Floor 4: `server.py cert`: make the site's own authority and a server certificate, or renew the latter."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from doors import site_folder
from net import NetError, print_error, print_out
from store import data_folder
from wire.errors import LocalError

_DEFAULT_DATA = "data"
_LONGEST_NAME = 253  # characters of a host name in DNS


def make_certificate(arguments: Sequence[str], program: str) -> int:
    """Make or renew the certificate, and print what to do with it. Return the exit status."""
    parser = argparse.ArgumentParser(
        prog=f"{program} cert",
        description="Make a certificate authority for this site and a server certificate in the data folder. The "
        "server uses them from its next start on. Run it again to renew the certificate: it keeps the authority, and "
        "without HOST also the hosts of the certificate.",
    )
    parser.add_argument(
        "hosts",
        nargs="*",
        metavar="HOST",
        help="a name or IP address under which clients reach the server "
        "(default: localhost, this machine's name and its addresses, and those of the certificate so far)",
    )
    parser.add_argument(
        "--data", metavar="DIR", default=_DEFAULT_DATA, help=f"the server's data folder (default {_DEFAULT_DATA}/)"
    )
    options = parser.parse_args(arguments)
    try:
        made = _make(options.data, [_checked(host) for host in options.hosts], program)
    except (LocalError, NetError) as error:
        print_error(f"{program} cert: {error}")
        return 1
    print_out(made)
    return 0


def _make(data: str, hosts: Sequence[str], program: str) -> str:
    from net.certificates import (
        hosts_so_far,
        make_site,
        own_hosts,
    )  # only here, because importing cryptography takes time

    folder = site_folder(data_folder(data))
    made = make_site(folder, list(dict.fromkeys(hosts or (*hosts_so_far(folder), *own_hosts()))))
    what = "Made an authority and a server certificate" if made.is_new else "Renewed the server certificate"
    return f"""\
{what} in {made.ca_file.parent}/.
Hosts: {", ".join(made.server.hosts)}
Valid until: {made.server.expires:%Y-%m-%d}
SHA-256 of the authority (ca.pem):       {made.ca.fingerprint}
SHA-256 of the certificate (server.pem): {made.server.fingerprint}

Start the server anew ({program} --data {data}), or send SIGHUP to one that uses this certificate already.

Give {made.ca_file} to everyone who connects; it is no secret. ca.key and server.key are: keep them here.
  client.py   client.py tls://HOST --ca ca.pem; without --ca, it shows the certificate's SHA-256 and asks once
  mosquitto   mosquitto_sub -h HOST -p 8883 --cafile ca.pem -t 'chat/#'
  Android     Settings > Security > Encryption & credentials > Install a certificate > CA certificate
  iOS         open ca.pem, install the profile, then Settings > General > About > Certificate Trust Settings
  others      docs/tls.md"""


def _checked(host: str) -> str:
    """Return a host in the form that a certificate has. Raises LocalError."""
    try:
        named = host.encode("idna").decode().rstrip(".") if not host.isascii() else host.rstrip(".")
    except UnicodeError:
        named = ""
    allowed = named.replace("-", "").replace(".", "").replace(":", "").replace("*", "")
    if not named or len(named) > _LONGEST_NAME or not allowed.isalnum():
        raise LocalError(f"{host!r} is not a host name or an IP address.")
    return named
