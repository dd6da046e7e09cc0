"""The torture messages of RFC 4475 where they are there, and our own vectors: at the parser, at a user agent, at a proxy."""

from pathlib import Path

import pytest

from telephony.proxy.core import Proxy
from telephony.sip.endpoint import Endpoint
from telephony.sip.errors import MessageError
from telephony.sip.flow import Flow, Send
from telephony.sip.message import Message
from tests.telephony.proxy.setting import configuration

ROOT = Path(__file__).parents[3]
TORTURE = ROOT.parent / "shared" / "vectors" / "rfc4475"
OWN = ROOT / "tests" / "vectors" / "sip"
FLOW = Flow("udp", "public-udp", "192.0.2.77", 5060)

# What a user agent says to each: a status; "event": it goes to the owner; "dropped": nothing is said.
USER_AGENT = {
    "BADASPEC_I": 400, "BADBRANCH_V": "event", "BADDATE_V": "event", "BADDN_I": 400, "BADINV01_I": 400, "BADVERS_V": 505,
    "BCAST_V": "dropped", "BEXT01_V": 420, "BIGCODE_V": "dropped", "CLERR_I": 400, "CPARAM01_V": "event", "CPARAM02_V": "event",
    "DBLREQ": "event", "ESC01_V": "event", "ESC02_V": 501, "ESCNULL_V": "event", "ESCRURI_V": "event", "INSUF_I": "dropped",
    "INTMETH": 501, "INV2543_I": 400, "INVUT_V": "event", "LONGREQ_V": "event", "LTGTRURI_I": 400, "LWSDISP_V": "event",
    "LWSRURI_I": 400, "LWSSTART_V": 400, "MCL01_I": 400, "MISMATCH01_V": 400, "MISMATCH02_V": 400, "MPART01": "event",
    "MULTI01_I": 400, "NCL_I": 400, "NOREASON_V": "dropped", "NOVELSC_V": 416, "QUOTBAL_I": 400, "REGAUT01_V": "event",
    "REGBADCT_I": "event", "REGESCRT_V": "event", "SCALAR02_V": 400, "SCALARLG_V": "dropped", "SDP01_V": "event",
    "SEMIURI_V": "event", "TEST_I": "dropped", "TRANSPORTS_V": "event", "TRWS_I": 400, "UNKSCM_V": 416, "UNKSM2_V": "event",
    "UNREASON_V": "dropped", "WSINV": 481, "ZEROMF_V": "event",
}  # fmt: skip


def torture(name: str) -> bytes:
    path = TORTURE / f"TC_{name}.dat"
    if not path.exists():
        pytest.skip("waits for the files of RFC 4475 in shared/vectors beside the project")
    return path.read_bytes()


def outcome(data: bytes) -> object:
    endpoint = Endpoint("192.0.2.1:5060")
    endpoint.receive(data, FLOW, 0.0)
    finals: list[object] = []
    for effect in endpoint.take():
        if not isinstance(effect, Send):
            finals.append("event")
        elif (status := int(effect.data[8:11])) >= 200:
            finals.append(status)
    assert len(finals) <= 1
    return finals[0] if finals else "dropped"


@pytest.mark.parametrize(("name", "expected"), USER_AGENT.items())
def test_user_agent_and_torture_message(name: str, expected: object) -> None:
    assert outcome(torture(name)) == expected


@pytest.mark.parametrize("name", USER_AGENT)
def test_proxy_and_torture_message(name: str) -> None:
    proxy = Proxy()
    proxy.configure(configuration(), 0.0)
    proxy.receive(torture(name), FLOW, 0.0)
    sent = [effect.data for effect in proxy.take() if isinstance(effect, Send)]
    statuses = [int(data[8:11]) if data.startswith(b"SIP/2.0 ") else 0 for data in sent]
    wanted = USER_AGENT[name]
    if isinstance(wanted, int) and wanted in (400, 505) and name not in ("BADASPEC_I", "BADDN_I", "QUOTBAL_I", "INV2543_I"):
        assert statuses == [wanted]
    elif name == "ZEROMF_V":
        assert statuses == [483]
    elif wanted == "dropped":
        assert statuses == []
    else:
        assert all(status in (0, 100, 400, 401, 403, 407, 416, 420, 503) for status in statuses)
        assert statuses


def test_what_some_torture_messages_hold() -> None:
    message = Message.parse(torture("WSINV"))
    assert message.cseq == 9
    assert message.from_tag == "98asjd8"
    assert message.to_tag == "1918181833n"
    assert message.get("subject") == ""
    assert message.get("newfangledheader") == "newfangled value continued newfangled value"
    assert len(message.get_all("via")) == 3
    assert message.spend_hop() == 68
    message = Message.parse(torture("ESCNULL_V"))
    assert message.get_all("contact") == ["<sip:%00@host5.example.com>", "<sip:%00%00@host5.example.com>"]
    message = Message.parse(torture("INTMETH"))
    assert message.method == "!interesting-Method0123456789_*+`.%indeed'~"
    assert message.serialize() == torture("INTMETH")
    message = Message.parse(torture("DBLREQ"))
    assert message.method == "REGISTER"
    assert message.body == b""
    assert Message.parse(torture("NOREASON_V")).reason == ""


def own_vectors() -> list[Path]:
    return sorted(OWN.glob("*.txt"))


@pytest.mark.parametrize("path", own_vectors(), ids=lambda path: path.stem)
def test_own_vector(path: Path) -> None:
    """A vector: ``key: value`` lines, ``---``, the message; CRLF for line ends, ``\\xNN`` for bytes.

    Keys: ``rule``; ``parser`` (``read`` or the status of the error, with its reason); ``agent`` (as in `USER_AGENT`);
    ``get NAME`` (value of a header), ``count NAME`` (number of its values), ``body`` (its length).
    """
    head, _, text = path.read_text().partition("---\n")
    data = text.replace("\n", "\r\n").encode().decode("unicode_escape").encode("latin-1")
    expected = dict(line.split(": ", 1) for line in head.splitlines())
    assert expected.pop("rule")
    parser = expected.pop("parser")
    agent = expected.pop("agent", "")
    if parser != "read":
        with pytest.raises(MessageError) as error:
            Message.parse(data)
        assert f"{error.value.status} {error.value.reason}" == parser
    else:
        message = Message.parse(data)
        for key, value in expected.items():
            action, _, name = key.partition(" ")
            if action == "get":
                assert message.get(name) == value
            elif action == "count":
                assert len(message.get_all(name)) == int(value)
            else:
                assert key == "body"
                assert len(message.body) == int(value)
        assert Message.parse(message.serialize()).serialize() == message.serialize()
    if agent:
        assert str(outcome(data)) == agent


def test_there_are_own_vectors() -> None:
    assert len(own_vectors()) >= 20
