"""A gateway of a company's own: people and groups write through it, and it takes signed deliveries."""
