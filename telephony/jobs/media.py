"""What a media processor's shell tells the routers, beside the engine's own events (`media.control`).

| event | structure |
| --- | --- |
| ``leg-ending`` | `LegEnding` |
"""

import msgspec


class LegEnding(msgspec.Struct, frozen=True, kw_only=True):
    """Event: the processor stops in a moment and this leg with it."""

    leg: str
    call: str
    reason: str
    """For people: ``drained``."""
