"""The compiled build of the core: the same sources through mypyc, used where it is there and fits.

Rules:
- It is one file beside this one, named after the Python that it is for, and comes into a bundle as this package's data.
- All or nothing: compiled modules call each other directly, so a single source that is not the one that was compiled turns
  all of it off.
- Modules come from memory files, never from the disk: decrypted software does not lie there.
- Where `PURE` is set in the environment the sources are run all the same.

``make compiled`` makes it (`controller.release.compiled`).
"""

import os
import sys
import zlib
from collections.abc import Sequence
from hashlib import sha256
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader, ModuleSpec
from importlib.util import spec_from_file_location
from types import ModuleType

import msgspec

FILE = EXTENSION_SUFFIXES[0].strip(".").removesuffix(".so") + ".compiled"
"""Name of the file: ``cpython-311-x86_64-linux-gnu.compiled``."""
PURE = "HOTSWITCH_PURE"
MODULE_BYTES_MAX = 32 << 20


class Compiled(msgspec.Struct):
    """Content of the file, in msgpack."""

    sources: dict[str, bytes]
    """Path of a source, from the folder that holds ``telephony``, to its SHA-256."""
    modules: dict[str, bytes]
    """Module to its shared object, compressed (zlib)."""


def enable() -> bool:
    """Take the compiled modules from now on; False: there are none that fit, or they are not wanted."""
    if os.environ.get(PURE) or any(type(finder) is _Finder for finder in sys.meta_path):
        return False
    package = os.path.dirname(__file__)
    root = os.path.dirname(os.path.dirname(package))
    read = getattr(__spec__.loader, "get_data", None)  # of files and of archives alike
    if read is None:
        return False
    try:
        found = msgspec.msgpack.decode(read(os.path.join(package, FILE)), type=Compiled)
        if any(sha256(read(os.path.join(root, *path.split("/")))).digest() != digest for path, digest in found.sources.items()):
            return False
    except (OSError, msgspec.DecodeError):
        return False
    if any(name in sys.modules for name in found.modules):
        return False
    sys.meta_path.insert(0, _Finder(found.modules))
    return True


class _Finder:
    """Finds the compiled modules. Their memory files stay open: the loader of libraries tells these apart by their numbers."""

    def __init__(self, modules: dict[str, bytes]) -> None:
        self._modules = modules

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        packed = self._modules.pop(name, None)
        if packed is None:
            return None
        descriptor = os.memfd_create(name, os.MFD_CLOEXEC)
        with open(descriptor, "wb", closefd=False) as file:
            file.write(zlib.decompressobj().decompress(packed, MODULE_BYTES_MAX))
        place = f"/proc/self/fd/{descriptor}"
        return spec_from_file_location(name, place, loader=ExtensionFileLoader(name, place))
