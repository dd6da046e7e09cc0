"""Memory of a process tree: proportional set size, which counts a shared page once (proc(5), smaps_rollup)."""

import os


def descendants(pid: int) -> list[int]:
    """All processes below one, without itself."""
    found: list[int] = []
    pending = [pid]
    while pending:
        parent = pending.pop()
        try:
            for thread in os.listdir(f"/proc/{parent}/task"):
                with open(f"/proc/{parent}/task/{thread}/children") as file:
                    children = [int(child) for child in file.read().split()]
                found.extend(children)
                pending.extend(children)
        except OSError:
            continue
    return found


def pss_bytes(pid: int) -> int:
    """Proportional set size of one process; 0: it is gone."""
    try:
        with open(f"/proc/{pid}/smaps_rollup") as file:
            for line in file:
                if line.startswith("Pss:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


def tree_bytes(pid: int) -> int:
    """Proportional set size of a process and all below it."""
    return sum(pss_bytes(each) for each in [pid, *descendants(pid)])
