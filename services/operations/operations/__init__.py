"""What operators do with events: find, trace and replay them, and work on dead letters."""
