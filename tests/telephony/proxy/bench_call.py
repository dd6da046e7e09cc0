"""What one call costs in the proxy core, without sockets: ``python -m tests.telephony.proxy.bench_call [CALLS] [--profile]``.

One call is what SIPp's stock scenario makes of it: INVITE, 100, 180, 200, ACK, BYE, 200, through a proxy that keeps
transactions and records its route. The clock runs at 2000 calls a second, so that timers and tables are as full as they
would be.
"""

import cProfile
import pstats
import resource
import sys
import time

from telephony.config import Jobs, Peer, ProxyConfiguration
from telephony.effects import Send
from telephony.proxy.core import Proxy
from telephony.sip.flow import Flow

CALLS_PER_SECOND = 2000
BATCH_CALLS = 250
USER = Flow("udp", "public-udp", "127.0.0.1", 5080)
ROUTER = Flow("udp", "sip-udp", "127.0.0.1", 5070)
SDP = (
    b"v=0\r\no=user1 53655765 2353687637 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
    b"m=audio 6000 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n"
)


def proxy() -> Proxy:
    made = Proxy()
    made.configure(
        ProxyConfiguration(
            id="p", platform="voice", jobs=Jobs(curve_public="", curve_secret=""), realm="h", host="127.0.0.1", port=5061,
            public_host="127.0.0.1", public_port=5060, public=True, routers={"voice": [Peer(id="r", host="127.0.0.1", port=5070)]},
            nonce_secret=b"x" * 32, guest_targets=["service"],
        ),
        0.0,
    )  # fmt: skip
    return made


def request(method: str, number: int, cseq: int, uri: str, branch: str, to_tag: str, route: str, body: bytes = b"") -> bytes:
    kind = "Content-Type: application/sdp\r\n" if body else ""
    return (
        f"{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:5080;branch=z9hG4bK-{number}-{branch}\r\n{route}"
        f"From: sipp <sip:sipp@127.0.0.1:5080>;tag=4711SIPpTag00{number}\r\nTo: service <sip:service@127.0.0.1:5060>{to_tag}\r\n"
        f"Call-ID: {number}-4711@127.0.0.1\r\nCSeq: {cseq} {method}\r\nContact: <sip:sipp@127.0.0.1:5080>\r\nMax-Forwards: 70\r\n"
        f"Subject: Performance Test\r\n{kind}Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body


def response(data: bytes, status: str, body: bytes = b"") -> bytes:
    """A router's answer to a request."""
    lines = data.partition(b"\r\n\r\n")[0].decode().split("\r\n")
    kept = [line for line in lines if line.startswith(("Via", "From", "Call-ID", "CSeq", "Record-Route"))]
    to = next(line for line in lines if line.startswith("To:"))
    kept.append(to if "tag=" in to else f"{to};tag=991SIPpTag01{len(lines)}")
    kind = "Content-Type: application/sdp\r\n" if body else ""
    head = "\r\n".join([f"SIP/2.0 {status}", *kept, "Contact: <sip:127.0.0.1:5070;transport=UDP>", f"{kind}Content-Length: {len(body)}"])
    return head.encode() + b"\r\n\r\n" + body


def sent(core: Proxy, flow: Flow) -> bytes:
    found = [effect.data for effect in core.take() if isinstance(effect, Send) and effect.flow == flow]
    return found[-1] if found else b""


def prepare(core: Proxy, calls: int) -> list[list[tuple[bytes, Flow]]]:
    """The messages of every call, as their peers would send them; answers to what the proxy makes are filled in as they come."""
    return [
        [
            (request("INVITE", number, 1, "sip:service@127.0.0.1:5060", "1-0", "", "", SDP), USER),
            (request("ACK", number, 1, "sip:127.0.0.1:5070;transport=UDP", "1-5", ";tag=991", "%ROUTE%"), USER),
            (request("BYE", number, 2, "sip:127.0.0.1:5070;transport=UDP", "1-7", ";tag=991", "%ROUTE%"), USER),
        ]
        for number in range(calls)
    ]


def run(core: Proxy, calls: int) -> list[float]:
    """CPU seconds inside of the core, of each `BATCH_CALLS`."""
    batches = []
    spent = 0.0
    now = 0.0
    clock = time.thread_time
    for number, messages in enumerate(prepare(core, calls)):
        now = number / CALLS_PER_SECOND
        start = clock()
        deadline = core.deadline()
        if deadline is not None and deadline <= now:
            core.timeout(now)
        core.receive(*messages[0], now)
        spent += clock() - start
        invite = sent(core, ROUTER)
        route = next(line for line in invite.decode().split("\r\n") if line.startswith("Record-Route"))
        route = f"Route:{route.partition(':')[2]}\r\n"
        for answer in (response(invite, "180 Ringing"), response(invite, "200 OK", SDP)):
            start = clock()
            core.receive(answer, ROUTER, now)
            core.take()
            spent += clock() - start
        for data, flow in messages[1:]:
            data = data.replace(b"%ROUTE%", route.encode())
            start = clock()
            core.receive(data, flow, now)
            spent += clock() - start
            forwarded = sent(core, ROUTER)
        answer = response(forwarded, "200 OK")
        start = clock()
        core.receive(answer, ROUTER, now)
        core.take()
        spent += clock() - start
        if number % BATCH_CALLS == BATCH_CALLS - 1:
            batches.append(spent)
            spent = 0.0
    return batches


def main() -> None:
    calls = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    core = proxy()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if "--profile" in sys.argv:
        profile = cProfile.Profile()
        profile.runcall(run, core, calls)
        pstats.Stats(profile).sort_stats("tottime").print_stats(60)
        return
    batches = sorted(spent / BATCH_CALLS * 1e6 for spent in run(core, calls))
    held = len(core.transactions.servers) + len(core.transactions.clients)
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    best, median = batches[0], batches[len(batches) // 2]
    print(f"us_per_call best={best:.1f} median={median:.1f} calls={calls} transactions={held} timers={len(core.timers)} kb={kilobytes}")


if __name__ == "__main__":
    main()
