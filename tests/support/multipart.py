"""Multipart bodies for tests of the parser, and what it makes of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

from jettythunder.errors import JettyThunderError
from storage_gateway.uploads.form import MultipartParser, PartData, PartEnd, PartHeaders

BOUNDARY = b"b0undary"
DELIMITER = b"\r\n--" + BOUNDARY
HEADERS = b"Content-Disposition: form-data; name=file\r\n\r\n"
END = DELIMITER + b"--\r\n"

# A part: its headers, where its bytes begin in the body (None without any), its bytes, whether it ended.
Parsed: TypeAlias = tuple[dict[str, str], int | None, bytes, bool]


def parse(blocks: Iterable[bytes]) -> tuple[list[Parsed], type[JettyThunderError] | None]:
    """The parts of a body that arrives in these blocks, and the error that it ends with."""
    parser = MultipartParser(BOUNDARY)
    parts: list[Parsed] = []
    try:
        for block in blocks:
            for token in parser.feed(block):
                match token:
                    case PartHeaders(values):
                        parts.append((values, None, b"", False))
                    case PartData(data, offset):
                        values, begin, content, _ = parts[-1]
                        begin = offset if begin is None else begin
                        assert offset == begin + len(content)
                        parts[-1] = (values, begin, content + bytes(data), False)
                    case PartEnd():
                        parts[-1] = (*parts[-1][:3], True)
        parser.end()
    except JettyThunderError as error:
        return parts, type(error)
    return parts, None


# What parsers go wrong at.
FRAGMENTS = [
    *(b"\r", b"\n", b"\r\n", b"--", b"-", b" ", b"\t", b"x", b":", b"\r\n\r\n", b"name: x\r\n"),
    *(BOUNDARY, DELIMITER, HEADERS, END, DELIMITER[:-1], DELIMITER + b" \t"),
    b"--" + BOUNDARY + b"\r\n" + HEADERS,
]
