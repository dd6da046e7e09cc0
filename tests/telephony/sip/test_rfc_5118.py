"""Our own vectors for the rules of RFC 5118 (torture test messages for IPv6): at the parser, at a user agent, at a proxy on IPv6.

A vector: ``key: value`` lines, ``---``, the message. Keys: ``rule``; ``agent`` (``event``: it goes to the owner; or the status that
refuses it); ``proxy`` (status that a proxy answers); ``uri`` (host and perhaps port of the Request-URI), ``via`` (host of the topmost),
``hops`` (hosts of all Vias), ``received``, ``media`` (address and port of each section).
"""

from pathlib import Path

import pytest

from media import sdp
from telephony.effects import Send
from telephony.proxy.core import Proxy
from telephony.sip.endpoint import Endpoint
from telephony.sip.flow import Flow
from telephony.sip.message import Message
from telephony.sip.uri import Uri
from telephony.sip.via import Via
from tests.fuzz.vectors import read
from tests.telephony.proxy.setting import configuration

FOLDER = Path(__file__).parents[2] / "vectors" / "rfc5118"
FILES = sorted(FOLDER.glob("*.txt"))
SECTIONS = 10
PHONE = Flow("udp", "public-udp", "2001:db8::9:1", 5060)
PUBLIC = "2001:db8::10"


def expected(path: Path) -> dict[str, str]:
    return dict(line.split(": ", 1) for line in path.read_text().partition("---\n")[0].splitlines())


def statuses(sent: object) -> list[int]:
    return [int(effect.data[8:11]) for effect in sent if isinstance(effect, Send) and effect.data.startswith(b"SIP/")]  # type: ignore[attr-defined]


def test_every_section_is_there() -> None:
    assert {path.name.split("-")[0] for path in FILES} == {f"4.{number}" for number in range(1, SECTIONS + 1)}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_what_is_read(path: Path) -> None:
    wanted = expected(path)
    message = Message.parse(read(path))
    assert message.serialize() == read(path)
    if "uri" in wanted:
        host, _, port = wanted["uri"].partition(" ")
        uri = Uri.parse(message.uri)
        assert (uri.host, uri.port) == (host, int(port) if port else None)
        assert Uri.parse(str(uri)) == uri
    vias = [Via.parse(value) for value in message.get_all("via")]
    if "via" in wanted:
        assert vias[0].host == wanted["via"]
    if "hops" in wanted:
        assert ", ".join(via.host for via in vias) == wanted["hops"]
    if "received" in wanted:
        assert vias[0].response_address[0] == wanted["received"]
    if "media" in wanted:
        found = sdp.parse(message.body).media
        assert ", ".join(f"{media.host} {media.port}" for media in found) == wanted["media"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_user_agent(path: Path) -> None:
    endpoint = Endpoint("[2001:db8::10]:5060")
    endpoint.receive(read(path), PHONE, 0.0)
    taken = endpoint.take()
    refused = [status for status in statuses(taken) if status >= 300]
    wanted = expected(path)["agent"]
    if wanted == "event":
        assert not refused
        assert any(not isinstance(one, Send) for one in taken)
    else:
        assert refused == [int(wanted)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_proxy(path: Path) -> None:
    """It answers to the address that the request came from, and says so in the Via (sections 4.5, RFC 3261 section 18.2.1)."""
    proxy = Proxy()
    proxy.configure(configuration(public_host=PUBLIC, host="2001:db8::11"), 0.0)
    proxy.receive(read(path), PHONE, 0.0)
    (sent,) = [effect for effect in proxy.take() if isinstance(effect, Send)]
    assert (sent.flow.host, sent.flow.transport) == (PHONE.host, "udp")
    response = Message.parse(sent.data)
    assert str(response.status) == expected(path)["proxy"]
    assert len(response.get_all("via")) == len(Message.parse(read(path)).get_all("via"))
    via = Via.parse(response.get_all("via")[0])
    if via.host != PHONE.host:
        assert via.parameter("received") in (f"[{PHONE.host}]", PHONE.host)
