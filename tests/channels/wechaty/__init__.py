"""Accounts of Wechaty: what goes out, what comes in, and the way to their service."""
