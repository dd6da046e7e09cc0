"""libsrtp by ctypes: where it is found and what is called.

Rules:
- It is the one within the wheel of the package ``pylibsrtp``, built with OpenSSL: a call costs 1.2 to 1.8 us with ciphers in hardware.
  Debian's own (libsrtp2-1, built with NSS) takes 7 us and is not looked for.
- Calls go straight to rows of numpy arrays: no bytes are made, and the interpreter's lock is kept: giving it away would take longer.
- A session is one direction of one leg. Nothing here knows of legs.
"""

import ctypes
import importlib.util
from functools import cache
from pathlib import Path

from media.srtp.suites import Suite

OK, _BAD_PARAMETER = 0, 2
WINDOW_PACKETS = 128
"""Of the protection against replay."""
_SPECIFIC, _ANY_INBOUND = 1, 2
_VERSION = 2


class SrtpMissingError(RuntimeError):
    """No libsrtp on this machine."""


class _CryptoPolicy(ctypes.Structure):
    """``srtp_crypto_policy_t``."""

    _fields_ = [(name, ctypes.c_int) for name in ("cipher", "key_bytes", "auth", "auth_key_bytes", "tag_bytes", "services")]


class _Policy(ctypes.Structure):
    """``srtp_policy_t`` of libsrtp 2."""


_Policy._fields_ = [
    ("ssrc_type", ctypes.c_int),
    ("ssrc", ctypes.c_uint32),
    ("rtp", _CryptoPolicy),
    ("rtcp", _CryptoPolicy),
    ("key", ctypes.c_void_p),
    ("keys", ctypes.c_void_p),
    ("keys_count", ctypes.c_ulong),
    ("deprecated", ctypes.c_void_p),
    ("window", ctypes.c_ulong),
    ("repeat", ctypes.c_int),
    ("extensions", ctypes.c_void_p),
    ("extensions_count", ctypes.c_int),
    ("next", ctypes.POINTER(_Policy)),
]


class Library:
    """A loaded libsrtp.

    Raises:
        SrtpMissingError: the file is none, or one of another version.
    """

    def __init__(self, path: str) -> None:
        try:
            self._library = ctypes.PyDLL(path)
            if self._library.srtp_get_version() >> 24 != _VERSION:
                raise SrtpMissingError(f"{path}: expected version {_VERSION}")
            if self._library.srtp_init() not in (OK, _BAD_PARAMETER):  # the latter where it has been called before
                raise SrtpMissingError(f"{path}: its self-test failed")
            calls = {name: getattr(self._library, f"srtp_{name}") for name in ("protect", "unprotect", "protect_rtcp", "unprotect_rtcp")}
        except (OSError, AttributeError) as error:
            raise SrtpMissingError(f"{path}: {error}") from error
        for call in calls.values():
            call.argtypes, call.restype = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p], ctypes.c_int
        self.protect = calls["protect"]
        """Session, address of the packet, address of its length (int32), in place; returns `OK` or an error."""
        self.unprotect = calls["unprotect"]
        self.protect_rtcp = calls["protect_rtcp"]
        self.unprotect_rtcp = calls["unprotect_rtcp"]
        self._library.srtp_dealloc.argtypes = [ctypes.c_void_p]
        self._library.srtp_set_stream_roc.argtypes = [ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint32]
        self._library.srtp_get_stream_roc.argtypes = [ctypes.c_void_p, ctypes.c_uint32, ctypes.c_void_p]

    def session(self, suite: Suite, key: bytes, *, ssrc: int, outbound: bool) -> int:
        """A session for what one side sends.

        Args:
            key: master key and salt.
            ssrc: of the source; -1 inbound: none was heard yet.
        """
        secret = ctypes.create_string_buffer(key, len(key))
        specific, others = _Policy(), _Policy()
        for policy in (specific, others):
            getattr(self._library, suite.rtp_policy)(ctypes.byref(policy.rtp))
            getattr(self._library, suite.rtcp_policy)(ctypes.byref(policy.rtcp))
            policy.key, policy.window = ctypes.addressof(secret), WINDOW_PACKETS
        specific.ssrc_type, specific.ssrc = _SPECIFIC, max(ssrc, 0)
        others.ssrc_type = _ANY_INBOUND
        if not outbound:
            specific.next = ctypes.pointer(others)
        made = ctypes.c_void_p()
        status = self._library.srtp_create(ctypes.byref(made), ctypes.byref(others if ssrc < 0 else specific))
        ctypes.memset(secret, 0, len(key))
        if status != OK or made.value is None:
            raise SrtpMissingError(f"libsrtp refused {suite.name}: {status}")
        return made.value

    def set_rollovers(self, session: int, ssrc: int, count: int) -> None:
        """How often a source's sequence numbers have wrapped before the next packet (RFC 3711 section 3.3.1)."""
        self._library.srtp_set_stream_roc(session, ssrc, count)

    def rollovers(self, session: int, ssrc: int) -> int:
        """How often a source's sequence numbers have wrapped; 0 for one that is not known."""
        found = ctypes.c_uint32()
        self._library.srtp_get_stream_roc(session, ssrc, ctypes.byref(found))
        return found.value

    def end(self, session: int) -> None:
        """Free a session."""
        self._library.srtp_dealloc(session)


@cache
def library() -> Library:
    """The libsrtp of this process.

    Raises:
        SrtpMissingError: there is none.
    """
    spec = importlib.util.find_spec("pylibsrtp")
    found = sorted(Path(spec.origin).parent.glob("_binding*.so")) if spec and spec.origin else []
    if not found:
        raise SrtpMissingError("no package pylibsrtp")
    return Library(str(found[0]))
