"""SIPp as the load on both sides of a contender, and what its statistics say."""

import csv
import io
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from loadtest.bench import address, packages
from loadtest.bench.process import Process

SCENARIOS = Path(__file__).parent / "scenarios"
BUFFER_BYTES = 2 << 20
"""Of SIPp's sockets."""
SOCKETS_MAX = 900
"""Ports that calls come from, with ``many``; fewer than descriptors that anybody may open."""
GRACE_SECONDS = 15.0
"""After the last call should have ended; SIPp ends by itself then."""


@dataclass(frozen=True)
class Outcome:
    """What one side of a run saw."""

    succeeded: int
    failed: int
    retransmissions: int
    rate: float
    """Calls per second over the whole run."""
    response_ms: float
    """Mean of request to answer."""
    response_p99_ms: float
    """99 of 100 were answered within; 0 where it was not traced."""

    @staticmethod
    def read(statistics: str, times: str = "") -> "Outcome":
        """From SIPp's statistics (``-trace_stat``) and response times (``-trace_rtt``), as it wrote them.

        Raises:
            ValueError: not what SIPp writes.
        """
        rows = list(csv.DictReader(io.StringIO(statistics), delimiter=";"))
        if not rows or "SuccessfulCall(C)" not in rows[-1]:
            raise ValueError("no statistics of SIPp")
        last = rows[-1]
        traced = sorted(float(line.split(";")[1]) for line in times.splitlines()[1:] if line.count(";") >= 2)
        return Outcome(
            succeeded=int(last["SuccessfulCall(C)"]),
            failed=int(last["FailedCall(C)"]),
            retransmissions=int(last["Retransmissions(C)"]),
            rate=float(last["CallRate(C)"]),
            response_ms=_milliseconds(last.get("ResponseTime1(C)") or "00:00:00:000000"),
            response_p99_ms=traced[min(len(traced) - 1, len(traced) * 99 // 100)] if traced else 0.0,
        )


def _milliseconds(text: str) -> float:
    """``hh:mm:ss:uuuuuu`` as SIPp prints a duration."""
    hours, minutes, seconds, micros = text.split(":")
    return ((int(hours) * 60 + int(minutes)) * 60 + int(seconds)) * 1e3 + int(micros) / 1e3


class Folder:
    """Where a run's scenarios and statistics are; removed with `close`."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="hotswitch-bench-"))

    def close(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)


def per_second(folder: Folder, counter: str, name: str = "caller") -> list[int]:
    """What a counter of the scenario (attribute ``counter``) grew by, in each second of a caller's run; the first is its start."""
    rows = csv.DictReader(io.StringIO((folder.path / f"{name}.csv").read_text()), delimiter=";")
    return [int(row[f"{counter}(P)"]) for row in rows]


class Callee:
    """SIPp answering calls at `address.CALLEE`."""

    def __init__(self, folder: Folder) -> None:
        packages.need("sipp")
        self._statistics = folder.path / "callee.csv"
        self.process = Process([
            packages.program("sipp"), "-sf", str(SCENARIOS / "callee.xml"), "-i", address.CALLEE, "-p", str(address.CALLEE_PORT),
            "-nostdin", "-buff_size", str(BUFFER_BYTES), "-trace_stat", "-stf", str(self._statistics), "-fd", "1",
        ])  # fmt: skip
        self.process.wait_until(self._statistics.exists)

    def retransmissions(self) -> int:
        """So far."""
        try:
            return Outcome.read(self._statistics.read_text()).retransmissions
        except (OSError, ValueError):
            return 0

    def stop(self) -> None:
        self.process.stop()


class Caller:
    """SIPp making ``rate`` calls a second for ``seconds``; runs from when it is made.

    Args:
        target: ``host:port`` that it talks to.
        scenario: file of `SCENARIOS`.
        hold_ms: between ACK and BYE.
        users: file for ``-inf``.
        service: user part that it calls.
        timed: also trace every response time.
        many: each call comes from a port of its own, as from a phone of its own.
        open_seconds: so long calls may be open besides ``hold_ms`` before no more are begun.
    """

    def __init__(
        self, folder: Folder, target: str, rate: int, seconds: float, *, scenario: str = "caller.xml", hold_ms: int = 0,
        users: Path | None = None, service: str = "service", timed: bool = False, name: str = "caller",
        many: bool = False,
        open_seconds: float = 2.0,
    ) -> None:  # fmt: skip
        packages.need("sipp")
        self.asked = max(1, round(rate * seconds))
        self.rate = rate
        self._seconds = seconds + hold_ms / 1000 + GRACE_SECONDS
        self._statistics = folder.path / f"{name}.csv"
        self._statistics.unlink(missing_ok=True)
        text = (SCENARIOS / scenario).read_text()
        if hold_ms:
            text = text.replace("<!-- hold -->", f'<pause milliseconds="{hold_ms}"/>')
        own = folder.path / f"{name}.xml"
        own.write_text(text)
        command = [
            packages.program("sipp"), target, "-sf", str(own), "-s", service, "-i", address.CALLER,
            *(["-t", "un", "-max_socket", str(SOCKETS_MAX)] if many else ["-p", str(address.CALLER_PORT)]),
            "-nostdin", "-buff_size", str(BUFFER_BYTES), "-r", str(rate), "-m", str(self.asked),
            "-l", str(int(rate * (open_seconds + hold_ms / 1000)) + 200), "-recv_timeout", "8000", "-timeout", str(int(self._seconds)),
            "-trace_stat", "-stf", str(self._statistics), "-fd", "1",
        ]  # fmt: skip
        if users is not None:
            command += ["-inf", str(users)]
        if timed:
            command += ["-trace_rtt", "-rtt_freq", "1"]
        self._folder = folder
        self._timed = timed
        self._before = os.times()
        # -trace_rtt names its file itself, in the working directory and after the scenario.
        self.process = Process(["sh", "-c", 'cd "$0" && exec "$@"', str(folder.path), *command])
        self.cpu_seconds = 0.0
        """What SIPp itself used; known after `finish`."""

    def finish(self) -> Outcome:
        """Wait for its end (bounded by SIPp's own timeout)."""
        if self.process.wait(self._seconds + GRACE_SECONDS) is None:
            self.process.stop()
        after = os.times()
        self.cpu_seconds = (after.children_user + after.children_system) - (self._before.children_user + self._before.children_system)
        times = ""
        if self._timed:
            for file in self._folder.path.glob(f"*_{self.process.pid}_rtt.csv"):
                times = file.read_text()
        try:
            return Outcome.read(self._statistics.read_text(), times)
        except (OSError, ValueError):
            return Outcome(0, self.asked, 0, 0.0, 0.0, 0.0)

    def stop(self) -> None:
        self.process.stop()


def faults(outcome: Outcome, asked: int, rate: int, callee_retransmissions: int = 0) -> tuple[str, ...]:
    """Why a run is invalid: more than 0.1 % failed, more than 1 % retransmitted, less than 97 % of the rate (0: any will do)."""
    found = []
    failed = max(outcome.failed, asked - outcome.succeeded)
    if failed > asked * 0.001:
        found.append(f"{failed} of {asked} failed")
    retransmitted = outcome.retransmissions + callee_retransmissions
    if retransmitted > asked * 0.01:
        found.append(f"{retransmitted} retransmissions")
    if outcome.rate < 0.97 * rate:
        found.append(f"{outcome.rate:.0f}/s instead of {rate}/s")
    return tuple(found)
