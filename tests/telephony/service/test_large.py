"""A proxy process sends what is too large for a datagram over TCP, and over UDP where nobody listens."""

import time

import pytest

from telephony.sip.events import InviteReceived
from telephony.sip.flow import Flow
from tests.telephony.service.party import Party, proxy_unit, until
from tests.telephony.service.unit import tcp

pytestmark = pytest.mark.process
LARGE = b"x" * 1400


def test_over_tcp_and_over_udp_where_nobody_listens() -> None:
    router, bob = Party(), Party()
    listener = tcp()
    unit, sockets = proxy_unit(router)
    to_proxy = Flow("udp", "sip", "127.0.0.1", sockets["sip-udp"].getsockname()[1])
    try:
        for port in (listener.getsockname()[1], bob.port):
            target = f"sip:bob@127.0.0.1:{port}"
            router.endpoint.invite(target, "<sip:1001@hotswitch>", f"<{target}>", to_proxy, now=time.time(), body=LARGE)
        until([router, bob], lambda: bob.events)
        assert isinstance(bob.events[0], InviteReceived)
        assert bob.events[0].message.get_all("via")[0].startswith("SIP/2.0/UDP ")
        listener.settimeout(10)
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(10)
            data = b""
            while not data.endswith(LARGE):
                data += connection.recv(65536)
        assert data.split(b"\r\n")[1].startswith(b"Via: SIP/2.0/TCP ")
    finally:
        unit.kill()
        for one in (listener, *sockets.values()):
            one.close()
        router.close()
        bob.close()
