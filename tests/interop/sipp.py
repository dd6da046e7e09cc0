"""SIPp as a peer: its stock scenarios and our own, bounded in calls and time, with its verdict read back."""

import csv
import socket
import subprocess
from pathlib import Path
from typing import NamedTuple

from tests.interop.waiting import free_port, wait_for

PCAPS = Path("/usr/share/sip-tester")
"""Where Debian keeps the recordings that the scenario ``uac_pcap`` plays."""


class Verdict(NamedTuple):
    """How a run went."""

    successful: int
    failed: int
    retransmissions: int
    exit_code: int
    """0: all calls went well; 1: at least one failed; others: SIPp itself did."""
    errors: str
    """What SIPp wrote about unexpected messages."""
    media_port: int
    """First UDP port that it used for RTP."""


class Answering:
    """SIPp that answers calls (stock scenario ``uas`` unless another is named) and sends the audio back; ended when it is left.

    Attributes:
        address: ``host:port`` at which it is called.
    """

    def __init__(
        self, folder: Path, *, scenario: str = "uas", calls: int = 1, host: str = "127.0.0.1", options: tuple[str, ...] = ()
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        port = free_port(host, socket.SOCK_DGRAM)
        self.address = f"{host}:{port}"
        command = ["sipp", "-sn", scenario, "-i", host, "-p", str(port), "-mi", host, "-mp", str(free_port(host, socket.SOCK_DGRAM))]
        command += ["-m", str(calls), "-nostdin", "-rtp_echo", "-trace_err", "-error_file", str(folder / "errors.log"), *options]
        with (folder / "screen.log").open("wb") as screen:
            self._process = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=screen, stderr=subprocess.STDOUT)
        try:
            wait_for(lambda: f"{port:04X} 00000000:0000 07" in Path("/proc/net/udp").read_text(), name="SIPp")
        except BaseException:
            self.__exit__()
            raise

    def __enter__(self) -> "Answering":
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()

    def errors(self) -> str:
        """What it says of messages that it did not expect."""
        file = self._folder / "errors.log"
        return file.read_text(errors="replace") if file.exists() else ""


def call(
    folder: Path,
    target: str,
    *,
    service: str,
    scenario: str = "uac",
    calls: int = 1,
    rate: float = 10.0,
    duration_ms: int = 200,
    transport: str = "u1",
    host: str = "127.0.0.1",
    seconds_max: int = 60,
    options: tuple[str, ...] = (),
) -> Verdict:
    """Run SIPp against ``target`` (``host:port``) to its end.

    Args:
        scenario: name of a stock scenario, or path of a file.
        transport: SIPp's word: ``u1`` UDP, ``t1`` one TCP connection, ``tn`` one a call.
        duration_ms: how long each call lasts, where the scenario leaves that open.

    Raises:
        subprocess.TimeoutExpired: it did not end within its own limit (it is killed).
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pcap").unlink(missing_ok=True)
    (folder / "pcap").symlink_to(PCAPS)
    statistics, errors = folder / "statistics.csv", folder / "errors.log"
    media_port = free_port(host)
    command = ["sipp", target, *(["-sf", scenario] if "/" in scenario else ["-sn", scenario])]
    command += ["-s", service, "-m", str(calls), "-r", str(rate), "-d", str(duration_ms), "-t", transport]
    command += ["-i", host, "-p", str(free_port(host)), "-mi", host, "-mp", str(media_port), "-nostdin", "-max_socket", "1000"]
    command += ["-timeout", str(seconds_max), "-timeout_error", "-trace_stat", "-stf", str(statistics), "-fd", "1"]
    command += ["-trace_err", "-error_file", str(errors), *options]
    log = folder / "screen.log"
    with log.open("wb") as screen:
        done = subprocess.run(
            command, cwd=folder, stdin=subprocess.DEVNULL, stdout=screen, stderr=subprocess.STDOUT, timeout=seconds_max + 10, check=False
        )
    said = errors.read_text(errors="replace") if errors.exists() else ""
    if not statistics.exists():
        raise RuntimeError(f"SIPp did not start: {log.read_text(errors='replace')[-2000:]}")
    with statistics.open() as file:
        last = list(csv.DictReader(file, delimiter=";"))[-1]
    return Verdict(
        int(last["SuccessfulCall(C)"]),
        int(last["FailedCall(C)"]),
        int(last["Retransmissions(C)"]),
        done.returncode,
        said[-4000:],
        media_port,
    )
