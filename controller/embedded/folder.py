"""The data folder of an embedded cluster.

| file | what |
| --- | --- |
| ``up.lock`` | locked while the cluster runs |
| ``running.json`` | how to reach it, while it runs |
| ``credentials.json`` | administrator's token and users' passwords (mode 600) |
| ``certificate.pem``, ``certificate.key`` | self-signed pair for TLS (the key's mode 600): what phones may be told to trust |
| ``broker.json`` | ports and key of the broker (mode 600) |
| ``controller.key``, ``release.key``, ``master.key``, ``state/``, ``bundles/`` | the controller's |
| ``machines/<name>/`` | each machine's identity, sealed software and state |
| ``logs/`` | what the processes said, of the latest start |
"""

import datetime
import fcntl
import os
import random
import socket
from pathlib import Path
from typing import Self

import msgspec

from agent.wire.files import write_private
from agent.wire.keys import TransportKey
from agent.wire.token import BrokerAddress
from controller.certificate import check, self_signed, still_good
from controller.founding import new_password, new_token

RUNNING = "running.json"
CERTIFICATE = "certificate.pem"
CERTIFICATE_KEY = "certificate.key"
PORT_RANGE = (20000, 29000)
"""Where the broker's ports are chosen: below what the kernel gives to outgoing connections."""


class EmbeddedError(Exception):
    """The cluster cannot start; the message says what to do."""


class Credentials(msgspec.Struct, frozen=True, kw_only=True):
    """Secrets that people use."""

    token: str
    users: dict[str, str]


class BrokerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where the broker listens; stays the same, since machines remember it."""

    host: str
    ports: list[int]
    """publish, subscribe, request, enrol."""
    curve_public: str
    curve_secret: str

    @property
    def address(self) -> BrokerAddress:
        publish, subscribe, request, enrol = (f"tcp://{self.host}:{port}" for port in self.ports)
        return BrokerAddress(publish, subscribe, request, enrol, self.curve_public)

    @property
    def key(self) -> TransportKey:
        return TransportKey(self.curve_public, self.curve_secret)


class Running(msgspec.Struct, frozen=True, kw_only=True):
    """How a running cluster is reached."""

    api: str
    token: str
    sip: str
    users: dict[str, str]
    pid: int
    transports: dict[str, str] = {}
    """``tls`` to ``host:port``, ``ws`` and ``wss`` to their URLs: those that are on."""
    certificate: str = ""
    """File of the certificate for TLS."""


def default_folder() -> Path:
    """Per-user data folder (XDG Base Directory Specification)."""
    root = os.environ.get("XDG_DATA_HOME", "")
    return (Path(root) if root.startswith("/") else Path.home() / ".local" / "share") / "hotswitch"


class DataFolder:
    """The folder, locked while it is open."""

    def __init__(self, path: Path) -> None:
        """Raises:
        EmbeddedError: a cluster runs in it, or it cannot be written.
        """
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = os.open(path / "up.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise EmbeddedError(f"the data folder {path} cannot be used: {error.strerror}") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            other = read_running(path)
            where = f" (process {other.pid}, {other.api})" if other is not None else ""
            raise EmbeddedError(f"a cluster runs in {path} already{where}; stop it, or choose another folder with --data") from None
        self.running_path.unlink(missing_ok=True)

    @property
    def running_path(self) -> Path:
        return self.path / RUNNING

    @property
    def logs(self) -> Path:
        folder = self.path / "logs"
        folder.mkdir(exist_ok=True, mode=0o700)
        return folder

    def machine(self, name: str) -> Path:
        """Folder of one machine."""
        return self.path / "machines" / name

    def credentials(self, users: list[str]) -> Credentials:
        """Token and passwords; made where they are missing."""
        path = self.path / "credentials.json"
        try:
            known = msgspec.json.decode(path.read_bytes(), type=Credentials)
        except FileNotFoundError:
            known = Credentials(token=new_token(), users={name: new_password() for name in users})
            write_private(path, msgspec.json.encode(known))
        except msgspec.MsgspecError as error:
            raise EmbeddedError(f"{path} cannot be read: {error}") from error
        return known

    def certificate(self, host: str) -> tuple[bytes, bytes]:
        """The self-signed pair (PEM) for an address; made where it is missing, for another address, or about to expire."""
        path, key_path = self.path / CERTIFICATE, self.path / CERTIFICATE_KEY
        now = datetime.datetime.now(datetime.UTC)
        try:
            certificate, private_key = path.read_bytes(), key_path.read_bytes()
            check(certificate, private_key)
        except (OSError, ValueError):
            certificate, private_key = b"", b""
        if not still_good(certificate, host, now):
            certificate, private_key = self_signed(host, now)
            write_private(key_path, private_key)
            write_private(path, certificate)
        return certificate, private_key

    def broker(self, host: str = "127.0.0.1") -> BrokerSettings:
        """The broker's settings; made where they are missing."""
        path = self.path / "broker.json"
        try:
            known = msgspec.json.decode(path.read_bytes(), type=BrokerSettings)
        except FileNotFoundError:
            key = TransportKey.generate()
            known = BrokerSettings(host=host, ports=_free_ports(host), curve_public=key.public, curve_secret=key.secret)
            write_private(path, msgspec.json.encode(known))
        except msgspec.MsgspecError as error:
            raise EmbeddedError(f"{path} cannot be read: {error}") from error
        for port in known.ports:
            if not _free(known.host, port):
                raise EmbeddedError(f"{known.host}:{port} (broker, see {path}) is in use by another program")
        return known

    def write_running(self, running: Running) -> None:
        """Tell other commands how to reach the cluster."""
        write_private(self.running_path, msgspec.json.encode(running))

    def close(self) -> None:
        """Say that nothing runs here any more."""
        self.running_path.unlink(missing_ok=True)
        os.close(self._lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_running(path: Path) -> Running | None:
    """The cluster that runs in a data folder; None: none."""
    try:
        return msgspec.json.decode((path / RUNNING).read_bytes(), type=Running)
    except (OSError, msgspec.MsgspecError):
        return None


def broker_address(host: str, port: int, curve_public: str) -> BrokerAddress:
    """Four endpoints from one port on."""
    publish, subscribe, request, enrol = (f"tcp://{host}:{port + index}" for index in range(4))
    return BrokerAddress(publish, subscribe, request, enrol, curve_public)


def standalone_broker(path: Path, host: str, port: int) -> BrokerSettings:
    """Settings of a broker that runs alone; its key is made where it is missing."""
    file = path / "broker.json"
    try:
        known = msgspec.json.decode(file.read_bytes(), type=BrokerSettings)
        key = known.key
    except FileNotFoundError:
        key = TransportKey.generate()
    settings = BrokerSettings(host=host, ports=[port + index for index in range(4)], curve_public=key.public, curve_secret=key.secret)
    write_private(file, msgspec.json.encode(settings))
    return settings


def _free(host: str, port: int) -> bool:
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((host, port))
        except OSError:
            return False
    return True


def _free_ports(host: str) -> list[int]:
    for _ in range(200):
        first = random.randrange(*PORT_RANGE, 4)
        ports = list(range(first, first + 4))
        if all(_free(host, port) for port in ports):
            return ports
    raise EmbeddedError(f"no four free ports on {host} between {PORT_RANGE[0]} and {PORT_RANGE[1]}")
