"""TLS, WebSocket and secure WebSocket: baresip, JsSIP in Chromium and a phone of ours, with each other."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.running import Running
from tests.interop.baresip import Baresip
from tests.interop.chromium import Chromium
from tests.interop.waiting import wait_for
from tests.interop.web_phone import WebPhone

REGISTER = """
new Promise((resolve, reject) => {
  const {url, user, password} = %s;
  globalThis.seen = [];
  const agent = globalThis.agent = new JsSIP.UA(
    {sockets: [new JsSIP.WebSocketInterface(url)], uri: `sip:${user}@hotswitch`, password, register_expires: 600, session_timers: false});
  agent.on('registered', each => resolve(each.response.status_code));
  agent.on('registrationFailed', each => reject(each.cause));
  agent.on('disconnected', each => reject('disconnected: ' + each.reason));
  agent.on('newMessage', each => each.originator === 'remote' && seen.push(each.request.body));
  agent.start();
})
"""
CALL = """
new Promise((resolve, reject) => {
  const call = globalThis.call = agent.call('sip:%s@hotswitch', {mediaConstraints: {audio: true, video: false},
    eventHandlers: {confirmed: () => resolve(200), failed: each => resolve(each.message ? each.message.status_code : each.cause)}});
})
"""

HEARD = """
call.connection.getStats().then(stats => {
  const inbound = [...stats.values()].filter(each => each.type === 'inbound-rtp');
  return inbound.reduce((sum, each) => sum + each.packetsReceived, 0);
})
"""
END = "new Promise(resolve => { call.on('ended', each => resolve(each.originator)); call.terminate(); })"
PACKETS = 50
"""One second."""


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory, cluster: Running) -> Iterator[Chromium]:
    with Chromium(tmp_path_factory.mktemp("chromium"), cluster.certificate) as browser:
        browser.load_jssip()
        yield browser


def register(browser: Chromium, cluster: Running, user: str) -> None:
    """Start JsSIP in the page, and wait until it is registered over the secure WebSocket."""
    assert browser.run(REGISTER % json.dumps({"url": cluster.wss, "user": user, "password": cluster.users[user]})) == 200


def test_baresip_over_tls(cluster: Running, tmp_path: Path) -> None:
    first = Baresip(
        tmp_path, "1001", server=cluster.tls, password=cluster.users["1001"], tone=440.0, transport="tls", trust=cluster.certificate
    )
    second = Baresip(tmp_path, "1002", server=cluster.sip, password=cluster.users["1002"], tone=1000.0)
    with first, second:
        for caller, called in ((first, second), (second, first)):
            caller.dial(f"sip:{called.user}@{cluster.tls if caller is first else cluster.sip}")
            caller.wait("CALL_ESTABLISHED")
            called.wait("CALL_ESTABLISHED")
            wait_for(lambda: min(first.heard_seconds(), second.heard_seconds()) > 1.0, name="a second of audio at both")
            called.hang_up()
            caller.wait("CALL_CLOSED")
            called.wait("CALL_CLOSED")
            assert first.heard().heard(second.tone) > 0.5
            assert second.heard().heard(first.tone) > 0.5


@pytest.mark.parametrize("transport", ["tls", "ws", "wss"])
def test_calls_between_a_web_phone_and_baresip(cluster: Running, tmp_path: Path, transport: str) -> None:
    where = f"tls://{cluster.tls}" if transport == "tls" else getattr(cluster, transport)
    phone = WebPhone("1004", cluster.users["1004"], where, cluster.certificate)
    other = Baresip(tmp_path, "1001", server=cluster.sip, password=cluster.users["1001"])
    with phone, other:
        session = phone.call("1001")
        other.wait("CALL_ESTABLISHED")
        assert phone.hears(20) == 20
        phone.hang_up(session)
        other.wait("CALL_CLOSED")
        other.dial(f"sip:1004@{cluster.sip}")
        phone.answer()
        other.wait("CALL_ESTABLISHED")
        assert phone.hears(20) == 20
        other.hang_up()
        phone.hung_up()


def test_a_binding_ends_with_its_connection(cluster: Running, tmp_path: Path) -> None:
    phone = WebPhone("1004", cluster.users["1004"], cluster.wss, cluster.certificate)
    other = Baresip(tmp_path, "1001", server=cluster.sip, password=cluster.users["1001"])
    with other:
        with phone:
            other.dial(f"sip:1004@{cluster.sip}")
            session = phone.answer()
            other.wait("CALL_ESTABLISHED")
            phone.hang_up(session)
            other.wait("CALL_CLOSED")
        other.dial(f"sip:1004@{cluster.sip}")
        assert "480" in other.wait("CALL_CLOSED")["param"]


def test_a_browser_registers_and_calls(cluster: Running, chromium: Chromium) -> None:
    register(chromium, cluster, "1005")
    assert chromium.run(CALL % "9196") == 200
    # the fake microphone beeps: its echo comes back over ICE, DTLS and SRTP
    wait_for(lambda: chromium.run(HEARD) > PACKETS, name="packets in the browser")
    assert chromium.run(END) == "local"
    chromium.run("agent.stop()")
