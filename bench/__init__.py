"""The benchmark: one load generator measures Partyline and other servers in the same run.

`python -m bench` measures the rows in `rows/`, each of which is a load with metrics and targets. `socket/`, `mqtt/`,
`mirror/` and `files/` have the clients of these loads; `peers.py` starts the servers; `table.py` and `markdown.py`
write the results.
"""
