"""The loads in TLS: Partyline with a certificate of its own, and clients that encrypt."""
