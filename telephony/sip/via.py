"""The Via header (RFC 3261 sections 18 and 20.42, RFC 3581)."""

import re
from typing import NamedTuple

from telephony.sip.text import Parameters, parameters
from telephony.sip.uri import host_port

COOKIE = "z9hG4bK"
"""A branch that starts with it is unique across space and time (RFC 3261 section 8.1.1.7)."""

_VIA = re.compile(r"\s*SIP\s*/\s*2\.0\s*/\s*([A-Za-z0-9\-.!%*_+`'~]+)\s+([^;\s]+(?:\s*:\s*[0-9]+)?)\s*(;.*)?", re.IGNORECASE | re.DOTALL)


class Via(NamedTuple):
    """One value of a Via header."""

    transport: str
    """Upper case: ``UDP``, ``TCP``, ``TLS``, ``WS``, ``WSS``."""
    host: str
    """Sent-by host; IPv6 without brackets."""
    port: int | None
    parameters: Parameters

    @staticmethod
    def parse(text: str) -> "Via":
        """Read one value.

        Raises:
            ValueError: not a Via value.
        """
        match = _VIA.fullmatch(text)
        if match is None:
            raise ValueError(f"expected a Via value, got {text[:80]!r}")
        host, port = host_port(re.sub(r"\s", "", match[2]), 0)
        return Via(match[1].upper(), host, port or None, parameters(match[3] or ""))

    def parameter(self, name: str) -> str | None:
        """Value of a parameter, ``""`` if it has none, None if absent."""
        for key, value in self.parameters:
            if key == name:
                return value or ""
        return None

    @property
    def branch(self) -> str:
        """Empty if there is none (RFC 2543 peers)."""
        return self.parameter("branch") or ""

    @property
    def response_address(self) -> tuple[str, int]:
        """Where an unreliable transport sends the response to (RFC 3261 section 18.2.2, RFC 3581 section 4)."""
        host = self.parameter("maddr") or self.parameter("received") or self.host
        rport = self.parameter("rport")
        port = int(rport) if rport and rport.isdigit() else self.port or (5061 if self.transport == "TLS" else 5060)
        return host.strip("[]"), port

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port is None else f":{self.port}"
        tail = "".join(f";{key}" if value is None else f";{key}={value}" for key, value in self.parameters)
        return f"SIP/2.0/{self.transport} {host}{port}{tail}"
