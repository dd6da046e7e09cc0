"""Topics of the publication channels: who may say what where.

| topic | from | to |
| --- | --- | --- |
| ``c/<machine>/<type>`` | controller | that machine |
| ``b/<bundle hash>/chunk`` | controller | every machine that fetches this bundle |
| ``m/<machine>/<type>`` | that machine | controller |
| ``x/<recipient>/<sender>/<type>`` | sender's machine | recipient's machine (relay) |
| ``r/<recipient>/<type>`` | either | on the request channel; never published |

The broker holds everybody to the rows that bear their own id.
"""

CONTROLLER = "controller"
"""Id of the controller: as sender, as recipient, and as its User-Id at the broker."""


def to_machine(machine: str, kind: str = "") -> bytes:
    """Topic of the controller for a machine; without a kind: the prefix that the machine subscribes to."""
    return f"c/{machine}/{kind}".encode()


def from_machine(machine: str, kind: str = "") -> bytes:
    """Topic of a machine for the controller."""
    return f"m/{machine}/{kind}".encode()


def of_bundle(bundle_hash: str) -> bytes:
    """Topic of a bundle's chunks."""
    return f"b/{bundle_hash}/chunk".encode()


def relayed(recipient: str, sender: str = "", kind: str = "") -> bytes:
    """Topic from one machine to another; without a sender: the prefix that the recipient subscribes to."""
    return f"x/{recipient}/{sender}/{kind}".encode() if sender else f"x/{recipient}/".encode()


def request(recipient: str, kind: str) -> bytes:
    """Topic of what goes over the request channel."""
    return f"r/{recipient}/{kind}".encode()


def sender_of(topic: bytes) -> str | None:
    """Whose id a sender must have to publish this; None: nobody may.

    The controller's topics answer ``controller``.
    """
    parts = topic.split(b"/")
    match parts[0], len(parts):
        case ((b"c" | b"b"), 3):
            return CONTROLLER
        case b"m", 3:
            owner = parts[1]
        case b"x", 4:
            owner = parts[2]
        case _:
            return None
    return owner.decode("ascii", "replace") if owner else None


def may_subscribe(subscriber: str, prefix: bytes) -> bool:
    """Whether somebody may hear what begins with this.

    The controller hears machines; a machine hears what is for it, and chunks of bundles, which are sealed.
    """
    if subscriber == CONTROLLER:
        return prefix.startswith(b"m/") or prefix == b""
    own = (to_machine(subscriber), relayed(subscriber))
    return prefix.startswith(own) or (prefix.startswith(b"b/") and prefix.count(b"/") == 2)
