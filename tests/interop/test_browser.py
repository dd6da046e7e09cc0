"""A browser and a phone hear each other: Chromium with JsSIP over a secure WebSocket, baresip over UDP."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.running import Running
from tests.interop.baresip import Baresip
from tests.interop.chromium import Chromium
from tests.interop.test_phones import OWN_LEVEL_MAX, OWN_SECONDS_MAX
from tests.interop.test_transports import CALL, register
from tests.interop.waiting import wait_for

VOICE, TONE = 1300.0, 440.0
"""Hz; of the page, and of the phone."""
VOICE_SECONDS = 1.5
LOUD_DB, QUIET_DB = -45.0, -50.0

MEDIA = """
(() => {
  const sound = globalThis.sound = new AudioContext();
  const source = sound.createOscillator(), tone = sound.createGain();
  source.frequency.value = %s; tone.gain.value = 0.25; source.connect(tone); source.start();
  navigator.mediaDevices.getUserMedia = async () => {
    const voice = sound.createMediaStreamDestination(); // a call stops the tracks that it was given
    tone.connect(voice);
    return voice.stream;
  };
  globalThis.listen = call => {
    const stream = new MediaStream(call.connection.getReceivers().map(each => each.track));
    const player = globalThis.player = new Audio(); player.srcObject = stream; player.play();
    const analyser = globalThis.analyser = sound.createAnalyser(); analyser.fftSize = 4096; analyser.smoothingTimeConstant = 0;
    sound.createMediaStreamSource(stream).connect(analyser);
  };
  globalThis.level = frequency => {
    const bins = new Float32Array(analyser.frequencyBinCount); analyser.getFloatFrequencyData(bins);
    return Math.max(-200, ...bins.slice(Math.round(frequency / sound.sampleRate * 4096) - 1).slice(0, 3));
  };
  globalThis.received = async () =>
    [...(await call.connection.getStats()).values()].find(each => each.type === 'inbound-rtp').packetsReceived;
})()
"""
ANSWER = """
new Promise((resolve, reject) => agent.on('newRTCSession', ({originator, session}) => {
  if (originator !== 'remote') return;
  globalThis.call = session;
  session.on('confirmed', () => { globalThis.talking = true; });
  session.on('failed', each => { globalThis.talking = each.cause; });
  session.answer({mediaConstraints: {audio: true, video: false}});
}) && resolve(true))
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory, cluster: Running) -> Iterator[Chromium]:
    with Chromium(tmp_path_factory.mktemp("chromium"), cluster.certificate) as chromium:
        chromium.load_jssip()
        register(chromium, cluster, "1005")
        chromium.run(MEDIA % VOICE)
        yield chromium
        chromium.run("agent.stop()")


def both_hear(browser: Chromium, phone: Baresip) -> None:
    browser.run("listen(call)")
    wait_for(lambda: browser.run(f"level({TONE})") > LOUD_DB, name="the phone's tone in the browser")
    assert browser.run(f"level({VOICE})") < QUIET_DB
    wait_for(lambda: phone.heard_seconds() > 0 and phone.heard().heard(VOICE) > VOICE_SECONDS, name="the page's tone at the phone")
    wait_for(lambda: browser.run("received()") > 20, name="packets in the browser")
    browser.run("call.terminate()")
    phone.wait("CALL_CLOSED")
    assert phone.heard().heard(TONE, level=OWN_LEVEL_MAX) < OWN_SECONDS_MAX


def test_a_browser_calls_a_phone(cluster: Running, browser: Chromium, tmp_path: Path) -> None:
    with Baresip(tmp_path, "1001", server=cluster.sip, password=cluster.users["1001"], tone=TONE) as phone:
        assert browser.run(CALL % "1001") == 200
        phone.wait("CALL_ESTABLISHED")
        both_hear(browser, phone)


def test_a_phone_calls_a_browser(cluster: Running, browser: Chromium, tmp_path: Path) -> None:
    browser.run(ANSWER)
    with Baresip(tmp_path, "1001", server=cluster.sip, password=cluster.users["1001"], tone=TONE) as phone:
        phone.dial(f"sip:1005@{cluster.sip}")
        phone.wait("CALL_ESTABLISHED")
        wait_for(lambda: browser.run("globalThis.talking") is True, name="the call in the browser")
        both_hear(browser, phone)
