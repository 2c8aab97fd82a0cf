"""`jettythunder upload` and `jettythunder uploads`."""
