"""What an agent's words may do, and whom a message reaches."""

from __future__ import annotations

import time

import pytest

from bridge.models import Message, Route
from bridge.pipeline.outbound import outbox
from bridge.pipeline.outbound.recipients import count_people
from bridge.pipeline.outbound.rights import CARDS, LINKS, MENTION_ALL, restrict, rights_of
from channels_wechat.contract.messages import Content
from tests.support.factories import app, bot, route, send, turn


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("<@all> 开会", "all 开会"),
        ("@all 开会", "all 开会"),
        ("@ALL", "ALL"),
        ("<@ all >", "all"),
        ("＜＠ａｌｌ＞", "ａｌｌ"),
        ("@a\u200bll!", "a\u200bll!"),
        ("@所有人 你好", "所有人 你好"),
        ("＠所有人", "所有人"),
        ("@everyone", "everyone"),
        ("@all大家", "all大家"),
        ("@**all**", "**all**"),
        ("<@*all*>", "*all*"),
        ("@_all_ @`all` @~~所有人~~", "_all_ `all` ~~所有人~~"),
        ("@all_hands @_all_hands", "@all_hands @_all_hands"),
        ("info@all.com @all.hands @allen @张三 <@zhangsan>", "info@all.com @all.hands @allen @张三 <@zhangsan>"),
    ],
)
def test_everybody_is_not_mentioned(text: str, shown: str) -> None:
    assert restrict(text, ()) == shown
    assert restrict(text, (MENTION_ALL,)) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("@\x01all", "all"),
        ("<@\u202aall>", "all"),
        ("@a\x1b[0mll", "all"),
        ("<\x07a href='https://e.example'>x</a>", "x (https://e.example)"),
        ("[x]\x01(https://e.example)", "x (https://e.example)"),
        ("[x](\u2066https://e.example)", "x (https://e.example)"),
    ],
)
def test_what_is_dropped_before_sending_hides_no_mark(text: str, shown: str) -> None:
    assert restrict(text, ()) == shown


@pytest.mark.parametrize("text", ["@" + "\u200b" * 100_000, "@*" * 50_000, "[x](" + "a." * 50_000, "](" * 50_000])
def test_whatever_is_written_is_looked_through_in_linear_time(text: str) -> None:
    started = time.monotonic()
    restrict(text, ())
    assert time.monotonic() - started < 3


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("[x](evil.example/login) [x](&#104;ttps://e.example)", "x (evil.example/login) x (&#104;ttps://e.example)"),
        ("[x](http&colon;//e.example)", "x (http&colon;//e.example)"),
        ("[银行](https://evil.example/x)", "银行 (https://evil.example/x)"),
        ('[a](https://e.example "title")', "a (https://e.example)"),
        ("![](https://e.example/p.png)", "https://e.example/p.png"),
        ("[https://e.example](https://e.example)", "https://e.example"),
        ('<a href="https://evil.example">银行</a>', "银行 (https://evil.example)"),
        ("<A  HREF='weixin://x'>点</A >", "点 (weixin://x)"),
        ("<a href=https://e.example>x</a>", "x (https://e.example)"),
        ('<a data-miniprogram-appid="wx" href="https://e.example">x</a>', "x (https://e.example)"),
        ("<a onclick=x>y</a>", "＜a onclick=x>y＜/a>"),
        ('`<a href="https://e.example">x</a>`', "`x (https://e.example)`"),
        ("[a [b] c](https://e.example)", "[a [b] c] (https://e.example)"),
        (r"[a\]b](https://e.example)", r"[a\]b] (https://e.example)"),
        ("[a\nb](https://e.example)", "[a\nb] (https://e.example)"),
        ("x[0 [a](https://e.example)", "x[0 a (https://e.example)"),
        ("[x][1]\n\n[1]: https://e.example", "[x][1]\n\n1: https://e.example"),
        ("https://e.example 和 <https://e.example>", "https://e.example 和 <https://e.example>"),
        ("`a[i](https:x)` b[i](x) a < b", "`a[i](https:x)` b[i](x) a < b"),
        ("```py\nx[0](http://e)\n```", "```py\nx[0](http://e)\n```"),
    ],
)
def test_an_address_is_shown_not_hidden(text: str, shown: str) -> None:
    assert restrict(text, ()) == shown
    assert restrict(text, (LINKS,)) == text


@pytest.mark.parametrize("fence", ["```", "````", "~~~", "  ```", "``` "])
def test_a_card_stays_a_block(fence: str) -> None:
    text = f"看\n{fence}template_card\n{{}}\n{fence}"
    assert restrict(text, ()) == text.replace("template_card", "json")
    assert restrict(text, (CARDS,)) == text


@pytest.mark.django_db
def test_the_mapping_decides() -> None:
    account = bot()
    assert rights_of(Route(account=account, allow_cards=True, allow_links=True)) == [CARDS, LINKS]
    mapping = route(account, allow_mention_all=True)
    question = turn(account, group="wrX", reply="https://reply/?x")
    assert question.payload["allowed"] == [MENTION_ALL]
    text = "<@all> [a](https://e.example)"
    said = [
        outbox.send_answer(question.message, text, source=source, key=str(number), allowed=allowed).text
        for number, (source, allowed) in enumerate(
            [
                (Message.Source.AGENT, question.payload["allowed"]),
                (Message.Source.AGENT, ()),
                (Message.Source.BRIDGE, ()),
            ]
        )
    ]
    assert said == ["<@all> a (https://e.example)", "all a (https://e.example)", text]
    assert mapping.allow_links is False


@pytest.mark.parametrize(
    ("kind", "peer", "people"),
    [
        ("direct", "zhangsan", 1), ("direct", "a|b", 2), ("direct", "a|b|c", 3), ("direct", "a|", 2), ("direct", "a｜b", 2),
        ("direct", "@all", "all"), ("direct", "＠ALL", "all"), ("direct", "a|@all", "all"), ("direct", " @all ", "all"),
        ("group", "a|b", 1), ("direct", "party:1", "departments or tags"), ("direct", " Tag:3|4", "departments or tags"),
        ("direct", "ｐarty：1", "departments or tags"), ("direct", "party", 1),
    ],
)  # fmt: skip
def test_how_many_people_an_id_reaches(kind: str, peer: str, people: object) -> None:
    assert count_people(kind, peer) == people


@pytest.mark.django_db
@pytest.mark.parametrize("peer", ["@all", "a|b", "＠all", "party:1", "tag:3|4"])
@pytest.mark.parametrize("source", ["staff", "api", "agent", "bridge"])
def test_nobody_writes_to_several_by_accident(peer: str, source: str) -> None:
    account = app()
    with pytest.raises(outbox.CannotSend, match="confirmed"):
        send(account, "x", peer, source=source)
    assert Message.objects.count() == 0
    confirmed = outbox.send(account, "direct", peer, Content(text="x"), source=source, several=True)
    assert confirmed.deliveries.count() == 1
