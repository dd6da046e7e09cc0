"""Who hangs up, having sent the other side elsewhere or having been replaced: the call goes on without him."""

from typing import TYPE_CHECKING

from media.control import Play
from telephony.voice.ringing import Fork

if TYPE_CHECKING:
    from telephony.voice.call import Call


def left(call: "Call", now: float, fork: Fork, *details: object) -> str:
    """BYE of a party that is not the callee any more, or is about to be no longer."""
    transfer = call.transfer
    if fork in call.leaving:
        call.leaving.remove(fork)
        call.release(fork.leg)
    elif transfer is not None and fork is transfer.transferor:
        transfer.transferor = None
        call.peer = None
        call.held.clear()
        call.release(fork.leg)
        call.unmark(fork.user)
        if transfer.joining is None:
            call.legs.connect(call.leg, Play(source="ring-back" if call.state == "referring" else "music"), None)
        call.tell(call.caller, call.leg, "sendrecv", now)
    return call.state
