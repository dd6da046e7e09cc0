"""A test call against a phone made of the same cores, over real sockets."""

import json
import wave
from pathlib import Path

import pytest
from typer.testing import CliRunner

from loadtest import sound
from loadtest.call import TestCall, Wish, WishError, server_of
from loadtest.cli import app
from tests.interop.waiting import free_port
from tests.loadtest.echo_phone import EchoPhone


def test_echo_is_heard_and_measured() -> None:
    with EchoPhone() as phone:
        report = TestCall(Wish(f"sip:9196@127.0.0.1:{phone.port}", 1.0)).run()
    assert (report.status, report.ended, report.codec) == (200, "here", "PCMU")
    assert report.packets_sent == report.packets_received == 50
    assert (report.packets_lost, report.loss_percent) == (0, 0.0)
    assert report.audio
    assert report.echo
    assert report.likeness > 0.95
    assert abs(report.level_heard - report.level_said) < 1.5
    assert report.set_up_seconds is not None
    assert report.ringing_seconds is not None
    assert report.ringing_seconds <= report.set_up_seconds
    assert report.round_trip_ms is not None
    assert report.mos is not None
    assert report.mos > 4.0


def test_loss_is_counted_and_judged() -> None:
    with EchoPhone(lose=5) as phone:
        report = TestCall(Wish(f"sip:9196@127.0.0.1:{phone.port}", 1.0)).run()
    assert report.packets_sent == 50
    assert report.packets_received == 40
    assert report.packets_lost in (9, 10)  # nobody can know of the last one
    assert report.echo
    assert report.mos is not None
    assert report.mos < 3.5


def test_a_silent_peer_is_no_audio() -> None:
    with EchoPhone(silent=True) as phone:
        report = TestCall(Wish(f"sip:9196@127.0.0.1:{phone.port}", 0.5)).run()
    assert report.status == 200
    assert not report.audio
    assert report.mos is None


def test_a_refusal_is_reported() -> None:
    with EchoPhone(status=486) as phone:
        report = TestCall(Wish(f"sip:9196@127.0.0.1:{phone.port}", 0.5)).run()
    assert (report.status, report.reason) == (486, "Busy Here")
    assert not report.audio


@pytest.mark.parametrize("target", ["", "sip:", "sip:127.0.0.1", "tel:123", "sip:9196@127.0.0.1;transport=ws", "http://x"])
def test_wishes_that_cannot_be_read(target: str) -> None:
    with pytest.raises(WishError):
        TestCall(Wish(target))


def test_where_a_wish_goes() -> None:
    assert server_of(Wish("9196@127.0.0.1"))[1:] == (("127.0.0.1", 5060), "udp")
    assert server_of(Wish("sip:9196@example.com:5070;transport=tcp"))[1:] == (("example.com", 5070), "tcp")
    assert server_of(Wish("sip:9196@example.com", proxy="127.0.0.1:5080"))[1] == ("127.0.0.1", 5080)
    assert server_of(Wish("sip:9196@example.com", proxy="127.0.0.1"))[1] == ("127.0.0.1", 5060)


def test_command_prints_json_and_records(tmp_path: Path) -> None:
    with EchoPhone() as phone:
        done = CliRunner().invoke(
            app, ["call", f"sip:9196@127.0.0.1:{phone.port}", "--duration", "0.6", "--json", "--record", str(tmp_path / "heard.wav")]
        )
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert report["audio"]
    assert report["echo"]
    assert report["packets_received"] == 30
    with wave.open(str(tmp_path / "heard.wav")) as heard:
        assert heard.getnframes() >= 0.55 * sound.RATE


def test_command_prints_a_table() -> None:
    with EchoPhone() as phone:
        done = CliRunner().invoke(app, ["call", f"sip:9196@127.0.0.1:{phone.port}", "--duration", "0.6"])
    assert done.exit_code == 0, done.output
    for row in ("200 OK", "set-up", "yes, our own", "jitter", "MOS", "PCMU"):
        assert row in done.stdout


def test_command_exits_by_outcome(tmp_path: Path) -> None:
    with EchoPhone(silent=True) as phone:
        assert CliRunner().invoke(app, ["call", f"sip:9196@127.0.0.1:{phone.port}", "--duration", "0.5"]).exit_code == 1
    closed = free_port("127.0.0.1")
    assert CliRunner().invoke(app, ["call", f"sip:9196@127.0.0.1:{closed};transport=tcp"]).exit_code == 1
    assert CliRunner().invoke(app, ["call", "nonsense:"]).exit_code == 2
    noise = tmp_path / "noise.wav"
    noise.write_bytes(b"no sound")
    assert CliRunner().invoke(app, ["call", "sip:9196@127.0.0.1", "--play", str(noise)]).exit_code == 2
