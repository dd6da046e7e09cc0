"""The load harness against one echoing phone, and its figures."""

import json

import pytest
from typer.testing import CliRunner

from loadtest.call import Wish
from loadtest.cli import app
from loadtest.figures import LoadReport, percentile, summary
from loadtest.load import Load
from tests.loadtest.echo_phone import EchoPhone


def test_percentiles_are_nearest_rank() -> None:
    values = [float(value) for value in range(1, 101)]
    assert [percentile(values, percent) for percent in (50, 99, 99.9, 100)] == [50, 99, 100, 100]
    assert percentile([7.0], 1) == 7.0
    with pytest.raises(ValueError, match="nothing"):
        percentile([], 50)
    assert summary([]) == {}
    assert summary([0.001, 0.003])["max"] == 3.0


def test_every_call_is_accounted_for() -> None:
    with EchoPhone() as phone:
        report = Load(Wish(f"sip:9196@127.0.0.1:{phone.port}", 0.4), rate=40, calls=20).run()
    assert (report.calls, report.answered, report.completed, report.with_audio, report.failed) == (20, 20, 20, 20, 0)
    assert report.statuses == {"200": 20}
    assert report.endings == {"here": 20}
    assert report.packets_sent >= 20 * 15
    assert report.packets_received > 0
    assert len(report.set_up_seconds) == 20
    assert all(wanted >= own for wanted, own in zip(report.set_up_seconds, report.set_up_own_seconds, strict=True))
    assert report.concurrent_max > 1


def test_refusals_and_silence_fail() -> None:
    with EchoPhone(status=503) as phone:
        refused = Load(Wish(f"sip:9196@127.0.0.1:{phone.port}", 0.2), rate=50, calls=5).run()
    assert (refused.answered, refused.failed) == (0, 5)
    assert refused.statuses == {"503": 5}
    with EchoPhone(silent=True) as phone:
        silent = Load(Wish(f"sip:9196@127.0.0.1:{phone.port}", 0.2), rate=50, calls=5).run()
    assert (silent.completed, silent.with_audio, silent.failed) == (5, 0, 5)


def test_lost_packets_are_counted() -> None:
    with EchoPhone(lose=4) as phone:
        report = Load(Wish(f"sip:9196@127.0.0.1:{phone.port}", 1.0), rate=10, calls=1).run()
    assert report.packets_lost > 5
    assert report.failed == 0


def test_figures_of_nothing() -> None:
    assert LoadReport("sip:x@y", 1.0).figures()["failed"] == 0


def test_command_prints_json() -> None:
    with EchoPhone() as phone:
        command = ["loadtest", f"sip:9196@127.0.0.1:{phone.port}", "--rate", "50", "--calls", "5", "--duration", "0.3"]
        done = CliRunner().invoke(app, [*command, "--json"])
        assert done.exit_code == 0, done.output
        assert json.loads(done.stdout)["completed"] == 5
        shown = CliRunner().invoke(app, command)
    assert shown.exit_code == 0
    assert "set up ms" in shown.stdout
