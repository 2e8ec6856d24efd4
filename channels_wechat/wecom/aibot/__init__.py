"""An AI bot (智能机器人) by callback URL."""
