"""Memory files: kept for the same software, empty for other."""

import os

from agent.memory_files import MemoryFiles


def test_what_is_kept_and_what_is_forgotten() -> None:
    files = MemoryFiles()
    try:
        (first, _) = files.take("u-1", ["state", "other"], "software")
        os.pwrite(first, b"something", 0)
        assert files.take("u-1", ["state"], "software") == [first]
        (another,) = files.take("u-2", ["state"], "software")
        assert os.fstat(another).st_size == 0
        (fresh,) = files.take("u-1", ["state"], "newer")
        assert os.fstat(fresh).st_size == 0
        os.pwrite(fresh, b"x", 0)
        files.release("u-1")
        files.release("u-1")
        (fresh,) = files.take("u-1", ["state"], "newer")
        assert os.fstat(fresh).st_size == 0
    finally:
        files.close()
