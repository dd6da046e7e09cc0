"""Janus with its AudioBridge alone as the peer: rooms of plain RTP participants, set up over its Unix socket."""

import json
import shutil
import socket
import tempfile
import threading
from pathlib import Path

from loadtest.bench import address, packages
from loadtest.bench.process import NotRunnableError, Process
from loadtest.bench.rtp import TYPES, Stream

KEEPALIVE_SECONDS = 10.0
ANSWER_SECONDS_MAX = 10.0
ATTEMPTS = 5
"""Now and then Janus does not get its transport up at the first try."""
FIRST_ROOM = 1000


class Janus:
    """A running Janus with rooms.

    Args:
        rooms: numbers of participants and who of them sends what, by local port: ``rooms[room] = [(port, sends), ...]``.
    """

    name = "janus"

    def __init__(self, rooms: list[list[tuple[int, int]]], codec: str = "pcmu", rate: int = 8000) -> None:
        packages.need("janus")
        self._folder = Path(tempfile.mkdtemp(prefix="hotswitch-janus-"))
        self._path = str(self._folder / "control")
        self._count = 0
        self._session = 0
        self._over = threading.Event()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._keeper = threading.Thread(target=self._keep, daemon=True)
        self._configure()
        self.process = self._start()
        try:
            self._socket.settimeout(ANSWER_SECONDS_MAX)
            self._session = self._identity(self._ask({"janus": "create"}))
            self.streams = [stream for number, room in enumerate(rooms) for stream in self._room(FIRST_ROOM + number, room, codec, rate)]
        except BaseException:
            self.stop()
            raise
        self._keeper.start()

    def _configure(self) -> None:
        library = next(iter(Path("/usr/lib").glob("*/janus")), None)
        if library is None:
            raise NotRunnableError("the plugins of Janus are not where Debian puts them")
        for name in ("plugins", "transports", "events", "loggers"):
            (self._folder / name).mkdir()
        (self._folder / "plugins" / "audiobridge.so").symlink_to(library / "plugins" / "libjanus_audiobridge.so")
        (self._folder / "transports" / "pfunix.so").symlink_to(library / "transports" / "libjanus_pfunix.so")
        folders = "".join(f'{name}_folder = "{self._folder}/{name}"\n' for name in ("plugins", "transports", "events", "loggers"))
        (self._folder / "janus.jcfg").write_text(
            f'general: {{\nconfigs_folder = "{self._folder}"\n{folders}debug_level = 3\nsession_timeout = 0\n}}\n'
            'nat: {\nice_lite = true\nice_enforce_list = "lo"\n}\n'
        )
        general = f'enabled = true\njson = "compact"\npath = "{self._path}"\ntype = "SOCK_SEQPACKET"'
        (self._folder / "janus.transport.pfunix.jcfg").write_text(f"general: {{\n{general}\n}}\nadmin: {{\nadmin_enabled = false\n}}\n")
        (self._folder / "janus.plugin.audiobridge.jcfg").write_text(
            f'general: {{\nrtp_port_range = "40000-64000"\nlocal_ip = "{address.JANUS}"\n}}\n'
        )

    def _start(self) -> Process:
        fault = ""
        for _ in range(ATTEMPTS):
            process = Process([
                packages.program("janus"), "-F", str(self._folder), "-C", str(self._folder / "janus.jcfg"), "-i", address.JANUS,
            ])  # fmt: skip
            try:
                process.wait_until(self._connects)
                return process
            except NotRunnableError as error:
                fault = str(error)
                process.stop()
        raise NotRunnableError(fault)

    def _connects(self) -> bool:
        try:
            self._socket.connect(self._path)
        except OSError:
            return False
        return True

    def _ask(self, request: dict[str, object]) -> dict[str, object]:
        """One request and its last answer (an ``ack`` comes before an event)."""
        self._count += 1
        name = f"t{self._count}"
        if self._session:
            request = {"session_id": self._session, **request}
        try:
            self._socket.send(json.dumps({**request, "transaction": name}).encode())
            while True:
                answer: dict[str, object] = json.loads(self._socket.recv(1 << 16))
                if answer.get("transaction") == name and answer.get("janus") != "ack":
                    break
        except (OSError, ValueError) as error:
            raise NotRunnableError(f"janus: {error}\n{self.process.said()}") from error
        if answer.get("janus") == "error":
            raise NotRunnableError(f"janus: {answer}")
        return answer

    @staticmethod
    def _identity(answer: dict[str, object]) -> int:
        data = answer["data"]
        assert isinstance(data, dict)
        return int(data["id"])

    def _attach(self) -> int:
        return self._identity(self._ask({"janus": "attach", "plugin": "janus.plugin.audiobridge"}))

    def _room(self, room: int, members: list[tuple[int, int]], codec: str, rate: int) -> list[Stream]:
        settings = {"sampling_rate": rate, "allow_rtp_participants": True, "audiolevel_ext": False, "default_prebuffering": 2}
        self._ask({"janus": "message", "handle_id": self._attach(), "body": {"request": "create", "room": room, **settings}})
        streams = []
        for port, sends in members:
            rtp = {"ip": address.GENERATOR, "port": port, "payload_type": TYPES[codec]}
            body = {"request": "join", "room": room, "codec": codec, "prebuffer": 2, "rtp": rtp}
            answer = self._ask({"janus": "message", "handle_id": self._attach(), "body": body})
            try:
                theirs = int(answer["plugindata"]["data"]["rtp"]["port"])  # type: ignore[index]
            except (KeyError, TypeError) as error:
                raise NotRunnableError(f"janus: {answer}") from error
            streams.append(Stream(port, address.JANUS, theirs, sends=sends, codec=codec))
        return streams

    def _keep(self) -> None:
        """Sessions end without a word now and then; what Janus says meanwhile is read away."""
        while not self._over.wait(KEEPALIVE_SECONDS):
            try:
                self._socket.send(json.dumps({"janus": "keepalive", "session_id": self._session, "transaction": "k"}).encode())
                self._socket.setblocking(False)
                while self._socket.recv(1 << 16):
                    pass
            except BlockingIOError:
                continue
            except OSError:
                return

    def roots(self) -> list[int]:
        return [self.process.pid]

    def stop(self) -> None:
        self._over.set()
        if self._keeper.is_alive():
            self._keeper.join()
        if hasattr(self, "process"):
            self.process.stop()
        self._socket.close()
        shutil.rmtree(self._folder, ignore_errors=True)
