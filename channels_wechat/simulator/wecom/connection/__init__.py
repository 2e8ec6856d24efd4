"""An AI bot's long connection (facts: wecom.md 6.2): the WebSocket, what goes over it, and what members see of it."""
