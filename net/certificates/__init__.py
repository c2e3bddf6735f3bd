"""Floor 0: X.509 certificates: the site's own authority and its server certificates, self-signed ones, descriptions.

Importing this loads the library `cryptography`, so only those who make or look into a certificate do so. TLS itself
needs none of it.
"""

from __future__ import annotations

from .describe import Description, describe, describe_der, key_fingerprint
from .hosts import own_hosts
from .self_signed import self_signed_context
from .site import CA_DAYS, SERVER_DAYS, Site, hosts_so_far, make_site

__all__ = [
    "CA_DAYS",
    "SERVER_DAYS",
    "Description",
    "Site",
    "describe",
    "describe_der",
    "hosts_so_far",
    "key_fingerprint",
    "make_site",
    "own_hosts",
    "self_signed_context",
]
