"""What a job costs: client -> load balancer -> routing service and back, three real processes.

    python -m tests.telephony.jobs.bench_jobs [JOBS] [JOBS_PER_SECOND]

CPU is the kernel's accounting of all threads of each process, ZeroMQ's included; the client does nothing else.
"""

import os
import sys
import tempfile
from pathlib import Path

import msgspec

from telephony.effects import Ask
from telephony.jobs.client import Answered
from telephony.jobs.routing import Route
from telephony.service import clock
from telephony.service.jobs import JobSockets
from telephony.service.loop import Loop
from tests.telephony.service.cluster import Cluster

JOBS = 10_000
JOBS_PER_SECOND = 2000


def cpu_seconds(pid: int) -> float:
    """User and system time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    jobs = int(sys.argv[1]) if len(sys.argv) > 1 else JOBS
    per_second = int(sys.argv[2]) if len(sys.argv) > 2 else JOBS_PER_SECOND
    with tempfile.TemporaryDirectory() as folder:
        cluster = Cluster(Path(folder), "messaging", proxy=False)
        try:
            cluster.units.pop("router-1").kill()  # we are the router
            loop = Loop()
            sockets = JobSockets(loop)
            sockets.configure(cluster.jobs("router-1"), clock.now())
            body = msgspec.msgpack.encode(Route(method="INVITE", user="9196"))
            pids = {"client": os.getpid(), "balancer": cluster.units["balancer-1"].pid, "worker": cluster.units["routing-1"].pid}
            asked = done = 0
            began: dict[int, float] = {}
            waits: list[float] = []
            start = before = None
            while done < jobs:
                now = clock.now()
                if start is None and done == 1:  # the first one has waited for the connection
                    start, before = now, {name: cpu_seconds(pid) for name, pid in pids.items()}
                wanted = 1 if start is None else min(jobs, 1 + int((now - start) * per_second))
                while asked < wanted:
                    asked += 1
                    began[asked] = now
                    sockets.ask(Ask(asked, "routing", "route", body), now)
                sockets.timeout(now)
                for arrival in sockets.exchange(now):
                    assert isinstance(arrival, Answered)
                    assert arrival.status == "ok", arrival
                    done += 1
                    waits.append(clock.now() - began.pop(arrival.ask))
                loop.turn(0.0005)
            assert start is not None
            assert before is not None
            after = {name: cpu_seconds(pid) for name, pid in pids.items()}
            spent = {name: (after[name] - before[name]) / jobs * 1e6 for name in pids}
            waits.sort()
            middle, high = waits[jobs // 2] * 1000, waits[jobs * 99 // 100] * 1000
            print(
                f"jobs={jobs} per_second={jobs / (clock.now() - start):.0f}",
                " ".join(f"{name}_us={cost:.0f}" for name, cost in spent.items()),
                f"all_us={sum(spent.values()):.0f} wait_ms_median={middle:.2f} wait_ms_p99={high:.2f}",
            )
            sockets.close()
        finally:
            cluster.close()


if __name__ == "__main__":
    main()
