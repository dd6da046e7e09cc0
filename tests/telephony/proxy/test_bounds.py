"""Whoever sends large things of ever new content does not fill the memory: caches and tables are bounded in bytes, not only in entries."""

import gc
import tracemalloc

import pytest

from telephony.effects import Send
from telephony.proxy.core import Proxy
from telephony.sip.digest import fields
from telephony.sip.flow import Flow
from telephony.sip.message import Message
from tests.telephony.proxy.setting import PUBLIC, Setting

SENT = 100
LONG = 25_000
KEPT_BYTES_MAX = 400_000
"""What one message in seven would be, if it were kept."""
PARTS = {
    "uri": "sip:9197@192.0.2.100", "via": "", "route": "<sip:other.example;lr>", "from": "guest", "tag": "1", "call-id": "1",
    "cseq": "INVITE", "hops": "70", "name": "Subject", "user": "1001", "count": "00000001",
}  # fmt: skip
"""What a request has where nothing of it is long."""
LONGS = {
    "uri": "sip:%s@192.0.2.100", "via": ";x=%s", "route": "<sip:%s@192.0.2.100;lr>", "from": "%s", "tag": "%s", "call-id": "%s",
    "cseq": "INVITE%s", "hops": "70 %s", "name": "X%s", "user": "%s", "count": "%s",
}  # fmt: skip


def request(number: int, place: str, nonce: str) -> bytes:
    long = f"{number:x}" * (LONG // len(f"{number:x}"))
    parts = PARTS | {"call-id": str(number)}
    if place in LONGS:
        parts[place] = LONGS[place] % (" " * (LONG + number % 1000) if place == "hops" else long)
    method = parts["cseq"]
    proof = f'username="{parts["user"]}", realm="hotswitch", nonce="{nonce}", uri="sip:x", qop=auth, cnonce="1", nc={parts["count"]}'
    return (
        f"{method} {parts['uri']} SIP/2.0\r\nVia: SIP/2.0/UDP 198.51.100.7:5060;branch=z9hG4bK{number}{place}{parts['via']}\r\n"
        f"Route: {parts['route']}\r\nFrom: <sip:{parts['from']}@h>;tag={parts['tag']}\r\nTo: <sip:9197@h>\r\n"
        f"Call-ID: {parts['call-id']}\r\nCSeq: 1 {method}\r\nMax-Forwards: {parts['hops']}\r\n{parts['name']}: x\r\n"
        f'Proxy-Authorization: Digest {proof}, response="{"0" * 32}"\r\nContent-Length: 0\r\n\r\n'
    ).encode()


def response(number: int) -> bytes:
    return (
        f"SIP/2.0 486 {'x' * LONG}{number}\r\nVia: SIP/2.0/UDP {PUBLIC[0]}:5060;branch=z9hG4bK{number}\r\nFrom: <sip:a@h>;tag=1\r\n"
        f"To: <sip:b@h>;tag=2\r\nCall-ID: {number}\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n"
    ).encode()


def nonce_of(proxy: Proxy, now: float) -> str:
    proxy.receive(request(0, "", "none"), Flow("udp", "public-udp", "198.51.100.7", 5060), now)
    (challenge,) = (Message.parse(effect.data) for effect in proxy.take() if isinstance(effect, Send))
    given = fields(challenge.get_lines("proxy-authenticate")[0])
    assert given is not None
    return given["nonce"]


@pytest.mark.parametrize("place", [*LONGS, "status", ""])
def test_nothing_of_it_stays(place: str) -> None:
    setting = Setting()
    proxy = setting.proxy
    nonce = nonce_of(proxy, setting.now)

    def send(number: int) -> None:
        data = response(number) if place == "status" else request(number, place, nonce)
        proxy.receive(data, Flow("udp", "public-udp", f"198.51.{number % 200}.7", 5060), setting.now + number % 1000 / 1000)
        proxy.take()

    def rest() -> None:
        proxy.timeout(setting.now + 400)
        proxy.take()
        gc.collect()

    for number in range(10):
        send(1_000_000 + number)
    rest()
    tracemalloc.start()
    try:
        for number in range(SENT):
            send(2_000_000 + number)
        rest()
        assert not proxy.transactions.servers
        assert tracemalloc.get_traced_memory()[0] < KEPT_BYTES_MAX
    finally:
        tracemalloc.stop()
