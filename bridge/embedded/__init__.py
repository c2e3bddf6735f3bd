"""Floor 3: the embedded broker: amqtt as a supervised child process, with the accounts and rules of this server.

`BrokerSupervisor` runs in the server: it opens the listening socket and starts, restarts and stops the child
(`python -m bridge.embedded.process`). In the child, `process.py` adapts amqtt, `auth.py` checks each CONNECT before
amqtt acts on it, and `access.py` decides which topics a user may write and read. Importing this package does not import
amqtt.
"""

from __future__ import annotations

from .supervisor import BrokerSupervisor

__all__ = ["BrokerSupervisor"]
