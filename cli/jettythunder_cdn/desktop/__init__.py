"""The page at http://localhost:53777/: signing in, uploads, quota, and what is in the cache."""
