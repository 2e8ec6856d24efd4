"""Who may do what, who is calling, and what is never stored or logged."""
