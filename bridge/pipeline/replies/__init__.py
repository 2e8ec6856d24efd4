"""Answers that the platform fetches with a request of its own instead of being sent them."""
