"""Replays of many deliveries: a plan, its run, and the report."""
