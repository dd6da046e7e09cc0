"""Memory files of units: what a process keeps in them is there for the one that comes after it.

Rules:
- They live as long as the unit runs the same software; they never touch a disk.
- Where they may be the reason that a unit dies again and again, it gets empty ones.
"""

import os

MEMORY_FILES_MAX = 8
"""Of one unit."""


class MemoryFiles:
    """All of a machine."""

    def __init__(self) -> None:
        self._held: dict[str, dict[str, int]] = {}
        self._software: dict[str, str] = {}

    def take(self, unit: str, names: list[str], software: str) -> list[int]:
        """Descriptors of a unit's memory files, which stay ours; empty files at first and for other software."""
        if self._software.get(unit, software) != software:
            self.release(unit)
        self._software[unit] = software
        held = self._held.setdefault(unit, {})
        for name in names:
            if name not in held:
                held[name] = os.memfd_create(f"{unit} {name}", os.MFD_CLOEXEC)
        return [held[name] for name in names]

    def release(self, unit: str) -> None:
        """Forget them: what is in them ends with the last process that has them open."""
        self._software.pop(unit, None)
        for descriptor in self._held.pop(unit, {}).values():
            os.close(descriptor)

    def close(self) -> None:
        """Forget all."""
        for unit in list(self._held):
            self.release(unit)
