"""Crypto suites of SRTP: what they are called, what keys they take.

Sources: RFC 4568 section 6.2, RFC 6188, RFC 7714 section 14.2; numbers of DTLS-SRTP profiles are RFC 5764 section 4.1.2's.
"""

from typing import NamedTuple

KEY_BYTES_MAX = 48
"""Master key and salt of any suite fit."""
TRAILER_BYTES_MAX = 20
"""What protection adds to a packet at most: the tag, and of SRTCP the index."""


class Suite(NamedTuple):
    """One suite."""

    number: int
    """In the legs' arrays: never given to another one. 0 is no suite."""
    name: str
    """In ``a=crypto``."""
    key_bytes: int
    """Master key and master salt."""
    tag_bytes: int
    """Of a packet of RTP."""
    report_tag_bytes: int
    """Between the index of SRTCP and the end of the packet."""
    profile: str
    """DTLS-SRTP protection profile as OpenSSL calls it; empty: none."""
    rtp_policy: str
    """Function of libsrtp that sets it."""
    rtcp_policy: str


AES_CM_80 = Suite(
    1, "AES_CM_128_HMAC_SHA1_80", 30, 10, 10, "SRTP_AES128_CM_SHA1_80",
    "srtp_crypto_policy_set_rtp_default", "srtp_crypto_policy_set_rtp_default",
)  # fmt: skip
AES_CM_32 = Suite(
    2, "AES_CM_128_HMAC_SHA1_32", 30, 4, 10, "SRTP_AES128_CM_SHA1_32",
    "srtp_crypto_policy_set_aes_cm_128_hmac_sha1_32", "srtp_crypto_policy_set_rtp_default",
)  # fmt: skip
GCM_128 = Suite(
    3, "AEAD_AES_128_GCM", 28, 16, 0, "SRTP_AEAD_AES_128_GCM",
    "srtp_crypto_policy_set_aes_gcm_128_16_auth", "srtp_crypto_policy_set_aes_gcm_128_16_auth",
)  # fmt: skip
GCM_256 = Suite(
    4, "AEAD_AES_256_GCM", 44, 16, 0, "SRTP_AEAD_AES_256_GCM",
    "srtp_crypto_policy_set_aes_gcm_256_16_auth", "srtp_crypto_policy_set_aes_gcm_256_16_auth",
)  # fmt: skip
AES_256_CM_80 = Suite(
    5, "AES_256_CM_HMAC_SHA1_80", 46, 10, 10, "",
    "srtp_crypto_policy_set_aes_cm_256_hmac_sha1_80", "srtp_crypto_policy_set_aes_cm_256_hmac_sha1_80",
)  # fmt: skip
AES_256_CM_32 = Suite(
    6, "AES_256_CM_HMAC_SHA1_32", 46, 4, 10, "",
    "srtp_crypto_policy_set_aes_cm_256_hmac_sha1_32", "srtp_crypto_policy_set_aes_cm_256_hmac_sha1_80",
)  # fmt: skip

SUITES = {suite.number: suite for suite in (AES_CM_80, AES_CM_32, GCM_128, GCM_256, AES_256_CM_80, AES_256_CM_32)}
"""Suites by number."""
BY_NAME = {suite.name: suite for suite in SUITES.values()}
BY_PROFILE = {suite.profile: suite for suite in SUITES.values() if suite.profile}
OFFERED = (GCM_128, AES_CM_80, AES_CM_32)
"""In our own offers, the best first."""
PROFILES = "SRTP_AEAD_AES_128_GCM:SRTP_AEAD_AES_256_GCM:SRTP_AES128_CM_SHA1_80:SRTP_AES128_CM_SHA1_32"
"""Of DTLS-SRTP, in order of preference."""
