"""The way of a message, stage by stage."""
