"""Calls of the WeChat platform's API, and what its endpoints share."""

from dataclasses import dataclass

from channels_wechat.simulator.core import calls
from channels_wechat.simulator.weixin.accounts import WeixinAccount
from channels_wechat.simulator.weixin.quotas import Quotas
from channels_wechat.simulator.weixin.tokens import Tokens
from channels_wechat.simulator.weixin.world import WeixinWorld


@dataclass
class Platform(calls.Platform):
    """`paths`: every endpoint, whose quota a client may ask for."""

    weixin: WeixinWorld
    tokens: Tokens
    quotas: Quotas
    paths: frozenset[str] = frozenset()


Call = calls.Call[Platform, WeixinAccount]
Endpoint = calls.Endpoint[Platform, WeixinAccount]
