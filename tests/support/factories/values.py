"""Credentials and addresses of the accounts of the tests. Each secret among them is a canary: whoever finds one on a page, in a
log or in an answer of the API has found a leak."""

CANARIES = {
    "secret": "CANARY-corp-secret",
    "callback token": "CANARYtoken",
    "aes key": "CANARYkey0123456789012345678901234567890abA",
    "access token": "CANARY-access-token",
    "gateway token": "CANARY-gateway-token",
    "device token": "CANARY-device-token",
    "reply address": "CANARY-reply-address",
    "webhook address": "CANARY-webhook-address",
    "webhook secret": "whsec_Q0FOQVJZLXdlYmhvb2stc2VjcmV0",
    "alert address": "CANARY-alert-address",
    "alert secret": "whsec_Q0FOQVJZLWFsZXJ0LXNlY3JldA==",
    "puppet token": "insecure_CANARY-puppet-token",
    "webhook secret before": "whsec_Q0FOQVJZLXdlYmhvb2stYmVmb3Jl",
    "secret of messages": "whsec_Q0FOQVJZLW1lc3NhZ2VzLXRvLXVzLXNpZ25lZA==",
    "secret of deliveries": "whsec_Q0FOQVJZLWRlbGl2ZXJpZXMtb2Ytb3Vycy1zaWduZWQ=",
}
SECRET, TOKEN, KEY = CANARIES["secret"], CANARIES["callback token"], CANARIES["aes key"]
KEYS = {"token": TOKEN, "encoding_aes_key": KEY}
CORP, AGENT, BOT, GROUP = "ww1234567890abcdef", 1000002, "AIBOT", "wrGroup"
APP_FIELDS = {"corp_id": CORP, "agent_id": AGENT, "secret": SECRET, "format": "text", **KEYS}
APP_FIELDS_WITH_SEATS = {**APP_FIELDS, "seats": 20}
BOT_FIELDS = {"bot_id": BOT, "bot_name": "Robot A", "corp_id": CORP, **KEYS}
ROBOT_KEY = "693a91f6-7a1b-4bc4-97a0-0ec2c1fa5aaa"
ROBOT_FIELDS = {"robot_key": ROBOT_KEY, "format": "text"}
KF, CUSTOMER = "wkAJ2GCAAASSm4_FhToWMFea0xAFfd3Q", "wmAJ2GCAAAme1XQRC-NI-q0_ZM9ukoAw"
KF_FIELDS = {"open_kfid": KF, "corp_id": CORP, "secret": SECRET, **KEYS}
OFFICIAL, MINI = "wxofficial0000001", "wxminiprogram0001"
FAN, USER = "oFollower-of-the-official-A1", "oUser-of-the-miniprogram-A1"
WEIXIN_FIELDS = {"app_secret": SECRET, "mode": "safe", **KEYS}
OFFICIAL_FIELDS = {"app_id": OFFICIAL, "answers": "automatic", **WEIXIN_FIELDS}
MINI_FIELDS = {"app_id": MINI, **WEIXIN_FIELDS}
# No pauses, because a test does not wait like a person.
PUPPET_TOKEN = CANARIES["puppet token"]
WECHATY_FIELDS = {"token": PUPPET_TOKEN, "endpoint": "127.0.0.1:9", "tls": "off", "knows_risk": "on"}
OWN_CONNECTION = "own-gateway"
OWN_FIELDS = {
    "connection": OWN_CONNECTION,
    "address": "https://gateway.example/deliveries",
    "inbound_secret": CANARIES["secret of messages"],
    "outbound_secret": CANARIES["secret of deliveries"],
    "own_id": "wxid-self",
    "format": "text",
    "text_bytes": 2000,
    "repetitions": "ask",
}
SCANNER = "o9cq80ann@im.wechat"
ILINK_FIELDS = {"user_id": SCANNER, "bot_id": "b1f2@im.bot", "bot_token": SECRET}
# Two time zones whose clocks are 26 hours apart.
NEVER_THE_SAME_DAY = ("Etc/GMT+12", "Etc/GMT-14")
# Nobody listens there: what must not be called is refused at once.
NOWHERE = "http://127.0.0.1:9"
