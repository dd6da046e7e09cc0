"""``a=crypto`` lines: what is taken, what is passed over, and that keys are not shown."""

import base64

from hypothesis import given
from hypothesis import strategies as st

from media.srtp import sdes
from media.srtp.sdes import Crypto
from media.srtp.suites import SUITES

KEY = bytes(range(30))
INLINE = "inline:" + base64.b64encode(KEY).decode()


def test_the_examples_of_the_rfc_are_read() -> None:
    # RFC 4568 section 4: with lifetime and session parameters.
    line = "1 AES_CM_128_HMAC_SHA1_80 inline:PS1uQCVeeCFCanVmcjkpPywjNWhcYD0mXXtxaVBR|2^20"
    assert sdes.read(line) == Crypto(1, "AES_CM_128_HMAC_SHA1_80", base64.b64decode("PS1uQCVeeCFCanVmcjkpPywjNWhcYD0mXXtxaVBR"))
    # With a master key identifier (section 6.1), and with FEC, which we have not.
    assert sdes.read(line + "|1:32") is None
    assert sdes.read(line + " FEC_ORDER=FEC_SRTP") is None
    assert sdes.read(line + " WSH=64 -anything") is not None


def test_what_cannot_be_honoured_is_passed_over() -> None:
    for line in (
        "",
        "1 AES_CM_128_HMAC_SHA1_80",
        f"one AES_CM_128_HMAC_SHA1_80 {INLINE}",
        f"1 F8_128_HMAC_SHA1_80 {INLINE}",
        "1 AES_CM_128_HMAC_SHA1_80 inline:AAAA",
        "1 AES_CM_128_HMAC_SHA1_80 inline:?" + "A" * 39,
        f"1 AES_CM_128_HMAC_SHA1_80 {INLINE};{INLINE}",
        f"1 AES_CM_128_HMAC_SHA1_80 {INLINE} UNENCRYPTED_SRTP",
        f"1 AES_CM_128_HMAC_SHA1_80 {INLINE} KDR=3",
    ):
        assert sdes.read(line) is None, line
    lines = [f"1 F8_128_HMAC_SHA1_80 {INLINE}", f"7 AES_CM_128_HMAC_SHA1_32 {INLINE}", f"8 AES_CM_128_HMAC_SHA1_80 {INLINE}"]
    assert sdes.choose(lines) == Crypto(7, "AES_CM_128_HMAC_SHA1_32", KEY)
    assert sdes.choose(lines, frozenset({(8, "AES_CM_128_HMAC_SHA1_80")})) == Crypto(8, "AES_CM_128_HMAC_SHA1_80", KEY)
    assert sdes.choose(lines, frozenset()) is None


def test_a_line_is_read_as_it_was_written_and_its_key_is_not_shown() -> None:
    for suite in SUITES.values():
        crypto = Crypto(3, suite.name, bytes(range(suite.key_bytes)))
        assert sdes.read(str(crypto)) == crypto
        assert "key" not in repr(crypto) and base64.b64encode(crypto.key).decode() not in repr(crypto)


def test_each_suite_that_we_offer_has_a_key_of_its_own() -> None:
    drawn = iter(range(9))
    offered = sdes.offer(lambda count: bytes([next(drawn)]) * count)
    assert [(crypto.tag, crypto.suite) for crypto in offered] == [
        (1, "AEAD_AES_128_GCM"),
        (2, "AES_CM_128_HMAC_SHA1_80"),
        (3, "AES_CM_128_HMAC_SHA1_32"),
    ]
    assert len({crypto.key for crypto in offered}) == 3


@given(st.text(max_size=200))
def test_any_line_is_read_or_passed_over(text: str) -> None:
    crypto = sdes.read(text)
    assert crypto is None or crypto.suite in {suite.name for suite in SUITES.values()}


@given(st.text(alphabet="1 inline:|;=AES_CM_128_HMAC_SHA1_80^", max_size=120))
def test_nearly_right_lines_too(text: str) -> None:
    sdes.read(f"1 AES_CM_128_HMAC_SHA1_80 {text}")
    sdes.read(f"1 AES_CM_128_HMAC_SHA1_80 {INLINE}{text}")
