"""Overload: when a server takes no new request, and what it tells those who send them (RFC 7339, algorithm ``loss``).

Rules:
- The measure is delay: how long a datagram has waited in the socket before it was read. Above `DELAY_SECONDS_MAX` for
  `PATIENCE_SECONDS` without a break (a pause of the process alone is no overload), every new request whose turn comes as late
  as that is refused; it ends as soon as the queue is short, and begins again at once within `MEMORY_SECONDS`.
- New are requests outside of dialogs that no transaction knows. All else is work in progress, and goes on.
- Emergency calls (`EMERGENCY`, RFC 5031) are never refused or held back, up to `EMERGENCIES_PER_SECOND_MAX`.
- Who works for a server may ask it for less as well (`Overload.reduce`): it refuses that share of new requests and asks its own
  clients to hold back as much. Both choose by Call-ID and alike, so that what a client holds back is what would be refused.
- A refusal costs little: 503 with Retry-After, no transaction; the same request gets the same To tag (section 8.2.7 of RFC 3261),
  by which the ACK is known and dropped.
- Even refusing is too dear where several times more comes than can be carried out: `share` says how much of it is to be read at
  all, so that refusals stay within `REFUSED_SHARE` of what is accepted.
- Who says ``oc`` in its Via learns by how much to reduce (sections 5.3 and 5.4): what was refused of what came, on top of what it
  holds back already; less and less once there is no delay. While all is well nothing is said, and nothing worked out.
- `rate` (RFC 7415) is not offered: a list of algorithms puts a comma into the Via, which every reader on the way pays for, and every
  server has `loss`.
- As a client, `Restriction` holds back as asked, the same requests each time they are sent.
"""

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING
from zlib import crc32

from telephony.sip.build import stamp_via
from telephony.sip.errors import MessageError
from telephony.sip.flow import Flow, Send
from telephony.sip.message import Message
from telephony.sip.text import parameter

if TYPE_CHECKING:
    from telephony.sip.transaction import Transactions

DELAY_SECONDS_MAX = 0.02
PATIENCE_SECONDS = 0.1
MEMORY_SECONDS = 1.0
ACKS_SECONDS = 40.0
"""After a refusal its ACK may come so long: 64 T1 and some."""
STEP_SECONDS = 0.25
"""How often the reduction that is asked for is worked out."""
EASE = 0.8
"""What is left of it with each step without delay."""
REFUSED_SHARE = 0.4
"""Refusals for each request that is accepted, at the most; what comes beyond them is dropped unread where that can be done."""
ADAPT_SECONDS = 0.05
SMOOTHING = 0.3
"""Weight of what happened in the last `ADAPT_SECONDS`."""
WIDEN = 1.1
SHARE_MIN = 0.02
RETRY_SECONDS = 2
VALIDITY_MS = 500
"""How long a reduction holds unless renewed (RFC 7339 section 4.3)."""
VALIDITY_MS_MAX = 60_000
OFFER = ';oc;oc-algo="loss"'
"""Via parameters of a client that reduces as asked."""
EMERGENCIES_PER_SECOND_MAX = 20
"""Beyond it they are requests like others: nobody gets past all limits by calling for help."""
_HEAD = b"SIP/2.0 503 Service Unavailable\r\n"
_TAIL = b"\r\nRetry-After: %d\r\nContent-Length: 0\r\n\r\n" % RETRY_SECONDS
_REPEATED = frozenset((b"Via:", b"From:", b"To:", b"Call-ID:", b"CSeq:"))
"""Lines that a response repeats, as nearly everybody writes them."""
_CALL_ID = re.compile(rb"\r\n(?:Call-ID|i)[ \t]*:[ \t]*([^\r\n]*?)[ \t]*\r\n", re.IGNORECASE)
NEW = frozenset((b"INV", b"REG", b"MES", b"OPT", b"SUB", b"PUB", b"REF", b"NOT"))
"""How requests start that may be outside of dialogs."""


class Overload:
    """Server side."""

    __slots__ = (
        "_accepted_before", "_accepted_last", "_capacity", "_late_since", "_loss", "_mark", "_reduction", "_reduction_until",
        "_refused_before", "_refused_last", "_sequence", "_shedding_until", "_step_at", "_tag", "_told_until", "accepted", "emergencies",
        "reduced", "refused", "share", "shedding", "touched_until",
    )  # fmt: skip

    def __init__(self, tag: str) -> None:
        self.shedding = False
        """New requests that are read now are refused."""
        self.touched_until = 0.0
        """Until then `sheds` has to be asked."""
        self.refused = 0
        """Requests refused since the start."""
        self.accepted = 0
        """New requests that were not refused; counted by the owner."""
        self.share = 1.0
        """Part of the INVITEs that the kernel is to let through."""
        self.reduced = 0
        """Those of them that were refused because somebody behind asked for less."""
        self.emergencies = Emergencies()
        self._reduction = 0
        self._reduction_until = 0.0
        self._tag = tag[:8]
        """How To tags of refusals start: nobody else's do."""
        self._mark = f";tag={self._tag}".encode()
        self._late_since: float | None = None
        self._shedding_until = 0.0
        self._loss = 0.0
        self._step_at = 0.0
        self._accepted_before = self._refused_before = 0
        self._accepted_last = self._refused_last = 0
        self._capacity = 0.0
        """Requests accepted in `ADAPT_SECONDS` while others were refused."""
        self._sequence = 0.0
        self._told_until = 0.0
        """Somebody may believe in a reduction so long."""

    def waited(self, seconds: float, now: float) -> None:
        """How long what is read now has waited; 0: nothing is left to read."""
        if seconds <= DELAY_SECONDS_MAX:
            self._late_since = None
            self.shedding = False
            return
        if self._late_since is None:
            self._late_since = now
        if now < self._shedding_until or now - self._late_since >= PATIENCE_SECONDS:
            self.shedding = True
            self._shedding_until = now + MEMORY_SECONDS
            self.touched_until = now + ACKS_SECONDS

    def reduce(self, percent: int, now: float, seconds: float) -> None:
        """Somebody whom we need asks for so much less, for so long."""
        self._reduction = percent
        self._reduction_until = now + seconds
        if percent:
            self.touched_until = max(self.touched_until, now + seconds + ACKS_SECONDS)

    def sheds(self, data: bytes, flow: Flow, transactions: "Transactions", now: float) -> bool:
        """Refuse a new request, or drop the ACK of a refusal. False: the message is to be handled as usual."""
        start = data[:3]
        if start == b"ACK":
            return self._mark in data
        if start not in NEW or not (self.shedding or self._in_reduction(data, now)):
            return False
        refusal = self._quickly(data, flow, transactions) or self._exactly(data, flow, transactions, now)
        if refusal is None or (start == b"INV" and self.emergencies.spares(data, now)):
            return False
        self.refused += 1
        self.reduced += not self.shedding
        transactions.out.append(refusal)
        return True

    def _in_reduction(self, data: bytes, now: float) -> bool:
        """The request is of the share that is asked to be left out."""
        if now >= self._reduction_until or not self._reduction:
            return False
        match = _CALL_ID.search(data)
        return match is not None and crc32(match[1]) % 100 < self._reduction

    def _quickly(self, data: bytes, flow: Flow, transactions: "Transactions") -> Send | None:
        """The refusal of a plain request, made from its lines as they are; None: it is not as plain as that."""
        found: dict[bytes, bytes] = {}
        for line in data.partition(b"\r\n\r\n")[0].split(b"\r\n"):
            name = line[: line.find(b":") + 1]
            if name in _REPEATED:
                if name in found:
                    return None
                found[name] = line
        if len(found) != len(_REPEATED):
            return None
        via = found[b"Via:"][4:].strip()
        to = found[b"To:"]
        sent_by, _, rest = via.partition(b";")
        if b";tag=" in to or b"," in via or b";oc" in via or not rest.startswith(b"branch=z9hG4bK"):
            return None
        branch, _, others = rest[7:].partition(b";")
        if others == b"rport":
            via_line = b"Via: %b;branch=%b;received=%b;rport=%d" % (sent_by, branch, flow.host.encode(), flow.port)
        elif others or sent_by.rpartition(b" ")[2] != b"%b:%d" % (flow.host.encode(), flow.port):
            return None
        else:
            via_line = found[b"Via:"]
        try:
            known = f"{branch.decode()} {sent_by.decode()} {data[: data.find(b' ')].decode()}" in transactions.servers
        except UnicodeDecodeError:
            return None
        if known:
            return None
        return Send(
            b"%b%b\r\n%b\r\n%b;tag=%b%08x\r\n%b\r\n%b%b"
            % (_HEAD, via_line, found[b"From:"], to, self._mark[5:], crc32(branch), found[b"Call-ID:"], found[b"CSeq:"], _TAIL),
            flow,
        )

    def _exactly(self, data: bytes, flow: Flow, transactions: "Transactions", now: float) -> Send | None:
        try:
            message = Message.parse(data)
            if message.to_tag or transactions.knows(message):
                return None
            back = stamp_via(message, flow)
        except MessageError:
            return None
        if ";oc" in message.via:
            self.stamp(message, now, True)
        to = f"{message.get('to')};tag={self._tag}{crc32(message.branch.encode('utf-8', 'surrogateescape')):08x}"
        vias = "\r\n".join(f"Via: {value}" for value in message.get_lines("via"))
        lines = f"{vias}\r\nFrom: {message.get('from')}\r\nTo: {to}\r\nCall-ID: {message.call_id}\r\nCSeq: {message.cseq} {message.method}"
        return Send(_HEAD + lines.encode("utf-8", "surrogateescape") + _TAIL, back)

    def adapt(self, now: float) -> bool:
        """Set `share` by what was refused since the last call. True: call again after `ADAPT_SECONDS`."""
        accepted, self._accepted_last = self.accepted - self._accepted_last, self.accepted
        refused, self._refused_last = self.refused - self._refused_last, self.refused
        if refused:
            self._capacity += (accepted - self._capacity) * SMOOTHING
            room = self._capacity * (1.0 + REFUSED_SHARE) + 1.0
            if accepted + refused > room:
                wanted = self.share * room / (accepted + refused)
                self.share = max(SHARE_MIN, self.share + (wanted - self.share) * SMOOTHING)
        else:
            self.share = min(1.0, self.share * WIDEN)
        return self.share < 1.0 or now < self._shedding_until

    def loss(self, now: float) -> int:
        """By how much senders are to reduce, percent."""
        if now >= self._step_at:
            shed = self.refused - self.reduced
            refused = shed - self._refused_before
            if refused:
                share = refused / (refused + self.accepted - self._accepted_before)
                self._loss = 1.0 - (1.0 - self._loss) * (1.0 - share)
            elif self._loss:
                steps = 1 if not self._step_at else min(50, 1 + int((now - self._step_at) / STEP_SECONDS))
                self._loss *= EASE**steps
                if self._loss < 0.01:
                    self._loss = 0.0
            self._accepted_before = self.accepted
            self._refused_before = shed
            self._step_at = now + STEP_SECONDS
        loss = min(100, round(self._loss * 100))
        return max(loss, self._reduction) if now < self._reduction_until else loss

    def stamp(self, message: Message, now: float, always: bool = False) -> None:
        """Put the reduction into the topmost Via of a request, whose responses repeat it.

        Nothing if its sender does not ask, and nothing (but with ``always``) while there is none and nobody believes in one.
        """
        loss = self.loss(now)
        if loss:
            self._told_until = now + 2 * VALIDITY_MS / 1000  # responses may take their time
        elif not always and now >= self._told_until:
            return
        kept = [part for part in message.via.split(";") if part.strip().partition("=")[0].strip() != "oc"]
        if len(kept) == message.via.count(";") + 1:
            return
        kept = [part for part in kept if not part.strip().startswith(("oc-algo", "oc-validity", "oc-seq"))]
        self._sequence = max(self._sequence + 0.001, now)
        validity = VALIDITY_MS if loss else 0
        message.restamp(f'{";".join(kept)};oc={loss};oc-algo="loss";oc-validity={validity};oc-seq={self._sequence:.3f}')


class Emergencies:
    """Calls for help, which overload control leaves alone (RFC 5031, RFC 7339 section 5.10.1)."""

    __slots__ = ("_calls", "_calls_at", "_pattern")

    def __init__(self, numbers: Iterable[str] = ("112", "911")) -> None:
        """
        Args:
            numbers: user parts that are dialled for it, besides ``urn:service:sos``.
        """
        dialled = b"|".join(re.escape(number.encode()) for number in numbers) or b"(?!)"
        self._pattern = re.compile(rb"INVITE (?:urn:service:sos[. ;?]|sips?:(?:%b)[@;])" % dialled, re.IGNORECASE)
        self._calls = 0.0
        self._calls_at = 0.0

    def spares(self, start: bytes, now: float) -> bool:
        """An INVITE (its start line is enough) is an emergency call, and not too many of them have come."""
        if self._pattern.match(start) is None:
            return False
        self._calls = max(0.0, self._calls - (now - self._calls_at) * EMERGENCIES_PER_SECOND_MAX) + 1.0
        self._calls_at = now
        if self._calls <= EMERGENCIES_PER_SECOND_MAX:
            return True
        self._calls -= 1.0
        return False


class Restriction:
    """Client side: what one server has asked for."""

    __slots__ = ("_loss", "_sequence", "_until")

    def __init__(self) -> None:
        self._loss = 0
        self._sequence = -1.0
        self._until = 0.0

    def heed(self, via: str, now: float) -> bool:
        """Read it from the Via of ours that a response repeats. False: there is nothing in it."""
        if parameter(via, "oc-algo") not in (None, "loss", '"loss"'):
            return False
        try:
            loss = int(parameter(via, "oc") or "")
            validity = int(parameter(via, "oc-validity") or VALIDITY_MS)
            sequence = float(parameter(via, "oc-seq") or 0.0)
        except ValueError:
            return False
        if sequence < self._sequence or not 0 <= loss <= 100 or sequence != sequence:
            return False
        self._sequence = sequence
        self._loss = loss
        self._until = now + min(max(validity, 0), VALIDITY_MS_MAX) / 1000
        return True

    def over(self, now: float) -> bool:
        """It does not hold any more."""
        return now >= self._until or not self._loss

    def holds_back(self, call_id: str, now: float) -> bool:
        """A new request of this Call-ID is not to be sent."""
        return now < self._until and crc32(call_id.encode("utf-8", "surrogateescape")) % 100 < self._loss


class Restrictions:
    """Client side: what each of several servers has asked for; those that have asked for nothing take no room."""

    __slots__ = ("_known", "servers")

    def __init__(self) -> None:
        self.servers: frozenset[tuple[str, int]] = frozenset()
        """Whose word counts, by their addresses."""
        self._known: dict[tuple[str, int], Restriction] = {}

    def __bool__(self) -> bool:
        return bool(self._known)

    def heed(self, via: str, server: tuple[str, int], now: float) -> None:
        """A response came from there, whose topmost Via has ``oc``."""
        if server in self.servers:
            restriction = self._known.get(server) or Restriction()
            if restriction.heed(via, now):
                self._known[server] = restriction
                if restriction.over(now):
                    del self._known[server]

    def holds_back(self, server: tuple[str, int], call_id: str, now: float) -> bool:
        """A new request of this Call-ID is not to be sent there."""
        restriction = self._known.get(server)
        if restriction is None:
            return False
        if restriction.over(now):
            del self._known[server]
            return False
        return restriction.holds_back(call_id, now)
