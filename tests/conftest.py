"""What every test may rely on: a running cluster, marks by folder, and the same examples in each run."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.cluster.running import Running

# The same examples each time, so that a failure is the change's; HYPOTHESIS_PROFILE=search looks further. No example is timed.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.register_profile("search", max_examples=1000, deadline=None, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))

REAL = (Path(__file__).parent / "interop", Path(__file__).parent / "cluster")
_running: list[Running] = []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What stands in tests/interop and tests/cluster starts real processes and needs real peers."""
    for item in items:
        if any(item.path.is_relative_to(folder) for folder in REAL):
            item.add_marker(pytest.mark.process)
            item.add_marker(pytest.mark.interop)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """A test that fails shows the end of the log of each cluster that runs."""
    report = yield
    if report.failed:
        for cluster in _running:
            report.sections.append((f"log of the cluster in {cluster.folder.name}", cluster.log()))
    return report


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One cluster for all tests that leave it as they found it."""
    with Running(tmp_path_factory.mktemp("cluster")) as running:
        _running.append(running)
        yield running
        _running.remove(running)


@pytest.fixture
def own_cluster(tmp_path: Path) -> Iterator[Running]:
    """A cluster for one test alone."""
    with Running(tmp_path / "own") as running:
        _running.append(running)
        yield running
        _running.remove(running)
