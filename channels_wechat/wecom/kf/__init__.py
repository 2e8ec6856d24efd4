"""WeChat customer service (微信客服): people of ordinary WeChat talk to the company."""
