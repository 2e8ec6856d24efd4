"""Nothing is stored with a secret in it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from bridge.security.redaction import MAX_BYTES, SECRET_NAMES, redact, redact_params, redact_text
from channels_wechat.contract.text import HIDDEN

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize("written", [str, str.upper, str.title])
@pytest.mark.parametrize("name", sorted(SECRET_NAMES))
def test_secrets_by_name(name: str, written: Callable[[str], str]) -> None:
    name = written(name)
    assert redact({"a": [{name: "canary"}], name: {"deep": "canary"}}) == {"a": [{name: HIDDEN}], name: HIDDEN}


def test_no_name_of_a_secret_that_the_platforms_use_is_missing() -> None:
    ours = "access_token aeskey apikey api_key appsecret authorization corpsecret device_token encoding_aes_key encodingaeskey key"
    assert {
        *ours.split(),
        *["password", "response_code", "response_url", "secret", "token", "welcome_code"],
    } <= SECRET_NAMES


def test_an_empty_secret_is_shown_as_empty() -> None:
    assert redact({"token": ""}) == {"token": ""}


@pytest.mark.parametrize(
    "text",
    [
        "GET /cgi-bin/x?access_token=canary&a=1",
        "corpsecret=canary",
        '{"secret": "canary"}',
        "Authorization: Bearer canary",
        "https://x/response?response_code=canary",
    ],
)
def test_secrets_in_texts(text: str) -> None:
    assert "canary" not in redact_text(text)
    assert HIDDEN in redact_text(text)
    assert redact({"url": text}) == {"url": redact_text(text)}


@pytest.mark.parametrize("text", ["plain words", "日本語", "tokens are short", "a=1&b=2"])
def test_words_stay(text: str) -> None:
    assert redact_text(text) == text


def test_what_is_kept_is_cut_to_four_kilobytes() -> None:
    cut = redact({"text": "字" * 5000})
    assert len(json.dumps(cut, ensure_ascii=False).encode()) <= MAX_BYTES
    assert cut["cut"].startswith('{"text": "字')
    assert len(redact_text("x" * 10_000)) == MAX_BYTES


@pytest.mark.parametrize("more", [0, 1])
def test_the_four_kilobytes_are_counted_in_bytes(more: int) -> None:
    value = {"text": "字" * ((MAX_BYTES - len('{"text": ""}')) // 3)}
    value["rest"] = ""
    room = MAX_BYTES - len(json.dumps(value, ensure_ascii=False).encode())
    value = {"text": value["text"][:-4], "rest": "x" * (12 + room + more)}
    assert (redact(value) == value) == (not more)


def test_a_secret_is_hidden_before_the_cut() -> None:
    assert "canary" not in str(redact({"token": "canary", "text": "x" * 10_000}))


def test_other_values_stay_as_they_are() -> None:
    assert redact({"n": 1, "f": 1.5, "t": (1, 2), "b": True, "none": None, 3: "x"}) == {
        "n": 1, "f": 1.5, "t": [1, 2], "b": True, "none": None, "3": "x",
    }  # fmt: skip


def test_what_postgresql_cannot_store_is_replaced() -> None:
    """An answer, an error or a platform's words go straight into a row."""
    assert redact({"a\x00": ["b\ud800"]}) == {"a\ufffd": ["b\ufffd"]}
    assert redact_text("a\x00b\udfff") == "a\ufffdb\ufffd"


LONG_IDS = ", ".join(f"member-{number}" for number in range(1000))


@pytest.mark.parametrize(
    "params",
    [
        {"detail": "字" * 4000},
        {"ids": LONG_IDS},
        {"parts": [{"code": name, "params": {"ids": LONG_IDS}} for name in ("invaliduser", "invalidparty")]},
        {"detail": "字" * 4000, "because": {"code": "-1", "params": {"detail": "字" * 4000}}},
    ],
)
def test_parameters_that_are_too_long_are_shortened_and_still_fill_their_sentence(params: dict[str, Any]) -> None:
    short = redact_params(params)
    assert len(json.dumps(short, ensure_ascii=False).encode()) <= MAX_BYTES
    assert short.keys() == params.keys()
    assert "…" in json.dumps(short, ensure_ascii=False)


def test_parameters_that_are_short_are_kept_whole() -> None:
    assert redact_params({"count": 2, "detail": "a\0b\ud800", "key": "canary"}) == {
        "count": 2,
        "detail": "a\ufffdb\ufffd",
        "key": HIDDEN,
    }
