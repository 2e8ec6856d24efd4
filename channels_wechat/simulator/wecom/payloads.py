"""What members say and do, in the platform's words: XML fields for an app (wecom.md 2.4, 2.5), JSON for a bot (6.1)."""

import base64
import secrets
from typing import Any

from channels_wechat.simulator.core.errors import ControlError
from channels_wechat.simulator.core.state import JSON, Media, World
from channels_wechat.simulator.core.uploads import guess, read_bytes
from channels_wechat.simulator.wecom.company import LONG_CONNECTION, App, Bot

APP_KINDS = ("text", "image", "voice", "video", "location", "link")
GROUP_KINDS = ("text", "mixed")
BOT_KINDS = ("text", "mixed", "image", "voice", "file", "video")
NAMES = {"image": "image.png", "voice": "voice.amr", "video": "video.mp4", "file": "file.bin"}

# The fields each app event has besides the common ones; a control request may overwrite any of them.
APP_EVENTS: dict[str, JSON] = {
    "enter_agent": {"EventKey": ""},
    "LOCATION": {"Latitude": 23.104105, "Longitude": 113.320107, "Precision": 65.0, "AppType": "wxwork"},
    "batch_job_result": {"BatchJob": {"JobId": "S0MrnndvRG5f", "JobType": "sync_user", "ErrCode": 0, "ErrMsg": "ok"}},
    "click": {"EventKey": "EVENTKEY"},
    "view": {"EventKey": "https://work.weixin.qq.com"},
    "view_miniprogram": {"EventKey": "pages/index"},
    "scancode_push": {"EventKey": "6", "ScanCodeInfo": {"ScanType": "qrcode", "ScanResult": "1"}},
    "scancode_waitmsg": {"EventKey": "6", "ScanCodeInfo": {"ScanType": "qrcode", "ScanResult": "2"}},
    "pic_sysphoto": {"EventKey": "6", "SendPicsInfo": {"Count": 1, "PicList": {"item": [{"PicMd5Sum": "1b5f7c23"}]}}},
    "pic_photo_or_album": {
        "EventKey": "6",
        "SendPicsInfo": {"Count": 1, "PicList": {"item": [{"PicMd5Sum": "5a75aa"}]}},
    },
    "pic_weixin": {"EventKey": "6", "SendPicsInfo": {"Count": 1, "PicList": {"item": [{"PicMd5Sum": "5a75ab"}]}}},
    "location_select": {
        "EventKey": "6",
        "SendLocationInfo": {"Location_X": "23", "Location_Y": "113", "Scale": "15", "Label": "广州", "Poiname": ""},
    },
    "template_card_event": {"EventKey": "key", "TaskId": "task", "CardType": "button_interaction"},
    "template_card_menu_event": {"EventKey": "key", "TaskId": "task", "CardType": "text_notice"},
    "change_contact": {"ChangeType": "create_user", "UserID": "zhangsan", "Name": "张三", "Department": "1"},
    "change_external_contact": {
        "ChangeType": "add_external_contact",
        "UserID": "zhangsan",
        "ExternalUserID": "woAJ2GCAAAXtWyujaWJHDDGi0mAAAA",
        "WelcomeCode": "WELCOMECODE",
    },
    "change_external_chat": {
        "ChatId": "wrOgQhDgAAMYQiS5ol9G7gK9JVAAAA",
        "ChangeType": "update",
        "UpdateDetail": "add_member",
        "JoinScene": 1,
        "MemChangeCnt": 2,
        "MemChangeList": {"Item": ["Jack", "Rose"]},
    },
    "kf_msg_or_event": {"Token": "ENCApHxnGDNAVNY4AaSJKj4Tb5mwsEMzxhFmHVGcra996NR", "OpenKfId": "wkxxxxxxx"},
}
BY_SYSTEM = ("change_contact", "change_external_contact", "change_external_chat", "batch_job_result")
NOBODY = ("kf_msg_or_event",)

BOT_EVENTS: dict[str, JSON] = {
    "enter_chat": {},
    "template_card_event": {"card_type": "button_interaction", "event_key": "key", "task_id": "task"},
    "feedback_event": {"id": "FEEDBACKID", "type": 2, "content": "不准确", "inaccurate_reason_list": [2, 4]},
}


def keep(world: World, spec: JSON, aes_key: str = "") -> Media:
    kind = str(spec.get("kind"))
    name = str(spec.get("name") or NAMES[kind])
    return world.keep_media(kind, name, read_bytes(spec), str(spec.get("mime") or guess(name)), aes_key=aes_key)


def app_message(world: World, app: App, spec: JSON) -> tuple[JSON, Media | None]:
    """The elements of §2.4 that differ by kind, and the media if it has one."""
    kind, text = str(spec.get("kind", "text")), str(spec.get("text", ""))
    if kind not in APP_KINDS:
        raise ControlError(f"an app hears only {', '.join(APP_KINDS)}")
    head = {"MsgType": kind}
    if kind == "text":
        return head | {"Content": text}, None
    if kind in ("location", "link"):
        return head | {**PLACES[kind], **spec.get(kind, {})}, None
    media = keep(world, spec)
    extra = {
        "image": {"PicUrl": f"{world.base_url}/media/pic/{media.id}"},
        "voice": {"Format": "amr"},
        "video": {"ThumbMediaId": media.id},
    }
    return head | {"MediaId": media.id} | extra[kind], media


PLACES: dict[str, JSON] = {
    "location": {
        "Location_X": 23.134521,
        "Location_Y": 113.358803,
        "Scale": 20,
        "Label": "位置信息",
        "AppType": "wxwork",
    },
    "link": {
        "Title": "标题",
        "Description": "描述",
        "Url": "https://work.weixin.qq.com",
        "PicUrl": "https://work.weixin.qq.com/pic.png",
    },
}


def bot_content(world: World, bot: Bot, spec: JSON, media: list[Media]) -> JSON:
    """{"msgtype", <msgtype>: object} for a message, a part of a mixed one, or a quote; appends what it stores."""
    kind = str(spec.get("kind", "text"))
    if kind not in BOT_KINDS:
        raise ControlError(f"a bot hears only {', '.join(BOT_KINDS)}")
    content: Any
    if kind == "mixed":
        content = {"msg_item": [bot_content(world, bot, item, media) for item in spec.get("items", [])]}
    elif kind in ("text", "voice"):
        content = {"content": str(spec.get("text", ""))}
    elif bot.mode == LONG_CONNECTION:
        content = file_with_key(world, spec, media)
    else:
        media.append(keep(world, spec, bot.aes_key))
        content = {"url": f"{world.base_url}/media/bot/{media[-1].id}"}
    return {"msgtype": kind, kind: content}


def file_with_key(world: World, spec: JSON, media: list[Media]) -> JSON:
    """Over a long connection each file has a key of its own, in base64 that is padded or not (wecom.md 6.2)."""
    key = base64.b64encode(secrets.token_bytes(32)).decode()
    padded = len(world.media) % 2 == 0
    media.append(keep(world, spec, key.rstrip("=")))
    return {"url": f"{world.base_url}/media/bot/{media[-1].id}", "aeskey": key if padded else key.rstrip("=")}


def mention(bot: Bot, content: JSON) -> None:
    """In a group the text holds the bot's name: put it there unless the member typed it."""
    name = f"@{bot.name}"
    if content["msgtype"] == "text":
        texts = [content["text"]]
    else:
        items = content["mixed"]["msg_item"]
        texts = [item["text"] for item in items if item["msgtype"] == "text"]
        if not texts:
            texts = [{"content": ""}]
            items.insert(0, {"msgtype": "text", "text": texts[0]})
    if name not in texts[0]["content"]:
        texts[0]["content"] = f"{name} {texts[0]['content']}".rstrip()
