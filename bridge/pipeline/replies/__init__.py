"""Answers that the platform fetches by a request, and the choice how an answer leaves."""
