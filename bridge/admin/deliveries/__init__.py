"""The pages of deliveries and dead letters, and what staff can do with many of them at once."""
