"""Floor 4: the terminal client. client.py wires it up; it imports wire/ and net/ and nothing of the server.

`state/` is what the client knows, without I/O; `links/` are the ways to a server; `files/` are the transfers;
`session.py` runs the three in one loop; `ui/` is the screen and the filter for scripts.
"""
