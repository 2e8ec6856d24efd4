"""Figures of hours and days: counted, read, shown."""
