"""File names, object keys, content types and the header that carries a name."""

import re
from email.message import Message
from urllib.parse import unquote
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage_gateway import domain

UPLOAD_ID = UUID("6a1df4a7-1be8-4d10-8a7a-6d2f2a3d9f10")
PREFIX = f"accounts/{UPLOAD_ID}/"


@pytest.mark.parametrize(
    ("given_name", "kept"),
    [
        ("test.jpg", "test.jpg"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\me\\film.mp4", "film.mp4"),
        ("a\r\nSet-Cookie: x.txt", "aSet-Cookie: x.txt"),
        ("nul\x00l.txt", "null.txt"),
        ("\u202egpj.exe", "gpj.exe"),
        ("  name.txt  ", "name.txt"),
        ("e\u0301.txt", "\u00e9.txt"),
        (".bashrc", ".bashrc"),
        ("", "file"),
        (None, "file"),
        ("..", "file"),
        ("folder/", "file"),
    ],
)
def test_a_name_is_the_last_component_without_control_characters(given_name: str | None, kept: str) -> None:
    assert domain.safe_filename(given_name) == kept


@pytest.mark.parametrize("letter", ["a", "ü", "日", "🎬"])
def test_a_long_name_is_cut_to_255_bytes_and_keeps_its_extension(letter: str) -> None:
    name = domain.safe_filename(letter * 500 + ".mp4")
    assert name.endswith(letter + ".mp4")
    assert 255 - len(letter.encode()) < len(name.encode()) <= 255


@given(st.text())
def test_any_name_is_safe(given_name: str) -> None:
    name = domain.safe_filename(given_name)
    assert 0 < len(name.encode()) <= 255
    assert name not in (".", "..")
    assert name.isprintable() or not re.search(r"[\x00-\x1f\x7f/\\]", name)


@given(st.text())
def test_a_safe_name_stays_as_it_is(given_name: str) -> None:
    name = domain.safe_filename(given_name)
    assert domain.safe_filename(name) == name


@given(st.text())
def test_any_name_makes_a_key_of_plain_characters_within_the_limit(given_name: str) -> None:
    key = domain.object_key(PREFIX, UPLOAD_ID, domain.safe_filename(given_name))
    assert re.fullmatch(re.escape(f"{PREFIX}{UPLOAD_ID}/") + r"[A-Za-z0-9._-]+", key)
    assert len(key) <= 255


def test_a_key_keeps_the_extension_of_a_long_name() -> None:
    key = domain.object_key(PREFIX, UPLOAD_ID, "x" * 250 + ".webm")
    assert key.endswith("x.webm")


@pytest.mark.parametrize(
    ("given_type", "filename", "expected"),
    [
        ("image/png", "a.jpg", "image/png"),
        ("text/plain; charset=utf-8", "a", "text/plain; charset=utf-8"),
        (None, "a.jpg", "image/jpeg"),
        ("application/octet-stream", "a.mp4", "video/mp4"),
        (None, "a", "application/octet-stream"),
        ("nonsense", "a.jpg", "image/jpeg"),
        ("text/html\r\nX: y", "a", "application/octet-stream"),
        ("text/" + "x" * 300, "a", "application/octet-stream"),
    ],
)
def test_a_content_type_is_the_given_one_or_a_guess_by_the_name(
    given_type: str | None, filename: str, expected: str
) -> None:
    assert domain.content_type_of(given_type, filename) == expected


@given(st.text())
def test_the_header_gives_back_any_name(given_name: str) -> None:
    name = domain.safe_filename(given_name)
    header = domain.content_disposition("attachment", name)
    parsed = Message()
    parsed["Content-Disposition"] = header
    # RFC 8187's form wins in every reader; the plain one is for those that know no other.
    assert parsed.get_filename() is not None
    _, _, extended = header.partition("filename*=UTF-8''")
    assert unquote(extended) == name


@given(st.text())
def test_the_header_has_no_way_out(given_name: str) -> None:
    header = domain.content_disposition("attachment", given_name.encode(errors="replace").decode())
    assert re.fullmatch(
        r'attachment; filename="[^"\\\x00-\x1f\x7f-\uffff]*"; filename\*=UTF-8\'\'[!-~]*', header
    )
