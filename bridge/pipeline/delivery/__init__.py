"""Deliveries: how they are claimed, begun and ended, and what a process needs for that."""
