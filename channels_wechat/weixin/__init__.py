"""WeChat (微信): Official Accounts and Mini Programs."""
