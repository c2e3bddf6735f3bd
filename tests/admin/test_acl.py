"""The command `server.py acl`."""

from __future__ import annotations

from bridge.acl import broker_rules
from tests.support.processes.forks import run


def test_the_command() -> None:
    done = run("acl", "mosquitto", "--root", "site", "--user", "hub")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == broker_rules("mosquitto", "site", "hub")
    assert run("acl", "nats", "--clients", "alice,bob").stdout == broker_rules("nats", clients=["alice", "bob"])
    wrong = run("acl", "hivemq")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr == ("server.py acl: Unknown broker 'hivemq': choose mosquitto, emqx, nats or rabbitmq.\n")
    assert run("acl").returncode == 2
    helped = run("--help")
    assert "acl mosquitto|emqx|nats|rabbitmq" in " ".join(helped.stdout.split())
