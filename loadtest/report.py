"""What a test call measured."""

from dataclasses import dataclass, field

from loadtest import sound


@dataclass
class CallReport:
    """How a call was. Times in seconds unless the name says otherwise; None: not measured."""

    target: str
    status: int = 0
    """Final SIP status; 0: none came."""
    reason: str = ""
    set_up_seconds: float | None = None
    """From the INVITE to its 200."""
    ringing_seconds: float | None = None
    """From the INVITE to the first 180 or 183."""
    first_audio_seconds: float | None = None
    """From the 200 to the first packet that was heard."""
    talk_seconds: float = 0.0
    ended: str = ""
    """``here``, or why the peer ended it: ``bye``, ``timeout``, ..."""
    codec: str = ""
    media: str = ""
    """Where our audio went."""
    packets_sent: int = 0
    packets_received: int = 0
    packets_lost: int = 0
    packets_late: int = 0
    packets_duplicate: int = 0
    loss_percent: float | None = None
    jitter_ms: float | None = None
    jitter_max_ms: float | None = None
    gap_max_ms: float | None = None
    """Longest pause between two packets, or after the last one until we stopped speaking."""
    level_said: float = -100.0
    """dBFS."""
    level_heard: float = -100.0
    """dBFS."""
    echo: bool = False
    """What was heard is what was said."""
    likeness: float = 0.0
    """Correlation coefficient of the two."""
    round_trip_ms: float | None = None
    """Of the sound: from its packet leaving here until it was heard here."""
    mos: float | None = None
    """Mean opinion score by the E-model (ITU-T G.107)."""
    heard: sound.Samples = field(default_factory=lambda: sound.Samples((0,)), repr=False)

    @property
    def audio(self) -> bool:
        """Something was heard that is not silence."""
        return self.packets_received > 0 and self.level_heard > sound.SILENCE_LEVEL
