"""A self-built app (自建应用)."""
