"""Registrations at a proxy core, message by message, and what its resource database is asked."""

from pathlib import Path

import msgspec

from telephony.core import Job
from telephony.effects import Ask, Effect, Reply, Send
from telephony.jobs.resource import Bind, BindEach, BoundEach, BoundOne, Reached
from telephony.proxy.core import Proxy
from telephony.sip import digest
from telephony.sip.flow import Flow
from telephony.sip.message import Message, make_request
from tests.telephony.proxy.setting import configuration
from tests.telephony.resource_database.databases import Database

PASSWORDS = {"1001": "one", "1002": "two"}
UDP = Flow("udp", "public-udp", "192.0.2.1", 5060)


def binds(ask: Ask) -> list[Bind]:
    """What a batch asks for."""
    assert (ask.kind, ask.operation, ask.key) == ("resource_database", "bind-each", "")
    return [msgspec.msgpack.decode(body, type=Bind) for body in msgspec.msgpack.decode(ask.body, type=BindEach).binds]


def bound(*each: BoundOne | None) -> bytes:
    """An answer of the database."""
    return msgspec.msgpack.encode(BoundEach(list(each)))


def reached(contact: str, expires_at: float, q: float = 1.0, instance: str = "", reg_id: int = 0) -> BoundOne:
    """The user has this binding."""
    return BoundOne("ok", [Reached(contact, expires_at, q, instance, reg_id)])


class Registrar:
    """A proxy with a resource database that answers when the test says so."""

    def __init__(self, folder: Path, now: float = 1000.0) -> None:
        self.proxy = Proxy()
        self.proxy.configure(configuration(), now)
        self.database = Database(folder, now=now)
        self.asks: list[Ask] = []
        self.responses: list[Message] = []
        self._number = 0

    @property
    def now(self) -> float:
        return self.database.now

    def register(self, *headers: tuple[str, str], user: str = "1001", call_id: str = "c", cseq: int = 1, flow: Flow = UDP) -> None:
        """A phone's REGISTER with its proof; what comes of it is in `asks` and `responses`, in their order."""
        self._number += 1
        base = [("From", f"<sip:{user}@h>;tag=1"), ("To", f"<sip:{user}@h>"), ("Call-ID", call_id), ("CSeq", f"{cseq} REGISTER"), *headers]
        via = f"SIP/2.0/{flow.transport.upper()} 192.0.2.1:5060;branch=z9hG4bK{self._number}"
        request = make_request("REGISTER", "sip:192.0.2.100", [("Via", f"{via}x"), *base])
        self.proxy.receive(request.serialize(), flow, self.now)
        (challenge,) = self.proxy.take()
        assert isinstance(challenge, Send)
        values = Message.parse(challenge.data).get_lines("www-authenticate")
        proof = digest.answer(values, digest.Credentials(user, PASSWORDS[user]), "REGISTER", request.uri, "c")
        assert proof is not None
        request = make_request("REGISTER", "sip:192.0.2.100", [("Via", via), *base, ("Authorization", proof)])
        self.proxy.receive(request.serialize(), flow, self.now)
        self.take()

    def take(self) -> list[Effect]:
        """Note what the proxy wants."""
        effects = self.proxy.take()
        self.asks += [effect for effect in effects if isinstance(effect, Ask)]
        self.responses += [Message.parse(effect.data) for effect in effects if isinstance(effect, Send)]
        return effects

    def linger(self) -> None:
        """Let what has gathered leave, without a moment passing."""
        self.proxy._registrations.send(self.now)
        self.take()

    def serve(self) -> None:
        """The database does all that it was asked, and the proxy hears of it."""
        while self.asks:
            ask = self.asks.pop(0)
            self.database.core.job(Job(ask.id, "proxy-1", ask.operation, ask.body), self.now)
            for reply in self.database.effects():
                assert isinstance(reply, Reply)
                self.proxy.reply(reply.job, reply.status, reply.body, "database-1", self.now)
            self.take()

    def answers(self) -> list[tuple[int, list[str]]]:
        """Status and contacts of each response, in the order of the requests."""
        self.responses.sort(key=lambda response: int(response.branch.removeprefix("z9hG4bK")))
        return [(response.status, response.get_all("contact")) for response in self.responses]
