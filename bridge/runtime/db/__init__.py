"""The database: prepared statements, group commit, bulk inserts, what is done while it is away."""
