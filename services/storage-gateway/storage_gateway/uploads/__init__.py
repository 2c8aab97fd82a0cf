"""Uploads: attempts to store a file, from their opening to their end."""
