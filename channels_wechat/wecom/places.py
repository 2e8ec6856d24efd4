"""The menus of WeCom's admin console (work.weixin.qq.com) and of its client, as they write them themselves."""

from __future__ import annotations

from channels_wechat.contract.places import Place

CONSOLE = Place("企业微信管理后台", "WeCom admin console")
APPS = CONSOLE.below("应用管理", "App Management")
APP = APPS.below("自建应用", "the self-built app")
APP_SECRET = APP.below("Secret", "Secret")
TRUSTED_ADDRESSES = APP.below("开发者接口 → 企业可信IP", "Developer API → Company's Trusted IP")
WEB_LOGIN = APP.below("网页授权及JS-SDK → 可信域名", "Web Authorization and JS-SDK → Trusted domain")
ALLOWED_USERS = APP.below("可见范围", "Allowed users")
LINKED_COMPANIES = ALLOWED_USERS.below("互联企业", "Linked companies")
RECEIVE_MESSAGES = APP.below(
    "功能 → 接收消息 → 设置API接收", "Features → Receive messages → Set to receive messages via API"
)
CORP_ID = CONSOLE.below("我的企业 → 企业信息 → 企业ID", "My Company → Company information → Company ID")
VERIFICATION = CONSOLE.below("我的企业 → 企业信息 → 企业认证", "My Company → Company information → Verification")
MEMBERS = CONSOLE.below("通讯录 → 成员 → 账号", "Contacts → the member → Account")
WECHAT_PLUGIN = CONSOLE.below("我的企业 → 微信插件", "My Company → WeChat plugin")
MINI_PROGRAMS = APPS.below("小程序", "Mini Programs")
THIRD_PARTY_APPS = APPS.below("第三方应用", "Third-party apps")
ARCHIVE = CONSOLE.below("管理工具 → 会话内容存档", "Management Tools → Archive of conversations")
CUSTOMERS = CONSOLE.below("客户与上下游 → 客户联系", "Customers & Partners → Customer Contact")
CUSTOMER_API = CUSTOMERS.below("客户 → API → 可调用接口的应用", "Customers → API → Apps that may call")
CUSTOMER_GROUP_API = CUSTOMERS.below("客户群 → API → 可调用接口的应用", "Customer groups → API → Apps that may call")
CALLABLE_APPS = CONSOLE.below(
    "该功能的页面 → API → 可调用接口的应用", "the page of that feature → API → Apps that may call"
)
KF = APPS.below("微信客服", "WeChat Customer Service")
KF_ACCOUNT = KF.below("客服账号", "the account")
KF_API = KF.below("API → 可调用接口的应用", "API → Apps that may call")
KF_CHANNELS = KF.below("视频号", "Channels account")
KF_SERVICERS = KF_ACCOUNT.below("接待人员", "Servicers")
ROBOT = Place(
    "企业微信客户端 → 群聊 → 群设置 → 消息推送 (群机器人)",
    "WeCom client → the group → Settings → Message push (group robot)",
)
AI_BOT = Place(
    "企业微信客户端 → 工作台 → 智能机器人 → API模式 → 使用长连接",
    "WeCom client → Workbench → AI bots → API mode → Long connection",
)
