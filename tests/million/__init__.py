"""Ninety days of a busy company in a database, and what every page of it costs: `make million`."""
