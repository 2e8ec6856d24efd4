"""Personal accounts behind Wechaty puppet services, played over real gRPC (facts: wechaty.md)."""
