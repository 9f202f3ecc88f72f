"""Text from untrusted files, made safe for terminals, logs and pages."""

import re
import shlex

_EMOJI = (
    "\U0001f3f4[\U000e0030-\U000e0039\U000e0061-\U000e007a]{2,6}\U000e007f"  # flags of regions, in tag characters
    "|[\U0001f000-\U0001faff]"  # also those that this Python's Unicode does not know yet
    "|(?<=[^\x00-\xa0])[\u200c\u200d](?=[^\x00-\xa0])"  # joiners between characters: families, Persian, Hindi
)
_CHARACTER = re.compile(f"(?P<kept>{_EMOJI})|(?s:.)")


def printable(text: str, *, keep: str = "") -> str:
    """`text` with escapes for control, invisible and direction-changing characters, and for bytes that are not text.

    Characters of `keep` stay, and so do emoji, even those made of invisible characters.
    """
    if text.isprintable():
        return text
    return _CHARACTER.sub(lambda found: _shown(found, keep), text)


def _shown(found: re.Match[str], keep: str) -> str:
    character = found[0]
    if found["kept"] or character.isprintable() or character in keep:
        return character
    return repr(character)[1:-1]


def as_argument(path: str) -> str:
    """The file as a shell takes it, in a form that FFmpeg takes neither for a protocol nor for an option."""
    is_plain = "/" in path or (":" not in path and not path.startswith("-"))
    return shlex.quote(path if is_plain else f"./{path}")
