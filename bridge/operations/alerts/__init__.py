"""Alerts staff of incidents: once when one begins, again as a reminder where a rule says so, and once when it has ended.

channels   by which channels, those of the settings among them, and when each may send
planning   which alert is due by which channel: a row for each
composing  the texts, in the language of the channel
carriers   one message by one channel: e-mail, group robot, signed webhook
sending    takes what waits for a channel, sends it as one message, and writes what became of it
"""

from bridge.operations.alerts.channels import list_active as list_channels
from bridge.operations.alerts.sending import send_alerts

__all__ = ["list_channels", "send_alerts"]
