"""The compiled core: taken where it fits and nowhere else; it does what its sources do."""

import ast
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import msgspec
import pytest

from controller.release.compiled import PACKAGES
from telephony import compiled

ROOT = Path(__file__).resolve().parents[2]
SOURCE = b"VALUE = 1\n"
EXTENSION = "_multiprocessing"
"""Any extension module that is a file of its own."""
TAKE = (
    "import sys; sys.path.insert(0, sys.argv[1]); from telephony import compiled; print(compiled.enable(), compiled.enable());"
    f"import {EXTENSION}; print({EXTENSION}.__file__)"
)
SAME_TESTS = [
    *(f"tests/telephony/sip/test_{name}.py" for name in ("endpoint", "extensions", "message", "timers", "torture", "transaction", "uri")),
    *(f"tests/telephony/proxy/test_{name}.py" for name in ("calls", "forking", "registrations", "transports")),
]
NONE_FITS = 77
RUN = (
    "import sys; sys.path.insert(0, ''); from telephony import compiled\n"
    f"if not compiled.enable(): sys.exit({NONE_FITS})\n"
    "import pytest; from telephony.sip import message\n"
    "assert message.__file__.startswith('/proc/self/fd/')\n"
    "sys.exit(pytest.main(['-q', '-x', '-p', 'no:cacheprovider', *sys.argv[1:]]))"
)


@pytest.fixture
def software(tmp_path: Path) -> Path:
    """Where `telephony` is, with one source and a compiled build of it."""
    package = tmp_path / "telephony" / "compiled"
    package.mkdir(parents=True)
    shutil.copy(ROOT / "telephony" / "compiled" / "__init__.py", package)
    (tmp_path / "telephony" / "__init__.py").touch()
    (tmp_path / "telephony" / "one.py").write_bytes(SOURCE)
    spec = importlib.util.find_spec(EXTENSION)
    assert spec is not None and spec.origin is not None
    module = zlib.compress(Path(spec.origin).read_bytes())
    content = compiled.Compiled({"telephony/one.py": hashlib.sha256(SOURCE).digest()}, {EXTENSION: module})
    (package / compiled.FILE).write_bytes(msgspec.msgpack.encode(content))
    return tmp_path


def take(place: Path, **environment: str) -> tuple[bool, bool]:
    """Whether it was enabled, and whether a module came from memory."""
    run = subprocess.run(
        [sys.executable, "-c", TAKE, str(place)], env={**os.environ, **environment}, cwd="/", capture_output=True, text=True, check=True
    )
    first, second, file = run.stdout.split()
    assert second == "False"  # once is enough
    return first == "True", file.startswith("/proc/self/fd/")


def test_what_fits_is_taken_from_memory(software: Path) -> None:
    assert take(software) == (True, True)
    archive = software / "archive"
    with zipfile.ZipFile(archive, "w") as written:
        for path in (software / "telephony").rglob("*"):
            if "__pycache__" not in path.parts:
                written.write(path, path.relative_to(software))
    assert take(archive) == (True, True)
    assert take(software, **{compiled.PURE: "1"}) == (False, False)


def test_what_does_not_fit_is_left(software: Path) -> None:
    file = software / "telephony" / "compiled" / compiled.FILE
    good = file.read_bytes()
    for content in (b"", good[:-1], b"\x80"):
        file.write_bytes(content)
        assert take(software) == (False, False)
    file.write_bytes(good)
    (software / "telephony" / "one.py").write_bytes(SOURCE + b"#")
    assert take(software) == (False, False)
    file.unlink()
    assert take(software) == (False, False)


def test_nothing_is_there_that_cannot_be_compiled() -> None:
    """What mypyc takes and then fails on when it is imported; compiling all of it takes a minute, which `make compiled` does."""
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for package in PACKAGES
        for path in (ROOT / package).glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Name | ast.Attribute) and "runtime_checkable" in (getattr(node, "id", ""), getattr(node, "attr", ""))
    ]
    assert found == []


def test_it_passes_the_same_tests() -> None:
    run = subprocess.run([sys.executable, "-c", RUN, *SAME_TESTS], cwd=ROOT, capture_output=True, text=True, check=False)
    if run.returncode == NONE_FITS:
        pytest.skip("waits for a compiled core of these sources: make compiled")
    assert run.returncode == 0, run.stdout[-5000:] + run.stderr[-2000:]
