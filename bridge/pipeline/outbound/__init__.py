"""Messages to people: stored, checked by the gates, and sent."""
