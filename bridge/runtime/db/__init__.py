"""The database: prepared statements, group commit, bulk inserts, handling of outages."""
