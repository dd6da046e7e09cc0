"""aiosip, old as it is, places a test call: REGISTER with digest (RFC 2069 form), OPTIONS, INVITE, ACK and BYE without a route set."""

import json
import socket
import subprocess
import sys
from pathlib import Path

from tests.cluster.running import Running
from tests.interop.waiting import free_port, wait_for

SECONDS_MAX = 40.0
CLIENT = Path(__file__).with_name("aiosip_client.py")
SDP = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio {port} RTP/AVP 0\r\n"


def test_aiosip_places_a_call(cluster: Running) -> None:
    own, media = (free_port("127.0.0.1", socket.SOCK_DGRAM) for _ in range(2))
    arguments = [cluster.sip, f"127.0.0.1:{own}", "1003", cluster.users["1003"], "9196", SDP.format(port=media)]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(CLIENT), *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        check=False,
    )
    said = [json.loads(line) for line in done.stdout.splitlines()]
    assert said == [["REGISTER", 200], ["OPTIONS", 200], ["INVITE", 200], ["BYE", 200], ["REGISTER", 200]], done.stderr
    wait_for(lambda: not cluster.get("calls"), name="no call is left")
