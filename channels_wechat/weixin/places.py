"""The menus of WeChat's console (mp.weixin.qq.com), which writes Chinese alone; the English names are ours."""

from __future__ import annotations

from channels_wechat.contract.places import Place

CONSOLE = Place("微信公众平台 (mp.weixin.qq.com)", "WeChat console")
ACCOUNT_SETTINGS = CONSOLE.below("设置与开发", "Settings and development")
ACCOUNT_KEYS = ACCOUNT_SETTINGS.below("基本配置", "Basic configuration")
PROGRAM_KEYS = CONSOLE.below("开发管理 → 开发设置", "Development → Development settings")
# What both kinds are told by the same code.
KEYS = CONSOLE.below(
    "设置与开发 → 基本配置；小程序：开发管理 → 开发设置",
    "Settings and development → Basic configuration; for a Mini Program: Development → Development settings",
)
TRUSTED_ADDRESSES = ACCOUNT_SETTINGS.below("开发接口管理 → IP白名单", "API management → IP whitelist")
NOTICES = CONSOLE.below("通知中心", "Notices")
FOLLOWERS = CONSOLE.below("用户管理 → 黑名单", "Followers → Blacklist")
TAGS = CONSOLE.below("用户管理 → 标签", "Followers → Tags")
SERVICERS = CONSOLE.below("客服功能 → 客服管理", "Customer service → Servicers")
LINKED_PROGRAMS = CONSOLE.below("小程序管理", "Mini Program management")
MASS_MESSAGES = CONSOLE.below("群发功能", "Mass messages")
MENU = CONSOLE.below("自定义菜单", "Menu")
MATERIAL = CONSOLE.below("素材库", "Material")
PUBLICATIONS = CONSOLE.below("发表记录", "Publications")
TEMPLATES = CONSOLE.below("订阅消息 → 我的模板", "Subscribe messages → My templates")
PERMISSIONS = ACCOUNT_SETTINGS.below("接口权限", "Interface permissions")
AUTHORISATIONS = ACCOUNT_SETTINGS.below("账号设置 → 授权管理", "Account settings → Authorisations")
API_SECURITY = PROGRAM_KEYS.below("API安全", "API security")
