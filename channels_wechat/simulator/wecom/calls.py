"""Calls of WeCom's API, and what its endpoints share."""

from dataclasses import dataclass

from channels_wechat.simulator.core import calls
from channels_wechat.simulator.wecom.company import App, Company
from channels_wechat.simulator.wecom.tokens import Tokens


@dataclass
class Platform(calls.Platform):
    company: Company
    tokens: Tokens


Call = calls.Call[Platform, App]
Endpoint = calls.Endpoint[Platform, App]
