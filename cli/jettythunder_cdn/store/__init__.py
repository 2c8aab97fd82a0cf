"""Blocks on the disk, and the index that knows them."""
