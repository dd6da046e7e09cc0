"""How a cluster begins, and what is brought in line at each start: its record, software, first users and dial plan."""

import hashlib
import os
import secrets
from functools import partial
from typing import Any

import msgspec

from controller.release.library import Built, record
from controller.state import Access, Bundle, Cluster, Machine, Pool, Queue, Route, Unit, User
from controller.tables import Draft
from controller.tidying import tidy_tables

DIGESTS = {"MD5": hashlib.md5, "SHA-256": hashlib.sha256, "SHA-512-256": partial(hashlib.new, "sha512_256")}
"""Algorithms of the digest (RFC 8760) and their hash."""
TOKEN_BYTES = 32
PASSWORD_CHARACTERS = 16
PROOF_KEY_SECONDS = 7 * 86400.0
"""How long a proof key is in use at least; a start of the controller after that changes it."""


class Founding(msgspec.Struct, frozen=True, kw_only=True):
    """What a new cluster starts with; later starts only take over the public address, the software and the administrator's token."""

    public_host: str
    public_port: int
    public_ports: dict[str, int] = {}
    """Other transports of the public address to their ports."""
    public_shards: int = 1
    """UDP sockets that the public address was bound with."""
    certificate: bytes = b""
    """PEM, of the public address; empty: the one that is there."""
    private_key: bytes = b""
    self_signed: bool = False
    """It does not replace a pair that somebody has given."""
    platform: str = "voice"
    pool: str = "default"
    token: str = ""
    """Administrator's token of the API; empty: the ones that are there."""
    passwords: dict[str, str] = {}
    routes: list[tuple[str, str]] = []
    """Pattern and action, in order."""
    queues: dict[str, list[str]] = {}
    """Queue to its members."""
    guest_targets: list[str] = []
    machines: list[str] | None = None
    """Names of the machines that there are now; others are not waited for. None: whoever was there."""


def found(draft: Draft, founding: Founding, built: list[Built], now: float, swap: bool = False) -> None:
    """Make the cluster where there is none, and bring it in line with this start."""
    cluster = draft.get(Cluster, "cluster")
    if cluster is None:
        cluster = Cluster(
            id="cluster",
            guest_targets=founding.guest_targets,
            nonce_secret=os.urandom(32),
            created_at=now,
        )
        draft.put(Pool(id=founding.pool, platform=founding.platform))
        for name, password in founding.passwords.items():
            draft.put(user(name, password, cluster.realm))
        for index, (pattern, action) in enumerate(founding.routes, 1):
            draft.put(Route(id=f"{index * 10:05}", pattern=pattern, action=action))
        for name, members in founding.queues.items():
            draft.put(Queue(id=name, members=members))
    address = {name: getattr(founding, name) for name in ("public_host", "public_port", "public_ports", "public_shards")}
    if founding.certificate and (not founding.self_signed or cluster.self_signed or not cluster.certificate):
        address |= {name: getattr(founding, name) for name in ("certificate", "private_key", "self_signed")}
    draft.put(msgspec.structs.replace(rotated(cluster, now), **address))
    if founding.token:
        for access in list(draft.all(Access).values()):
            if access.name == "founder":
                draft.delete(Access, access.id)
        draft.put(Access(id=token_hash(founding.token), name="founder", role="admin", created_at=now))
    for each in built:
        install(draft, each, now, restart=swap)
    tidy_tables(draft)
    if founding.machines is not None:
        for machine in list(draft.all(Machine).values()):
            if machine.name not in founding.machines:
                draft.put(msgspec.structs.replace(machine, presence="dead"))
            elif machine.presence == "dead":
                draft.put(msgspec.structs.replace(machine, presence="new"))


def rotated(cluster: Cluster, now: float) -> Cluster:
    """The cluster with a new proof key in use, where the present one is `PROOF_KEY_SECONDS` old.

    The one that comes into use has been known to everybody since the change before, and the one that goes out of use is still
    believed until the next change: no configuration has to arrive anywhere at the same time.
    """
    keys = cluster.proof_keys
    if keys and now - cluster.proof_keys_at < PROOF_KEY_SECONDS:
        return cluster
    used, following = (keys[0], keys[-1]) if len(keys) > 1 else (os.urandom(32), os.urandom(32))
    return msgspec.structs.replace(cluster, proof_keys=[following, used, os.urandom(32)], proof_keys_at=now)


def install(draft: Draft, built: Built, now: float, restart: bool = True) -> Bundle:
    """Make a bundle the current software of its platform.

    With ``restart`` units of the software that was current run from the new one at once: for a start of the whole cluster.
    """
    known = draft.get(Bundle, built.hash)
    bundle = msgspec.structs.replace(known, current=True) if known is not None else record(built, os.urandom(32), now)
    draft.put(bundle)
    for other in list(draft.all(Bundle).values()):
        if other.platform == built.platform and other.id != built.hash and other.current:
            draft.put(msgspec.structs.replace(other, current=False))
            for unit in list(draft.all(Unit).values()) if restart else ():
                if unit.bundle == other.id:
                    draft.put(msgspec.structs.replace(unit, bundle=built.hash))
    return bundle


def user(name: str, password: str, realm: str) -> User:
    """A subscriber, with what the digest is checked against instead of the password (RFC 7616 section 3.4.2)."""
    text = f"{name}:{realm}:{password}".encode()
    return User(id=name, ha1={algorithm: _hash(function, text) for algorithm, function in DIGESTS.items()})


def _hash(function: Any, text: bytes) -> str:
    return str(function(text).hexdigest())


def token_hash(token: str) -> str:
    """What is kept of a token of the API."""
    return hashlib.sha256(b"hotswitch api\0" + token.encode()).hexdigest()


def new_token() -> str:
    """A token of the API: 32 random bytes."""
    return f"hotswitch-{secrets.token_urlsafe(TOKEN_BYTES)}"


def new_password() -> str:
    """A user's password: letters and digits, about 83 bits."""
    alphabet = "abcdefghijkmnpqrstuvwxyzACDEFGHJKLMNPQRSTUVWXYZ2345679"
    return "".join(secrets.choice(alphabet) for _ in range(PASSWORD_CHARACTERS))
