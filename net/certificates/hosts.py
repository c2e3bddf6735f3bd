"""Floor 0: the names and addresses under which other machines may reach this one."""

from __future__ import annotations

import socket

import psutil


def own_hosts() -> list[str]:
    """Return localhost, the machine's names, and the addresses of its network interfaces."""
    name = socket.gethostname()
    found = {
        each.address
        for addresses in psutil.net_if_addrs().values()
        for each in addresses
        if each.family in (socket.AF_INET, socket.AF_INET6) and "%" not in each.address  # link-local: no name for TLS
    }
    return ["localhost", name, f"{name.partition('.')[0]}.local", *sorted(found, key=lambda each: (":" in each, each))]
