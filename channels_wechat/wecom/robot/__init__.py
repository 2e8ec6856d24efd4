"""WeCom group robot (群机器人): it speaks in one group and hears nothing."""
