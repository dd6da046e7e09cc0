"""The public address of an embedded cluster: bound once, by nobody else, one port for both transports."""

import errno
import os
import socket
from collections.abc import Callable

import pytest

from controller.cli import up
from controller.cli.up import usual_shards
from controller.embedded import sockets
from controller.embedded.folder import EmbeddedError
from controller.embedded.sockets import bind, bind_sip
from telephony.shard import SHARDS_MAX, shard_of, steer


def close(udp: list[socket.socket], tcp: socket.socket) -> None:
    for each in (*udp, tcp):
        each.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("shards", [1, 3])
def test_each_share_has_its_socket(host: str, shards: int) -> None:
    udp, tcp = bind_sip(host, 0, shards, steer, "--sip-port")
    address = tcp.getsockname()
    assert {each.getsockname() for each in udp} == {address}
    for _ in range(20):
        with socket.socket(tcp.family, socket.SOCK_DGRAM) as peer:
            peer.bind((host, 0))
            peer.sendto(b"hello", address)
            assert udp[shard_of(*peer.getsockname()[:2], shards)].recv(10) == b"hello"
    close(udp, tcp)


@pytest.mark.parametrize("shards", [1, 2])
def test_a_port_that_another_group_has_is_refused(shards: int) -> None:
    udp, tcp = bind_sip("127.0.0.1", 0, 2, steer, "--sip-port")
    port = tcp.getsockname()[1]
    tcp.close()
    with pytest.raises(EmbeddedError, match=rf"127.0.0.1:{port} \(UDP\) .* --sip-port"):
        bind_sip("127.0.0.1", port, shards, steer, "--sip-port")
    close(udp, tcp)


def test_a_kernel_without_such_groups() -> None:
    def refuse(bound: socket.socket, count: int, v6: bool) -> None:
        raise OSError(errno.ENOPROTOOPT, os.strerror(errno.ENOPROTOOPT))

    with pytest.raises(EmbeddedError, match="cannot be shared by 2 sockets: Protocol not available"):
        bind_sip("127.0.0.1", 0, 2, refuse, "--sip-port")
    udp, tcp = bind_sip("127.0.0.1", 0, 2, refuse, "--sip-port", required=False)
    assert [each.getsockname() for each in udp] == [tcp.getsockname()]
    close(udp, tcp)


@pytest.mark.parametrize(("machines", "cores", "shards"), [(4, 1, 1), (4, 2, 1), (4, 4, 2), (4, 16, 4), (1, 16, 1), (64, 128, 16)])
def test_how_many_share_where_nobody_says(machines: int, cores: int, shards: int) -> None:
    assert usual_shards(machines, cores) == shards
    assert up.SHARDS_MAX == SHARDS_MAX


def test_any_port_is_one_that_both_transports_have(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first one's TCP twin is taken."""
    taken: list[socket.socket] = []
    real: Callable[..., socket.socket] = bind

    def busy(host: str, port: int, kind: socket.SocketKind, option: str) -> socket.socket:
        made = real(host, port, kind, option)
        if kind == socket.SOCK_DGRAM and not taken:
            taken.append(real(host, made.getsockname()[1], socket.SOCK_STREAM, ""))
        return made

    monkeypatch.setattr(sockets, "bind", busy)
    udp, tcp = bind_sip("127.0.0.1", 0, 2, steer, "--sip-port")
    assert udp[0].getsockname() == tcp.getsockname() != taken[0].getsockname()
    close(udp, tcp)
    with pytest.raises(EmbeddedError, match=r"\(TCP\)"):
        bind_sip("127.0.0.1", taken[0].getsockname()[1], 2, steer, "--sip-port")
    taken[0].close()
