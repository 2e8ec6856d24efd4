"""From the platform's callback to a stored message."""
