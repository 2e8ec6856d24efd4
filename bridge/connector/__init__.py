"""Who holds the connection to a gateway, and what the connector process does with it."""
