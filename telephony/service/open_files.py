"""How many files and sockets this process may have open (RLIMIT_NOFILE, getrlimit(2)).

Debian's soft limit is 1024, for the sake of programs that use select(2) on any descriptor; the hard limit is what may be had.
"""

import resource


def allow(files: int) -> int:
    """Raise the soft limit to so many where the hard one allows that; what may be open now, at most ``files``."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= files:
        return files
    wanted = files if hard == resource.RLIM_INFINITY else min(files, hard)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError):
        return soft
    return wanted
