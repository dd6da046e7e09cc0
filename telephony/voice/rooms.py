"""Rooms: conferences whose members may be on several media processors, and what joins those.

    members on A - room on A === trunk === room on B - members on B

Rules:
- A room has a hub, the same one for all routers: whose claim in the resource database came first. Another processor that a member's leg
  is on is joined with the hub by a trunk (`media.trunks`) before the member enters: a star.
- Who is where is the load balancer's choice: by the room's key, so that members come together, and elsewhere where that one is full.
- Each router looks after the processors that it has members on, every `CHECK_SECONDS` and when a trunk is lost: the claim is renewed, or
  the processor is joined with whoever holds it. A hub that is gone loses its claim to whoever finds that out; the others go on.
- A processor that is gone, or forgets the member that is asked for, loses its members: each call is told (``processor-gone``).
"""

from typing import TYPE_CHECKING

import msgspec

from media.control import Accept, Answer, Offer, Proposal, Propose, Query, Release, TrunkLost
from telephony.call_router.desk import Desk, Done, Result
from telephony.jobs.resource import Claim, Holder, Unclaim
from telephony.voice.legs import KIND

if TYPE_CHECKING:
    from telephony.voice.call import Call

TTL_SECONDS = 30.0
CHECK_SECONDS = 3.0
GONE = ("unavailable", "timeout")
"""What a job says where the service that it names is not there."""
_decode_holder = msgspec.msgpack.Decoder(Holder).decode
_decode_proposal = msgspec.msgpack.Decoder(Proposal).decode
_decode_answer = msgspec.msgpack.Decoder(Answer).decode
_decode_lost = msgspec.msgpack.Decoder(TrunkLost).decode


def key_of(room: str) -> str:
    """Key of a room's claim, and affinity of its legs."""
    return f"room:{room}"


def holder_of(body: bytes) -> str:
    """Who holds the claim, out of the answer to one."""
    return _decode_holder(body).value


def trunk(room: str, here: str, there: str) -> str:
    """Name of the end here of the trunk to there."""
    return f"trunk {room} {here} {there}"


class Seat:
    """Members that this router has in a room, on one processor."""

    def __init__(self, room: str, worker: str) -> None:
        self.room, self.worker = room, worker
        self.hub = worker
        self.calls: dict[Call, None] = {}


class Rooms:
    """Rooms that this router has callers in."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._seats: dict[tuple[str, str], Seat] = {}
        self._linking: dict[tuple[str, str, str], list[Done]] = {}
        """Who waits for a trunk that is being made: room, hub, branch."""
        self._checking = False

    def claim(self, room: str, worker: str, done: Done) -> None:
        """Claim a room for a processor; the answer says who holds it (`holder_of`)."""
        self._desk.ask("resource_database", "claim", Claim(key=key_of(room), value=worker, ttl_seconds=TTL_SECONDS), done)

    def give_up(self, room: str, worker: str, done: Done | None) -> None:
        """The processor that holds the room is gone."""
        self._desk.ask("resource_database", "release", Unclaim(key=key_of(room), value=worker), done)

    def enter(self, call: "Call", hub: str, now: float) -> None:
        """A caller of ours is in its room, on the processor that its legs are on."""
        key = (call.room, call.legs.worker)
        seat = self._seats.get(key)
        if seat is None:
            seat = self._seats[key] = Seat(*key)
        seat.hub = hub
        seat.calls[call] = None
        self._tell(seat, call)
        if not self._checking:
            self._checking = True
            self._desk.after(CHECK_SECONDS, now, self._check_all)

    def leave(self, call: "Call") -> None:
        """A caller of ours has left its room."""
        for key, seat in list(self._seats.items()):
            if seat.calls.pop(call, self) is None and not seat.calls:
                del self._seats[key]

    def link(self, room: str, hub: str, branch: str, done: Done) -> None:
        """Join a processor with the room's hub; an answer that is not ``ok`` says by its worker whose it is."""
        key = (room, hub, branch)
        waiting = self._linking.setdefault(key, [])
        waiting.append(done)
        if len(waiting) > 1:
            return
        near, far = trunk(room, hub, branch), trunk(room, branch, hub)

        def over(result: Result, now: float) -> None:
            for each in self._linking.pop(key):
                each(result, now)

        def proposed(result: Result, now: float) -> None:
            if result.status == "exists":
                over(Result("ok", b"", hub), now)  # somebody else has made it, or is about to
            elif not result.ok:
                over(result._replace(worker=hub), now)
            else:
                offer = Offer(leg=far, call=room, sdp=_decode_proposal(result.body).sdp, trunk=room)
                self._desk.ask(KIND, "offer", offer, offered, worker=branch)

        def offered(result: Result, now: float) -> None:
            if result.ok:
                self._desk.ask(KIND, "accept", Accept(leg=near, sdp=_decode_answer(result.body).sdp), accepted, worker=hub)
            else:
                self._desk.ask(KIND, "release", Release(leg=near), None, worker=hub)
                over(result._replace(worker=branch), now)

        def accepted(result: Result, now: float) -> None:
            over(result._replace(worker=hub), now)

        self._desk.ask(KIND, "propose", Propose(leg=near, call=room, protocol="RTP/SAVP", trunk=room), proposed, worker=hub)

    # What goes on by itself

    def told(self, sender: str, operation: str, body: bytes, now: float) -> None:
        """A trunk of one of our rooms is lost.

        Raises:
            msgspec.DecodeError: of another version.
        """
        room = _decode_lost(body).room
        for seat in [seat for seat in self._seats.values() if seat.room == room]:
            self._check(seat)

    def ends(self, sender: str, room: str) -> None:
        """A processor will end soon, and its trunks of a room with it: another one shall be the hub."""
        self.give_up(room, sender, None)
        for seat in [seat for seat in self._seats.values() if seat.room == room and seat.worker != sender]:
            self._check(seat)

    def _check_all(self, now: float) -> None:
        for seat in list(self._seats.values()):
            self._check(seat)
        self._checking = bool(self._seats)
        if self._checking:
            self._desk.after(CHECK_SECONDS, now, self._check_all)

    def _check(self, seat: Seat) -> None:
        """See that a processor of ours is there, and joined with the hub."""
        room, worker = seat.room, seat.worker
        holder = ""

        def known(result: Result, now: float) -> None:
            if result.status in GONE or result.status == "not-found":
                self._gone(seat, result.status == "not-found", now)
            else:
                self.claim(room, worker, claimed)

        def claimed(result: Result, now: float) -> None:
            nonlocal holder
            if not result.ok or not seat.calls:
                return
            holder = holder_of(result.body)
            if holder == worker:
                self._settle(seat, holder)
            else:
                self.link(room, holder, worker, linked)

        def linked(result: Result, now: float) -> None:
            if result.ok:
                self._settle(seat, holder)
            elif result.worker == holder and result.status in GONE:
                self.give_up(room, holder, freed)

        def freed(result: Result, now: float) -> None:
            if result.ok and seat.calls:
                self.claim(room, worker, claimed)

        member = next((call for call in seat.calls if call.state == "talking"), None)
        if member is not None:
            self._desk.ask(KIND, "query", Query(leg=member.leg), known, worker=worker)

    def _gone(self, seat: Seat, forgotten: bool, now: float) -> None:
        if not forgotten:
            self.give_up(seat.room, seat.worker, None)
        for call in [call for call in seat.calls if call.legs.worker == seat.worker]:
            call.happen("processor-gone", now)

    def _settle(self, seat: Seat, hub: str) -> None:
        if seat.hub != hub:
            seat.hub = hub
            for call in seat.calls:
                self._tell(seat, call)

    def _tell(self, seat: Seat, call: "Call") -> None:
        state = "call-answered" if call.record.answered else "call-started"
        event: dict[str, object] = {"event": "call-room", "call": call.id, "state": state, "room": seat.room}
        self._desk.notify({**event, "processor": seat.worker, "hub": seat.hub})
