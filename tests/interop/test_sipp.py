"""Point 2: SIPp with its stock scenarios calls 9196, over UDP and TCP, and gets its audio back."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.cluster.running import Running
from tests.interop import sipp
from tests.interop.capture import Capture
from tests.interop.waiting import free_port, wait_for


@pytest.mark.parametrize("transport", ["u1", "un", "t1", "tn"])
def test_stock_scenario(cluster: Running, tmp_path: Path, transport: str) -> None:
    verdict = sipp.call(tmp_path, cluster.sip, service="9196", calls=20, rate=10, transport=transport)
    assert (verdict.successful, verdict.failed, verdict.exit_code) == (20, 0, 0), verdict.errors


def test_stock_scenario_with_regular_expressions(cluster: Running, tmp_path: Path) -> None:
    """It finds addresses, Contact and the origin of SDP in our 200, each where its expressions expect them."""
    verdict = sipp.call(tmp_path, cluster.sip, service="9196", scenario="regexp", calls=3)
    assert (verdict.successful, verdict.failed, verdict.exit_code) == (3, 0, 0), verdict.errors


def test_stock_scenarios_of_a_controller(cluster: Running, tmp_path: Path) -> None:
    """3PCC: what one call of ours is offered late is offered to a second one, and its answer comes back in the ACK (RFC 3725 flow I)."""
    port = free_port("127.0.0.1")
    control = ("-3pcc", f"127.0.0.1:{port}")
    with ThreadPoolExecutor(1) as pool:
        second = pool.submit(sipp.call, tmp_path / "b", cluster.sip, service="9664", scenario="3pcc-C-B", options=control)
        wait_for(lambda: f":{port:04X} 00000000:0000 0A" in Path("/proc/net/tcp").read_text(), name="the controller's other half")
        first = sipp.call(tmp_path / "a", cluster.sip, service="9196", scenario="3pcc-C-A", options=control)
        for verdict in (first, second.result()):
            assert (verdict.successful, verdict.failed, verdict.exit_code) == (1, 0, 0), verdict.errors


def test_many_at_a_time(cluster: Running, tmp_path: Path) -> None:
    verdict = sipp.call(tmp_path, cluster.sip, service="9196", calls=100, rate=50, duration_ms=1000)
    assert (verdict.successful, verdict.failed) == (100, 0), verdict.errors


@pytest.mark.skipif(os.geteuid() != 0, reason="waits for root: SIPp plays recordings through a raw socket")
def test_audio_comes_back(cluster: Running, tmp_path: Path) -> None:
    """The stock scenario plays eight seconds of PCMA and a digit; the same bytes come back."""
    with Capture() as capture:
        verdict = sipp.call(tmp_path, cluster.sip, service="9196", scenario="uac_pcap")
    assert (verdict.successful, verdict.failed) == (1, 0), verdict.errors
    said = [packet for packet in capture.sent_by(verdict.media_port) if packet.payload_type == 8]
    heard = [packet for packet in capture.sent_to(verdict.media_port) if packet.payload_type == 8]
    assert len(said) > 200
    assert len(heard) > 0.9 * len(said)
    sequences = [packet.sequence for packet in heard]
    assert sequences == [sequences[0] + step & 0xFFFF for step in range(len(sequences))]
    spoken, returned = b"".join(packet.payload for packet in said), b"".join(packet.payload for packet in heard)
    middle = spoken[len(spoken) // 2 :][:1600]
    assert len(set(middle)) > 10, "the recording is silent there; this proves nothing"
    assert middle in returned
