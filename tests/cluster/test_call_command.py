"""Point 7: `hotswitch call` plays, hears itself, and prints how it was; `hotswitch loadtest` does so many times."""

import json
import wave
from pathlib import Path

from tests.cluster.running import Running


def test_call_to_the_echo(cluster: Running, tmp_path: Path) -> None:
    record = tmp_path / "heard.wav"
    done = cluster.command("call", f"sip:9196@{cluster.sip}", "--duration", "3", "--json", "--record", str(record))
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert report["status"] == 200
    assert report["audio"]
    assert report["echo"]
    assert report["likeness"] > 0.9
    assert report["packets_lost"] == 0
    assert report["set_up_seconds"] < 2.0
    assert report["round_trip_ms"] is not None
    assert report["mos"] > 4.0
    with wave.open(str(record)) as file:
        assert file.getnframes() > 2.5 * file.getframerate()


def test_call_as_a_person_sees_it(cluster: Running) -> None:
    done = cluster.command("call", f"sip:9196@{cluster.sip}", "--duration", "1")
    assert done.returncode == 0, done.stdout + done.stderr
    for word in ("set-up", "loss", "jitter", "MOS", "yes, our own"):
        assert word in done.stdout


def test_call_over_tcp_as_a_user(cluster: Running) -> None:
    done = cluster.command(
        "call", f"sip:9664@{cluster.sip};transport=tcp", "--duration", "1", "--user", "1005", "--password", cluster.users["1005"], "--json"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert report["audio"]
    assert not report["echo"]


def test_call_that_fails_says_so(cluster: Running) -> None:
    done = cluster.command("call", f"sip:1002@{cluster.sip}", "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["status"] == 407
    wrong = cluster.command("call", f"sip:1002@{cluster.sip}", "--user", "1001", "--password", "wrong", "--json")
    assert wrong.returncode == 1
    assert json.loads(wrong.stdout)["status"] in (401, 403, 407)
    assert cluster.command("call", "tel:1002").returncode == 2


def test_small_load(cluster: Running) -> None:
    done = cluster.command("loadtest", f"sip:9196@{cluster.sip}", "--rate", "10", "--calls", "30", "--duration", "1", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert (report["completed"], report["with_audio"], report["failed"]) == (30, 30, 0)
    assert report["packets_lost"] == 0
