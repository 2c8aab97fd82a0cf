"""The places that take chunks."""
