"""The pages of conversations, their messages and attachments, and the contacts in them."""
