"""Protection of packets of all secured legs (RFC 3711), for a batch at once.

Rules:
- A leg that is secured takes and sends nothing in the clear: before its keys are known nothing passes at all.
- Keys, rollover counters and indices live in the legs' arrays. A process that takes them over makes the sessions of libsrtp anew when they
  are first needed, at the same index; what is not above the highest index that was seen before is then a replay and refused.
- libsrtp keeps the window against replay (`library.WINDOW_PACKETS`). A source costs it memory: of a leg it hears at most `SOURCES_MAX`.
- Legs that are not secured cost one comparison a batch.
"""

import ctypes

import numpy as np
from numpy import count_nonzero as how_many
from numpy.typing import NDArray

from media.arrays import I32, I64, U16, U64, Bool, Index
from media.datagrams import BATCH, DATAGRAM_BYTES_MAX, Inbox, pointers
from media.legs import Legs
from media.srtp.library import OK, Library, library
from media.srtp.suites import KEY_BYTES_MAX, SUITES, TRAILER_BYTES_MAX, Suite

SOURCES_MAX = 64
PACKET_BYTES_MAX = DATAGRAM_BYTES_MAX - TRAILER_BYTES_MAX
"""Longer packets can't be protected within their row."""
REPORT_BYTES_MIN = 12
PREPARE_MAX = 100
_MADE_FROM = np.dtype([
    ("suite", "u1"), ("key_in", "u1", KEY_BYTES_MAX), ("key_out", "u1", KEY_BYTES_MAX), ("ssrc_in", "i8"), ("ssrc_out", "u4")
])  # fmt: skip


class Guard:
    """Sessions of this process, by leg.

    Args:
        legs: keys and indices.
        inbox: rows that are opened in place.
    """

    def __init__(self, legs: Legs, inbox: Inbox) -> None:
        self._legs, self._inbox = legs, inbox
        self._library: Library | None = None
        self._in: list[int] = [0] * legs.capacity
        """Session of libsrtp for what comes in; 0: not made yet."""
        self._out: list[int] = [0] * legs.capacity
        self._unproven: set[int] = set()
        """Legs whose source goes on from what another process heard, and has sent nothing yet."""
        self._unsent: set[int] = set()
        """Legs that go on from what another process sent."""
        self._unsaid: set[int] = set()
        """Legs whose reports go on from another process'."""
        self._floor: I64 = np.full(legs.capacity, -1, np.int64)
        """Highest index that another process saw."""
        self._report_floor: I64 = np.full(legs.capacity, -1, np.int64)
        self._sources: dict[int, set[int]] = {}
        """Sources of legs that had more than one."""
        self._prepared: NDArray[np.void] | None = None
        """In a standby: what the sessions were made from."""
        self.any = False
        """Some leg is secured."""
        self.opened: Bool = np.zeros(BATCH, np.bool_)
        """Rows of the inbox that were opened already, in this batch."""
        self._length: I32 = np.zeros(BATCH, np.int32)
        self._rows: list[int] = pointers(inbox.data).tolist()
        self._lengths: list[int] = pointers(self._length.view(np.uint8).reshape(BATCH, 4)).tolist()
        self._sequence = inbox.data[:, 2:4].view(">u2")[:, 0]
        self._ssrc = inbox.data[:, 8:12].view(">u4")[:, 0]

    # Legs

    def expect(self, leg: int) -> None:
        """A leg is secured from now on, with keys that are not known yet."""
        self._legs.secured[leg] = True
        self.any = True

    def begin(self, leg: int, suite: Suite, key_in: bytes, key_out: bytes) -> None:
        """A leg's keys: the peer's and ours. What is the same as before goes on.

        Raises:
            SrtpMissingError: there is no libsrtp here; nothing was changed.
        """
        self._load()
        legs = self._legs
        same = bool(legs.secured[leg]) and int(legs.suite[leg]) == suite.number
        if not same or bytes(legs.key_in[leg, : len(key_in)]) != key_in:
            self._end(self._in, leg)
            self._unproven.discard(leg)
            self._sources.pop(leg, None)
            self._floor[leg] = self._report_floor[leg] = -1
            legs.index_in[leg] = legs.ssrc_secured[leg] = legs.report_index_in[leg] = -1
            legs.key_in[leg, : len(key_in)] = np.frombuffer(key_in, np.uint8)
        if not same or bytes(legs.key_out[leg, : len(key_out)]) != key_out:
            self._end(self._out, leg)
            self._unsaid.discard(leg)
            self._unsent.discard(leg)
            legs.index_out[leg], legs.report_index_out[leg] = -1, 0
            legs.key_out[leg, : len(key_out)] = np.frombuffer(key_out, np.uint8)
        legs.suite[leg] = suite.number
        self.expect(leg)

    def _load(self) -> Library:
        if self._library is None:
            self._library = library()
        return self._library

    def key_out(self, leg: int, suite: Suite) -> bytes:
        """Our key of a leg that has one for this suite; else empty."""
        legs = self._legs
        return legs.key_out[leg, : suite.key_bytes].tobytes() if int(legs.suite[leg]) == suite.number else b""

    def forget(self, leg: int) -> None:
        """A leg ends, or goes on in the clear."""
        legs = self._legs
        if not legs.secured[leg]:
            return
        self._end(self._in, leg)
        self._end(self._out, leg)
        for waiting in (self._unproven, self._unsent, self._unsaid):
            waiting.discard(leg)
        self._sources.pop(leg, None)
        self._floor[leg] = self._report_floor[leg] = -1
        legs.key_in[leg] = legs.key_out[leg] = legs.suite[leg] = 0
        legs.secured[leg] = False
        self.any = bool(how_many(legs.secured))

    def _end(self, sessions: list[int], leg: int) -> None:
        if sessions[leg] and self._library:
            self._library.end(sessions[leg])
            sessions[leg] = 0

    def prepare(self) -> None:
        """In a standby: make the sessions of legs that another process secured, `PREPARE_MAX` at most, before it dies."""
        legs = self._legs
        if not how_many(legs.suite):
            return
        if self._prepared is None:
            self._prepared = np.zeros(legs.capacity, _MADE_FROM)
        for leg in self._stale(self._prepared)[:PREPARE_MAX].tolist():
            self._end(self._in, leg)
            self._end(self._out, leg)
            self._prepared[leg] = self._made_from(np.array([leg]))[0]
            if legs.secured[leg] and legs.used[leg]:
                self._session_in(leg)
                self._session_out(leg)

    def _made_from(self, leg: Index) -> NDArray[np.void]:
        legs = self._legs
        found = np.zeros(len(leg), _MADE_FROM)
        found["suite"], found["key_in"], found["key_out"] = legs.suite[leg], legs.key_in[leg], legs.key_out[leg]
        found["ssrc_in"], found["ssrc_out"] = legs.ssrc_secured[leg], legs.ssrc_out[leg]
        return found

    def _stale(self, prepared: NDArray[np.void]) -> Index:
        """Legs whose sessions were made from something else than what is there now."""
        leg = np.flatnonzero((self._legs.suite > 0) | (prepared["suite"] > 0))
        return np.asarray(leg[self._made_from(leg) != prepared[leg]])

    def take_over(self) -> None:
        """Go on with legs that another process secured.

        Raises:
            SrtpMissingError: there is no libsrtp here.
        """
        legs = self._legs
        if self._prepared is not None:
            for leg in self._stale(self._prepared).tolist():
                self._end(self._in, leg)
                self._end(self._out, leg)
            self._prepared = None
        secured = np.flatnonzero(legs.used & legs.secured)
        if not len(secured):
            return
        self._load()
        self.any = True
        self._floor[secured] = legs.index_in[secured]
        self._report_floor[secured] = legs.report_index_in[secured]
        self._unsent.update(secured[legs.index_out[secured] >= 0].tolist())
        self._unproven.update(secured[legs.index_in[secured] >= 0].tolist())
        self._unsaid.update(secured[legs.report_index_out[secured] > 0].tolist())

    def close(self) -> None:
        """Free all sessions."""
        for sessions in (self._in, self._out):
            for leg, session in enumerate(sessions):
                if session:
                    self._end(sessions, leg)

    def _session_in(self, leg: int) -> int:
        legs = self._legs
        suite = SUITES.get(int(legs.suite[leg]))
        if suite is not None:
            key, ssrc = legs.key_in[leg, : suite.key_bytes].tobytes(), int(legs.ssrc_secured[leg])
            self._in[leg] = self._load().session(suite, key, ssrc=ssrc, outbound=False)
        return self._in[leg]

    def _session_out(self, leg: int) -> int:
        legs = self._legs
        suite = SUITES.get(int(legs.suite[leg]))
        if suite is not None:
            key = legs.key_out[leg, : suite.key_bytes].tobytes()
            self._out[leg] = self._load().session(suite, key, ssrc=int(legs.ssrc_out[leg]), outbound=True)
        return self._out[leg]

    # Packets that come in

    def open(self, row: Index, leg: Index) -> Bool:
        """Open packets of RTP in their rows of the inbox, of secured legs: which are authentic. `Inbox.length` is then the packet's."""
        legs, library_ = self._legs, self._library
        good = np.zeros(len(row), np.bool_)
        if library_ is None:
            return good
        ssrc = self._ssrc[row].astype(np.int64)
        known = ssrc == legs.ssrc_secured.take(leg)
        sequence = self._sequence[row].astype(np.uint16)
        index = _index(np.where(known, legs.index_in.take(leg), -1), sequence)
        wanted = (index > self._floor.take(leg)) | ~known
        if how_many(known) < len(known):
            wanted &= known | self._hears(leg, ssrc)
        self._length[row] = self._inbox.length[row]
        numbers = leg.tolist()
        sessions = [self._in[number] or self._session_in(number) for number in numbers]
        if self._unproven:
            for number, source, count in zip(numbers, ssrc.tolist(), index.tolist(), strict=True):
                if number in self._unproven and self._in[number]:
                    library_.set_rollovers(self._in[number], source, count >> 16)
        if how_many(wanted) == len(row) and 0 not in sessions:
            rows = row.tolist()
            status = list(map(library_.unprotect, sessions, [self._rows[each] for each in rows], [self._lengths[each] for each in rows]))
            good = np.array(status) == OK
        else:
            for place, each in enumerate(row.tolist()):
                if wanted[place] and sessions[place]:
                    good[place] = library_.unprotect(sessions[place], self._rows[each], self._lengths[each]) == OK
        if not how_many(good):
            return good
        self._inbox.length[row[good]] = self._length[row[good]]
        if self._unproven:
            self._unproven.difference_update(leg[good].tolist())
        same = good & known
        np.maximum.at(legs.index_in, leg[same], index[same])
        other = good & ~known
        if how_many(other):
            self._change(leg[other], ssrc[other], sequence[other])
        return good

    def _hears(self, leg: Index, ssrc: I64) -> Bool:
        """Whether another source may still be heard."""
        sources = self._sources
        return np.array([
            len(heard := sources.get(number, set())) < SOURCES_MAX or source in heard
            for number, source in zip(leg.tolist(), ssrc.tolist(), strict=True)
        ])  # fmt: skip

    def _change(self, leg: Index, ssrc: I64, sequence: U16) -> None:
        legs, library_ = self._legs, self._load()
        for number, source, count in zip(leg.tolist(), ssrc.tolist(), sequence.tolist(), strict=True):
            self._sources.setdefault(number, set()).add(source)
            if legs.ssrc_secured[number] >= 0:
                # The floor was of the source before.
                self._floor[number] = -1
            legs.ssrc_secured[number] = source
            legs.index_in[number] = library_.rollovers(self._in[number], source) << 16 | count

    def open_reports(self, row: Index, leg: Index) -> Bool:
        """Open packets of RTCP in their rows of the inbox, of secured legs: which are authentic."""
        legs, inbox, library_ = self._legs, self._inbox, self._library
        good = np.zeros(len(row), np.bool_)
        if library_ is None:
            return good
        for place, (each, number) in enumerate(zip(row.tolist(), leg.tolist(), strict=True)):
            suite, size = SUITES.get(int(legs.suite[number])), int(inbox.length[each])
            if suite is None or not REPORT_BYTES_MIN <= size <= DATAGRAM_BYTES_MAX:
                continue
            end = size - suite.report_tag_bytes
            index = int.from_bytes(inbox.data[each, max(end - 4, 0) : end].tobytes(), "big") & 0x7FFFFFFF
            session = self._in[number] or self._session_in(number)
            self._length[each] = size
            if not session or index <= self._report_floor[number]:
                continue
            if library_.unprotect_rtcp(session, self._rows[each], self._lengths[each]) != OK:
                continue
            legs.report_index_in[number] = max(int(legs.report_index_in[number]), index)
            inbox.length[each] = self._length[each]
            good[place] = True
        return good

    # Packets that go out

    def seal(self, leg: Index, place: U64, size: I64, sequence: U16) -> I32:
        """Protect packets of RTP of secured legs in place.

        Args:
            place: address of each; there are `TRAILER_BYTES_MAX` bytes of room behind it.
            size: int64[n], at most `PACKET_BYTES_MAX`.

        Returns:
            int32[n]: their lengths now; 0: must not be sent.
        """
        legs, library_ = self._legs, self._library
        length: I32 = np.zeros(len(leg), np.int32)
        if library_ is None:
            return length
        index = _index(legs.index_out.take(leg), sequence)
        # Before anything is sent: who takes over must never use an index again.
        np.maximum.at(legs.index_out, leg, index)
        length[:] = size
        numbers = leg.tolist()
        sessions = [self._out[number] or self._session_out(number) for number in numbers]
        if self._unsent:
            for number, session, count in zip(numbers, sessions, index.tolist(), strict=True):
                if number in self._unsent and session:
                    library_.set_rollovers(session, int(legs.ssrc_out[number]), count >> 16)
                    self._unsent.discard(number)
        if 0 in sessions:
            here = np.array([session > 0 for session in sessions])
            length[~here] = 0
            if how_many(here):
                length[here] = self.seal(leg[here], place[here], size[here], sequence[here])
            return length
        first = length.ctypes.data
        lengths = range(first, first + 4 * len(leg), 4)
        status = list(map(library_.protect, sessions, place.tolist(), lengths))
        if any(status):
            length[np.array(status) != OK] = 0
        return length

    def seal_report(self, leg: int, packet: bytes) -> bytes:
        """A compound packet of RTCP, protected; empty: it must not be sent."""
        legs, library_ = self._legs, self._library
        session = (self._out[leg] or self._session_out(leg)) if library_ else 0
        if library_ is None or not session:
            return b""
        space = ctypes.create_string_buffer(len(packet) + TRAILER_BYTES_MAX + 4)
        length = ctypes.c_int32()
        before = int(legs.report_index_out[leg]) if leg in self._unsaid else 0
        self._unsaid.discard(leg)
        legs.report_index_out[leg] += 1
        # libsrtp counts reports itself and can't be told where to begin: count up to where the other process was, about 1 us each.
        for _ in range(before + 1):
            ctypes.memmove(space, packet, len(packet))
            length.value = len(packet)
            if library_.protect_rtcp(session, ctypes.addressof(space), ctypes.addressof(length)) != OK:
                return b""
        return space.raw[: length.value]


def _index(highest: I64, sequence: U16) -> I64:
    """int64[n]: index of packets (RFC 3711 section 3.3.1), by the highest one so far (-1: none)."""
    ahead = (sequence - highest.astype(np.uint16)).view(np.int16)
    index = highest + ahead
    return np.where((highest < 0) | (index < 0), sequence, index)
