"""SIPVicious (svmap, svwar, svcrack) against a proxy with its registrar: it is banned, and learns of no user, even where it
hides its name. They have no cluster around them, so that a ban of this host hits nobody else."""

import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from loadtest.bench import address
from loadtest.bench.options import Checkout
from loadtest.bench.proxies import OurRegistrar

PACKAGE = "/usr/share/sipvicious"
"""Where Debian keeps it."""
HOST = "127.0.0.61"
USERS = ["1001", "1002", "1005", "alice"]
PASSWORD = "word-60"
SECONDS_MAX = 60
DISGUISED = f"""
import importlib, sys
sys.path.insert(0, {PACKAGE!r})
tool = importlib.import_module("sipvicious." + sys.argv[1])
make = tool.makeRequest
def disguised(*given, **named):
    return make(*given, **named).replace("friendly-scanner", "Phone/1.0").replace("sipvicious", "phone")
tool.makeRequest = disguised
del sys.argv[0]
sys.exit(tool.main())
"""


@pytest.fixture
def registrar() -> Iterator[OurRegistrar]:
    running = OurRegistrar(Checkout("registrar", HOST), USERS, PASSWORD)
    try:
        yield running
    finally:
        running.stop()


def attack(folder: Path, tool: str, *options: str, disguised: bool = False) -> str:
    """What a tool of SIPVicious prints."""
    start = ["/usr/bin/python3", "-c", DISGUISED, tool] if disguised else [tool]
    done = subprocess.run(
        [*start, "-p", str(address.SIP_PORT), "-x", "127.0.0.1", *options, HOST],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=SECONDS_MAX, check=False, cwd=folder,
        env={"HOME": str(folder), "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    return done.stdout.decode(errors="replace")


def answers(source: str = "127.0.0.1") -> bool:
    """Whether this address is heard."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as line:
        line.bind((source, 0))
        line.settimeout(1.0)
        own = f"{source}:{line.getsockname()[1]}"
        request = (
            f"OPTIONS sip:{HOST}:{address.SIP_PORT} SIP/2.0\r\nVia: SIP/2.0/UDP {own};branch=z9hG4bKafter\r\nMax-Forwards: 70\r\n"
            f"From: <sip:x@{own}>;tag=1\r\nTo: <sip:{HOST}>\r\nCall-ID: after@{own}\r\nCSeq: 1 OPTIONS\r\n\r\n"
        )
        line.sendto(request.encode(), (HOST, address.SIP_PORT))
        try:
            return line.recv(4096).startswith(b"SIP/2.0 200")
        except TimeoutError:
            return False


def rows(found: str) -> list[str]:
    """First cells of the table that a tool prints."""
    return [line.split("|")[1].strip() for line in found.splitlines() if line.startswith("|")][1:]


@pytest.mark.parametrize(
    ("tool", "options"),
    [("svmap", ()), ("svwar", ("-e1000-1005", "--force")), ("svcrack", ("-u", "1001", "-r", "1-9", "--maximumtime", "2"))],
)
def test_a_scanner_that_says_its_name_is_banned_at_once(
    registrar: OurRegistrar, tmp_path: Path, tool: str, options: tuple[str, ...]
) -> None:
    assert answers()
    found = attack(tmp_path, tool, *options)
    assert rows(found) == [], found
    assert not answers()
    assert answers("127.0.0.62"), "nobody else is meant"


def test_no_user_is_found_by_war_dialling(registrar: OurRegistrar, tmp_path: Path) -> None:
    """Known and unknown numbers are answered alike, so svwar has nothing to tell them apart by: all of them, or none."""
    for method in ("REGISTER", "OPTIONS", "INVITE"):
        found = attack(tmp_path, "svwar", "-m", method, "-e", "1000-1002", "--force", disguised=True)
        assert rows(found) in ([], ["1000", "1001", "1002"]), found


def test_a_password_is_not_guessed_even_where_it_is_in_the_dictionary(registrar: OurRegistrar, tmp_path: Path) -> None:
    words = tmp_path / "words"
    words.write_text("\n".join(f"word-{number}" for number in range(70)) + "\n")
    found = attack(tmp_path, "svcrack", "-u", "1005", "-d", str(words), "--maximumtime", "2", disguised=True)
    assert rows(found) == [], found
    assert not answers(), "sixty guesses are too many"
    assert answers("127.0.0.62")


def test_the_same_finds_a_password_that_it_has_guesses_enough_for(registrar: OurRegistrar, tmp_path: Path) -> None:
    """What the test before shows is the lock's doing, not the tool's failure."""
    words = tmp_path / "words"
    words.write_text(f"word-1\nword-2\n{PASSWORD}\n")
    found = attack(tmp_path, "svcrack", "-u", "1005", "-d", str(words), "--maximumtime", "2", disguised=True)
    assert rows(found) == ["1005"], found
