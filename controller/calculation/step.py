"""One calculation: decide, then derive, on a draft that holds what came in."""

from collections.abc import Callable

from controller.calculation.decision import Mint, decide
from controller.calculation.derivation import derive, touched
from controller.calculation.documents import bundles_of
from controller.state import Bundle, Machine, SealedKey
from controller.tables import Draft

Wrap = Callable[[Machine, Bundle], bytes | None]
"""Seals the key of a bundle's chunks to a machine; None: the bundle is not there."""


def calculate(draft: Draft, now: float, mint: Mint, wrap: Wrap, machines_expected: int = 0, everything: bool = False) -> list[str]:
    """Let units and subjects follow from what the draft holds; returns the subjects with new content.

    It changes nothing where it was called before with the same records, and time alone moves nothing on.
    """
    decide(draft, now, mint, machines_expected)
    for machine in _changed_machines(draft, everything):
        for hash in bundles_of(draft, machine):
            bundle = draft.get(Bundle, hash)
            if bundle is not None and draft.get(SealedKey, f"{machine.id}/{hash}") is None:
                sealed = wrap(machine, bundle)
                if sealed is not None:
                    draft.put(SealedKey(id=f"{machine.id}/{hash}", sealed=sealed))
    return derive(draft, draft.writes(), everything)


def _changed_machines(draft: Draft, everything: bool) -> list[Machine]:
    if everything:
        return list(draft.all(Machine).values())
    return [machine for id in sorted(touched(draft, draft.writes())[1]) if (machine := draft.get(Machine, id)) is not None]
