"""The load generator in Python, for a machine without a C compiler."""

from __future__ import annotations

from weakref import WeakKeyDictionary

from bench.mqtt.load import MirrorSaturation, MqttPaced, MqttSaturation
from bench.mqtt.pool import MqttPool
from bench.socket.dialects import Dialect
from bench.socket.load import Outcome, Saturation, SinglePublisher
from bench.socket.logins import logins
from bench.socket.pool import ClientPool, RunFailed


class PythonGenerator:
    """Runs loads in this process."""

    title = "Python: it uses most of a core, which favours the slower server; install a C compiler"

    def __init__(self) -> None:
        self._single: WeakKeyDictionary[ClientPool, SinglePublisher] = WeakKeyDictionary()  # each counts from its start

    def saturated(self, pool: ClientPool, window: int, seconds: float, posts: int = 0) -> Outcome:
        """Post for `seconds`, or else `posts` times in each channel, at most `window` ahead of its slowest reader."""
        return _saturation(pool, window).run(seconds, posts * len(pool.channels))

    def one_at_a_time(self, pool: ClientPool, seconds: float) -> Outcome:
        """Send each message when every member has the last one."""
        if pool not in self._single:
            self._single[pool] = SinglePublisher(pool)
        return self._single[pool].one_at_a_time(seconds)

    def paced(self, pool: ClientPool, seconds: float, rate: int) -> Outcome:
        """Send `rate` messages a second, without waiting for deliveries; measure the latency of each delivery."""
        load = MqttPaced(pool) if isinstance(pool, MqttPool) else SinglePublisher(pool)
        return load.paced(seconds, rate)

    def logins(self, port: int, dialect: Dialect, names: list[str], at_once: int) -> float:
        """Log the clients in, so many at a time, then disconnect them; return the seconds until the last answer."""
        with logins(port, dialect, at_once) as clients:
            return clients.log_in(names)

    def returns(self, port: int, dialect: Dialect, logins: list[bytes], missed: int, size: int) -> float:
        """Raises RunFailed: this load needs the program."""
        raise RunFailed("this row needs a C compiler")


def _saturation(pool: ClientPool, window: int) -> Saturation:
    if not isinstance(pool, MqttPool):
        return Saturation(pool, window)
    speaks_mqtt = pool.channels[0].publishers[0].client.dialect is pool.broker
    return MqttSaturation(pool, window) if speaks_mqtt else MirrorSaturation(pool, window)
