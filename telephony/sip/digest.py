"""Digest authentication: challenge, check and answer (RFC 7616, RFC 8760, RFC 3261 section 22).

Rules:
- A nonce is stateless: its time, some chance, and a MAC under the proxies' common secret; any proxy checks another's nonce. One
  that is too old is *stale*: the client is challenged again without having failed. No two are equal, however quickly they
  follow each other: who counts the uses of each would take the second one's first use for a repetition.
- A nonce also says which process made it (`Nonces.own`): that one alone knows which counts of it were used, so that for any
  other a nonce of the cluster is stale, and nothing that was recorded can be sent again through another proxy.
- SHA-512-256, SHA-256 and MD5 are answered to and checked. What a challenge offers, and in which order, is its owner's choice
  (`telephony.proxy.authentication`).
- qop is ``auth``; ``auth-int`` (the body is hashed too) is checked and answered where it is asked for. A client that sends none
  (RFC 2069) is answered the old way, MD5 only.
- Values are compared in constant time.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Sequence
from typing import NamedTuple

from telephony.sip.text import parameters, quote, split, unquote
from telephony.sip.tokens import Tokens

NONCE_SECONDS_MAX = 300.0
"""Age at which a nonce is stale."""
SALT_DIGITS = 8
"""Chance in a nonce: two challenges of one moment are two nonces, since their clients each count from 1."""
MAKER_DIGITS = 8
"""Who made it."""
STAMP_DIGITS = 10 + SALT_DIGITS + MAKER_DIGITS
MAC_DIGITS = 24


_FIELD = re.compile(r"""[ \t]*([a-z0-9\-]+)=("[^"\\]*"|[^\s",;<>\\]+)[ \t]*(?:,|\Z)|.""", re.DOTALL).findall
"""Each field's name and value as it stands, as nearly all write them; a character that fits nowhere gives an empty name: then it takes
the exact way."""


def _sha512_256(data: bytes) -> "hashlib._Hash":
    return hashlib.new("sha512_256", data)


_ALGORITHMS: dict[str, Callable[[bytes], "hashlib._Hash"]] = {"MD5": hashlib.md5, "SHA-256": hashlib.sha256, "SHA-512-256": _sha512_256}
_NO_SECRET = {"MD5": "!" * 32, "SHA-256": "!" * 64, "SHA-512-256": "!" * 64}
ALGORITHMS = ("SHA-512-256", "SHA-256", "MD5")
"""Known, best first."""
OFFERED = ("MD5",)
"""In a challenge, unless its owner says otherwise."""


class Credentials(NamedTuple):
    """What a client proves that it knows."""

    username: str
    password: str


def ha1(username: str, realm: str, password: str, algorithm: str) -> str:
    """H(username:realm:password), hex (RFC 7616 section 3.4.2)."""
    return _hash(algorithm, f"{username}:{realm}:{password}")


class Nonces:
    """Makes and checks nonces under one secret."""

    def __init__(self, secret: bytes, seconds_max: float = NONCE_SECONDS_MAX, random: Callable[[int], bytes] = secrets.token_bytes) -> None:
        key = hashlib.sha256(b"hotswitch digest nonce" + secret).digest()
        self._key = hashlib.blake2s(key=key, digest_size=MAC_DIGITS // 2)
        self._seconds_max = seconds_max
        self._salts = Tokens(random)
        self._maker = self._salts.take()[:MAKER_DIGITS]

    def make(self, wall: float) -> str:
        """A nonce of this time (unix seconds)."""
        stamp = f"{int(wall * 16) & 0xFFFFFFFFFF:010x}{self._salts.take()[:SALT_DIGITS]}{self._maker}"
        return stamp + self._mac(stamp)

    def own(self, nonce: str) -> bool:
        """It was made here, not by another one under the same secret."""
        return nonce[STAMP_DIGITS - MAKER_DIGITS : STAMP_DIGITS] == self._maker

    def check(self, nonce: str, wall: float) -> str:
        """``ok``, ``stale``, or ``bad`` (not of ours)."""
        stamp, mac = nonce[:STAMP_DIGITS], nonce[STAMP_DIGITS:]
        if len(mac) != MAC_DIGITS or not nonce.isascii() or not hmac.compare_digest(mac, self._mac(stamp)):
            return "bad"
        age = wall - int(stamp[:10], 16) / 16
        return "ok" if -60.0 <= age <= self._seconds_max else "stale"

    def _mac(self, stamp: str) -> str:
        mac = self._key.copy()
        mac.update(stamp.encode())
        return mac.hexdigest()


def challenges(realm: str, nonce: str, stale: bool = False, algorithms: Sequence[str] = OFFERED) -> list[str]:
    """Values of WWW-Authenticate or Proxy-Authenticate, one an algorithm, in their order."""
    head = f'Digest realm={quote(realm)}, nonce="{nonce}", qop="auth"{", stale=true" if stale else ""}, algorithm='
    return [head + name for name in algorithms]


def fields(value: str) -> dict[str, str] | None:
    """Fields of a Digest header value, names in lower case, quotes undone; None: another scheme.

    Raises:
        ValueError: it is Digest, but malformed.
    """
    scheme, _, rest = value.strip().partition(" ")
    if scheme.lower() != "digest":
        return None
    found = _FIELD(rest)
    plain = {name: value[1:-1] if value[:1] == '"' else value for name, value in found}
    if len(plain) == len(found) and "" not in plain:
        return plain
    return fields_exactly(rest)


def fields_exactly(rest: str) -> dict[str, str]:
    """Fields of what follows ``Digest``, whatever the way in which they are written.

    Raises:
        ValueError: it is malformed.
    """
    found = {}
    for part in split(rest, ","):
        for key, content in parameters(";" + part.strip()) if part.strip() else ():
            if key in found:
                raise ValueError(f"{key} twice")
            found[key] = unquote(content or "")
    return found


def realm_of(value: str) -> str:
    """Realm that a Digest header value is of; empty: another scheme, or malformed."""
    try:
        return (fields(value) or {}).get("realm", "")
    except ValueError:
        return ""


def verify(given: dict[str, str], method: str, secret_ha1: dict[str, str], uri: str, body: bytes = b"") -> bool:
    """Whether a client's answer proves the secret. The nonce is checked apart (`Nonces.check`).

    ``secret_ha1`` maps algorithm to H(A1); ``uri`` is the Request-URI, which the answer's ``uri`` need not repeat
    letter for letter: what counts is what the client hashed. A missing secret costs as much time as a wrong one.
    """
    algorithm = given.get("algorithm", "MD5").upper()
    if algorithm not in _ALGORITHMS:
        return False
    known = secret_ha1.get(algorithm)
    secret = known or _NO_SECRET[algorithm]
    qop = given.get("qop")
    target = given.get("uri", uri)
    if qop == "auth":
        ha2 = _hash(algorithm, f"{method}:{target}")
    elif qop == "auth-int":
        ha2 = _hash(algorithm, _a2(algorithm, method, target, body))
    elif qop is not None or algorithm != "MD5":
        return False
    else:
        ha2 = _hash(algorithm, f"{method}:{target}")
    nonce = given.get("nonce", "")
    proved = f"{secret}:{nonce}:{ha2}" if qop is None else f"{secret}:{nonce}:{given.get('nc', '')}:{given.get('cnonce', '')}:{qop}:{ha2}"
    response = given.get("response", "").lower()
    return response.isascii() and hmac.compare_digest(_hash(algorithm, proved), response) and known is not None


def answer(
    challenge_values: list[str], credentials: Credentials, method: str, uri: str, cnonce: str, count: int = 1, body: bytes = b""
) -> str | None:
    """Value of Authorization or Proxy-Authorization for the best challenge that we know; None: we know none."""
    best: dict[str, str] | None = None
    rank = len(ALGORITHMS)
    for value in challenge_values:
        try:
            given = fields(value)
        except ValueError:
            continue
        if given is None or "nonce" not in given or "realm" not in given:
            continue
        algorithm = given.get("algorithm", "MD5").upper()
        if algorithm in ALGORITHMS and ALGORITHMS.index(algorithm) < rank:
            best, rank = given, ALGORITHMS.index(algorithm)
    if best is None:
        return None
    algorithm = ALGORITHMS[rank]
    secret = ha1(credentials.username, best["realm"], credentials.password, algorithm)
    offered = [word.strip().lower() for word in best.get("qop", "").split(",")]
    qop = next((word for word in ("auth", "auth-int") if word in offered), "")
    ha2 = _hash(algorithm, _a2(algorithm, method, uri, body if qop == "auth-int" else None))
    out = (
        f"Digest username={quote(credentials.username)}, realm={quote(best['realm'])}, nonce={quote(best['nonce'])},"
        f" uri={quote(uri)}, algorithm={algorithm}"
    )
    if qop:
        response = _hash(algorithm, f"{secret}:{best['nonce']}:{count:08x}:{cnonce}:{qop}:{ha2}")
        out += f', qop={qop}, nc={count:08x}, cnonce="{cnonce}"'
    elif "qop" in best:
        return None
    else:
        response = _hash(algorithm, f"{secret}:{best['nonce']}:{ha2}")
    if "opaque" in best:
        out += f", opaque={quote(best['opaque'])}"
    return f'{out}, response="{response}"'


def answer_again(value: str, credentials: Credentials, method: str, uri: str, cnonce: str, body: bytes = b"") -> str | None:
    """An answer of ours once more, for the same nonce: with its next count (RFC 7616 section 3.4); None: it cannot be read."""
    try:
        given = fields(value) or {}
        count = int(given.get("nc", "0"), 16)
    except ValueError:
        return None
    challenge = ", ".join(f"{name}={quote(given[name])}" for name in ("realm", "nonce", "algorithm", "qop", "opaque") if name in given)
    return answer([f"Digest {challenge}"], credentials, method, uri, cnonce, count + 1, body)


def _a2(algorithm: str, method: str, uri: str, body: bytes | None) -> str:
    """A2 (RFC 7616 section 3.4.3); ``body``: of ``auth-int``."""
    return f"{method}:{uri}" if body is None else f"{method}:{uri}:{_ALGORITHMS[algorithm](body).hexdigest()}"


def _hash(algorithm: str, text: str) -> str:
    return _ALGORITHMS[algorithm](text.encode("utf-8", "surrogateescape")).hexdigest()
