"""iLink: Tencent's own bot channel for personal WeChat accounts, one to one (facts: wechaty.md 8)."""
