"""What a method of the gateway is told of a turn, and what is too large for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from channels_wechat.contract.explanations import Action
from openclaw.asking import make_agent_params, make_send_params
from openclaw.client import Attachment, Turn
from openclaw.errors import Code, GatewayError
from openclaw.turns import Policy
from tests.openclaw.stub_client import KEY, turn

if TYPE_CHECKING:
    from collections.abc import Callable


def test_each_method_is_told_the_turn_s_time_in_its_own_unit() -> None:
    asked = turn("hello", timeout=1800.0)
    assert make_agent_params(asked, Policy())["timeout"] == 1800
    assert make_send_params(asked, Policy())["timeoutMs"] == 1_800_000


FILES = (Attachment("image", "a.png", "image/png", b"\x89PNG"), Attachment("file", "b.txt", "text/plain", b"hello"))
SENT = [
    {"type": "image", "mimeType": "image/png", "fileName": "a.png", "content": "iVBORw=="},
    {"type": "file", "mimeType": "text/plain", "fileName": "b.txt", "content": "aGVsbG8="},
]


def test_a_method_is_told_all_of_a_turn_and_nothing_else() -> None:
    """A gateway refuses parameters that it does not know."""
    asked = Turn(KEY, "main", "look", "k", "be brief", FILES, timeout=0.25)
    assert make_agent_params(asked, Policy()) == {
        "sessionKey": KEY,
        "agentId": "main",
        "message": "look",
        "idempotencyKey": "k",
        "timeout": 1,  # whole seconds, and never none at all
        "extraSystemPrompt": "be brief",
        "attachments": SENT,
    }
    assert make_send_params(asked, Policy()) == {
        "sessionKey": KEY,
        "message": "be brief\n\nlook",
        "idempotencyKey": "k",
        "timeoutMs": 250,
        "attachments": SENT,
    }
    bare = Turn(KEY, "main", "look", "k", timeout=5.0)
    assert set(make_agent_params(bare, Policy())) == {"sessionKey", "agentId", "message", "idempotencyKey", "timeout"}
    assert make_send_params(bare, Policy())["message"] == "look"
    briefed = Turn(KEY, "main", "look", "k", "be brief", timeout=5.0)
    assert make_agent_params(briefed, Policy())["extraSystemPrompt"] == "be brief"


SMALL = Policy(max_payload=80_000, attachment_bytes=3000, image_bytes=2000)


@pytest.mark.parametrize(
    ("image", "file", "words", "fits"),
    [
        (2000, 3000, 0, True),
        (2001, 0, 0, False),
        (0, 3001, 0, False),
        # 80 000 bytes, of which the frame itself takes up to 65 536, and each file a third more than it has
        (1000, 3000, 9131, True),
        (1000, 3000, 9132, False),
    ],
)
@pytest.mark.parametrize("params", [make_agent_params, make_send_params])
def test_what_the_gateway_would_end_the_connection_over_is_not_sent(
    params: Callable[[Turn, Policy], Any], image: int, file: int, words: int, fits: bool
) -> None:
    files = (Attachment("image", "a", "image/png", bytes(image)), Attachment("file", "b", "text/plain", bytes(file)))
    asked = Turn(KEY, "main", "é" * (words // 2) + "x" * (words % 2), "k", attachments=files)
    if fits:
        assert params(asked, SMALL)
        return
    with pytest.raises(GatewayError) as caught:
        params(asked, SMALL)
    assert (caught.value.code, caught.value.action) == (Code.TOO_LARGE, Action.PERMANENT)
