"""What people in WeChat read from the bridge itself, in the account's language; staff may write each sentence anew.

Not gettext: its language is that of a reader of the admin pages, this is that of the people who write to the account.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from string import Formatter
from typing import TYPE_CHECKING

from django.template.defaultfilters import filesizeformat
from django.utils.translation import gettext_lazy as _
from django.utils.translation import override

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django.utils.functional import _StrOrPromise

CHINESE, ENGLISH = "zh-hans", "en"
LANGUAGES = [(CHINESE, "简体中文"), (ENGLISH, "English")]


@dataclass(frozen=True, slots=True)
class Sentence:
    """label: when it is sent, for staff; zh and en: the default texts, with {name} for each parameter."""

    label: _StrOrPromise
    zh: str
    en: str


SENTENCES: dict[str, Sentence] = {
    "welcome": Sentence(
        _(
            "A person opens the chat, follows the account, scans its code, or adds a member as a customer (empty: nothing is said)"
        ),
        "",
        "",
    ),
    "unmapped": Sentence(
        _("No agent is mapped to this chat"), "本会话尚未接入智能助手。", "No agent answers in this chat yet."
    ),
    "failed": Sentence(
        _("The agent failed"), "抱歉，处理时出了问题，请稍后再试。", "Sorry, that did not work. Please try again later."
    ),
    "later": Sentence(
        _("The answer takes longer and follows as a message of its own"),
        "处理时间较长，结果会稍后发送给您。",
        "This takes longer; the answer will follow.",
    ),
    "not_ready": Sentence(
        _("The answer is not ready, and the person has to ask for it"),
        "回答还在生成中，请稍后回复 1 查看。",
        "The answer is not ready yet. Send 1 to read it.",
    ),
    "read_on": Sentence(_("More of an answer can be read"), "（回复 1 继续阅读）", "(Send 1 to read on.)"),
    "older": Sentence(
        _("An earlier answer was never read"),
        "（还有一条较早的回答未读，回复 2 查看）",
        "(An earlier answer is unread. Send 2 to read it.)",
    ),
    "too_long": Sentence(
        _("An answer is longer than this chat can carry"),
        "（回答过长，其余部分无法在此显示。）",
        "(The answer is too long; the rest cannot be shown here.)",
    ),
    "whole_as_file": Sentence(
        _("An answer is too long and its whole text follows as a file"),
        "（回答过长，全文见随后的文件。）",
        "(The answer is too long; the file that follows holds all of it.)",
    ),
    "voice_too_long": Sentence(
        _("A voice message is longer than WeChat takes"),
        "[语音超过 60 秒，无法发送]",
        "[The voice message is longer than 60 seconds and cannot be sent]",
    ),
    "silent": Sentence(
        _("An AI bot's agent chose to say nothing, and its bubble stands open"),
        "已收到。",
        "Noted.",
    ),
    "handed_over": Sentence(
        _("The conversation is handed to staff, because the person or the agent asked for them"),
        "已为您转接人工，请稍候。",
        "Our staff will answer you shortly.",
    ),
    "not_understood": Sentence(
        _("A message holds nothing that can be read"),
        "抱歉，没有收到可以识别的内容。",
        "Sorry, nothing in that message could be understood.",
    ),
    "not_all_read": Sentence(
        _("Part of what a person sent or quoted cannot be read (at the end of the answer; not in groups)"),
        "（您发送或引用的部分内容无法识别。）",
        "(Part of what you sent or quoted could not be read.)",
    ),
    "card_answered": Sentence(
        _("A card was answered, which then shows what was chosen (AI bots by long connection)"),
        "已收到：{choice}",
        "Received: {choice}",
    ),
    "new_session": Sentence(_("After /new"), "已开始新的会话。", "A new session has begun."),
    "stopped": Sentence(_("After /stop"), "已停止。", "Stopped."),
    "file_missing": Sentence(
        _("A file of the agent's could not be fetched"),
        "（文件 {name} 未能获取。）",
        "(The file {name} could not be fetched.)",
    ),
    "answer_cut": Sentence(
        _("Only the beginning of an agent's answer could be recovered"),
        "（回答较长，仅恢复了前面的部分。）",
        "(The answer was longer; only its beginning could be recovered.)",
    ),
    "no_files": Sentence(
        _("A file cannot be sent in this chat"),
        "[{name}，{size}：此会话无法发送文件]",
        "[{name}, {size}: this chat cannot carry files]",
    ),
    "file_kind": Sentence(
        _("A file of a kind that WeChat does not take in this chat"),
        "[{name}：此会话无法发送这类文件]",
        "[{name}: files of this kind cannot be sent in this chat]",
    ),
    "file_format": Sentence(
        _("A file in a format that WeChat does not take"),
        "[{name}：无法发送，仅支持 {formats} 格式]",
        "[{name}: cannot be sent, only {formats} can]",
    ),
    "file_empty": Sentence(
        _("A file that is empty, or smaller than WeChat takes"),
        "[{name}：文件为空或过小，无法发送]",
        "[{name}: empty or too small to be sent]",
    ),
    "file_over_limit": Sentence(
        _("A file that is larger than WeChat takes"),
        "[{name}，{size}：文件过大，无法发送，最大 {most}]",
        "[{name}, {size}: too large to be sent, at most {most}]",
    ),
    "no_more_pictures": Sentence(
        _("A picture that a bot's answer cannot show"),
        "[{name}，{size}：此会话最多显示 10 张 JPG 或 PNG 图片，每张不超过 10 MB]",
        "[{name}, {size}: this chat shows at most ten pictures, JPG or PNG, up to 10 MB each]",
    ),
    "new_session_shared": Sentence(
        _("After /new, where all conversations share one memory"),
        "本助手的记忆由所有会话共用，不能在这里清空。",
        "All chats share this assistant's memory; it cannot be cleared from here.",
    ),
    "stop_not_yours": Sentence(
        _("After /stop in a group, while the agent works for somebody else"),
        "正在处理的是其他成员的请求，您不能停止它。",
        "The assistant is working for another member; you cannot stop that.",
    ),
    "too_many": Sentence(
        _("A person writes more than they may in a minute"),
        "您发送消息过于频繁，超出的消息未处理，请稍后再试。",
        "You are writing too fast: some messages were not handled. Please try again in a moment.",
    ),
}


def parameters_of(name: str) -> frozenset[str]:
    """The {parameters} that a text for this sentence may use. Raises KeyError for an unknown name."""
    return frozenset(field for _text, field, _format, _how in Formatter().parse(SENTENCES[name].zh) if field)


def default_of(name: str, language: str) -> str:
    """Raises KeyError for an unknown name."""
    return SENTENCES[name].en if language == ENGLISH else SENTENCES[name].zh


@dataclass(frozen=True, slots=True)
class Sentences:
    """The sentences of one account. own: what staff wrote, by name; an empty text means the default."""

    language: str = CHINESE
    own: Mapping[str, str] = field(default_factory=dict)

    def get(self, name: str, /, **params: object) -> str:
        """Return the text to send. Raises KeyError for an unknown name. A staff text with a wrong {parameter} is sent as it is."""
        text = self.own.get(name) or default_of(name, self.language)
        try:
            return text.format(**params) if params else text
        except (KeyError, IndexError, ValueError, AttributeError, TypeError):
            return text

    def size(self, count: int) -> str:
        """So many bytes, as the people of this account read it."""
        with override(self.language):
            return filesizeformat(count)
