"""Chunks of upload sessions, as every process sees them that lets one be stored: rules, and records."""
