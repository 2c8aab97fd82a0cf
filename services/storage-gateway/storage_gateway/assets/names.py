"""Names of files and types of media: what clients give, made safe to keep and to send."""

import mimetypes
import re
import unicodedata
from urllib.parse import quote
from uuid import UUID

DEFAULT_CONTENT_TYPE = "application/octet-stream"

_MAX_FILENAME_BYTES = 255
_MAX_KEY_NAME_LENGTH = 100
_LONGEST_EXTENSION = 20
_CONTENT_TYPE = re.compile(
    r"""[\w.+-]+/[\w.+-]+([ \t]*;[ \t]*[\w.-]+=("([\t !#-\[\]-~]|\\[\t -~])*"|[\w.-]+))*""", re.ASCII
)

# What turns the reading direction of text around, so that a name shows as another.
_BIDI_OVERRIDES = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def safe_filename(given: str | None) -> str:
    """The last component of a name, without control characters, at most 255 bytes, its extension kept."""
    name = re.split(r"[/\\]", given or "")[-1]
    name = normal_form("".join(c for c in name if _is_harmless(c))).strip()
    if name in ("", ".", ".."):
        return "file"
    stem, extension = _split(name)
    room = _MAX_FILENAME_BYTES - len(extension.encode())
    return (stem.encode()[:room].decode(errors="ignore") + extension).strip()


def normal_form(text: str) -> str:
    """The composed form (NFC) in which names are kept and looked for."""
    return unicodedata.normalize("NFC", text)


def _is_harmless(character: str) -> bool:
    # Joiners and other format characters belong to the spelling of many scripts.
    return unicodedata.category(character) not in ("Cc", "Cs") and character not in _BIDI_OVERRIDES


def object_key(prefix: str, upload_id: UUID, filename: str) -> str:
    """A unique key under the account's prefix, within Lyve's 255 characters; overwriting leaks parts."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", filename)
    stem, extension = _split(name)
    return f"{prefix}{upload_id}/{stem[: _MAX_KEY_NAME_LENGTH - len(extension)]}{extension}"


def _split(name: str) -> tuple[str, str]:
    """A name's stem, and its extension with the dot; what is too long for an extension is of the stem."""
    stem, dot, extension = name.rpartition(".")
    return (stem, dot + extension) if stem and len(extension) <= _LONGEST_EXTENSION else (name, "")


def content_type_of(given: str | None, filename: str) -> str:
    """The given content type where it is well-formed and says something, else a guess by the name."""
    if (
        given
        and given != DEFAULT_CONTENT_TYPE
        and len(given) <= 255
        and _CONTENT_TYPE.fullmatch(given.strip(" \t"))
    ):
        return given.strip(" \t")
    return mimetypes.guess_type(filename, strict=False)[0] or DEFAULT_CONTENT_TYPE


def content_disposition(kind: str, filename: str) -> str:
    """A Content-Disposition header for any file name (RFC 6266, with RFC 8187 for what is not ASCII)."""
    plain = re.sub(r'[^\x20-\x7e]|["\\%]', "_", filename)
    return f"{kind}; filename=\"{plain}\"; filename*=UTF-8''{quote(filename, safe='')}"
