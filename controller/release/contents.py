"""Which files a platform needs: its services' modules, and whatever they import of ours.

Rules:
- Roots: the shell (`telephony.service`), the package or module of each kind of service of the platform, and that of the platform itself.
- Imports are followed in the source, also those inside functions, not those under ``if TYPE_CHECKING``.
- They are not followed into kinds and platforms that are not this one's: the shell names them all, and a process imports its own.
- With a package come its ``__init__`` and the files in its folder that are no source (tables, recordings).
- Nothing of another package is taken: what is not ours is installed on the machine.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

from controller.calculation.catalogue import KINDS, PLATFORMS

PACKAGES = ("telephony", "media")
"""The packages that bundles are made of."""
DATA_BYTES_MAX = 8 << 20
_SHELL = "telephony.service"


class MissingModuleError(Exception):
    """A module that a platform needs is not installed."""


def files(root: Path, platform: str) -> dict[str, Path]:
    """Path in the bundle to file, for one platform; ``root`` is the folder that holds the packages.

    Raises:
        MissingModuleError: a service of the platform has no module.
        SyntaxError: a source does not parse.
    """
    kinds = sorted(PLATFORMS[platform])
    if "call_router" in kinds:
        kinds.append("load_balancer")
    wanted = [_SHELL, f"telephony.{platform}", *(f"telephony.{kind}" for kind in kinds)]
    for name in wanted:
        if _locate(root, name) is None:
            raise MissingModuleError(f"{name} is not among the installed packages: {platform} needs it")
    pending = [module for name in wanted for module in _whole(root, name)]
    foreign = {f"telephony.{name}" for name in (*KINDS, *PLATFORMS)} - set(wanted)
    found: dict[str, Path] = {}
    seen: set[str] = set()
    while pending:
        name = pending.pop()
        if name in seen or ".".join(name.split(".")[:2]) in foreign:
            continue
        seen.add(name)
        path = _locate(root, name)
        if path is None:
            continue
        found[path.relative_to(root).as_posix()] = path
        if "." in name:
            pending.append(name.rpartition(".")[0])
        if path.name == "__init__.py":
            found.update((data.relative_to(root).as_posix(), data) for data in _data(path.parent))
        pending.extend(_imports(path, name, is_package=path.name == "__init__.py"))
    return dict(sorted(found.items()))


def _locate(root: Path, name: str) -> Path | None:
    if name.partition(".")[0] not in PACKAGES:
        return None
    path = root.joinpath(*name.split("."))
    for candidate in (path / "__init__.py", path.with_suffix(".py")):
        if candidate.is_file():
            return candidate
    return None


def _whole(root: Path, name: str) -> Iterator[str]:
    """A module, or all modules of a package."""
    yield name
    folder = root.joinpath(*name.split("."))
    if (folder / "__init__.py").is_file():
        for path in sorted(folder.rglob("*.py")):
            yield ".".join((*path.relative_to(root).parent.parts, *(() if path.name == "__init__.py" else (path.stem,))))


def _data(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.suffix not in (".py", ".pyc", ".pyi") and path.name != "py.typed" and not path.name.startswith("."):
            if path.stat().st_size > DATA_BYTES_MAX:
                raise MissingModuleError(f"{path.name}: a data file of a bundle has at most {DATA_BYTES_MAX} bytes")
            yield path


def _imports(path: Path, name: str, is_package: bool) -> Iterator[str]:
    package = name if is_package else name.rpartition(".")[0]
    for node in _statements(ast.parse(path.read_bytes(), str(path.name))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package.split(".")[: len(package.split(".")) - (node.level - 1)] if node.level else []
            module = ".".join([*start, *([node.module] if node.module else [])])
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


def _statements(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and _is_type_checking(child.test):
            for other in child.orelse:
                yield other
                yield from _statements(other)
            continue
        yield child
        yield from _statements(child)


def _is_type_checking(test: ast.expr) -> bool:
    return (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING") or (isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING")
