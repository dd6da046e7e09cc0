"""Sans-IO SIP on the standard library alone (RFC 3261 and its updates)."""
