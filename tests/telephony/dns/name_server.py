"""A small name server for tests, over UDP and TCP on loopback; it misbehaves for the names that it is told to."""

import select
import socket
import threading

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

TTL_SECONDS = 60
SOA = "ns.example.org. admin.example.org. 1 3600 600 86400 30"


class Zone:
    """Records and misbehaviour.

    Args:
        records: ``{"name KIND": [text of each record]}``; a CNAME stands under its own kind.
        faults: name to ``silent``, ``servfail``, ``truncated``, ``wrong-id``, ``wrong-question``, ``garbage`` or ``old`` (FORMERR to EDNS).
    """

    def __init__(self, records: dict[str, list[str]], faults: dict[str, str] | None = None) -> None:
        self.records = records
        self.faults = faults or {}
        self.asked: list[str] = []
        """``transport name KIND`` of each query."""

    def answer(self, data: bytes, stream: bool) -> list[bytes]:
        """The replies to a query."""
        query = dns.message.from_wire(data)
        name, kind = query.question[0].name, query.question[0].rdtype
        text = name.to_text(omit_final_dot=True)
        self.asked.append(f"{'tcp' if stream else 'udp'} {text} {dns.rdatatype.to_text(kind)}")
        fault = self.faults.get(text, "")
        if fault == "silent":
            return []
        if fault == "garbage":
            return [b"\x00" * 7, b"\xff" * 40]
        reply = dns.message.make_response(query)
        if fault == "servfail":
            reply.set_rcode(dns.rcode.SERVFAIL)
            return [reply.to_wire()]
        if fault == "old" and query.edns >= 0:
            reply = dns.message.make_response(query.__class__(query.id))
            reply.question = query.question
            reply.set_rcode(dns.rcode.FORMERR)
            return [reply.to_wire()]
        if fault == "truncated" and not stream:
            reply.flags |= dns.flags.TC
            return [reply.to_wire()]
        self._fill(reply, name, kind)
        wire = reply.to_wire(max_size=65535)
        if fault == "wrong-id":
            poisoned = [((query.id + step) & 0xFFFF).to_bytes(2, "big") + self._poison(query).to_wire()[2:] for step in (1, 7)]
            return [*poisoned, wire]
        if fault == "wrong-question":
            other = dns.message.make_query("elsewhere.example.net", kind, id=query.id)
            return [self._poison(other).to_wire(), wire]
        return [wire]

    def _fill(self, reply: dns.message.Message, name: dns.name.Name, kind: dns.rdatatype.RdataType) -> None:
        for _ in range(20):
            text = name.to_text(omit_final_dot=True)
            found = self.records.get(f"{text} {dns.rdatatype.to_text(kind)}")
            if found:
                reply.answer.append(dns.rrset.from_text(name, TTL_SECONDS, "IN", dns.rdatatype.to_text(kind), *found))
                return
            alias = self.records.get(f"{text} CNAME")
            if not alias:
                break
            reply.answer.append(dns.rrset.from_text(name, TTL_SECONDS, "IN", "CNAME", *alias))
            name = dns.name.from_text(alias[0])
            if alias[0].endswith("elsewhere.example.net."):  # another server's: it has to be asked for
                return
        if not any(key.split(" ")[0] == name.to_text(omit_final_dot=True) for key in self.records):
            reply.set_rcode(dns.rcode.NXDOMAIN)
        reply.authority.append(dns.rrset.from_text("example.org.", TTL_SECONDS, "IN", "SOA", SOA))

    def _poison(self, query: dns.message.Message) -> dns.message.Message:
        reply = dns.message.make_response(query)
        asked = query.question[0]
        text = "198.51.100.66" if asked.rdtype == dns.rdatatype.A else "0 0 5060 evil.example.net."
        if asked.rdtype in (dns.rdatatype.A, dns.rdatatype.SRV):
            reply.answer.append(dns.rrset.from_text(asked.name, TTL_SECONDS, "IN", dns.rdatatype.to_text(asked.rdtype), text))
        return reply


class NameServer:
    """A zone on loopback; `close` ends it."""

    def __init__(self, zone: Zone) -> None:
        self.zone = zone
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._udp.bind(("127.0.0.1", 0))
        self.port = self._udp.getsockname()[1]
        self._tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._tcp.bind(("127.0.0.1", self.port))
        self._tcp.listen(8)
        self._wake, self._end = socket.socketpair()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def close(self) -> None:
        self._end.close()
        self._thread.join()
        for one in (self._udp, self._tcp, self._wake):
            one.close()

    def _serve(self) -> None:
        while True:
            ready, _, _ = select.select([self._udp, self._tcp, self._wake], [], [])
            if self._wake in ready:
                return
            if self._udp in ready:
                data, peer = self._udp.recvfrom(65535)
                for reply in self.zone.answer(data, False):
                    self._udp.sendto(reply, peer)
            if self._tcp in ready:
                connection, _ = self._tcp.accept()
                with connection:
                    connection.settimeout(5)
                    size = int.from_bytes(connection.recv(2, socket.MSG_WAITALL), "big")
                    for reply in self.zone.answer(connection.recv(size, socket.MSG_WAITALL), True):
                        connection.sendall(len(reply).to_bytes(2, "big") + reply)
