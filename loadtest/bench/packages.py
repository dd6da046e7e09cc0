"""Programs that benchmarks drive: installed with apt when root, else the command to run is said."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from loadtest.bench.process import NotRunnableError

PACKAGES = {
    "sipp": "sip-tester",
    "kamailio": "kamailio",
    "rtpengine": "rtpengine-daemon",
    "janus": "janus",
    "gcc": "gcc",
}
"""Program to Debian package."""
INSTALL_SECONDS_MAX = 300.0


def need(*programs: str) -> None:
    """Make sure that programs are there.

    Raises:
        NotRunnableError: one is missing and cannot be installed here.
    """
    install([PACKAGES[program] for program in programs if shutil.which(program, path=_path()) is None])


def install(missing: list[str]) -> None:
    """Install Debian packages.

    Raises:
        NotRunnableError: that cannot be done here.
    """
    if not missing:
        return
    command = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing]
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise NotRunnableError(f"missing; run: sudo {' '.join(command)}")
    with _silent():
        for attempt in (command, ["apt-get", "update", "-qq"], command):
            environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
            done = subprocess.run(attempt, env=environment, capture_output=True, timeout=INSTALL_SECONDS_MAX, check=False)
            if done.returncode == 0 and attempt is command:
                return
    raise NotRunnableError(f"could not install: {' '.join(missing)}")


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Debian starts daemons as it installs them; its policy file says no meanwhile."""
    policy = Path("/usr/sbin/policy-rc.d")
    if policy.exists():
        yield
        return
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    try:
        yield
    finally:
        policy.unlink()


def program(name: str) -> str:
    """Where a program is; its bare name when it is not there."""
    return shutil.which(name, path=_path()) or name


def version(name: str, *arguments: str) -> str:
    """First line that a program says about itself; empty if it says nothing."""
    try:
        done = subprocess.run([program(name), *arguments], capture_output=True, text=True, timeout=10, check=False)
    except OSError:
        return ""
    return next((line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()), "")


def _path() -> str:
    return os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
