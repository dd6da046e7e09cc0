"""A baresip that watches a user: NOTIFYs of the cluster tell it when that user comes, is in a call, and goes."""

from pathlib import Path

from tests.cluster.running import Running
from tests.interop.baresip import Baresip


def test_a_phone_sees_another_come_call_and_go(cluster: Running, tmp_path: Path) -> None:
    watched = f"sip:1002@{cluster.sip}"
    watcher = Baresip(tmp_path, "1001", server=cluster.sip, password=cluster.users["1001"], watched=watched)
    other = Baresip(tmp_path, "1002", server=cluster.sip, password=cluster.users["1002"])
    with watcher:
        watcher.wait_log("<basic>closed</basic>")
        with other:
            watcher.wait_log("<basic>open</basic>")
            other.dial(f"sip:9196@{cluster.sip}")
            other.wait("CALL_ESTABLISHED")
            watcher.wait_log("<note>On the phone</note>")
            other.hang_up()
            other.wait("CALL_CLOSED")
            watcher.wait_log("CSeq: 4 NOTIFY")
        watcher.wait_log("CSeq: 5 NOTIFY")
        assert watcher.log().count("<basic>open</basic>") == 2
        assert watcher.log().rindex("<basic>closed</basic>") > watcher.log().rindex("<basic>open</basic>")
        assert "changed status from" in watcher.log()
