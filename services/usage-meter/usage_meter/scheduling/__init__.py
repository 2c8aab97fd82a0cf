"""Work on a schedule, by one instance at a time."""
