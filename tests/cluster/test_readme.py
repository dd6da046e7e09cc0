"""What the README tells people to type works, as it stands there; only addresses are this cluster's."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster.running import COMMAND, Running
from tests.interop.waiting import wait_for

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
MAKE, TYPED = BLOCKS[0], BLOCKS[1:]
NAMES = sorted(
    {
        name
        for row in re.findall(r"^\| (`hotswitch .*?) \|", README, re.MULTILINE)
        for name in re.findall(r"hotswitch ([a-z ]+)|`([a-z]+)`", row)
    }
)
"""(words of a command with its name, or a further command that stands alone) of the table."""


def test_the_readme_has_what_this_test_reads() -> None:
    assert [line.split("#")[0].strip() for line in MAKE.strip().splitlines()] == ["make run", "make test"]
    assert len(TYPED) >= 4
    assert len(NAMES) >= 12


@pytest.mark.parametrize("block", TYPED, ids=[block.split("\n")[0][:40] for block in TYPED])
def test_typed_commands(cluster: Running, block: str, tmp_path: Path) -> None:
    script = block.replace("http://127.0.0.1:8080", cluster.api_url).replace("127.0.0.1:5060", cluster.sip)
    script = re.sub(r"@127\.0\.0\.1$", f"@{cluster.sip}", script, flags=re.MULTILINE)
    script = script.replace(". .venv/bin/activate", f"PATH={Path(sys.executable).parent}:$PATH")
    script = re.sub(r"^sipp ", "sipp -nostdin -i 127.0.0.1 ", script, flags=re.MULTILINE)
    environment = cluster.environment | {"HOTSWITCH_API": cluster.api_url, "HOTSWITCH_TOKEN": cluster.token}
    environment["PATH"] = f"{COMMAND.parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euc", script],
        cwd=tmp_path,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert '"status":4' not in done.stdout.replace(" ", "")
    wait_for(lambda: all(machine["state"] == "ready" for machine in cluster.machines()), seconds=60, name="machines that are ready")
    for machine in cluster.machines():
        if machine["platform"] != "voice":
            assert cluster.command("switch", machine["name"], "--to", "voice", "--wait", seconds=90).returncode == 0


@pytest.mark.parametrize("words", NAMES, ids=lambda words: "".join(words).strip())
def test_commands_of_the_table(words: tuple[str, str]) -> None:
    command = ("".join(words)).split()
    done = subprocess.run(
        [str(COMMAND), *command, "--help"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Usage" in done.stdout


def test_options_of_up_are_there() -> None:
    done = subprocess.run(
        [str(COMMAND), "up", "--help"], capture_output=True, text=True, timeout=60, check=True, env={**os.environ, "COLUMNS": "200"}
    )
    for option in ("--address", "--sip-port", "--api-port", "--machines", "--platform", "--data", "--json"):
        assert option in done.stdout


def test_make_run_and_its_end(tmp_path: Path) -> None:
    """`make run` as a person types it; Ctrl-C, which reaches the whole foreground group, ends it."""
    arguments = f"--data {tmp_path / 'data'} --sip-port 0 --api-port 0 --machine-net 127.251.9"
    with (tmp_path / "log").open("wb") as log:
        run = subprocess.Popen(
            ["make", "run", f"UP={arguments}"], cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    try:
        wait_for(lambda: "Ctrl-C ends it" in (tmp_path / "log").read_text(), seconds=60, name="the cluster's greeting")
        said = (tmp_path / "log").read_text()
        for words in ("sip:1001@", "password", "token", "/docs", "of memory"):
            assert words in said
        os.killpg(run.pid, signal.SIGINT)
        run.wait(30)
    finally:
        if run.poll() is None:
            os.killpg(run.pid, signal.SIGKILL)
            run.wait()
    assert not (tmp_path / "data" / "running.json").exists()


def test_make_is_quick_the_second_time_and_helps() -> None:
    subprocess.run(["make", "-q", "setup"], cwd=ROOT, check=True, capture_output=True, timeout=20)
    said = subprocess.run(["make"], cwd=ROOT, check=True, capture_output=True, text=True, timeout=20).stdout
    for target in ("setup", "run", "test", "lint", "bench", "clean"):
        assert f"make {target}" in said
    steps = subprocess.run(["make", "-n", "test"], cwd=ROOT, check=True, capture_output=True, text=True, timeout=20).stdout
    for step in ("ruff check", "ruff format --check", "mypy", "pytest"):
        assert step in steps
    assert "make test" in (ROOT / ".ci" / "run").read_text()
