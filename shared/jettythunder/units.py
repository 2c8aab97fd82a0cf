"""Units of bytes as bills count them: powers of ten."""

MEGABYTE = 1_000_000
GIGABYTE = 1_000_000_000
