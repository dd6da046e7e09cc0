"""What the kernel drops before a busy service has to read it: a share of the INVITEs of one UDP socket, by a socket filter.

Reading and refusing a request costs a tenth of carrying it out; several times more requests than can be carried out would leave
no time for those that can. A dropped INVITE is repeated by its sender (RFC 3261 section 17.1.1.2, timer A), as if it had been
lost on the way. Nothing else is ever dropped: what is in progress goes on, and so do calls for help.

A filter belongs to the socket, not to the process, so whoever begins to read a socket removes what may be left there.
"""

import array
import contextlib
import socket
import struct

_SO_ATTACH_FILTER = 26
_SO_DETACH_FILTER = 27
_INSTRUCTION = struct.Struct("=HBBI")
_PROGRAM = struct.Struct("@HP")
_LOAD_WORD = 0x20
_LOAD_LENGTH = 0x80
_IF_EQUAL = 0x15
_IF_LESS_NOT = 0x35
_RETURN = 0x06
_UDP_HEADER_BYTES = 8
_URI = _UDP_HEADER_BYTES + len("INVITE ")
SPARED_MAX = 32
"""Numbers that get through in any case; more are not looked for."""
_RANDOM = 0xFFFFF000 + 56
"""SKF_AD_OFF + SKF_AD_RANDOM: a random word."""
_ALL = 0x40000


def program(share: float, spared: tuple[str, ...] = ()) -> bytes:
    """Filter that lets this share of datagrams pass that start with ``INVI``, and all others.

    INVITEs to ``urn:...`` pass as well, and those to ``sip:NUMBER@`` for each number of three digits in ``spared``.
    """
    threshold = min(0xFFFFFFFF, int(share * 0x100000000))
    numbers = [int.from_bytes(f"{number}@".encode(), "big") for number in spared if len(number) == 3 and number.isascii()][:SPARED_MAX]
    # Jumps are relative: so many instructions are left out.
    dice = 1 + len(numbers)
    lines = [
        (_LOAD_LENGTH, 0, 0, 0),
        (_IF_LESS_NOT, 0, dice + 7, _URI + 8),  # too short to be looked at: it passes
        (_LOAD_WORD, 0, 0, _UDP_HEADER_BYTES),
        (_IF_EQUAL, 0, dice + 5, int.from_bytes(b"INVI", "big")),
        (_LOAD_WORD, 0, 0, _URI),
        (_IF_EQUAL, dice + 3, 0, int.from_bytes(b"urn:", "big")),
        (_IF_EQUAL, 0, dice, int.from_bytes(b"sip:", "big")),
        (_LOAD_WORD, 0, 0, _URI + 4),
        *((_IF_EQUAL, len(numbers) - at + 1, 0, number) for at, number in enumerate(numbers)),
        (_LOAD_WORD, 0, 0, _RANDOM),
        (_IF_LESS_NOT, 1, 0, threshold),
        (_RETURN, 0, 0, _ALL),
        (_RETURN, 0, 0, 0),
    ]
    return b"".join(_INSTRUCTION.pack(*line) for line in lines)


def admit(udp: socket.socket, share: float, spared: tuple[str, ...] = ()) -> None:
    """Let this share of the INVITEs through from now on; 1: all."""
    with contextlib.suppress(OSError):  # none was there, or the kernel allows none: then all pass
        if share >= 1.0:
            udp.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)
            return
        code = array.array("B", program(share, spared))
        address, length = code.buffer_info()
        udp.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, _PROGRAM.pack(length // _INSTRUCTION.size, address))
