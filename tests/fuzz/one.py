"""Fuzzes one target with atheris: ``python -m tests.fuzz.one TARGET [libFuzzer's own arguments]``. It ends when libFuzzer does."""

import sys

import atheris

with atheris.instrument_imports(include=["telephony", "media", "agent"]):
    from tests.fuzz.targets import TARGETS

if __name__ == "__main__":
    name = sys.argv.pop(1)
    atheris.Setup(sys.argv, TARGETS[name].check)
    atheris.Fuzz()
