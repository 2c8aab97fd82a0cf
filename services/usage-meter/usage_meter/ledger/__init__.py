"""The ledger: what accounts use and hold, booked from events, once each."""
