"""The certificate of the public address: made, kept, given, checked, handed to proxies, never given back with its key."""

import datetime
import stat
from pathlib import Path

import msgspec
import pytest
from cryptography import x509

from controller.calculation.replacement import InstructionError
from controller.certificate import RENEW_DAYS, VALID_DAYS, check, self_signed, still_good
from controller.desired import Desired, DesiredCluster, apply, current
from controller.embedded.folder import CERTIFICATE, CERTIFICATE_KEY, DataFolder
from controller.founding import Founding, found
from controller.state import Cluster
from controller.tables import Draft, Tables
from telephony.config import ProxyConfiguration
from tests.controller.world import World

NOW = datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC)


@pytest.mark.parametrize("host", ["127.0.0.1", "2001:db8::1"])
def test_self_signed(host: str) -> None:
    certificate, private_key = self_signed(host, NOW)
    check(certificate, private_key)
    assert still_good(certificate, host, NOW)
    assert not still_good(certificate, "192.0.2.1", NOW)
    end = NOW + datetime.timedelta(days=VALID_DAYS - RENEW_DAYS)
    assert still_good(certificate, host, end - datetime.timedelta(seconds=1))
    assert not still_good(certificate, host, end)
    assert not still_good(b"rubbish", host, NOW)
    assert x509.load_pem_x509_certificate(certificate).not_valid_before_utc < NOW


def test_a_pair_that_is_none() -> None:
    one, other = self_signed("127.0.0.1", NOW), self_signed("127.0.0.1", NOW)
    for certificate, private_key, said in ((one[0], other[1], "together"), (b"x", one[1], "certificate"), (one[0], b"x", "private key")):
        with pytest.raises(ValueError, match=said):
            check(certificate, private_key)


def test_the_folder_keeps_its_pair_as_long_as_it_is_good(tmp_path: Path) -> None:
    with DataFolder(tmp_path) as folder:
        first = folder.certificate("127.0.0.1")
        assert folder.certificate("127.0.0.1") == first
        assert stat.S_IMODE((tmp_path / CERTIFICATE_KEY).stat().st_mode) == 0o600
        second = folder.certificate("::1")
        assert second != first
        assert (tmp_path / CERTIFICATE).read_bytes() == second[0]
        (tmp_path / CERTIFICATE_KEY).write_bytes(first[1])
        assert folder.certificate("::1") not in (first, second)


def start(draft: Draft, pair: tuple[bytes, bytes], made: bool) -> Cluster:
    founding = Founding(public_host="127.0.0.1", public_port=5060, public_ports={"tls": 5061})
    found(draft, Founding(**{**_fields(founding), "certificate": pair[0], "private_key": pair[1], "self_signed": made}), [], 1.0)
    return draft.cluster


def _fields(founding: Founding) -> dict[str, object]:
    return {name: getattr(founding, name) for name in founding.__struct_fields__}


def test_a_start_replaces_only_what_was_made_here() -> None:
    draft = Draft(Tables())
    pairs = [self_signed("127.0.0.1", NOW) for _ in range(4)]
    assert start(draft, pairs[0], True).certificate == pairs[0][0]
    assert start(draft, pairs[1], True).certificate == pairs[1][0]
    apply(draft, given(pairs[2]), 1.0, actor="test")
    assert start(draft, pairs[1], True).private_key == pairs[2][1]
    assert start(draft, pairs[3], False).certificate == pairs[3][0]
    assert draft.cluster.public_ports == {"tls": 5061}


def given(pair: tuple[bytes, bytes]) -> Desired:
    return Desired(cluster=DesiredCluster(certificate=pair[0].decode(), private_key=pair[1].decode()))


def test_a_document_brings_another_pair_and_never_shows_the_key() -> None:
    draft = Draft(Tables())
    one, other = self_signed("127.0.0.1", NOW), self_signed("127.0.0.1", NOW)
    start(draft, one, True)
    shown = current(draft)
    assert shown.cluster is not None
    assert (shown.cluster.certificate, shown.cluster.private_key) == (one[0].decode(), None)
    apply(draft, shown, 1.0, actor="test")
    assert draft.cluster.private_key == one[1]
    apply(draft, given(other), 1.0, actor="test")
    assert (draft.cluster.certificate, draft.cluster.private_key) == other
    for wrong in (DesiredCluster(certificate=one[0].decode()), DesiredCluster(certificate=one[0].decode(), private_key=other[1].decode())):
        with pytest.raises(InstructionError, match=r"cluster\.certificate"):
            apply(draft, Desired(cluster=wrong), 1.0, actor="test")


def test_proxies_get_the_pair_and_public_machines_the_sockets() -> None:
    world = World()
    pair = self_signed("127.0.0.1", NOW)
    ports = {"tls": 5061, "wss": 7443}
    world.edit(msgspec.structs.replace(world.draft.cluster, public_ports=ports, certificate=pair[0], private_key=pair[1]))
    world.edit(msgspec.structs.replace(world.machine("m1"), public=False))
    world.run()
    for unit in world.units("proxy"):
        sent = world.configuration(unit.id)
        assert isinstance(sent, ProxyConfiguration)
        assert (sent.public_ports, sent.certificate, sent.private_key) == (ports, *pair)
        (sockets,) = [each.sockets for each in world.document(unit.machine).units if each.id == unit.id]
        public = {each.name: (each.kind, each.port) for each in sockets if each.name.startswith("public-")}
        expected = {"public-udp": ("udp", 5060), "public-tcp": ("tcp", 5060), "public-tls": ("tcp", 5061), "public-wss": ("tcp", 7443)}
        assert public == ({} if unit.machine == "m1" else expected)
