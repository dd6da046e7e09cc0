"""Bundles: only what a platform needs, the same for the same sources, signed by the release key alone."""

import io
import zipfile
from pathlib import Path

import pytest

from agent.wire.bundle import Package
from agent.wire.keys import Identity
from controller.calculation.catalogue import PLATFORMS
from controller.release import contents
from controller.release.library import Library, packages_root

KINDS = ("proxy", "call_router", "load_balancer", "routing", "resource_database", "call_queue", "media_processor")


def source(root: Path) -> Path:
    """A small set of packages with the shape of ours."""
    files = {
        "telephony/__init__.py": "",
        "telephony/config.py": "import media.config\n",
        "telephony/tool.py": "",
        "telephony/service/__init__.py": "from telephony import config\ndef make():\n    from telephony.voice import calls\n",
        "telephony/voice/__init__.py": "",
        "telephony/voice/calls.py": "import numpy\nimport telephony.deep.inner\n",
        "telephony/voice/table.txt": "data",
        "telephony/deep/__init__.py": "",
        "telephony/deep/inner.py": "from . import other\nfrom .. import tool\n",
        "telephony/deep/other.py": "",
        "telephony/deep/unused.py": "",
        "telephony/messaging/__init__.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import telephony.deep.unused\n",
        "media/__init__.py": "",
        "media/config.py": "",
        "media/engine.py": "",
        **{f"telephony/{kind}/__init__.py": "" for kind in KINDS},
    }
    files["telephony/media_processor/__init__.py"] = "import media.engine\n"
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    return root


def test_imports_are_followed_where_they_lead(tmp_path: Path) -> None:
    found = set(contents.files(source(tmp_path), "voice"))
    assert {
        "telephony/voice/calls.py",
        "telephony/deep/inner.py",
        "telephony/deep/other.py",
        "telephony/tool.py",
        "media/engine.py",
    } <= found
    assert "telephony/voice/table.txt" in found
    assert "telephony/deep/unused.py" not in found
    assert not [path for path in found if path.startswith("telephony/messaging")]


def test_a_platform_has_nothing_of_another(tmp_path: Path) -> None:
    found = set(contents.files(source(tmp_path), "messaging"))
    assert "telephony/messaging/__init__.py" in found
    for path in found:
        assert not path.startswith(
            ("telephony/voice", "telephony/media_processor", "telephony/call_queue", "telephony/deep", "media/engine")
        )


def test_a_service_that_is_missing_is_said(tmp_path: Path) -> None:
    source(tmp_path)
    (tmp_path / "telephony/routing/__init__.py").unlink()
    with pytest.raises(contents.MissingModuleError, match=r"telephony\.routing"):
        contents.files(tmp_path, "voice")


def test_the_same_sources_give_the_same_bundle(tmp_path: Path) -> None:
    root, release = source(tmp_path / "src"), Identity.generate()
    first = Library(tmp_path / "a", release, root).build("voice")
    second = Library(tmp_path / "b", release, root).build("voice")
    assert first == second
    assert (tmp_path / "a" / f"{first.hash}.bundle").read_bytes() == (tmp_path / "b" / f"{second.hash}.bundle").read_bytes()


def test_it_is_built_again_only_when_a_source_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = source(tmp_path / "src")
    library = Library(tmp_path / "a", Identity.generate(), root)
    first = library.build("voice")
    with monkeypatch.context() as patch:
        patch.setattr(contents, "files", lambda *_: pytest.fail("built again"))
        assert library.build("voice") == first
    (root / "telephony/tool.py").write_text("changed = True\n")
    assert library.build("voice").hash != first.hash
    assert library.build("messaging").hash != first.hash


def test_a_package_opens_for_those_who_trust_the_release_key(tmp_path: Path) -> None:
    release = Identity.generate()
    library = Library(tmp_path / "a", release, source(tmp_path / "src"))
    built = library.build("messaging")
    package = library.read(built.hash)
    assert package.manifest.platform == "messaging"
    with zipfile.ZipFile(io.BytesIO(package.archive)) as archive:
        assert "telephony/messaging/__init__.pyc" in archive.namelist()
    with pytest.raises(ValueError, match="unknown release key"):
        Package.read(package.data, [Identity.generate().public], built.hash)


def test_a_damaged_package_is_not_given_out(tmp_path: Path) -> None:
    library = Library(tmp_path / "a", Identity.generate(), source(tmp_path / "src"))
    built = library.build("voice")
    path = tmp_path / "a" / f"{built.hash}.bundle"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(LookupError, match="archive"):
        library.read(built.hash)
    with pytest.raises(LookupError):
        library.read("../escape")
    with pytest.raises(LookupError, match="no bundle"):
        library.read("0" * 64)


@pytest.mark.parametrize("platform", sorted(PLATFORMS))
def test_the_real_software_is_whole(platform: str) -> None:
    found = contents.files(packages_root(), platform)
    assert "telephony/service/__init__.py" in found or "telephony/service.py" in found
    assert f"telephony/{platform}/__init__.py" in found
    assert all(path.split("/")[0] in ("telephony", "media") for path in found)
    if platform == "messaging":
        assert {path for path in found if path.startswith("media/")} <= {"media/__init__.py", "media/config.py"}
