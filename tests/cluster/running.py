"""The real cluster, as a user starts it: `hotswitch up --json`, with ports and a folder of its own, ended and looked after.

Everything that it starts inherits one environment variable; by that its processes are found again, whoever their parent is by now.
"""

import contextlib
import json
import os
import random
import secrets
import select
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx

from tests.interop.waiting import free_port

START_SECONDS_MAX = 60.0
STOP_SECONDS_MAX = 20.0
LOG_BYTES_SHOWN = 24_000
MARK = "HOTSWITCH_TEST_CLUSTER"
COMMAND = Path(sys.executable).with_name("hotswitch")


class Running:
    """A cluster that runs. `up`, `broker` and the agents are its processes; `up` is the one that was started."""

    sip: str
    """``host:port`` that phones know."""
    tls: str
    """``host:port`` for SIP over TLS."""
    ws: str
    """URL for SIP over WebSocket."""
    wss: str
    """The same, secure."""
    certificate: Path
    """Of ``tls`` and ``wss``, self-signed."""
    users: dict[str, str]
    """User to password."""
    ready_seconds: float
    """From the start of the command to the line that says that it is ready."""

    def __init__(self, folder: Path, *, address: str = "127.0.0.1", arguments: tuple[str, ...] = ()) -> None:
        """Start it with its data in ``folder``/data (kept between starts) and everything else below ``folder``.

        Raises:
            RuntimeError: it ended, or did not say that it is ready within `START_SECONDS_MAX`; the message holds its log.
        """
        self.folder = folder
        self.data = folder / "data"
        self.log_file = folder / "log"
        self.temporary = folder / "temporary"
        self.temporary.mkdir(parents=True, exist_ok=True)
        self.mark = secrets.token_hex(8)
        self.machine_net = f"127.{random.randint(2, 250)}.{random.randint(1, 250)}"
        """The addresses of its machines begin so: one net a cluster, so that several run beside each other."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("HOTSWITCH_")}
        self.environment = environment | {MARK: self.mark, "TMPDIR": str(self.temporary), "XDG_RUNTIME_DIR": str(self.temporary)}
        command = [str(COMMAND), "up", "--json", "--data", str(self.data), "--sip-port", "0", "--api-port", "0"]
        for transport in ("tls", "ws", "wss"):
            command += [f"--{transport}-port", str(free_port(address))]
        command += ["--address", address, "--machine-net", self.machine_net, *arguments]
        started = time.monotonic()
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, env=self.environment, start_new_session=True
            )
        try:
            line = json.loads(self._first_line(started + START_SECONDS_MAX))
        except BaseException:
            self.kill()
            raise
        self.ready_seconds = time.monotonic() - started
        self.sip, self.users, self.token, self.api_url = line["sip"], line["users"], line["token"], line["api"]
        self.tls, self.ws, self.wss, self.certificate = line["tls"], line["ws"], line["wss"], Path(line["certificate"])
        self.api = httpx.Client(base_url=line["api"], headers={"Authorization": f"Bearer {line['token']}"}, timeout=20, trust_env=False)

    def __enter__(self) -> "Running":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            self.stop()
        finally:
            self.kill()

    def command(self, *arguments: str, seconds: float = 60.0) -> subprocess.CompletedProcess[str]:
        """Run one command of ours against this cluster, as a user would."""
        environment = self.environment | {"HOTSWITCH_API": self.api_url, "HOTSWITCH_TOKEN": self.token}
        environment.pop(MARK)
        return subprocess.run(
            [str(COMMAND), *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env=environment,
            timeout=seconds,
            check=False,
        )

    def background(self, *arguments: str) -> "subprocess.Popen[str]":
        """Start one command of ours; whoever leaves its context has waited for its end."""
        environment = self.environment | {"HOTSWITCH_API": self.api_url, "HOTSWITCH_TOKEN": self.token}
        environment.pop(MARK)
        return subprocess.Popen([str(COMMAND), *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, env=environment)

    def get(self, path: str) -> Any:
        """JSON of a resource of the API, ``machines``."""
        answer = self.api.get(f"/v1/{path}")
        answer.raise_for_status()
        return answer.json()

    def machines(self) -> list[dict[str, Any]]:
        """All machines with their services, as the API says."""
        return list(self.get("machines"))

    def processes(self) -> dict[int, str]:
        """Every process of this cluster: pid to name, ``hs-broker``."""
        found = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal():
                with contextlib.suppress(OSError):
                    if f"{MARK}={self.mark}".encode() in (entry / "environ").read_bytes().split(b"\0"):
                        state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
                        if state != "Z":
                            found[int(entry.name)] = (entry / "comm").read_text(errors="replace").strip()
        return found

    def sockets(self) -> list[str]:
        """Sockets that are bound to an address of this cluster's machines, or to its public address, as /proc/net tells."""
        host, _, port = self.sip.rpartition(":")
        public = f"{_hexadecimal(host)}:{int(port):04X}"
        net = tuple(int(part) for part in self.machine_net.split("."))
        machines = "".join(f"{part:02X}" for part in reversed(net))
        found = []
        for table in ("udp", "tcp"):
            for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
                words = line.split()
                if (words[1] == public or words[1].partition(":")[0].endswith(machines)) and not (table == "tcp" and words[3] == "06"):
                    found.append(f"{table} {words[1]} {words[3]}")
        return found

    def runtime_files(self) -> list[str]:
        """Sockets and files that only make sense while it runs."""
        found = [str(path) for path in self.temporary.rglob("*") if not path.is_dir()]
        for path in self.data.rglob("*"):
            with contextlib.suppress(OSError):
                if path.name == "running.json" or stat.S_ISSOCK(path.lstat().st_mode) or stat.S_ISFIFO(path.lstat().st_mode):
                    found.append(str(path))
        return found

    def memory_bytes(self) -> int:
        """Proportional set size of all its processes."""
        total = 0
        for pid in self.processes():
            with contextlib.suppress(OSError):
                for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                    if line.startswith("Pss:"):
                        total += 1024 * int(line.split()[1])
        return total

    def stop(self, signal_number: int = signal.SIGINT) -> int:
        """End it as Ctrl-C does; its exit code.

        Raises:
            subprocess.TimeoutExpired: it did not end within `STOP_SECONDS_MAX`.
        """
        self.api.close()
        if self.process.poll() is None:
            self.process.send_signal(signal_number)
        return self.process.wait(STOP_SECONDS_MAX)

    def kill(self) -> None:
        """End whatever is left of it, by pid."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
        for _ in range(20):
            left = self.processes()
            if not left:
                return
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            select.select([], [], [], 0.05)

    def log(self) -> str:
        """The end of what it has written to standard error, and of the log of each of its processes."""
        files = [self.log_file, *sorted((self.data / "logs").glob("*"))]
        share = LOG_BYTES_SHOWN // max(len(files), 1)
        return "\n".join(f"--- {file.name}\n{file.read_bytes()[-share:].decode(errors='replace')}" for file in files if file.is_file())

    def _first_line(self, deadline: float) -> bytes:
        assert self.process.stdout is not None
        descriptor = self.process.stdout.fileno()
        data = b""
        while b"\n" not in data:
            ready, _, _ = select.select([descriptor], [], [], max(deadline - time.monotonic(), 0.0))
            piece = os.read(descriptor, 65536) if ready else b""
            if not piece:
                why = "did not say that it is ready" if not ready else f"ended with {self.process.wait(STOP_SECONDS_MAX)}"
                raise RuntimeError(f"hotswitch up {why}:\n{data.decode(errors='replace')}\n{self.log()}")
            data += piece
        return data.partition(b"\n")[0]


def _hexadecimal(host: str) -> str:
    return "".join(f"{int(part):02X}" for part in reversed(host.split(".")))
