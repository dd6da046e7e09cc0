"""Messages to start from: our own vectors, and those of the RFCs where they lie beside the project."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
OWN = ROOT / "tests" / "vectors" / "sip"
SHARED = ROOT.parent / "shared" / "vectors"


def read(path: Path) -> bytes:
    """The message of a vector file: what stands below ``---``, CRLF for line ends, ``\\xNN`` for bytes."""
    _, _, text = path.read_text().partition("---\n")
    return text.replace("\n", "\r\n").encode().decode("unicode_escape").encode("latin-1")


def messages() -> list[bytes]:
    """All of them, shorter ones first."""
    own = [read(path) for path in sorted(OWN.glob("*.txt"))]
    return sorted([*own, *(path.read_bytes() for path in sorted(SHARED.glob("*/*.dat")))], key=len)
