"""One's own connection to WeChat: another gateway posts signed messages here, and takes signed deliveries at one address."""
