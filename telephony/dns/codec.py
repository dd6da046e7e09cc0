"""DNS messages, built and read by dnspython (RFC 1035, 2308, 2782, 3403, 6891).

Rules:
- A reply counts only with our id, our question and the response bit: whatever else comes is `StrangeError`.
- A chain of CNAMEs is followed within the reply, `ALIASES_MAX` at most; where it leaves the reply the new name has to be asked.
- Nothing but what answers the question is taken: no additional records, which a poisoner would love.
"""

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
from dns.rdtypes.IN.A import A
from dns.rdtypes.IN.AAAA import AAAA
from dns.rdtypes.IN.NAPTR import NAPTR
from dns.rdtypes.IN.SRV import SRV

from telephony.dns.reply import ALIASES_MAX, RECORDS_MAX, Reply, StrangeError
from telephony.sip.resolution import Naptr, Question, Record, Srv

PAYLOAD_BYTES = 1232
"""What we take over UDP (RFC 6891): no fragments."""


def query(id: int, question: Question, extended: bool) -> bytes:
    """A query in wire form; ``extended``: with EDNS.

    Raises:
        ValueError: a name that no name server could be asked.
    """
    try:
        message = dns.message.make_query(
            dns.name.from_text(question.name, origin=dns.name.root),
            dns.rdatatype.from_text(question.kind),
            use_edns=0 if extended else False,
            payload=PAYLOAD_BYTES,
            id=id,
        )
        return message.to_wire()
    except (dns.exception.DNSException, UnicodeError) as error:
        raise ValueError(f"no name to ask for: {question.name[:80]!r}: {error}") from None


def read(data: bytes, id: int, question: Question) -> Reply:
    """Read a reply.

    Raises:
        StrangeError: it is no reply to this query.
    """
    try:
        message = dns.message.from_wire(data, ignore_trailing=True, one_rr_per_rrset=False, raise_on_truncation=False)
    except (dns.exception.DNSException, UnicodeError, ValueError) as error:
        raise StrangeError(f"not a DNS message: {type(error).__name__}") from None
    if message.id != id or not message.flags & dns.flags.QR or len(message.question) != 1:
        raise StrangeError("another id, or no response")
    asked = message.question[0]
    kind = dns.rdatatype.from_text(question.kind)
    name = dns.name.from_text(question.name)
    if asked.name != name or asked.rdtype != kind or asked.rdclass != dns.rdataclass.IN:
        raise StrangeError("another question")
    if message.flags & dns.flags.TC:
        return Reply(truncated=True)
    code = message.rcode()
    if code not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
        return Reply(refused=True, misunderstood=code in (dns.rcode.FORMERR, dns.rcode.NOTIMP))
    ttl: int | None = None
    for _ in range(ALIASES_MAX):
        found = message.get_rrset(message.answer, name, dns.rdataclass.IN, kind)
        if found is not None:
            seconds = found.ttl if ttl is None else min(ttl, found.ttl)
            records = [record for data in list(found)[:RECORDS_MAX] if (record := _record(data)) is not None]
            return Reply(records=records, seconds=seconds)
        alias = message.get_rrset(message.answer, name, dns.rdataclass.IN, dns.rdatatype.CNAME)
        if alias is None:
            break
        ttl = alias.ttl if ttl is None else min(ttl, alias.ttl)
        name = next(iter(alias)).target
    else:
        return Reply(refused=True)
    if ttl is not None and code == dns.rcode.NOERROR and _authority(message) is None:
        return Reply(alias=_text(name), seconds=ttl)
    return Reply(seconds=_authority(message))


def _record(data: object) -> Record | None:
    if isinstance(data, A | AAAA):
        return str(data.address)
    if isinstance(data, SRV):
        return Srv(data.priority, data.weight, data.port, _text(data.target))
    if isinstance(data, NAPTR):
        flags, service = (text.decode("ascii", "replace") for text in (data.flags, data.service))
        return Naptr(data.order, data.preference, flags.lower(), service.upper(), _text(data.replacement))
    return None


def _text(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True).lower() if name != dns.name.root else ""


def _authority(message: dns.message.Message) -> int | None:
    """How long a negative answer holds: the SOA's (RFC 2308 section 5); None: there is none."""
    for found in message.authority:
        if found.rdtype == dns.rdatatype.SOA:
            return min(found.ttl, int(next(iter(found)).minimum))
    return None
