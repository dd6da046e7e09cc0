"""Configurations as they travel: small ones as they are, large ones compressed."""

import zlib

import msgspec
import pytest

from telephony import config
from telephony.config import Jobs, ProxyConfiguration, User


def proxy(users: int) -> ProxyConfiguration:
    listed = [User(name=f"{number}", ha1={"MD5": f"{number:032x}"}) for number in range(users)]
    return ProxyConfiguration(
        id="p", platform="voice", jobs=Jobs(curve_public="", curve_secret=""), realm="h", host="192.0.2.1", port=5060,
        public_host="192.0.2.2", public_port=5060, public=True, routers={}, users=listed,
    )  # fmt: skip


@pytest.mark.parametrize(("users", "compressed"), [(1, False), (20_000, True)])
def test_it_arrives_as_it_was(users: int, compressed: bool) -> None:
    sent = proxy(users)
    data = config.encode(sent)
    assert (data[:1] == b"\x78") == compressed
    assert not compressed or len(data) < config.COMPRESSED_BYTES_MIN
    assert config.decode(data) == sent


def test_what_is_cut_short_broken_or_endless_is_no_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    data = config.encode(proxy(20_000))
    for bad in (data[:-10], b"\x78", data[:100] + b"\0" * 100 + data[200:], zlib.compress(b"no map")):
        with pytest.raises(msgspec.DecodeError):
            config.decode(bad)
    monkeypatch.setattr(config, "CONFIGURATION_BYTES_MAX", 100_000)
    with pytest.raises(msgspec.DecodeError, match="100000"):
        config.decode(data)
