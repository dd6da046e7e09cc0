"""What the machine says about name servers."""

from pathlib import Path

import pytest

from telephony.dns.system import ROUNDS, System, known_hosts, read, resolv, server


def test_resolv_conf() -> None:
    text = (
        "# comment\nsearch example.org\nnameserver 192.0.2.53\nnameserver 2001:db8::53\nnameserver x\noptions timeout:2 attempts:1 rotate\n"
    )
    assert resolv(text) == System((("192.0.2.53", 53), ("2001:db8::53", 53)), 2.0, 1)


@pytest.mark.parametrize("text", ["", "nameserver\n", "options timeout:x attempts:\n", "\x00\xff\nnameserver 1.2.3\n"])
def test_without_a_server_it_is_the_machine_itself(text: str) -> None:
    assert resolv(text) == System((("127.0.0.1", 53),), 1.0, ROUNDS)


def test_limits() -> None:
    text = "".join(f"nameserver 192.0.2.{number}\n" for number in range(9)) + "options timeout:900 attempts:900\n"
    found = resolv(text)
    assert (len(found.servers), found.timeout_seconds, found.rounds) == (3, 5.0, 5)


def test_hosts() -> None:
    text = "127.0.0.1 localhost\n192.0.2.1 Switch.Local switch # ours\n2001:db8::1 switch\nbroken line\n10.0.0.1 localhost\n"
    assert known_hosts(text) == {
        "localhost": ("127.0.0.1", "::1"),
        "switch.local": ("192.0.2.1",),
        "switch": ("192.0.2.1", "2001:db8::1"),
    }


@pytest.mark.parametrize(
    ("text", "address"),
    [("192.0.2.1", ("192.0.2.1", 53)), ("192.0.2.1:5353", ("192.0.2.1", 5353)), ("::1", ("::1", 53)), ("[::1]:54", ("::1", 54))],
)
def test_servers_of_the_configuration(text: str, address: tuple[str, int]) -> None:
    assert server(text) == address


@pytest.mark.parametrize("text", ["ns.example.org", "", "192.0.2.1:x", "192.0.2.1:0", "[::1", "1.2.3.4:70000"])
def test_what_is_no_server(text: str) -> None:
    with pytest.raises(ValueError):
        server(text)


def test_the_configuration_comes_before_the_file(tmp_path: Path) -> None:
    (tmp_path / "resolv.conf").write_text("nameserver 192.0.2.53\n")
    (tmp_path / "hosts").write_text("192.0.2.1 here\n")
    files = (tmp_path / "resolv.conf", tmp_path / "hosts")
    assert read([], *files).servers == (("192.0.2.53", 53),)
    assert read(["127.0.0.1:5300"], *files).servers == (("127.0.0.1", 5300),)
    assert read([], *files).hosts["here"] == ("192.0.2.1",)
    assert read([], tmp_path / "none", tmp_path / "none").servers == (("127.0.0.1", 53),)
