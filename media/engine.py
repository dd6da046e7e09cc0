"""The engine: one tick every 5 ms for all legs of a process.

    sockets -> inbox -> leg -> (relay -> sockets) | jitter ring -> tick -> decode -> mix-minus -> encode -> headers -> sockets

Rules:
- A tick receives first, then serves the phase whose turn it is. A tick whose phase is empty receives only every `PHASES` ticks, or every
  `RELAY_TICKS` where packets are relayed, unless `RELAY_PACKETS` come in one: what waits in the kernel is stamped with its time, and
  what a wake-up costs is shared by all that waited.
- Ticks that were missed are made up for, at most `CATCH_UP_TICKS`; time beyond that is skipped, and the timestamps that go out say so.
- Nothing that the network sends can raise out of a tick; nothing in it waits.
- Names of legs and rooms, SDP and jobs are the desk's (`media.desk`); here there are only numbers.
"""

from typing import NamedTuple

import numpy as np
import numpy.ma  # np.unique loads it when it is first called: 50 ms in a tick, or of a standby that goes on
from numpy import count_nonzero as how_many

from media.addresses import Addresses
from media.arrays import I16, I32, I64, Index
from media.bank import Bank, Source
from media.codecs import PCMA
from media.datagrams import Inbox
from media.digits import DigitsOut
from media.events import EventsIn
from media.hearing import Hearing, Mix
from media.jitter import JitterRing, PacketRing, Playout
from media.legs import FRAME_SAMPLES, Legs
from media.listening import Listening
from media.mixer import Mixer
from media.plan import FEED_MIX, PHASES, Block, Phase, plan
from media.rates import RATES, fade, frame_samples
from media.receive import Receiver, Ways
from media.recorder import Recorder, Recording
from media.relay import Relay
from media.rtcp import ReportsIn, ReportsOut
from media.send import Sender
from media.sockets import Sockets
from media.speakers import Speakers
from media.srtp.guard import Guard
from media.transcode import Transcoder
from media.webrtc.link import Links

TICK_SECONDS = 0.005
CATCH_UP_TICKS = 8
TAKE_OVER_TICKS = 16
"""The same for the first tick of a process that takes over: no frame is left out for its gap."""
RELAY_TICKS = 2
"""A packet that is relayed waits at most so long: 10 ms."""
RELAY_PACKETS = 128
"""Where so many come in a tick, waiting for more would save next to nothing."""
HOUSEKEEPING_TICKS = 20


class RoomPlay(NamedTuple):
    """A source that a room hears."""

    id: str
    at: int
    first: int
    end: int
    loop: bool


def _saturated(samples: I32 | I16) -> I16:
    return np.clip(samples, -32768, 32767).astype(np.int16)


class Engine:
    """Arrays, sockets, and what happens in a tick.

    Args:
        legs: state; it may be another process's.
        sockets: where packets come from and go to.
        now: seconds.
        rng: chance, for the times of reports.
    """

    def __init__(self, legs: Legs, sockets: Sockets, now: float, rng: np.random.Generator) -> None:
        self.legs, self.sockets = legs, sockets
        self.bank = Bank()
        self.recorder = Recorder(legs.tape)
        self.inbox = Inbox(sockets.ring)
        self.guard = Guard(legs, self.inbox)
        self.links = Links(legs, sockets, self.guard, self.changed)
        self.rtp = Addresses(2 * legs.capacity)
        self.rtcp = Addresses(2 * legs.capacity)
        self.playout = Playout(legs)
        self.ring = JitterRing(legs, self.playout, legs.capacity)
        self.packets = PacketRing(legs)
        self.events = EventsIn(legs)
        self.sender = Sender(legs, sockets, self.guard)
        self.relay = Relay(legs, self.inbox, sockets, self.guard)
        self.reports = ReportsOut(legs, sockets, self.guard, rng)
        reports_in = ReportsIn(legs, self.inbox)
        self._mixer = Mixer(max(legs.capacity, 1))
        self.transcoder = Transcoder(legs, self.playout, self.ring, self.packets, self._mixer, self.sender)
        self.digits = DigitsOut(legs, self.sender, self.bank, self.transcoder)
        ways = Ways(self.playout, self.ring, self.packets, self.transcoder, self.relay, self.events, reports_in, self.guard, self.links)
        self.receiver = Receiver(legs, sockets, self.inbox, self.rtp, self.rtcp, ways)
        self.hearing = Hearing(legs)
        self.speakers = Speakers(legs)
        self.listening = Listening(legs)
        self._phases: list[Phase] = plan(legs)
        self._stale = True
        self._relays = True
        self._patience = 1
        """Ticks after which it is received, whoever is served."""
        self._received = -PHASES
        """Tick that received last."""
        self._served: I64 = legs.process["ticks"]
        """int64[1]: as many, in the memory: who takes over goes on at the next one."""
        self._began = now
        self._ticks = 0
        self._made_up = CATCH_UP_TICKS
        """Ticks that the next one makes up for."""
        self.skipped = 0
        """Ticks that were never made up for."""
        self.room_plays: dict[int, RoomPlay] = {}
        """Room to what it hears."""
        self.room_tones: dict[int, list[Source]] = {}
        """Room to the tones that it hears one after the other, besides."""
        self.room_recordings: dict[int, Recording] = {}
        self.leg_recordings: dict[int, Recording] = {}
        self.fading: dict[int, bool] = {}
        """Rooms whose rate changes: they fade in (true) or out."""
        self.faded: set[int] = set()
        """Rooms that have faded out: silent until they have their new rate; who sets it clears it."""
        self.ended_legs: list[int] = []
        """Legs whose playback is over."""
        self.ended_rooms: list[tuple[int, str]] = []
        """Rooms whose playback is over, and its id."""

    def changed(self) -> None:
        """Who is served how has changed: plan anew before the next tick."""
        self._stale = True

    def take_over(self) -> None:
        """Go on with what another process left: at the tick after the last one that it served."""
        if self._served[0]:
            self._began, self._ticks = float(self.legs.process["began"][0]), int(self._served[0])
            self._made_up = TAKE_OVER_TICKS
        self.listening.recount()
        self.receiver.bursts.recount()
        self.transcoder.take_over()
        self.guard.take_over()
        self.changed()

    def figures(self) -> dict[str, float]:
        """What there is to know of the process, by name."""
        ring = self.sockets.ring
        return {
            "media_legs": float(how_many(self.legs.used)),
            "media_io_uring": float(ring is not None and ring.works),
            "media_ticks_skipped": float(self.skipped),
            "media_datagrams_stray": float(self.receiver.stray),
            "media_datagrams_unsent": float(self.sender.outbox.unsent + self.relay.outbox.unsent),
            "media_recordings": float(len(self.room_recordings) + len(self.leg_recordings)),
        }

    def tick(self, now: float) -> None:
        """Receive what came, serve every phase whose time has come."""
        due = int((now - self._began) / TICK_SECONDS + 1e-6)
        if self._stale:
            self._stale = False
            self.legs.process["began"] = self._began
            self._phases = plan(self.legs)
            self._relays = self.receiver.relays = bool(how_many(self.legs.used & (self.legs.target >= 0)))
            self.receiver.rings = bool(how_many(self.legs.used & self.legs.ring_wanted))
            self._patience = RELAY_TICKS if self._relays else PHASES
        serves = any(len(self._phases[tick % PHASES].clocked) for tick in range(self._ticks, min(due, self._ticks + PHASES)))
        waited = due - self._received
        if serves or waited >= self._patience:
            self._received = due
            self.receiver.tick = self._ticks
            self.receiver.pressing = self.digits.busy
            taken = self.receiver.drain(now)
            if self._relays:
                self._patience = 1 if taken >= RELAY_PACKETS * waited else RELAY_TICKS
            if self.links:
                self.links.tick(now)
        most, self._made_up = self._made_up, CATCH_UP_TICKS
        if due - self._ticks > most:
            self.skipped += due - self._ticks - most
            # Keep the turn of the phases.
            self._ticks += (due - self._ticks - most) // PHASES * PHASES
        while self._ticks < due:
            # By the time that it was due: what is made up for is late, but no gap in the stream.
            self._serve(self._ticks % PHASES, self._began + (self._ticks + 1) * TICK_SECONDS)
            self._ticks += 1
            self._served[0] = self._ticks
            if self._ticks % HOUSEKEEPING_TICKS == 0:
                self.events.expire(now)
                self.reports.tick(now)

    def rest(self) -> int:
        """Ticks from the last one to the next that has anything to do, 1 to `PHASES`."""
        if self._stale:
            return 1
        until = max(1, min(self._received + self._patience - self._ticks, PHASES))
        for ticks in range(1, until):
            if len(self._phases[(self._ticks + ticks - 1) % PHASES].clocked):
                return ticks
        return until

    def _serve(self, number: int, now: float) -> None:
        phase = self._phases[number]
        if not len(phase.clocked):
            return
        self.sender.advance(phase.clocked, now)
        for block in phase.blocks:
            self._mix(block, now)
        if len(phase.players):
            self._play(phase.players)
        self.digits.tick(number)

    def _mix(self, block: Block, now: float) -> None:
        leg, rooms, special = block.leg, len(block.room), block.special
        heard = self.transcoder.hear(leg, block.quiet, block.rate)
        said, samples = heard.row, heard.samples
        if self.listening.any:
            self.listening.hear(leg, heard, now)
        if self.speakers.watched:
            self.speakers.follow(leg, block.room, heard.level)
        extra = self._room_play(block.room, block.rate) if self.room_plays or self.room_tones else None
        if self.fading:
            self._fade(block, said, samples, extra)
        told = self.hearing.speak(leg, special.voices, said, samples) if special else []
        place: Index | None = None
        if block.size == 1:
            total: I32 = samples.astype(np.int32)
            hears: I32 = total * self.legs.echo[leg][:, None]
            if extra is not None:
                hears += extra
        elif said is None:
            total, hears = self._mixer.minus(samples, block.size, extra)
        else:
            total = self._mixer.sums(samples, block.common[said], rooms, extra)
            own = said if heard.own is None else heard.own
            if special:
                own = np.union1d(own, special.ears)
            hears = np.concatenate((total, total[block.common[own]]))
            hears[rooms + np.searchsorted(own, said)] -= samples
            place = block.common.copy()
            place[own] = np.arange(rooms, rooms + len(own))
        if special or self.room_recordings or self.leg_recordings:
            mix = Mix(leg, said, samples, total, hears, place)
            if special:
                self.hearing.listen(special, mix, told)
            self._record(block.room, mix)
        sends = block.sends
        if self.digits.busy:
            free = (self.legs.digit_step[leg] == 0) & (self.legs.digits_waiting[leg] == 0)
            sends = np.flatnonzero(free) if sends is None else sends[free[sends]]
        if sends is not None:
            leg = leg[sends]
            if place is None:
                hears = hears[sends]
            else:
                place = place[sends]
        if len(leg):
            self.transcoder.say(leg, hears, place, block.rate)

    def _fade(self, block: Block, said: Index | None, samples: I16, extra: I32 | None) -> None:
        """What is said in rooms whose rate changes: out with the last frame at the old one, in with the first at the new one."""
        common = block.common if said is None else block.common[said]
        for place, room in enumerate(block.room.tolist()):
            rises = self.fading.get(room)
            if rises is None:
                continue
            curve = fade(block.rate, rises) * np.float32(room not in self.faded)
            mine = np.flatnonzero(common == place)
            samples[mine] = np.rint(samples[mine] * curve)
            if extra is not None:
                extra[place] = np.rint(extra[place] * curve)
            if rises:
                del self.fading[room]
            else:
                self.faded.add(room)

    def _frame(self, at: int, first: int, rate: int) -> I16:
        """int16[20 ms]: a frame of the bank."""
        return np.asarray(self.bank.samples[at] if rate == RATES[0] else self.bank.at_rate(np.array([at]), np.array([first]), rate)[0])

    def _room_play(self, rooms: I32, rate: int) -> I32:
        """int32[rooms, 20 ms]: what rooms hear besides their members."""
        extra = np.zeros((len(rooms), frame_samples(rate)), np.int32)
        for place, room in enumerate(rooms.tolist()):
            tones = self.room_tones.get(room)
            if tones:
                extra[place] = self._frame(tones[0].first, tones[0].first - 1, rate)
                tones[0] = Source(tones[0].first + 1, tones[0].end)
                if tones[0].first == tones[0].end:
                    del tones[0]
            elif tones is not None:
                del self.room_tones[room]
            play = self.room_plays.get(room)
            if play is None:
                continue
            extra[place] += self._frame(play.at, play.first, rate)
            at = play.at + 1
            if at == play.end and play.loop:
                at = play.first
            if at < play.end:
                self.room_plays[room] = play._replace(at=at)
                self.legs.room_played[room] = at - play.first
            else:
                del self.room_plays[room]
                self.ended_rooms.append((room, play.id))
        return extra

    def _record(self, rooms: I32, mix: Mix) -> None:
        legs = self.legs
        if self.room_recordings:
            for row, room in enumerate(rooms.tolist()):
                recording = self.room_recordings.get(room)
                if recording is not None:
                    recording.put(_saturated(mix.total[row]))
        for leg, recording in self.leg_recordings.items():
            for row in np.flatnonzero(mix.leg == leg).tolist():
                hears: I32 | I16 = mix.hears[row if mix.place is None else int(mix.place[row])]
                if legs.feed[leg] != FEED_MIX:
                    hears = self._frame(int(legs.play_at[leg]), int(legs.play_first[leg]), int(legs.room_rate[leg]))
                if recording.channels == 1:
                    recording.put(_saturated(mix.of(row) + hears))
                else:
                    recording.put(_saturated(mix.of(row)), _saturated(hears))

    def _play(self, leg: Index) -> None:
        legs = self.legs
        at = legs.play_at[leg]
        sends = legs.sends[leg] & (legs.digit_step[leg] == 0) & (legs.digits_waiting[leg] == 0)
        hears = leg[sends]
        if len(hears):
            self._play_to(hears, at[sends])
        at = at + 1
        over = at >= legs.play_end[leg]
        if how_many(over):
            again = over & legs.play_loop[leg]
            at = np.where(again, legs.play_first[leg], at)
            ended = leg[over & ~again]
            at[over & ~again] -= 1
            self.ended_legs += ended.tolist()
        legs.play_at[leg] = at

    def _play_to(self, leg: Index, at: I64) -> None:
        """Send frames of the bank: G.711 as it was encoded once for all, other codecs each."""
        codec, bank = self.legs.codec[leg], self.bank
        plain = codec <= PCMA
        if how_many(plain):
            place = (codec[plain] == PCMA) * len(bank.samples) + at[plain]
            self.sender.audio(leg[plain], bank.coded.reshape(-1, FRAME_SAMPLES)[place], FRAME_SAMPLES)
        if how_many(plain) < len(plain):
            leg, at = leg[~plain], at[~plain]
            rates = self.legs.room_rate[leg]
            for rate in np.unique(rates).tolist():
                mine, frame = leg[rates == rate], at[rates == rate]
                self.transcoder.say(mine, bank.at_rate(frame, self.legs.play_first[mine], rate).astype(np.int32), rate=rate)

    def close(self) -> None:
        """Say BYE for all legs, finish files."""
        for recording in (*self.room_recordings.values(), *self.leg_recordings.values()):
            recording.close()
        self.recorder.close()
        self.bank.close()
        self.guard.close()
