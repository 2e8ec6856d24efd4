"""WeChat (微信) with an ordinary person's account, through a puppet service of Wechaty. WeChat forbids such programs."""
