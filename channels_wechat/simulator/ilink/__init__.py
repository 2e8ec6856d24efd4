"""iLink, Tencent's bot channel for personal accounts (facts: wechaty.md 8): people who scan, their bots, messages and files."""
