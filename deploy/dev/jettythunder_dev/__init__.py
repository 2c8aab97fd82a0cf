"""The developer stack: servers and services on this machine, run from a checkout of the repository."""
