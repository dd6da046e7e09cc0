"""The certificate of the address that users know: a self-signed pair for a start without one, and checks of a given one.

A self-signed certificate protects against who only listens; whoever wants more gives a pair of an authority that phones trust.
"""

import datetime
import ipaddress

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

NAME = "hotswitch"
VALID_DAYS = 825
RENEW_DAYS = 30
"""A self-signed one that is about to expire is made anew at the next start."""


def self_signed(host: str, now: datetime.datetime) -> tuple[bytes, bytes]:
    """PEM of a new certificate for an address (IP literal), and of its private key (ECDSA, P-256)."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    alternatives: list[x509.GeneralName] = [x509.IPAddress(ipaddress.ip_address(host)), x509.DNSName(NAME), x509.DNSName("localhost")]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=VALID_DAYS))
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return certificate.public_bytes(serialization.Encoding.PEM), private


def check_authorities(pem: bytes) -> None:
    """Check certificates of authorities.

    Raises:
        ValueError: these are none.
    """
    if not x509.load_pem_x509_certificates(pem):
        raise ValueError("expected certificates in PEM")


def still_good(certificate: bytes, host: str, now: datetime.datetime) -> bool:
    """Whether a certificate of ours names the address and lasts for a while."""
    try:
        read = x509.load_pem_x509_certificate(certificate)
        names = read.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, x509.ExtensionNotFound):
        return False
    lasts = read.not_valid_after_utc > now + datetime.timedelta(days=RENEW_DAYS)
    return lasts and ipaddress.ip_address(host) in names.get_values_for_type(x509.IPAddress)


def check(certificate: bytes, private_key: bytes) -> None:
    """
    Raises:
        ValueError: they are no PEM of a certificate chain and an unencrypted private key, or do not belong together.
    """
    try:
        chain = x509.load_pem_x509_certificates(certificate)
    except ValueError as error:
        raise ValueError(f"the certificate is no PEM: {error}") from None
    try:
        key = serialization.load_pem_private_key(private_key, None)
    except (ValueError, TypeError) as error:
        raise ValueError(f"the private key is no unencrypted PEM: {error}") from None
    form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    if chain[0].public_key().public_bytes(*form) != key.public_key().public_bytes(*form):
        raise ValueError("certificate and private key do not belong together")
