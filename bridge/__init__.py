"""Floor 3: all that is MQTT on the server.

`clients/` serves MQTT clients that are connected to this server, as members of the chat. `mirror/` carries the same
rooms to and from another broker. `embedded/` runs amqtt as that broker, in a child process. `acl/` prints the access
rules that another broker needs. MQTT packets and the topics of the chat are in `wire/mqtt/` and `wire/topics/`.
"""
