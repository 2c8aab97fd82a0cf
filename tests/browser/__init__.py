"""The desktop CDN's page in a real browser."""
