"""The floor of media figures: a program in C that receives and sends the same datagrams in the same batches, and does nothing else.

What it costs is the kernel's; what a media processor costs beyond it is its own. It opens a socket a leg where legs can't be told apart
by where they come from, as ours does.
"""

import subprocess
import tempfile
from pathlib import Path

from loadtest.bench import address, packages
from loadtest.bench.process import NotRunnableError
from loadtest.bench.rtp import Stream

SOURCE = Path(__file__).parent / "rtpfloor.c"
PORT_FIRST = 10000
STOP_SECONDS_MAX = 5.0


class MediaFloor:
    """rtpfloor, compiled and running."""

    def __init__(self) -> None:
        packages.need("gcc")
        self._folder = tempfile.TemporaryDirectory(prefix="hotswitch-rtpfloor-")
        self._program = Path(self._folder.name) / "rtpfloor"
        command = [packages.program("gcc"), "-O2", "-o", str(self._program), str(SOURCE)]
        built = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        if built.returncode:
            raise NotRunnableError(f"rtpfloor does not compile:\n{built.stderr}")
        self._child: subprocess.Popen[str] | None = None

    def _start(self, peers: list[int], targets: list[int]) -> list[int]:
        """Legs of these peers' ports; our port of each."""
        own = int(len(set(peers)) < len(peers))
        listing = Path(self._folder.name) / "legs"
        listing.write_text("".join(f"{address.GENERATOR} {port} {to} {own}\n" for port, to in zip(peers, targets, strict=True)))
        command = [str(self._program), address.FLOOR, str(PORT_FIRST), str(listing)]
        self._child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._child.stdout is not None
        ours: list[int] = []
        for line in self._child.stdout:
            if line == "ready\n":
                return ours
            ours.append(int(line))
        raise NotRunnableError(f"rtpfloor ended with {self._child.wait()}")

    def calls(self, ports: list[int], codec: str, secured: bool = False) -> list[Stream]:
        """Calls between consecutive ports: what comes from one side goes to the other, as it is."""
        ours = self._start(ports, [number ^ 1 for number in range(len(ports))])
        return [Stream(port, address.FLOOR, to) for port, to in zip(ports, ours, strict=True)]

    def rooms(self, rooms: list[list[tuple[int, int]]]) -> list[Stream]:
        """Rooms of (local port, what it sends): what comes is dropped, every leg is sent a packet every 20 ms."""
        members = [member for room in rooms for member in room]
        ours = self._start([port for port, _ in members], [-1] * len(members))
        return [Stream(port, address.FLOOR, to, sends=sends) for (port, sends), to in zip(members, ours, strict=True)]

    def roots(self) -> list[int]:
        return [self._child.pid] if self._child else []

    def stop(self) -> None:
        if self._child is not None:
            for pipe in (self._child.stdin, self._child.stdout):
                if pipe is not None:
                    pipe.close()
            try:
                self._child.wait(STOP_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                self._child.kill()
                self._child.wait()
            self._child = None
        self._folder.cleanup()
