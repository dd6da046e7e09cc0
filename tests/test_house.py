"""The house stands as it was drawn: who may import whom (docs/architecture.md), and how large a room may grow."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("agent", "controller", "loadtest", "media", "telephony")
LINES_MAX = 600
"""No file of Python grows beyond this: one noun each."""
NAMES_REFUSED = {"utils", "util", "common", "helpers", "helper", "manager", "base", "misc"}

ALLOWED: dict[str, tuple[str, ...]] = {
    "agent": ("agent",),
    "media": ("media",),
    "telephony.sip": ("telephony.sip",),
    "telephony": ("telephony", "media.control", "media.config"),
    "controller": ("controller", "agent.wire", "telephony.config", "media.config"),
    "controller.cli": ROOMS,
    "loadtest": ("loadtest", "telephony", "media"),
}
"""Package to what it may import of ours. The longest name that fits a module counts."""


class Import(NamedTuple):
    """One module that a file imports, anywhere in it."""

    module: str
    name: str
    line: int


def sources() -> list[Path]:
    return sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path: Path) -> Iterator[Import]:
    """Every import of a file, inside functions and by `importlib.import_module("...")` as well."""
    module = module_of(path)
    package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        match node:
            case ast.Import(names=names):
                for alias in names:
                    yield Import(alias.name, alias.name, node.lineno)
            case ast.ImportFrom(module=origin, names=names, level=level):
                start = package[: len(package) - level + 1] if level else []
                source = ".".join([*start, *([origin] if origin else [])])
                for alias in names:
                    yield Import(source, f"{source}.{alias.name}", node.lineno)
            case ast.Call(func=ast.Attribute(attr="import_module"), args=[ast.Constant(value=str(name)), *_]):
                yield Import(name, name, node.lineno)


def within(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")


def rule_of(module: str) -> str:
    return max((package for package in ALLOWED if within(module, package)), key=len)


def allowed(module: str, wanted: Import) -> bool:
    """A package may be named by itself (`from telephony import config`), hence the full name is tried as well."""
    return any(within(wanted.module, door) or within(wanted.name, door) for door in ALLOWED[rule_of(module)])


def test_arrows() -> None:
    broken = [
        f"{path.relative_to(ROOT)}:{wanted.line}: {module_of(path)} must not import {wanted.name}"
        for path in sources()
        for wanted in imports_of(path)
        if wanted.module.split(".")[0] in ROOMS and not allowed(module_of(path), wanted)
    ]
    assert not broken, "\n".join(broken)


def test_sip_needs_the_standard_library_alone() -> None:
    broken = [
        f"{path.relative_to(ROOT)}:{wanted.line}: {wanted.name}"
        for path in sorted((ROOT / "telephony" / "sip").rglob("*.py"))
        for wanted in imports_of(path)
        if wanted.module.split(".")[0] not in sys.stdlib_module_names and not within(wanted.module, "telephony.sip")
    ]
    assert not broken, "\n".join(broken)


def test_cores_hold_no_socket_clock_or_task() -> None:
    """What is sans-IO has no way to the outside: neither `telephony.sip` nor the cores of the services."""
    refused = {"socket", "asyncio", "selectors", "select", "threading", "subprocess", "zmq", "uvloop"}
    broken = [
        f"{path.relative_to(ROOT)}:{wanted.line}: {wanted.name}"
        for path in [*(ROOT / "telephony" / "sip").rglob("*.py"), *(ROOT / "telephony").glob("*/core.py")]
        for wanted in imports_of(path)
        if wanted.module.split(".")[0] in refused
    ]
    assert not broken, "\n".join(broken)


@pytest.mark.parametrize(
    ("room", "refused"), [("telephony", {"asyncio", "uvloop", "lmdb"}), ("media", {"asyncio", "uvloop", "zmq", "lmdb"})]
)
def test_services_stay_lean(room: str, refused: set[str]) -> None:
    """No asyncio in services (docs/adr/0002); lmdb is the resource database's alone."""
    broken = [
        f"{path.relative_to(ROOT)}:{wanted.line}: {wanted.name}"
        for path in sources()
        for wanted in imports_of(path)
        if within(module_of(path), room)
        and wanted.module.split(".")[0] in refused
        and not (wanted.module == "lmdb" and within(module_of(path), "telephony.resource_database"))
    ]
    assert not broken, "\n".join(broken)


def test_the_controller_has_one_door_to_lmdb() -> None:
    doors = {module_of(path) for path in sources() for wanted in imports_of(path) if wanted.module == "lmdb"}
    in_controller = {door for door in doors if within(door, "controller")}
    assert all(within(door, "controller.store") for door in in_controller), in_controller


def test_files_stay_small() -> None:
    files = [*sources(), *(ROOT / "tests").rglob("*.py")]
    large = {str(path.relative_to(ROOT)): count for path in files if (count := len(path.read_text().splitlines())) > LINES_MAX}
    assert not large


def test_no_file_is_a_drawer() -> None:
    drawers = [str(path.relative_to(ROOT)) for path in sources() if NAMES_REFUSED & set(path.relative_to(ROOT).with_suffix("").parts)]
    assert not drawers


def test_no_text_holds_both_sides_of_a_merge() -> None:
    """Documents too: nothing else reads them whole."""
    marks = re.compile(r"^(<{7} |>{7} )", re.MULTILINE)
    texts = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *sources(), *ROOT.glob("tests/**/*.py"), ROOT / "Makefile"]
    assert [str(path.relative_to(ROOT)) for path in texts if marks.search(path.read_text())] == []


def test_nothing_is_unfinished_by_its_own_words() -> None:
    words = re.compile(r"\b(?:TO" + r"DO|FIX" + r"ME|NotImplemented" + r"Error)\b")
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in [*sources(), *(ROOT / "tests").rglob("*.py")]
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if words.search(line)
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-dev.lock", "requirements-fuzz.lock"])
def test_lock_files_pin_with_hashes_and_name_no_host(name: str) -> None:
    text = (ROOT / name).read_text()
    assert not re.search(r"://|--(?:extra-)?index|--find-links|--trusted-host|\s@\s", text)
    entries = [entry for entry in re.split(r"\n(?=\S)", text.strip()) if entry]
    for entry in entries:
        assert re.match(r"[A-Za-z0-9._-]+==[^ ;\\]+", entry), entry
        assert "--hash=sha256:" in entry, entry


def test_lock_files_agree() -> None:
    def pins(name: str) -> set[str]:
        return set(re.findall(r"^[A-Za-z0-9._-]+==[^ \\]+", (ROOT / name).read_text(), re.MULTILINE))

    assert pins("requirements.lock") <= pins("requirements-dev.lock")


@pytest.mark.parametrize("module", ["telephony.sip", "telephony.config", "agent.wire", "media.config", "controller", "loadtest"])
def test_importing_a_part_alone_works(module: str) -> None:
    """No import cycle hides behind an order of imports."""
    subprocess.run([sys.executable, "-c", f"import {module}"], cwd=ROOT, check=True, capture_output=True, timeout=60)
