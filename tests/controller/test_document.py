"""A desired state in TOML: what is wrong is said with path and line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.cli.document import DocumentError, line_of, read

GOOD = """\
[cluster]
drain_seconds = 20

[[pools]]
name = "default"
platform = "voice"

[[users]]
name = "1001"
password = "secret"

[[users]]
name = "1002"

[[queues]]
name = "4000"
members = ["1001"]

[[routes]]
pattern = "30XX"
action = "conference"
"""


def test_a_good_one_is_read() -> None:
    plain = read(GOOD.encode())
    assert plain["users"] == [{"name": "1001", "password": "secret"}, {"name": "1002"}]
    assert read(b"") == {}


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ('password = "secret"', 'colour = "red"', 10, "users[0].colour: unknown key"),
        ('name = "1002"', 'nam = "1002"', 13, "users[1].nam: unknown key"),
        ("drain_seconds = 20", 'drain_seconds = "20"', 2, "cluster.drain_seconds"),
        ("drain_seconds = 20", "drain = 20", 2, "cluster.drain: unknown key"),
        ("[cluster]", "[clusters]", 1, "clusters: unknown key"),
        ('members = ["1001"]', "members = [1001]", 17, "queues[0].members"),
        ('action = "conference"', 'action = "dance"', 21, "routes[0].action"),
        ('platform = "voice"', "", 4, "pools[0]"),
        ("[[users]]", "[[users", 8, ""),
    ],
)
def test_what_is_wrong_is_located(old: str, new: str, line: int, said: str) -> None:
    with pytest.raises(DocumentError) as caught:
        read(GOOD.replace(old, new).encode())
    assert said in str(caught.value)
    assert caught.value.line == line


def test_bounds() -> None:
    with pytest.raises(DocumentError, match="at most"):
        read(b"#" * (1 << 21))
    with pytest.raises(DocumentError, match="UTF-8"):
        read(b"\xff\xfe")


def test_dotted_and_quoted_keys_are_found() -> None:
    assert line_of('x = 1\na."b".c = 2\n', "a.b.c") == 2
    assert line_of("x = 1\n", "nothing") == 0


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        read(text.encode("utf-8", "surrogatepass"))
    except DocumentError:
        return
