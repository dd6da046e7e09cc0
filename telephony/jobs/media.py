"""What a media processor's shell adds to the engine's jobs and events (`media.control`).

| operation | request | response | errors |
| --- | --- | --- | --- |
| ``steps`` | `Steps` | list of `StepDone` | ``bad-request`` |

| event | structure |
| --- | --- |
| ``leg-ending`` | `LegEnding` |
"""

import msgspec

STEPS_MAX = 32
"""Steps of one job."""


class Step(msgspec.Struct, frozen=True, array_like=True):
    """One job of the engine."""

    operation: str
    body: bytes


class Steps(msgspec.Struct, frozen=True, kw_only=True):
    """Several jobs of the engine as one, done in order by one processor; one that fails does not stop the others."""

    steps: list[Step]


class StepDone(msgspec.Struct, frozen=True, array_like=True):
    """Its answer, as it would have been alone."""

    status: str
    body: bytes


class LegEnding(msgspec.Struct, frozen=True, kw_only=True):
    """Event: the processor stops in a moment and this leg with it."""

    leg: str
    call: str
    reason: str
    """For people: ``drained``."""
