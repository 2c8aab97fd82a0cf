"""File names, object keys, content types and the header that carries a name."""

import re
import unicodedata
from urllib.parse import unquote
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from werkzeug.http import parse_options_header

from storage_gateway.assets import names

UPLOAD_ID = UUID("6a1df4a7-1be8-4d10-8a7a-6d2f2a3d9f10")
PREFIX = f"accounts/{UPLOAD_ID}/"

BIDI_OVERRIDES = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"

# Names with what names must not have, and long ones.
given_names = st.text() | st.lists(
    st.sampled_from([".", "..", "/", "\\", " ", "e", "\u0301", "\u200d", "\ud800", "日" * 90, "x" * 200])
    | st.sampled_from(BIDI_OVERRIDES + "\x00\r\n\t\x7f\x85"),
    max_size=8,
).map("".join)


@pytest.mark.parametrize(
    ("given_name", "kept"),
    [
        ("test.jpg", "test.jpg"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\me\\film.mp4", "film.mp4"),
        ("a\r\nSet-Cookie: x.txt", "aSet-Cookie: x.txt"),
        ("nul\x00l.txt", "null.txt"),
        ("\u202egpj.exe", "gpj.exe"),
        ("\ud83c.txt", ".txt"),
        ("\ud83ca.txt", "a.txt"),
        ("  name.txt  ", "name.txt"),
        ("e\u0301.txt", "\u00e9.txt"),
        # Joiners belong to the spelling: of Persian and Hindi, and of emoji made of several.
        ("می\u200cخواهم.txt", "می\u200cخواهم.txt"),
        ("क्\u200dष.txt", "क्\u200dष.txt"),
        ("\U0001f469\u200d\U0001f680.png", "\U0001f469\u200d\U0001f680.png"),
        (".bashrc", ".bashrc"),
        ("", "file"),
        (None, "file"),
        ("..", "file"),
        ("folder/", "file"),
    ],
)
def test_a_name_is_the_last_component_without_control_characters(given_name: str | None, kept: str) -> None:
    assert names.safe_filename(given_name) == kept


@pytest.mark.parametrize("letter", ["a", "ü", "日", "🎬"])
def test_a_long_name_is_cut_to_255_bytes_and_keeps_its_extension(letter: str) -> None:
    name = names.safe_filename(letter * 500 + ".mp4")
    assert name.endswith(letter + ".mp4")
    assert 255 - len(letter.encode()) < len(name.encode()) <= 255


@given(given_names)
def test_any_name_is_safe(given_name: str) -> None:
    name = names.safe_filename(given_name)
    assert 0 < len(name.encode()) <= 255
    assert name not in (".", "..")
    assert not set(name) & set("/\\" + BIDI_OVERRIDES)
    assert not {unicodedata.category(character) for character in name} & {"Cc", "Cs"}
    assert unicodedata.is_normalized("NFC", name)


@given(given_names)
@example("e\x00\u0301")
@example("x" * 254 + " " + "y" * 30)
def test_a_safe_name_stays_as_it_is(given_name: str) -> None:
    name = names.safe_filename(given_name)
    assert names.safe_filename(name) == name


@given(given_names)
@example("a." + "b" * 250)
@example("a." + "b" * 99)
def test_any_name_makes_a_key_of_plain_characters_within_the_limit(given_name: str) -> None:
    key = names.object_key(PREFIX, UPLOAD_ID, names.safe_filename(given_name))
    assert re.fullmatch(re.escape(f"{PREFIX}{UPLOAD_ID}/") + r"[A-Za-z0-9._-]+", key)
    assert len(key) <= 255


def test_a_key_keeps_the_extension_of_a_long_name() -> None:
    key = names.object_key(PREFIX, UPLOAD_ID, "x" * 250 + ".webm")
    assert key.endswith("x.webm")


@pytest.mark.parametrize(
    ("given_type", "filename", "expected"),
    [
        ("image/png", "a.jpg", "image/png"),
        (" image/png\t", "a.jpg", "image/png"),
        ("text/plain; charset=utf-8", "a", "text/plain; charset=utf-8"),
        ('text/plain;\tname="a b"', "a", 'text/plain;\tname="a b"'),
        (r'text/plain; name="a \"b\""', "a", r'text/plain; name="a \"b\""'),
        (None, "a.jpg", "image/jpeg"),
        ("application/octet-stream", "a.mp4", "video/mp4"),
        (None, "a", "application/octet-stream"),
        ("nonsense", "a.jpg", "image/jpeg"),
        ("text/html\r\nX: y", "a", "application/octet-stream"),
        ("text/html\r\n", "a", "application/octet-stream"),
        ("text/html\n", "a", "application/octet-stream"),
        ("text/html\x0b", "a", "application/octet-stream"),
        ("text/html;\x0bcharset=utf-8", "a", "application/octet-stream"),
        ('text/html; name="\x0b"', "a", "application/octet-stream"),
        ('text/html; name="\r\n"', "a", "application/octet-stream"),
        ('text/html; name="日"', "a", "application/octet-stream"),
        ("text/" + "x" * 300, "a", "application/octet-stream"),
    ],
)
def test_a_content_type_is_the_given_one_or_a_guess_by_the_name(
    given_type: str | None, filename: str, expected: str
) -> None:
    assert names.content_type_of(given_type, filename) == expected


@given(st.text(max_size=10) | st.text(alphabet='"\\\t\r\n\x0b;= aé日', max_size=10))
def test_a_content_type_that_is_kept_can_be_a_header(text: str) -> None:
    for given_type in (f"text/plain{text}", f'text/plain; name="{text}"'):
        kept = names.content_type_of(given_type, "a")
        assert re.fullmatch(r"[\t -~]+", kept)


@given(given_names)
def test_the_header_gives_back_any_name(given_name: str) -> None:
    name = names.safe_filename(given_name)
    header = names.content_disposition("attachment", name)
    # RFC 8187's form wins in every reader; the plain one is for those that know no other.
    assert parse_options_header(header) == ("attachment", {"filename": name})
    _, _, extended = header.partition("filename*=UTF-8''")
    assert unquote(extended) == name
    plain_only, _, _ = header.partition("; filename*=")
    _, options = parse_options_header(plain_only)
    assert len(options["filename"]) == len(name)
    assert all(plain in (character, "_") for plain, character in zip(options["filename"], name, strict=True))


@given(st.text())
def test_the_header_can_not_be_left(given_name: str) -> None:
    header = names.content_disposition("attachment", given_name.encode(errors="replace").decode())
    assert re.fullmatch(
        r'attachment; filename="[^"\\\x00-\x1f\x7f-\uffff]*"; filename\*=UTF-8\'\'[!-~]*', header
    )
