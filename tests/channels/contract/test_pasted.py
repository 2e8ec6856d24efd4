"""Secrets and ids as people paste them (E4): cleaned where nothing is in doubt, else refused by the name of the character."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.forms import CharField

from channels_wechat import KINDS, channel_class
from channels_wechat.contract.pasted import (
    PastedField,
    PastedNumberField,
    as_seen,
    clean_pasted,
    clean_title,
    one_line,
    without_invisible,
)
from tests.support import factories

GOOD = {
    "wecom_app": factories.APP_FIELDS,
    "wecom_aibot": factories.BOT_FIELDS,
    "wecom_robot": factories.ROBOT_FIELDS,
    "wecom_kf": factories.KF_FIELDS,
    "official_account": factories.OFFICIAL_FIELDS,
    "mini_program": factories.MINI_FIELDS,
    "wechaty": factories.WECHATY_FIELDS,
    "webhook_account": factories.OWN_FIELDS,
    "ilink": factories.ILINK_FIELDS,
}
FREE_TEXT = {
    "bot_name",
    "mode",
    "format",
    "answers",
    "tls",
    "knows_risk",
    "text_bytes",
    "repetitions",
    "allowed_people",
}
CLEANED = [
    "\u200b{}",
    "{}\ufeff",
    "\ufeff{}",
    " {} ",
    "\u00a0{}\u3000",
    "{}\r\n",
    "\t{}",
    "\u2060{}\u200d",
    "\u202a{}\u202c",
]
REFUSED = {
    "{}\u00a0{}": "no-break space",
    "{}\n{}": "line break",
    "{} {}": "a blank",
    "“{}”": "quotes",
    '"{}"': "quotes",
    "'{}'": "quotes",
    "{}Ａ": "U+FF21",
    "{}а": "cyrillic",
    "{}\x07": "U+0007",
}
FIELDS = [
    (kind, name)
    for kind in KINDS
    for name in channel_class(kind).Credentials.base_fields
    if name in GOOD[kind] and name not in FREE_TEXT
]


def form(kind: str, name: str, text: str) -> Any:
    return channel_class(kind).Credentials({**GOOD[kind], name: text})


def test_every_kind_is_tried() -> None:
    assert set(KINDS) == set(GOOD)
    assert len(FIELDS) > 10


@pytest.mark.parametrize(("kind", "name"), FIELDS)
@pytest.mark.parametrize("shape", CLEANED)
def test_what_has_no_width_or_stands_around_is_taken_off(kind: str, name: str, shape: str) -> None:
    value = str(GOOD[kind][name])
    found = form(kind, name, shape.format(value))
    assert found.is_valid(), found.errors
    assert str(found.cleaned_data[name]) == value


@pytest.mark.parametrize(("kind", "name"), FIELDS)
@pytest.mark.parametrize("shape", REFUSED)
def test_what_cannot_belong_to_it_is_named(kind: str, name: str, shape: str) -> None:
    value = str(GOOD[kind][name])
    found = form(kind, name, shape.format(value[:2], value[2:]) if shape.count("{}") == 2 else shape.format(value))
    assert not found.is_valid()
    assert REFUSED[shape].lower() in str(found.errors[name]).lower()
    assert value not in str(found.errors)


@pytest.mark.parametrize("kind", KINDS)
def test_no_field_of_credentials_is_forgotten(kind: str) -> None:
    """A new secret or id is one of these fields, not a plain one."""
    credentials = channel_class(kind).Credentials
    for name, field in credentials.base_fields.items():
        pasted = isinstance(field, PastedField | PastedNumberField)
        assert pasted or (name not in credentials.secrets and not name.endswith("_id")), name
        assert pasted or not isinstance(field, CharField) or name in FREE_TEXT, name
    assert credentials.sent is not None
    assert credentials.sent <= credentials.secrets


@pytest.mark.parametrize("digits", ["१००", "１０００００２", "10.0", "1e3", "-5", "+5", "0x10", "1_000"])
def test_an_agent_id_has_only_digits(digits: str) -> None:
    assert not form("wecom_app", "agent_id", digits).is_valid()


@pytest.mark.parametrize(
    "letter",
    "\u00ad\u034f\u061c\u180e\u200b\u200c\u200d\u200e\u200f\u202a\u202c\u202e\u2060\u2064\u2066\u2069\u206f\ufeff",
)
def test_every_character_without_a_width_is_taken_out(letter: str) -> None:
    assert clean_pasted(f"a{letter}b") == "ab"
    assert without_invisible(f"{letter} a{letter}b {letter}") == "ab"


@pytest.mark.parametrize("quotes", ['""', "''", "``", "“”", "‘’", "„“", "«»", "「」", "『』"])
def test_quotes_of_every_kind_are_named(quotes: str) -> None:
    with pytest.raises(ValidationError, match=f"quotes {quotes}"):
        clean_pasted(f"{quotes[0]}secret{quotes[1]}")
    if quotes.isascii():
        assert clean_pasted(f"{quotes[0]}secret") == f"{quotes[0]}secret"
        assert clean_pasted(quotes[0]) == quotes[0]


@pytest.mark.parametrize(("digits", "taken"), [("9" * 20, True), ("9" * 21, False), ("0", False), ("1", True)])
def test_a_number_has_at_most_twenty_digits(digits: str, taken: bool) -> None:
    assert form("wecom_app", "agent_id", digits).is_valid() == taken


@pytest.mark.parametrize("text", ["a1", "１", "1a", "²"])
def test_a_number_has_no_letters(text: str) -> None:
    assert not form("wecom_app", "agent_id", text).is_valid()


@pytest.mark.parametrize(
    ("letter", "name"),
    [
        ("\n", "a line break"),
        ("\u2028", "a line break"),
        ("\x85", "a line break"),
        (" ", "a blank"),
        ("Ａ", "“Ａ” (U+FF21, full"),
    ],
)
def test_the_character_and_its_place_are_named(letter: str, name: str) -> None:
    with pytest.raises(ValidationError) as caught:
        clean_pasted(f"ab{letter}c")
    assert f"Character 3 is {name}" in caught.value.messages[0]


@pytest.mark.parametrize(
    ("name", "line"),
    [(" a\u200b  b\n\tc ", "a b c"), ("a\x07b", "ab"), ("\u3000甲\u00a0乙", "甲 乙"), ("\u200b\ufeff ", ""), ("", "")],
)
def test_a_name_in_one_line(name: str, line: str) -> None:
    assert one_line(name) == line


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Sales", " sALES\u200b", True),
        ("Ｓａｌｅｓ", "sales", True),
        ("Straße", "STRASSE", True),
        ("e\u0301", "é", True),
        ("a  b", "a\nb", True),
        ("a b", "ab", False),
        ("sales", "sale", False),
    ],
)
def test_names_that_nobody_can_tell_apart_are_the_same(one: str, other: str, same: bool) -> None:
    assert (as_seen(one) == as_seen(other)) == same


def test_a_title_keeps_its_emoji_and_cannot_be_invisible() -> None:
    assert clean_title(" 一 \n 👨\u200d👩 二 ") == "一 👨\u200d👩 二"
    assert clean_title("") == ""
    for text in (" ", "\u200b", "\u200b \u2060"):
        with pytest.raises(ValidationError, match="nothing in it"):
            clean_title(text)


def test_the_middle_of_a_key_loses_what_has_no_width() -> None:
    assert clean_pasted("ab\u200bcd\ufeffef") == "abcdef"
    with pytest.raises(ValidationError):
        clean_pasted("ab cd")
