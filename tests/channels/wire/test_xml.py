"""The parser of callbacks: refuses what can expand, loses nothing for a stray character."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from channels_wechat.contract.errors import CallbackRefused
from channels_wechat.wire.xml import MAX_BYTES, MAX_DEPTH, MAX_ELEMENTS, listed, parse


def refusal(body: bytes) -> tuple[int, str]:
    with pytest.raises(CallbackRefused) as caught:
        parse(body)
    return caught.value.status, caught.value.code


@pytest.mark.parametrize(
    ("body", "node"),
    [
        ("<xml><A>1</A><B><![CDATA[<b> &amp; ]]></B><C/></xml>", {"A": "1", "B": "<b> &amp;", "C": ""}),
        ("<xml><A> x\n</A></xml>", {"A": "x"}),
        ("<xml>\n<A>\n  <![CDATA[ x ]]>\n</A>\n</xml>\n", {"A": "x"}),
        ("<xml><Content>\n <![CDATA[ x\n]]>\n</Content></xml>", {"Content": " x\n"}),
        ("<xml><Content>\n <![CDATA[a]]>\n <![CDATA[ b]]> </Content></xml>", {"Content": "a b"}),
        ("<xml><Content> typed </Content></xml>", {"Content": " typed "}),
        ("<xml><Content>a <![CDATA[b]]> c</Content></xml>", {"Content": "a b c"}),
        ("\n \ufeff<?xml version='1.0'?>\n<xml><A>1</A></xml>", {"A": "1"}),
        ("<xml><L><Item>a</Item><Item>b</Item></L></xml>", {"L": {"Item": ["a", "b"]}}),
        ("<xml><L>\n <Item>a</Item>\n</L></xml>", {"L": {"Item": "a"}}),
        ("<xml><A>1</A><A>2</A><A><B>3</B></A></xml>", {"A": ["1", "2", {"B": "3"}]}),
        ('<?xml version="1.0" encoding="GBK"?><xml><A>你好</A></xml>', {"A": "你好"}),
        ("\ufeff<xml><A>1</A></xml>", {"A": "1"}),
        ("<xml><A>a]]&gt;b<![CDATA[ ]]]]><![CDATA[> ]]></A></xml>", {"A": "a]]>b ]]>"}),
        ("<xml>only text</xml>", {}),
    ],
)
def test_it_reads_nested_elements(body, node):
    assert parse(body.encode()) == node


@pytest.mark.parametrize(
    "text",
    [
        "a\0b",
        "a\x0bb",
        "a\x1fb",
        "a\uffffb",
        "a&#0;b",
        "a&#x0;b",
        "a&#31;b",
        "a&#xD83D;b",
        "a&#xdfff;b",
        "a&#55357;b",
        "a&#x110000;b",
        "a&#1114112;b",
        "a&#xFFFE;b",
    ],
)
def test_a_character_that_xml_cannot_hold_loses_no_message(text):
    assert parse(f"<xml><A>{text}</A></xml>".encode()) == {"A": "a\ufffdb"}


def test_broken_utf8_and_lone_surrogates_are_replaced():
    assert parse(b"<xml><A>a\xed\xa0\xbdb\xffc</A></xml>") == {"A": "a\ufffd\ufffd\ufffdb\ufffdc"}


@pytest.mark.parametrize("text", ["&#10;", "&#x1F44B;", "&#128075;", "&#xA0;"])
def test_other_references_stay(text):
    assert parse(f"<xml><Content>{text}</Content></xml>".encode())["Content"] in ("\n", "👋", "\xa0")


@pytest.mark.parametrize(
    "body",
    [
        b'<!DOCTYPE x SYSTEM "file:///etc/passwd"><xml/>',
        b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><xml>&a;</xml>',
        b'<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]><xml>&b;</xml>',
        b'<!DOCTYPE x [<!ENTITY % p SYSTEM "http://127.0.0.1/"> %p;]><xml/>',
        b"<!DOCTYPE xml><xml/>",
    ],
)
def test_document_types_are_refused(body):
    assert refusal(body) == (400, "dtd")


@pytest.mark.parametrize(
    "body", [b"", b"<xml>", b"hello", b"{}", b"<xml>&undefined;</xml>", b"<a/><b/>", b"<xml><a></b></xml>"]
)
def test_malformed_xml_is_refused(body):
    assert refusal(body) == (400, "xml")


def test_size_depth_and_number_are_bounded():
    assert parse(b"<a>" * MAX_DEPTH + b"</a>" * MAX_DEPTH)
    assert refusal(b"<a>" * (MAX_DEPTH + 1) + b"</a>" * (MAX_DEPTH + 1)) == (400, "xml")
    assert refusal(b"<xml>" + b"<a/>" * MAX_ELEMENTS + b"</xml>") == (400, "xml")
    assert refusal(b"<xml>" + b" " * MAX_BYTES + b"</xml>") == (413, "too_large")
    assert parse(b"<xml>" + b"<a/>" * (MAX_ELEMENTS - 1) + b"</xml>")
    assert parse(b"<xml>" + b" " * (MAX_BYTES - 11) + b"</xml>") == {}
    assert refusal(b"<xml>" + b" " * (MAX_BYTES - 10) + b"</xml>") == (413, "too_large")


@given(st.binary(max_size=300) | st.text(alphabet="<>/xmlA!&;[]DOCTYPE \0\x01\"'", max_size=120).map(str.encode))
def test_whatever_comes_is_parsed_or_refused(body):
    try:
        outcome: object = parse(body)
    except CallbackRefused as refused:
        outcome = refused.status
    assert isinstance(outcome, dict) or outcome == 400


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=200))
def test_any_text_comes_through(text):
    section = text.replace("]]>", "]]]]><![CDATA[>")
    read = parse(f"<xml><Content><![CDATA[{section}]]></Content></xml>".encode()).get("Content")
    illegal = dict.fromkeys((*range(9), 11, 12, *range(14, 32), 0xFFFE, 0xFFFF), "\ufffd")
    assert read == text.translate(illegal).replace("\r\n", "\n").replace("\r", "\n")


@pytest.mark.parametrize(
    ("value", "members"),
    [
        ({"Item": ["a", "b"]}, ["a", "b"]),
        ({"Item": "a"}, ["a"]),
        ("a,b", ["a", "b"]),
        ("a,,b,", ["a", "b"]),
        ("", []),
        (None, []),
        ({}, []),
    ],
)
def test_lists_are_read_in_both_shapes(value, members):
    assert listed(value) == members
