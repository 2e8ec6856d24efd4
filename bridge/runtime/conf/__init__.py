"""Settings: read from the environment, checked at start, and the sizes of the server's pools."""
