"""What people do, in the WeChat platform's words: the fields of their messages and events (facts: official_account.md 2.5, 2.6, 13.2)."""

from channels_wechat.simulator.core.errors import ControlError
from channels_wechat.simulator.core.state import JSON, Media, World
from channels_wechat.simulator.core.uploads import guess, read_bytes
from channels_wechat.simulator.weixin.accounts import OfficialAccount, WeixinAccount

OFFICIAL_KINDS = ("text", "image", "voice", "video", "shortvideo", "location", "link")
MINI_KINDS = ("text", "image", "miniprogrampage")
NAMES = {"image": "image.jpg", "voice": "voice.amr", "video": "video.mp4", "shortvideo": "video.mp4"}
THUMB = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00\xff\xd9"

# The fields each event has besides the common ones; a control request may overwrite any of them.
EVENTS: dict[str, JSON] = {
    "subscribe": {"EventKey": ""},
    "unsubscribe": {"EventKey": ""},
    "SCAN": {"EventKey": "SCENE_VALUE", "Ticket": "TICKET"},
    "LOCATION": {"Latitude": 23.137466, "Longitude": 113.352425, "Precision": 119.38504},
    "CLICK": {"EventKey": "EVENTKEY"},
    "VIEW": {"EventKey": "https://mp.weixin.qq.com", "MenuId": "422297861"},
    "view_miniprogram": {"EventKey": "pages/index/index", "MenuId": "422297861"},
    "scancode_push": {"EventKey": "6", "ScanCodeInfo": {"ScanType": "qrcode", "ScanResult": "1"}},
    "scancode_waitmsg": {"EventKey": "6", "ScanCodeInfo": {"ScanType": "qrcode", "ScanResult": "2"}},
    "pic_sysphoto": {"EventKey": "6", "SendPicsInfo": {"Count": 1, "PicList": {"item": [{"PicMd5Sum": "1b5f7c23"}]}}},
    "location_select": {
        "EventKey": "6",
        "SendLocationInfo": {"Location_X": "23", "Location_Y": "113", "Scale": "15", "Label": "广州", "Poiname": ""},
    },
    "user_authorization_revoke": {"RevokeInfo": "1"},
    "kf_create_session": {"KfAccount": "test1@test"},
    "kf_close_session": {"KfAccount": "test1@test"},
    "user_enter_tempsession": {"SessionFrom": "sessionFrom"},
}
PLACES: dict[str, JSON] = {
    "location": {"Location_X": 23.134521, "Location_Y": 113.358803, "Scale": 20, "Label": "位置信息"},
    "link": {"Title": "标题", "Description": "描述", "Url": "https://mp.weixin.qq.com/s/simulated"},
    "miniprogrampage": {
        "Title": "页面",
        "AppId": "wxsimulatedpage",
        "PagePath": "pages/index/index",
        "ThumbUrl": "https://mp.weixin.qq.com/thumb.jpg",
        "ThumbMediaId": "THUMB",
    },
}


def message(world: World, account: WeixinAccount, spec: JSON) -> tuple[JSON, Media | None]:
    """The fields that differ by kind, and the media if it has one. The text of a voice message is its transcript."""
    kind, text = str(spec.get("kind", "text")), str(spec.get("text", ""))
    allowed = OFFICIAL_KINDS if isinstance(account, OfficialAccount) else MINI_KINDS
    if kind not in allowed:
        raise ControlError(f"this account hears only {', '.join(allowed)}")
    head = {"MsgType": kind}
    if kind == "text":
        return head | {"Content": text}, None
    if kind in PLACES:
        return head | {**PLACES[kind], **spec.get(kind, {})}, None
    name = str(spec.get("name") or NAMES[kind])
    stored = "video" if kind == "shortvideo" else kind
    media = world.keep_media(stored, name, read_bytes(spec), str(spec.get("mime") or guess(name)), owner=account.appid)
    return head | {"MediaId": media.id} | extras(world, account, kind, media, text), media


def extras(world: World, account: WeixinAccount, kind: str, media: Media, text: str) -> JSON:
    if kind == "image":
        return {"PicUrl": f"{world.base_url}/media/pic/{media.id}"}
    if kind == "voice":
        return {"Format": "amr", "Recognition": text}
    thumb = world.keep_media("thumb", "thumb.jpg", THUMB, "image/jpeg", owner=account.appid)
    return {"ThumbMediaId": thumb.id}
