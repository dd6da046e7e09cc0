"""Whether what somebody wants can be published at all: a subject's state has to fit into one envelope.

What grows without end is the list of users, which every proxy has whole: about 105 bytes each, compressed, so that 39 000 fit.
"""

from collections.abc import Iterable

from agent.wire.envelope import STATE_BYTES_MAX
from controller.calculation.replacement import InstructionError
from controller.state import Subject
from controller.tables import Write

MARGIN_BYTES = 64 * 1024
"""Left for what changes without anybody asking for it: addresses, routers, balancers."""
SUBJECT_BYTES_MAX = STATE_BYTES_MAX - MARGIN_BYTES


def check_sizes(writes: Iterable[Write]) -> None:
    """Look at the subjects that would be written.

    Raises:
        InstructionError: ``too-large``.
    """
    for write in writes:
        subject = write.new
        if isinstance(subject, Subject) and len(subject.body) > SUBJECT_BYTES_MAX:
            raise InstructionError(
                "too-large",
                f"the configuration of {subject.id} would take {len(subject.body)} bytes, {SUBJECT_BYTES_MAX} at most: "
                "that are too many users, queues or routes for one cluster",
            )
