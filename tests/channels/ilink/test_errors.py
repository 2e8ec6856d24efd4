"""iLink's codes: what is done about each, and that no word of the platform's shows our token."""

from __future__ import annotations

from typing import Any

import pytest

from channels_wechat.contract.explanations import Action
from channels_wechat.ilink.errors import error_for

CASES = [(-14, Action.WAIT), (-2, Action.WINDOW)]


@pytest.mark.parametrize(("code", "action"), [*CASES, (-1, Action.RETRY), (40001, Action.RETRY)])
@pytest.mark.parametrize("name", ["ret", "errcode"])
def test_a_code_says_what_to_do_when_a_message_is_sent(name: str, code: int, action: Action) -> None:
    error = error_for({name: code, "errmsg": "the platform's words"}, "", sends=True)
    assert error is not None
    assert (error.code, error.action, error.detail) == (str(code), action, "the platform's words")
    assert error.response == {name: code, "errmsg": "the platform's words"}
    assert error.retry_after == (10 if code == -14 else None)


@pytest.mark.parametrize("answer", [{}, {"ret": 0}, {"ret": "0", "errcode": 0}, {"ret": None, "errmsg": "ok"}])
def test_no_code_is_no_error(answer: dict[str, Any]) -> None:
    assert error_for(answer, "token") is None


def test_a_window_is_used_up_only_by_a_message() -> None:
    error = error_for({"ret": -2, "errmsg": "rate limited"}, "")
    assert error is not None
    assert error.action == Action.RETRY


def test_a_lost_login_says_how_to_get_it_back() -> None:
    error = error_for({"errcode": "-14"}, "")
    assert error is not None
    assert "Log in again" in error.text


def test_our_token_is_hidden_in_the_platforms_words() -> None:
    error = error_for({"ret": -14, "errmsg": "bad session CANARY-token of this bot"}, "CANARY-token")
    assert error is not None
    assert "CANARY" not in f"{error} {error.params} {error.response}"
    assert "of this bot" in str(error)
