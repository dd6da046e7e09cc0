"""What is said about a leg: counters and quality."""

import numpy as np

from media.codecs import CODECS
from media.control import LegReport
from media.extended import metrics
from media.legs import Legs
from media.quality import lost_of, opinion, rate
from media.record import LegRecord


def report(legs: Legs, record: LegRecord, connected_to: str, now: float) -> LegReport:
    """The report of a leg now."""
    leg = record.leg
    rated = rate(legs, leg)
    clock = max(float(legs.rate[leg]), 1.0)
    trip = float(legs.round_trip[leg])
    codec = CODECS.get(int(legs.codec[leg]))
    return LegReport(
        leg=record.name,
        call=record.call,
        codec=codec.label if codec else "",
        connected_to=connected_to,
        seconds=now - float(legs.since[leg]),
        packets_in=int(legs.received_before[leg] + legs.received[leg]),
        bytes_in=int(legs.bytes_in[leg]),
        packets_out=int(legs.packets_out[leg]),
        bytes_out=int(legs.bytes_out[leg]),
        lost=lost_of(legs, leg),
        late=int(legs.late[leg]),
        concealed=int(legs.concealed[leg]),
        refused=int(legs.refused[leg]),
        jitter_ms=float(legs.jitter[leg]) / clock * 1000.0,
        remote_lost=int(legs.remote_lost[leg]),
        remote_jitter_ms=float(legs.remote_jitter[leg]) / clock * 1000.0,
        round_trip_ms=trip * 1000.0 if trip >= 0 else -1.0,
        buffer_ms=rated.buffer_seconds * 1000.0,
        r_factor=float(np.round(rated.conversation, 2)),
        mos=float(np.round(opinion(rated.conversation), 3)),
        remote=metrics(legs, leg),
    )
