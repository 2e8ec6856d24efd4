"""Figures of hours and days: counted from the rows by the clock, and read by the pages and the API."""
