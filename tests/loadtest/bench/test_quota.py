"""A process that is held to a part of a core."""

import subprocess
import sys

import pytest

from loadtest.bench.process import NotRunnableError
from loadtest.bench.quota import Quota
from tests.interop.waiting import wait_for


@pytest.mark.process
def test_a_busy_process_has_to_wait() -> None:
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as busy:
        try:
            quota = Quota(busy.pid, 0.1)
        except NotRunnableError as error:
            busy.kill()
            pytest.skip(f"waits for root and the kernel's CPU controller: {error}")
        try:
            wait_for(lambda: quota.throttled() > 3, name="periods in which it was stopped")
        finally:
            busy.kill()
            busy.wait()
            quota.close()


def test_a_process_that_is_not_there() -> None:
    with pytest.raises(NotRunnableError, match="cannot be held"):
        Quota(2**22 + 1, 0.1)
