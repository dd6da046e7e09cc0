"""What the cluster sends to other domains: names, several places, answers that come back (RFC 3263)."""

import pytest

from telephony.effects import Locate, Send
from telephony.sip.endpoint import Endpoint
from telephony.sip.events import Acknowledged, Answered, ByeAnswered, Ended, InviteReceived, Rejected
from telephony.sip.flow import Flow
from telephony.sip.resolution import Hop, Located, Sought
from telephony.sip.session import Session
from tests.telephony.proxy.setting import OTHER, OWN, PUBLIC, ROUTERS, Setting

FIRST = ("198.51.100.1", 5060)
SECOND = ("198.51.100.2", 5070)


class Outside(Setting):
    """A proxy whose router calls ``bob@example.org``, which is at two places."""

    def __init__(self, **options: object) -> None:
        super().__init__(**options)  # type: ignore[arg-type]
        self.near = Endpoint(f"{FIRST[0]}:{FIRST[1]}")
        self.far = Endpoint(f"{SECOND[0]}:{SECOND[1]}")
        self.network.add(*FIRST, self.near)
        self.network.add(*SECOND, self.far)

    def call(self, target: str = "sip:bob@example.org", **options: object) -> Session:
        to_proxy = self.network.flow(*OWN)
        parties = ("<sip:1001@hotswitch>", f"<{target}>")
        return self.routers[0].invite(target, *parties, to_proxy, now=self.now, body=b"offer", **options)  # type: ignore[arg-type]

    def asked(self, node: tuple[str, int] = OWN) -> list[Locate]:
        return [one for one in self.network.happened(*node) if isinstance(one, Locate)]

    def located(self, *hops: Hop, failed: bool = False, node: tuple[str, int] = OWN) -> Locate:
        """Answer the one question that was asked."""
        self.network.run(0.1)
        [asked] = self.asked(node)
        (self.proxy if node == OWN else self.second).located(asked.id, Located(hops, failed), self.now)
        self.network.run(0.1)
        return asked


BOTH = (Hop("udp", *FIRST), Hop("udp", *SECOND))


def test_a_call_to_another_domain() -> None:
    setting = Outside()
    caller = setting.call()
    asked = setting.located(*BOTH)
    assert asked.sought == Sought("example.org")
    assert (asked.transports, asked.families) == (("udp", "tcp"), ("A",))
    [received] = setting.network.happened(*FIRST)
    callee = received.session
    assert callee.invite.uri == "sip:bob@example.org"
    assert callee.invite.get_all("record-route") == [f"<sip:{PUBLIC[0]}:{PUBLIC[1]};lr>"]
    assert callee.invite.get_all("via")[0].startswith(f"SIP/2.0/UDP {PUBLIC[0]}:5060;")
    callee.accept(b"answer", now=setting.now)
    _, at_router = setting.run()
    assert [type(event) for event in at_router] == [Answered]
    assert [type(event) for event in setting.network.happened(*FIRST)] == [Acknowledged]
    caller.bye(now=setting.now)
    _, at_router = setting.run()
    assert [type(event) for event in at_router] == [ByeAnswered]
    assert [type(event) for event in setting.network.happened(*FIRST)] == [Ended]
    setting.at_rest()


def test_the_other_side_hangs_up() -> None:
    setting = Outside()
    setting.call()
    setting.located(*BOTH)
    callee = setting.network.happened(*FIRST)[0].session
    callee.accept(b"answer", now=setting.now)
    setting.run()
    callee.bye(now=setting.now)
    _, at_router = setting.run()
    assert [type(event) for event in at_router] == [Ended]
    setting.at_rest()


@pytest.mark.parametrize("how", ["silent", "503", "refused"])
def test_the_next_place_takes_it(how: str) -> None:
    setting = Outside()
    if how != "503":
        setting.network.drop = lambda source, target, data: target == FIRST
    setting.call()
    setting.located(*BOTH)
    if how == "503":
        setting.network.happened(*FIRST)[0].session.reject(503, now=setting.now)
    elif how == "refused":
        setting.proxy.closed(Flow("udp", "public-udp", *FIRST), setting.now)
    setting.network.run(2.2)
    received = [event for event in setting.network.happened(*SECOND) if isinstance(event, InviteReceived)]
    callee = received[0].session
    assert callee.invite.get_all("record-route") == [f"<sip:{PUBLIC[0]}:{PUBLIC[1]};lr>"]
    callee.accept(b"answer", now=setting.now)
    _, at_router = setting.run()
    assert [type(event) for event in at_router] == [Answered]
    setting.call()
    setting.located(*BOTH)
    assert [type(event) for event in setting.network.happened(*SECOND)][-1] == InviteReceived, "the other one is tried last now"


def test_a_connection_to_the_outside_is_in_the_record() -> None:
    setting = Outside()
    setting.call()
    setting.network.run(0.1)
    [asked] = setting.asked()
    setting.proxy.located(asked.id, Located([Hop("tcp", *FIRST)]), setting.now)
    [sent] = [one for one in setting.proxy.take() if isinstance(one, Send)]
    assert sent.flow == Flow("tcp", "public-tcp", *FIRST)
    lines = sent.data.decode().split("\r\n")
    assert lines[1].startswith(f"Via: SIP/2.0/TCP {PUBLIC[0]}:5060;")
    assert lines[2:4] == [f"Record-Route: <sip:{PUBLIC[0]}:5060;transport=tcp;lr>", f"Record-Route: <sip:{PUBLIC[0]}:5060;lr>"]


@pytest.mark.parametrize(("failed", "status"), [(False, 404), (True, 503)])
def test_nothing_was_found(failed: bool, status: int) -> None:
    setting = Outside()
    setting.call()
    setting.located(failed=failed)
    _, at_router = setting.run()
    assert [(type(event), event.status) for event in at_router] == [(Rejected, status)]  # type: ignore[attr-defined]
    setting.at_rest()


def test_cancelled_before_name_servers_answer() -> None:
    setting = Outside()
    caller = setting.call()
    setting.network.run(0.1)
    [asked] = setting.asked()
    assert setting.proxy.remaining() == 1
    caller.cancel(now=setting.now)
    _, at_router = setting.run()
    assert [(type(event), event.status) for event in at_router] == [(Rejected, 487)]  # type: ignore[attr-defined]
    setting.proxy.located(asked.id, Located(BOTH), setting.now)
    setting.run()
    assert setting.network.happened(*FIRST) == []
    setting.at_rest()


def test_an_address_outside_needs_no_question() -> None:
    setting = Outside()
    setting.call(f"sip:bob@{SECOND[0]}:{SECOND[1]}")
    setting.network.run(0.1)
    assert setting.asked() == []
    assert [type(event) for event in setting.network.happened(*SECOND)] == [InviteReceived]


def test_a_proxy_that_does_not_serve_the_public_address_hands_it_to_the_one_that_does() -> None:
    setting = Outside(two_proxies=True)
    caller = setting.call()
    setting.located(*BOTH, node=OTHER)
    assert setting.asked() == []
    callee = setting.network.happened(*FIRST)[0].session
    vias = [value.split(";")[0].split(" ")[1] for value in callee.invite.get_all("via")]
    assert vias == [f"{PUBLIC[0]}:5060", f"{OWN[0]}:5060", f"{ROUTERS[0][0]}:5060"]
    callee.accept(b"answer", now=setting.now)
    setting.run()
    caller.bye(now=setting.now)
    setting.run()
    assert [type(event) for event in setting.network.happened(*FIRST)] == [Acknowledged, Ended]
    setting.at_rest()


@pytest.mark.parametrize("target", ["sip:bob@example.org", "sip:bob@198.51.100.1"])
def test_users_cannot_make_the_proxy_send_outside(target: str) -> None:
    """A user's request reaches a router, whatever its Request-URI says; within a dialog a router alone."""
    setting = Outside()
    setting.invite(target, "<sip:guest@192.0.2.1>")
    setting.run()
    to_tag = b"OPTIONS " + target.encode() + (
        b" SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKx\r\nMax-Forwards: 9\r\nFrom: <sip:a@b>;tag=1\r\n"
        b"To: <sip:c@d>;tag=2\r\nCall-ID: x\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
    )  # fmt: skip
    setting.proxy.receive(to_tag, Flow("udp", "public-udp", "192.0.2.1", 5060), setting.now)
    assert any(isinstance(one, Send) and one.data.startswith(b"SIP/2.0 403") for one in setting.proxy.take())
    assert setting.asked() == []
    assert setting.network.happened(*FIRST) == []


def test_a_response_whose_next_via_is_a_name() -> None:
    """RFC 3263 section 5: from a router, without a transaction of ours."""
    setting = Setting()
    response = (
        f"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP {OWN[0]}:5060;branch=z9hG4bKa\r\nVia: SIP/2.0/UDP phone.example.org;branch=z9hG4bKb\r\n"
        "From: <sip:a@b>;tag=1\r\nTo: <sip:c@d>;tag=2\r\nCall-ID: x\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n"
    ).encode()
    setting.proxy.receive(response, Flow("udp", "sip-udp", *ROUTERS[0]), setting.now)
    [asked] = setting.proxy.take()
    assert isinstance(asked, Locate)
    assert asked.sought == Sought("phone.example.org", None, "udp")
    setting.proxy.located(asked.id, Located([Hop("udp", "198.51.100.9", 5062)]), setting.now)
    [sent] = setting.proxy.take()
    assert isinstance(sent, Send)
    assert sent.flow == Flow("udp", "public-udp", "198.51.100.9", 5062)
    assert sent.data.startswith(b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP phone.example.org")
    setting.proxy.receive(response, Flow("udp", "public-udp", "203.0.113.5", 5060), setting.now)
    assert setting.proxy.take() == []


@pytest.mark.parametrize(
    ("via", "goes"),
    [
        ("SIP/2.0/TCP phone.example.org:5080;branch=z9hG4bKp;received=198.51.100.9", ("198.51.100.9", 5080)),
        ("SIP/2.0/TCP 198.51.100.9;branch=z9hG4bKp", ("198.51.100.9", 5060)),
        ("SIP/2.0/TCP phone.example.org:5080;branch=z9hG4bKp", None),
    ],
)
def test_a_response_whose_connection_is_gone_goes_where_its_via_says(via: str, goes: tuple[str, int] | None) -> None:
    """RFC 3261 section 18.2.2."""
    setting = Setting()
    flow = Flow("tcp", "public-tcp", "198.51.100.9", 40000, 7)
    head = f"SIP/2.0 200 OK\r\nVia: {via}\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:c@d>;tag=2\r\nCall-ID: x\r\n"
    response = f"{head}CSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n".encode()
    setting.proxy.unsent(response, flow, setting.now)
    [effect] = setting.proxy.take()
    if goes is None:
        assert isinstance(effect, Locate)
        assert effect.sought == Sought("phone.example.org", 5080, "tcp")
    else:
        assert effect == Send(response, Flow("tcp", "public-tcp", *goes))
    for other in (response.replace(b"SIP/2.0 200 OK", b"BYE sip:x SIP/2.0"), b"SIP/2.0 200 OK\r\n\r\n"):
        setting.proxy.unsent(other, flow, setting.now)
    setting.proxy.unsent(response, flow._replace(transport="ws", socket="public-ws"), setting.now)
    assert setting.proxy.take() == []
