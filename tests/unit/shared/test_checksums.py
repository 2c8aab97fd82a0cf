"""Checksums: the values that others compute, and how they travel."""

import pytest

from jettythunder.checksums import Algorithm, Checksum, Hasher, checksum_of

# The check values of https://reveng.sourceforge.io/crc-catalogue/, and RFC 1321's way for MD5.
OF_123456789 = {
    Algorithm.CRC64NVME: "crc64nvme:ae8b14860a799888",
    Algorithm.CRC32C: "crc32c:e3069283",
    Algorithm.MD5: "25f9e794323b453885f5181f1b624d0b",
}


@pytest.mark.parametrize("algorithm", Algorithm)
def test_it_is_what_others_compute_however_the_bytes_come(algorithm: Algorithm) -> None:
    hasher = Hasher(algorithm)
    for block in (b"1234", b"", bytearray(b"56789")):
        hasher.update(block)
    assert str(hasher.checksum()) == OF_123456789[algorithm]


@pytest.mark.parametrize("algorithm", Algorithm)
def test_what_was_written_is_read(algorithm: Algorithm) -> None:
    checksum = checksum_of(b"123456789", algorithm)
    assert Checksum.parse(str(checksum)) == checksum


@pytest.mark.parametrize("text", ["", "crc32c:", "crc32c:e30692", "sha256:e3069283", "e3069283", "crc32c:zz"])
def test_what_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Checksum.parse(text)


def test_s3_gets_it_in_the_header_of_its_algorithm() -> None:
    headers = [checksum_of(b"123456789", algorithm).header for algorithm in Algorithm]
    assert headers == [
        {"x-amz-checksum-crc64nvme": "rosUhgp5mIg="},
        {"x-amz-checksum-crc32c": "4waSgw=="},
        {"Content-MD5": "JfnnlDI7RTiF9RgfG2JNCw=="},
    ]
