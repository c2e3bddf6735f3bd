"""Floor 2: what a session may ask, one module a subject: each handler answers one request."""
