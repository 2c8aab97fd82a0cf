"""The accounts that usage belongs to; they are provisioning's, and only read here."""
