"""A company, its chats and an agent for `make demo`."""
