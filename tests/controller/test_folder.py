"""The data folder of an embedded cluster, and processes that are forked."""

import os
import socket
from pathlib import Path

import pytest

from controller.embedded.child import fork
from controller.embedded.folder import DataFolder, EmbeddedError, Running, read_running
from controller.embedded.memory import descendants, pss_bytes
from controller.embedded.sockets import bind

RUNNING = Running(api="http://127.0.0.1:1", token="t", sip="127.0.0.1:5060", users={}, pid=1)


def test_a_folder_is_one_clusters(tmp_path: Path) -> None:
    with DataFolder(tmp_path) as folder:
        folder.write_running(RUNNING)
        with pytest.raises(EmbeddedError, match=r"runs in .* already \(process 1, http://127.0.0.1:1\)"):
            DataFolder(tmp_path)
    assert read_running(tmp_path) is None
    DataFolder(tmp_path).close()


def test_a_stale_running_file_is_removed(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    folder.write_running(RUNNING)
    os.close(folder._lock)
    with DataFolder(tmp_path):
        assert read_running(tmp_path) is None


def test_secrets_are_private_and_kept(tmp_path: Path) -> None:
    with DataFolder(tmp_path) as folder:
        credentials, broker = folder.credentials(["1001"]), folder.broker()
    for name in ("credentials.json", "broker.json"):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600
    with DataFolder(tmp_path) as folder:
        assert folder.credentials(["1001", "1002"]) == credentials
        assert folder.broker() == broker
    assert len({*broker.ports}) == 4


def test_a_busy_broker_port_is_said(tmp_path: Path) -> None:
    with DataFolder(tmp_path) as folder:
        broker = folder.broker()
        with socket.create_server((broker.host, broker.ports[2])), pytest.raises(EmbeddedError, match=str(broker.ports[2])):
            folder.broker()


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM])
def test_a_busy_address_is_said(kind: socket.SocketKind) -> None:
    with bind("127.0.0.1", 0, kind, "--port") as first:
        port = first.getsockname()[1]
        with pytest.raises(EmbeddedError, match=rf"127.0.0.1:{port} .* --port"):
            bind("127.0.0.1", port, kind, "--port")


@pytest.mark.process
def test_a_child_has_what_it_was_given(tmp_path: Path) -> None:
    """Named sockets from descriptor 3 on, its log, a group of its own, and nothing else."""
    with bind("127.0.0.1", 0, socket.SOCK_DGRAM, "") as one, bind("127.0.0.1", 0, socket.SOCK_STREAM, "") as two:
        ports = (one.getsockname()[1], two.getsockname()[1])

        def run() -> int:
            held = [socket.socket(fileno=number) for number in (3, 4)]
            given = tuple(each.getsockname()[1] for each in held)
            names = os.environ["LISTEN_FDNAMES"]
            opened = sorted(int(entry) for entry in os.listdir("/proc/self/fd"))[:-1]
            print(given == ports, names, os.environ["LISTEN_PID"] == str(os.getpid()), opened, os.getpgid(0) == os.getpid())
            return 7

        log = tmp_path / "log"
        child = fork("test", run, log=log, listen=[("a", one.fileno()), ("b", two.fileno())])
        _, status = os.waitpid(child.pid, 0)
    assert os.waitstatus_to_exitcode(status) == 7
    assert log.read_text().strip() == "True a:b True [0, 1, 2, 3, 4] True"


@pytest.mark.process
def test_an_error_in_a_child_is_its_own(tmp_path: Path) -> None:
    def run() -> int:
        raise ValueError("broken")

    child = fork("test", run, log=tmp_path / "log")
    _, status = os.waitpid(child.pid, 0)
    assert os.waitstatus_to_exitcode(status) == 1
    assert "ValueError: broken" in (tmp_path / "log").read_text()


def test_memory_is_that_of_the_tree() -> None:
    assert pss_bytes(os.getpid()) > 1 << 20
    assert pss_bytes(0) == 0
    assert os.getpid() not in descendants(os.getpid())
