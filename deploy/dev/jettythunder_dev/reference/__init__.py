"""The reference parts of the documentation, written from the code and the schema; a test compares the two."""
