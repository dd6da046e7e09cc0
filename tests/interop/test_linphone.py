"""Linphone's command line client: registers with digest, calls the echo, and hears itself."""

from pathlib import Path

from tests.cluster.running import Running
from tests.interop.linphone import Linphone

TALK_SECONDS = 2.0
TONE = 600.0


def test_linphone_registers_and_hears_its_echo(cluster: Running, tmp_path: Path) -> None:
    with Linphone(tmp_path, "1003", tone=TONE) as phone:
        phone.register(cluster.sip, cluster.users["1003"])
        phone.call(f"sip:9196@{cluster.sip}")
        phone.hear(TALK_SECONDS + 1.0)
        phone.hang_up()
        assert phone.heard().heard(TONE) > TALK_SECONDS
        assert "401 Unauthorized" in phone.log()
