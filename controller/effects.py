"""What the controller's core asks its shell to do, in order."""

from typing import NamedTuple

Frames = tuple[bytes, ...]


class Publish(NamedTuple):
    """Frames for the publication channel."""

    frames: Frames


class Request(NamedTuple):
    """Frames for the request channel."""

    frames: Frames


Effect = Publish | Request
