"""What comes from outside may be anything: each gets its clear answer or silence, and the cluster goes on."""

import itertools
import json
import random
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cluster.running import Running
from tests.cluster.test_switch import call_is_answered
from tests.interop.baresip import Baresip

ANSWER_SECONDS_MAX = 5.0
_sources = (f"127.9.0.{number}" for number in itertools.count(1))
"""An address of its own for each stranger: the proxy bans a source that goes too far, and nobody else shall be hit."""


@contextmanager
def datagrams(cluster: Running) -> Iterator[socket.socket]:
    host, _, port = cluster.sip.rpartition(":")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as line:
        line.bind((next(_sources), 0))
        line.connect((host, int(port)))
        line.settimeout(ANSWER_SECONDS_MAX)
        yield line


@contextmanager
def stream(cluster: Running) -> Iterator[socket.socket]:
    host, _, port = cluster.sip.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=ANSWER_SECONDS_MAX, source_address=(next(_sources), 0)) as line:
        yield line


def request(
    cluster: Running, line: socket.socket, method: str = "OPTIONS", *, user: str = "", extra: str = "", body: str = "", length: str = ""
) -> bytes:
    host, port = line.getsockname()
    transport = "UDP" if line.type == socket.SOCK_DGRAM else "TCP"
    lines = [
        f"{method} sip:{user + '@' if user else ''}{cluster.sip} SIP/2.0",
        f"Via: SIP/2.0/{transport} {host}:{port};branch=z9hG4bK{random.getrandbits(64):x};rport",
        "Max-Forwards: 70",
        f"From: <sip:1001@{cluster.sip}>;tag=a",
        f"To: <sip:{user + '@' if user else ''}{cluster.sip}>",
        f"Call-ID: {random.getrandbits(64):x}",
        f"CSeq: 1 {method}",
        f"Contact: <sip:1001@{host}:{port}>",
        *([extra] if extra else []),
        f"Content-Length: {length or len(body)}",
        "",
        body,
    ]
    return "\r\n".join(lines).encode()


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def final(line: socket.socket) -> int:
    while (code := status(line.recv(65535))) < 200:
        pass
    return code


def lives(cluster: Running, line: socket.socket) -> None:
    line.send(request(cluster, line))
    assert final(line) == 200


def test_datagrams_of_noise(cluster: Running) -> None:
    dice = random.Random(1)
    with datagrams(cluster) as line:
        for size in (0, 1, 2, 4, 100, 1400, 20_000, 65_000):
            for _ in range(20):
                line.send(dice.randbytes(size))
        for text in (
            b"\r\n\r\n",
            b"INVITE",
            b"SIP/2.0 200 OK\r\n\r\n",
            b"INVITE sip:x SIP/2.0\r\n\r\n",
            b"A" * 60_000,
            b"INVITE " + b"\0" * 900,
        ):
            line.send(text)
        line.settimeout(0.2)
        try:
            while line.recv(65535):
                pass
        except TimeoutError:
            pass
        line.settimeout(ANSWER_SECONDS_MAX)
        lives(cluster, line)
    call_is_answered(cluster)


def test_truncated_sip(cluster: Running) -> None:
    with datagrams(cluster) as line:
        whole = request(cluster, line, "INVITE", user="9196", body="v=0\r\n")
        for end in range(1, len(whole), 37):
            line.send(whole[:end])
        line.send(request(cluster, line, body="short", length="500"))
        line.settimeout(0.3)
        try:
            while line.recv(65535):
                pass
        except TimeoutError:
            pass
        line.settimeout(ANSWER_SECONDS_MAX)
        lives(cluster, line)


def test_mutated_sip(cluster: Running) -> None:
    dice = random.Random(2)
    with datagrams(cluster) as line:
        for _ in range(300):
            data = bytearray(
                request(cluster, line, dice.choice(["INVITE", "REGISTER", "OPTIONS", "BYE", "ACK", "MESSAGE", "CANCEL"]), user="9196")
            )
            for _ in range(dice.randint(1, 8)):
                data[dice.randrange(len(data))] = dice.randrange(256)
            line.send(data)
        line.settimeout(0.3)
        try:
            while line.recv(65535):
                pass
        except TimeoutError:
            pass
        line.settimeout(ANSWER_SECONDS_MAX)
        lives(cluster, line)
    call_is_answered(cluster)


def test_oversized_sip(cluster: Running) -> None:
    with stream(cluster) as line:
        line.sendall(request(cluster, line, length="99999999"))
        refused = line.recv(65535)
        assert not refused or status(refused) in (400, 413)
    with stream(cluster) as line:
        try:
            for _ in range(64):
                line.sendall(b"X-Endless: " + b"a" * 65_000)
            refused = line.recv(65535)
        except ConnectionError:
            refused = b""
        assert not refused or status(refused) in (400, 413, 513)
    with datagrams(cluster) as line:
        line.send(request(cluster, line, extra="\r\n".join(f"X-Many-{number}: x" for number in range(3000))))
        lives_or_refused = final(line)
        assert lives_or_refused in (400, 413, 513)
        lives(cluster, line)


def test_slow_and_idle_connections_hold_nobody_up(cluster: Running) -> None:
    with stream(cluster) as slow, stream(cluster) as quick:
        slow.sendall(b"INVITE sip:9196@")
        quick.sendall(request(cluster, quick))
        assert status(quick.recv(65535)) == 200


def test_wrong_digest(cluster: Running, tmp_path: Path) -> None:
    phone = Baresip(tmp_path, "1001", server=cluster.sip, password="not-the-password", host=next(_sources), register_seconds_max=2.0)
    with pytest.raises(TimeoutError, match="binding"), phone:
        pass
    assert "401" in phone.log() or "403" in phone.log()
    with datagrams(cluster) as line:
        for extra in (
            "Authorization: Digest",
            'Authorization: Digest username="1001"',
            "Authorization: Basic MTAwMTp4",
            'Authorization: Digest username="1001", realm="hotswitch", nonce="0", uri="sip:x", response="0"',
        ):
            line.send(request(cluster, line, "REGISTER", extra=extra))
            assert final(line) in (400, 401, 403)
        line.send(request(cluster, line, "REGISTER"))
        assert final(line) == 401


def test_nobody_speaks_for_another(cluster: Running) -> None:
    """A local user in From, or a header that only the proxy may set, is not believed; nor does the proxy relay to strangers."""
    with datagrams(cluster) as line:
        for method in ("INVITE", "MESSAGE"):
            line.send(request(cluster, line, method, user="1002", extra=f"P-Asserted-Identity: <sip:1001@{cluster.sip}>"))
            assert final(line) == 407
            if method == "INVITE":
                continue
        stranger = request(cluster, line, "MESSAGE", user="x").replace(
            f"MESSAGE sip:x@{cluster.sip}".encode(), b"MESSAGE sip:x@127.0.0.9:9", 1
        )
        line.send(stranger)
        assert final(line) >= 400


SESSION = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("v=0\r\nnonsense", {400, 488}),
        (SESSION + "m=audio 4000 RTP/AVP 99\r\na=rtpmap:99 unknown/8000\r\n", {488}),
        (SESSION + "m=video 4000 RTP/AVP 31\r\n", {488}),
    ],
)
def test_bad_sdp(cluster: Running, body: str, expected: set[int]) -> None:
    with datagrams(cluster) as line:
        data = request(cluster, line, "INVITE", user="9196", extra="Content-Type: application/sdp", body=body)
        line.send(data.replace(b"From: <sip:1001@", b"From: <sip:stranger@"))
        assert final(line) in expected
        lives(cluster, line)


def test_unknown_platform(cluster: Running) -> None:
    machine = cluster.machines()[0]
    answer = cluster.api.post(f"/v1/machines/{machine['id']}/replace", json={"platform": "telegraph"}, headers={"Idempotency-Key": "x1"})
    assert answer.status_code in (400, 404, 422)
    assert answer.headers["content-type"].startswith("application/problem+json")
    assert "telegraph" in answer.text


def test_api_without_and_with_a_wrong_token(cluster: Running) -> None:
    for token in ("", "Bearer wrong", "Basic eDp5"):
        answer = cluster.api.get("/v1/machines", headers={"Authorization": token})
        assert answer.status_code == 401
        assert answer.headers["content-type"].startswith("application/problem+json")


def test_toml_with_a_wrong_key(cluster: Running, tmp_path: Path) -> None:
    before = cluster.machines()
    for name, text in {
        "key": '[[users]]\nname = "1009"\npassword = "x"\ncolour = "red"\n',
        "type": '[[routes]]\npattern = 5\naction = "echo"\n',
        "syntax": "[[users\n",
        "action": '[[routes]]\npattern = "5000"\naction = "dance"\n',
    }.items():
        file = tmp_path / f"{name}.toml"
        file.write_text(text)
        for command in ("plan", "apply"):
            done = cluster.command(command, str(file))
            assert done.returncode in (1, 2), (name, done.stdout)
            assert done.stderr.strip()
            assert "Traceback" not in done.stderr
            if name == "key":
                assert "colour" in done.stderr
    assert cluster.command("plan", str(tmp_path / "absent.toml")).returncode in (1, 2)
    assert [machine["platform"] for machine in cluster.machines()] == [machine["platform"] for machine in before]


def test_token_used_twice(cluster: Running, tmp_path: Path) -> None:
    """A join token is good for one machine: a second one, with other keys, is refused and says why."""
    added = cluster.command("machine", "add", "--json")
    assert added.returncode == 0, added.stderr
    token = json.loads(added.stdout)["token"]
    assert token
    assert token not in json.dumps(cluster.get("machines"))
