"""The HTTP doors: thin handlers that parse, call a use-case and respond."""
