"""From what is wanted and what was reported to what every machine shall do. Pure: no clock, no socket, no chance.

Two steps, both on a `controller.tables.Draft`:
- `controller.calculation.decision`: which units there shall be, where, and what for (placement, replacement, ownership, homes).
- `controller.calculation.derivation`: the documents and configurations that follow, only those that the change touches.
"""
