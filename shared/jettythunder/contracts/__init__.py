"""Messages between services: one module per subject, versioned types, primitives only.

Rules: facts are in the past tense, commands in the imperative; a breaking change is a new class with
the next version, never an edit; nothing here imports a domain object.
"""
