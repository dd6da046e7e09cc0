"""Real processes of the voice platform: calls, and what users notice when one of them is killed."""

import socket
import struct
import time
from collections.abc import Callable, Iterator

import pytest

from telephony.sip.events import Answered, Rejected
from tests.telephony.service.cluster import USERS, Cluster
from tests.telephony.service.phone import Phone

pytestmark = pytest.mark.process
MakePhone = Callable[[str], Phone]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    one = Cluster(tmp_path_factory.mktemp("cluster"), balancers=2, media=2)
    yield one
    one.close()


@pytest.fixture
def phone(cluster: Cluster) -> Iterator[MakePhone]:
    made: list[Phone] = []

    def make(user: str) -> Phone:
        made.append(Phone(cluster.sip, user, USERS.get(user, "")))
        return made[-1]

    yield make
    for router in ("router-1", "router-2"):
        for record in cluster.units[router].events("call-ended"):  # for who reads why a test failed
            print({name: record[name] for name in ("caller", "dialled", "cause", "status")})
        cluster.units[router].notifications.clear()
    for one in made:
        for session in one.sessions:
            if session.state != "ended":
                one.hang_up(session)
        one.close()


def rtp(number: int) -> bytes:
    """A packet of PCMU, 20 ms."""
    return struct.pack(">BBHII", 0x80, 0, number, 160 * number, 0x1234) + bytes([0x20 + number] * 160)


def test_echo_gives_the_sound_back(phone: MakePhone) -> None:
    caller = phone("guest")
    session = caller.call("9196")
    assert session.state == "established"
    (answered,) = caller.named("Answered")
    assert isinstance(answered, Answered)
    port = next(int(line.split()[1]) for line in answered.message.body.decode().splitlines() if line.startswith("m=audio"))
    caller.rtp.settimeout(2.0)
    for number in range(10):
        caller.rtp.sendto(rtp(number), ("127.0.0.1", port))
    back = [caller.rtp.recv(2048) for _ in range(5)]
    assert all(len(packet) == 172 for packet in back)


def test_users_register_and_call_each_other(phone: MakePhone) -> None:
    one, two = phone("1001"), phone("1002")
    assert one.register() == two.register() == 200
    session = one.call("1002", wait=False)
    one.until(lambda: session.state in ("established", "ended"), two)
    assert session.state == "established"
    assert two.sessions[0].state == "established"
    two.sessions[0].bye(now=time.time())
    one.until(lambda: session.state == "ended", two)


def test_who_is_not_registered_is_480_and_an_unknown_number_404(phone: MakePhone) -> None:
    two = phone("1002")
    two.register()
    assert two.status(two.request("REGISTER", "sip:hotswitch", Contact="*", Expires="0")) == 200
    one = phone("1001")
    for number, status in (("1002", 480), ("5555", 404)):
        one.events.clear()
        one.call(number)
        (rejected,) = one.named("Rejected")
        assert isinstance(rejected, Rejected)
        assert rejected.status == status


def test_a_queue_joins_the_caller_with_its_member(phone: MakePhone) -> None:
    caller, member = phone("1001"), phone("1003")
    session = caller.call("4000")
    assert session.state == "established"
    assert member.register() == 200
    caller.until(lambda: bool(member.sessions) and member.sessions[0].state == "established", member)
    caller.hang_up(session)
    caller.until(lambda: member.sessions[0].state == "ended", member)


def test_a_database_that_is_killed_comes_back_with_its_content(cluster: Cluster, phone: MakePhone) -> None:
    two = phone("1002")
    assert two.register() == 200
    unit = cluster.units["database-1"]
    unit.kill()
    one = phone("1001")
    session = one.call("1002", wait=False)
    for _ in range(5):
        one.work()
    assert unit.configuration is not None
    configuration = unit.configuration
    unit.start()
    unit.configure(configuration)
    one.until(lambda: session.state in ("established", "ended"), two)
    assert session.state == "established"


def test_a_load_balancer_that_is_killed_interrupts_nobody(cluster: Cluster, phone: MakePhone) -> None:
    callers = [phone("guest") for _ in range(4)]
    sessions = [caller.call("9196") for caller in callers]
    for number in (1, 2):
        unit = cluster.units[f"balancer-{number}"]
        unit.kill()
        asking = phone("guest")
        session = asking.call("9196", wait=False)
        asking.work()
        configuration = unit.configuration
        assert configuration is not None
        unit.start()
        unit.configure(configuration)
        asking.until(lambda session=session: session.state in ("established", "ended"))  # type: ignore[misc]
        assert session.state == "established"
    assert {session.state for session in sessions} == {"established"}
    for caller, session in zip(callers, sessions, strict=True):
        caller.hang_up(session)


def test_calls_go_on_beside_a_media_processor_that_is_killed(cluster: Cluster, phone: MakePhone) -> None:
    unit = cluster.units["media-2"]
    unit.kill()
    for _ in range(4):
        caller = phone("guest")
        session = caller.call("9196")
        assert session.state == "established"
        caller.hang_up(session)
    configuration = unit.configuration
    assert configuration is not None
    unit.start()
    unit.configure(configuration)


def test_a_draining_processor_gets_no_new_calls(cluster: Cluster, phone: MakePhone) -> None:
    cluster.list("media-1", "media_processor", takes_new=False)
    cluster.publish()
    before = len(cluster.units["media-1"].events("never"))
    callers = [phone("guest") for _ in range(4)]
    for caller in callers:
        assert caller.call("9196").state == "established"
    cluster.units["media-1"].events("never")
    assert cluster.units["media-1"].remaining == before == 0
    cluster.list("media-1", "media_processor")
    cluster.publish()


def test_a_successor_takes_the_database_over(cluster: Cluster, phone: MakePhone) -> None:
    two = phone("1002")
    assert two.register() == 200
    cluster.list("database-2", "resource_database", takes_new=False)
    cluster.publish()
    new = cluster.start("database-2", "resource_database", successor_of="database-1", wait=False)
    new.until(lambda: new.ready)
    one = phone("1001")
    session = one.call("1002", wait=False)
    del cluster.listed["database-1"]
    cluster.list("database-2", "resource_database")
    cluster.publish()
    one.until(lambda: session.state in ("established", "ended"), two)
    assert session.state == "established"
    assert cluster.units["database-1"].stop() == 0
    cluster.forget("database-1")


def test_a_stranger_is_not_let_in(cluster: Cluster) -> None:
    import zmq

    context = zmq.Context()
    balancer = cluster.units["balancer-1"]
    try:
        for keys in (zmq.curve_keypair(), None):
            stranger = context.socket(zmq.DEALER)
            stranger.setsockopt(zmq.LINGER, 0)
            stranger.setsockopt(zmq.PROBE_ROUTER, 1)
            if keys is not None:
                stranger.curve_publickey, stranger.curve_secretkey = keys
                stranger.curve_serverkey = cluster.keys("balancer-1")[0].encode()
            host, port = balancer.sockets["jobs"].getsockname()
            stranger.connect(f"tcp://{host}:{port}")
            assert not stranger.poll(1500)
            stranger.close()
    finally:
        context.term()


def connection(cluster: Cluster) -> socket.socket:
    one = socket.create_connection(cluster.sip, 2.0)
    one.settimeout(3.0)
    return one


OPTIONS = (
    b"OPTIONS sip:%s:%d SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1:9;branch=z9hG4bK%d\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:c@d>\r\n"
    b"Call-ID: %d\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
)


def test_sip_over_tcp_in_any_pieces(cluster: Cluster) -> None:
    with connection(cluster) as one:
        request = b"".join(OPTIONS % (cluster.sip[0].encode(), cluster.sip[1], number, number) for number in range(3))
        for at in range(0, len(request), 50):
            one.sendall(request[at : at + 50])
        answer = b""
        while answer.count(b"SIP/2.0 200") < 3:
            data = one.recv(65536)
            assert data
            answer += data
        one.sendall(b"\r\n\r\n")
        assert one.recv(10) == b"\r\n"


@pytest.mark.parametrize(
    "noise", [b"\x00" * 100_000, b"INVITE sip:x SIP/2.0\r\n\r\n", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\r" * 70_000]
)
def test_noise_over_tcp_costs_its_connection_only(cluster: Cluster, noise: bytes) -> None:
    with connection(cluster) as one:
        try:
            one.sendall(noise)
            while one.recv(65536):
                pass
        except ConnectionError:
            pass
    with connection(cluster) as one:
        one.sendall(OPTIONS % (cluster.sip[0].encode(), cluster.sip[1], 1, 1))
        assert b"200" in one.recv(65536)


def test_noise_over_udp_costs_nothing(cluster: Cluster, phone: MakePhone) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        for noise in (b"", b"\r\n\r\n", b"\x00" * 60_000, b"INVITE", b"SIP/2.0 200 OK\r\n\r\n", b"BYE sip:x SIP/2.0\r\nVia: x\r\n\r\n"):
            one.sendto(noise, cluster.sip)
            for name in ("router-1", "router-2", "proxy-1"):
                one.sendto(noise, cluster.units[name].sockets["sip-udp"].getsockname())
    caller = phone("guest")
    assert caller.call("9664").state == "established"
