"""``python -m controller.release.compiled``: the core's modules through mypyc, in one file that a bundle carries.

Rules:
- The sources are what they are; nothing is written for the compiler. What runs without it is the same program.
- The file is good for this Python and these very sources alone (`telephony.compiled` looks at both before it uses it).
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zlib
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import msgspec

PACKAGES = ("telephony/sip", "telephony/proxy")
"""What is compiled: where the time of signalling goes."""
_ROOT = Path(__file__).resolve().parents[2]


def build(root: Path = _ROOT) -> Path:
    """Compile, and write the file beside `telephony.compiled` below ``root``.

    Raises:
        FileNotFoundError: there is no mypyc; subprocess.CalledProcessError: it, or the C compiler, fails.
    """
    sources = [
        path.relative_to(root) for package in PACKAGES for path in sorted((root / package).glob("*.py")) if path.name != "__init__.py"
    ]
    suffix = EXTENSION_SUFFIXES[0]
    with tempfile.TemporaryDirectory(prefix="hotswitch-compiled-") as name:
        folder = Path(name)
        for package in ("telephony", "media"):
            shutil.copytree(root / package, folder / package, ignore=shutil.ignore_patterns("__pycache__", "*.compiled"))
        programs = Path(sys.executable).parent
        environment = {
            **os.environ,
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "MYPYC_OPT_LEVEL": "3",
            "MYPYC_DEBUG_LEVEL": "0",
        }
        subprocess.run([str(programs / "mypyc"), *map(str, sources)], cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
        modules = {
            ".".join(path.relative_to(folder).parts).removesuffix(suffix): zlib.compress(path.read_bytes(), 9)
            for path in sorted(folder.rglob(f"*{suffix}"))
            if "build" not in path.relative_to(folder).parts
        }
    content = {"sources": {path.as_posix(): hashlib.sha256((root / path).read_bytes()).digest() for path in sources}, "modules": modules}
    target = root / "telephony" / "compiled" / (suffix.strip(".").removesuffix(".so") + ".compiled")
    partial = target.with_name(f".{target.name}")
    partial.write_bytes(msgspec.msgpack.encode(content))
    partial.replace(target)
    return target


if __name__ == "__main__":
    built = build()
    print(f"{built}: {built.stat().st_size >> 10} KiB", file=sys.stderr)
