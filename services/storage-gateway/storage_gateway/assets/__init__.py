"""Assets: immutable stored results."""
