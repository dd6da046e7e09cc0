"""Names that come from the controller and become part of this machine: of folders, of descriptors."""

NAME_CHARACTERS_MAX = 100


def is_name(text: str) -> bool:
    """Letters, digits, ``-``, ``_`` and ``.`` of ASCII, not at first a dot; at most `NAME_CHARACTERS_MAX`."""
    plain = all(letter.isascii() and (letter.isalnum() or letter in "-_.") for letter in text)
    return 0 < len(text) <= NAME_CHARACTERS_MAX and not text.startswith(".") and plain
