"""Turns of agents."""
