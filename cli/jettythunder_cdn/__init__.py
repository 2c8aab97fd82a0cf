"""The desktop CDN: a read-through cache of one account's assets on this machine, and its page."""
