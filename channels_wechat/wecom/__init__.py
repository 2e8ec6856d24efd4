"""WeCom (企业微信): self-built apps and AI bots."""
