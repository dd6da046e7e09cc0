"""libopus by ctypes: where it is found, what is called, and where it lies in memory.

Rules:
- The system's library first (Debian's package libopus0), else the one that lies in the wheel of the package ``av``.
- The library is loaded when it is first needed. `Library.image` is where it lies: states hold pointers to its tables.
"""

import ctypes
import hashlib
import importlib.util
from functools import cache
from pathlib import Path

SYSTEM_NAME = "libopus.so.0"

OK, BAD_ARGUMENT = 0, -1
APPLICATION_VOIP, APPLICATION_AUDIO = 2048, 2049
SET_BITRATE, SET_MAX_BANDWIDTH, SET_VBR = 4002, 4004, 4006
SET_COMPLEXITY, SET_INBAND_FEC, SET_PACKET_LOSS_PERC = 4010, 4012, 4014
SET_DTX, GET_DTX, SET_VBR_CONSTRAINT = 4016, 4017, 4020
GET_LAST_PACKET_DURATION = 4039
BANDWIDTHS = ((8000, 1101), (12000, 1102), (16000, 1103), (24000, 1104), (48000, 1105))
"""Sample rate, Hz, and the bandwidth that it carries: narrow, medium, wide, super wide, full (RFC 6716 section 2)."""

_INT, _POINTER = ctypes.c_int32, ctypes.c_void_p
_CALLS: dict[str, tuple[type | None, list[type]]] = {
    "opus_encoder_get_size": (_INT, [_INT]),
    "opus_encoder_init": (_INT, [_POINTER, _INT, _INT, _INT]),
    "opus_encode": (_INT, [_POINTER, _POINTER, _INT, _POINTER, _INT]),
    "opus_decoder_get_size": (_INT, [_INT]),
    "opus_decoder_init": (_INT, [_POINTER, _INT, _INT]),
    "opus_decode": (_INT, [_POINTER, _POINTER, _INT, _POINTER, _INT, _INT]),
    "opus_packet_get_nb_samples": (_INT, [_POINTER, _INT, _INT]),
    "opus_get_version_string": (ctypes.c_char_p, []),
}


class OpusMissingError(RuntimeError):
    """No libopus on this machine: neither the system's nor one in a wheel."""


class Library:
    """A loaded libopus; its functions are attributes with their own names.

    Raises:
        OpusMissingError: the file is no libopus.
    """

    def __init__(self, path: str) -> None:
        try:
            library = ctypes.CDLL(path)
            for name, (result, arguments) in _CALLS.items():
                function = getattr(library, name)
                function.restype, function.argtypes = result, arguments
        except (OSError, AttributeError) as error:
            raise OpusMissingError(f"{path}: {error}") from error
        self.encoder_get_size = library.opus_encoder_get_size
        self.encoder_init = library.opus_encoder_init
        self.encode = library.opus_encode
        self.decoder_get_size = library.opus_decoder_get_size
        self.decoder_init = library.opus_decoder_init
        self.decode = library.opus_decode
        self.packet_samples = library.opus_packet_get_nb_samples
        self._encoder_ctl = library.opus_encoder_ctl
        self._decoder_ctl = library.opus_decoder_ctl
        self.version: str = library.opus_get_version_string().decode()
        """``libopus 1.3.1``."""
        anchor = ctypes.cast(library.opus_encode, ctypes.c_void_p).value or 0
        self.image, file = _image(anchor)
        """First address and the one behind the last."""
        self.build: int = int.from_bytes(hashlib.sha256(Path(file).read_bytes()).digest()[:8], "little")
        """Names this very file."""

    def set_encoder(self, state: int, request: int, value: int) -> None:
        """Change a setting; the arguments of a variadic function are typed here."""
        result = self._encoder_ctl(_POINTER(state), ctypes.c_int(request), _INT(value))
        if result != OK:
            raise ValueError(f"libopus refused the setting {request} = {value}: {result}")

    def get_encoder(self, state: int, request: int) -> int:
        """Read a setting."""
        value = _INT()
        self._encoder_ctl(_POINTER(state), ctypes.c_int(request), ctypes.byref(value))
        return value.value

    def get_decoder(self, state: int, request: int) -> int:
        """Read a property of a decoder."""
        value = _INT()
        self._decoder_ctl(_POINTER(state), ctypes.c_int(request), ctypes.byref(value))
        return value.value


def _image(anchor: int) -> tuple[tuple[int, int], str]:
    """Where the file lies that holds this address, and its path."""
    spans: dict[str, list[int]] = {}
    holder = ""
    for line in Path("/proc/self/maps").read_text().splitlines():
        fields = line.split(maxsplit=5)
        if len(fields) == 6:
            low, high = (int(end, 16) for end in fields[0].split("-"))
            spans.setdefault(fields[5], []).extend((low, high))
            if low <= anchor < high:
                holder = fields[5]
    if not holder:
        raise OpusMissingError("libopus lies nowhere in memory")
    return (min(spans[holder]), max(spans[holder])), holder


def in_wheel() -> str | None:
    """Path of the libopus in the wheel of PyAV, or None."""
    spec = importlib.util.find_spec("av")
    if spec is None or spec.origin is None:
        return None
    found = sorted((Path(spec.origin).parent.parent / "av.libs").glob("libopus-*.so*"))
    return str(found[0]) if found else None


@cache
def library() -> Library:
    """The libopus of this process.

    Raises:
        OpusMissingError: there is none.
    """
    try:
        return Library(SYSTEM_NAME)
    except OpusMissingError:
        path = in_wheel()
        if path is None:
            raise OpusMissingError(f"no {SYSTEM_NAME} (Debian package libopus0) and no package av") from None
        return Library(path)
