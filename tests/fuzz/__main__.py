"""Looks for bytes that break a target (`make fuzz`): ``python -m tests.fuzz [--seconds 60] [TARGET ...]``, one target after the other.

What it learns stays in ``.fuzz/``, so that the next run goes on from there. An input that breaks a target is kept in
``.fuzz/found/``; when it is mended, the input goes to ``tests/vectors/fuzz/TARGET/`` and is replayed by the tests.
"""

import argparse
import re
import subprocess
import sys

from tests.fuzz.targets import TARGETS, found
from tests.fuzz.vectors import ROOT

FOLDER = ROOT / ".fuzz"
INPUT_BYTES_MAX = 4096
INPUT_SECONDS_MAX = 10
MEMORY_MIB_MAX = 1024


def fuzz(name: str, seconds: int) -> str:
    """Fuzz one target; its figures, or an empty text if it was broken."""
    target = TARGETS[name]
    corpus, crashes = FOLDER / name, FOLDER / "found"
    corpus.mkdir(parents=True, exist_ok=True)
    crashes.mkdir(exist_ok=True)
    for number, data in enumerate([*target.seeds(), *(path.read_bytes() for path in found(name))]):
        (corpus / f"seed-{number:03}").write_bytes(data)
    command = [
        sys.executable, "-m", "tests.fuzz.one", name, str(corpus), f"-max_total_time={seconds}", f"-max_len={INPUT_BYTES_MAX}",
        f"-timeout={INPUT_SECONDS_MAX}", f"-rss_limit_mb={MEMORY_MIB_MAX}", "-print_final_stats=1", f"-artifact_prefix={crashes}/{name}-",
    ]  # fmt: skip
    run = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False)
    if run.returncode:
        print(run.stdout[-6000:], "\n".join(line for line in run.stderr.splitlines()[-80:] if not line.startswith("#")), file=sys.stderr)
        return ""
    executed = re.findall(r"number_of_executed_units: *(\d+)", run.stderr)
    covered = re.findall(r"cov: (\d+) ft: (\d+) corp: (\d+)", run.stderr)
    edges, features, inputs = covered[-1] if covered else ("?", "?", "?")
    return f"{name}: {executed[-1]} inputs, {edges} edges and {features} features covered, {inputs} inputs in the corpus"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("target", nargs="*", choices=[*TARGETS, []], help="all of them if none is named")
    given = parser.parse_args()
    broken = []
    for name in given.target or TARGETS:
        figures = fuzz(name, given.seconds)
        print(figures or f"{name}: broken; the input is in {FOLDER / 'found'}", flush=True)
        if not figures:
            broken.append(name)
    return len(broken)


if __name__ == "__main__":
    sys.exit(main())
