"""What is said about a leg: counters and quality."""

import numpy as np

from media.codecs import CODECS
from media.control import LegReport
from media.legs import FRAME_SAMPLES, FRAME_SECONDS, Legs
from media.quality import opinion, rating
from media.record import LegRecord


def report(legs: Legs, record: LegRecord, connected_to: str, now: float) -> LegReport:
    """The report of a leg now."""
    leg = record.leg
    expected = int(legs.sequence_max[leg] - legs.sequence_first[leg]) + 1 if legs.ssrc_in[leg] >= 0 else 0
    lost = int(legs.lost_before[leg]) + max(expected - int(legs.received[leg]), 0)
    packets = int(legs.received_before[leg] + legs.received[leg])
    clock = max(float(legs.rate[leg]), 1.0)
    buffered = 0.0
    if legs.playing[leg]:
        buffered = max(float(legs.position[leg]) * 8000.0 / clock / FRAME_SAMPLES - float(legs.play[leg]) + 1.0, 0.0) * FRAME_SECONDS
    trip = float(legs.round_trip[leg])
    codec = CODECS.get(int(legs.codec[leg]))
    missing = min(lost + int(legs.late[leg]), packets + lost) / max(packets + lost, 1)
    delay = max(trip, 0.0) / 2 + buffered + FRAME_SECONDS
    r_factor = rating(missing, delay, codec.impairment, codec.robustness) if codec and packets else 0.0
    return LegReport(
        leg=record.name,
        call=record.call,
        codec=codec.label if codec else "",
        connected_to=connected_to,
        seconds=now - float(legs.since[leg]),
        packets_in=packets,
        bytes_in=int(legs.bytes_in[leg]),
        packets_out=int(legs.packets_out[leg]),
        bytes_out=int(legs.bytes_out[leg]),
        lost=lost,
        late=int(legs.late[leg]),
        concealed=int(legs.concealed[leg]),
        refused=int(legs.refused[leg]),
        jitter_ms=float(legs.jitter[leg]) / clock * 1000.0,
        remote_lost=int(legs.remote_lost[leg]),
        remote_jitter_ms=float(legs.remote_jitter[leg]) / clock * 1000.0,
        round_trip_ms=trip * 1000.0 if trip >= 0 else -1.0,
        buffer_ms=buffered * 1000.0,
        r_factor=float(np.round(r_factor, 2)),
        mos=float(np.round(opinion(r_factor), 3)) if packets else 1.0,
    )
