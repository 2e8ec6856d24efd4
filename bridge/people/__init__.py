"""People and their chats: peers, names, sessions."""
