"""The archive of a bundle: a zip that Python imports from, the same bytes for the same files.

Bytecode is written in marshal version 2, which has no references between objects and so does not depend on what the
building process had in memory, and as an unchecked hash pyc (PEP 552), which the importer takes without looking at the source.
Sources stay beside it for tracebacks and for another Python.
"""

import importlib.util
import io
import marshal
import sys
import zipfile
from collections.abc import Mapping

_EPOCH = (1980, 1, 1, 0, 0, 0)
_UNCHECKED_HASH = (1).to_bytes(4, "little")


def bytecode_tag() -> str:
    """``cpython-311``: whose bytecode this process writes and reads."""
    return sys.implementation.cache_tag or sys.implementation.name


def bytecode(path: str, source: bytes) -> bytes:
    """The pyc of one source.

    Raises:
        SyntaxError: it does not compile.
    """
    code = compile(source, path, "exec", dont_inherit=True, optimize=0)
    return importlib.util.MAGIC_NUMBER + _UNCHECKED_HASH + importlib.util.source_hash(source) + marshal.dumps(code, 2)


def write_archive(files: Mapping[str, bytes]) -> tuple[bytes, dict[str, bytes]]:
    """The zip, and what it holds: the files and the bytecode of each source, sorted by path.

    Raises:
        SyntaxError: a source does not compile. ValueError: a path that leaves the archive.
    """
    contents = dict(files)
    for path, content in files.items():
        if path.startswith("/") or ".." in path.split("/") or "\\" in path:
            raise ValueError(f"path: expected one inside the archive, got {path}")
        if path.endswith(".py"):
            contents[path + "c"] = bytecode(path, content)
    contents = dict(sorted(contents.items()))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for path, content in contents.items():
            entry = zipfile.ZipInfo(path, _EPOCH)
            entry.create_system = 3
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, content)
    return buffer.getvalue(), contents
