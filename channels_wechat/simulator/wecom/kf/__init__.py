"""WeChat customer service (微信客服; facts: wecom.md 8.4): accounts, customers of ordinary WeChat, and the API."""
