"""The simulated WeChat: Official Accounts and Mini Programs."""
