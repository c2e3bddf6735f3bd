"""The benchmark: one load generator measures Partyline and other servers in the same run.

`python -m bench` measures the rows in `rows/`, each of which is a load with metrics and targets. `socket/`, `mqtt/`,
`mirror/`, `files/` and `tls/` have the clients of these loads, and `load/` the generators of what is sent; `peers.py`
starts the servers; `table.py` and `markdown.py` write the results. README.md describes each row.
"""
