"""Whatever WeCom, or somebody between, answers to a call is an answer or a ChannelError, with nothing in it that no column takes."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from urllib3 import HTTPHeaderDict

from channels_wechat.contract.errors import ChannelError
from channels_wechat.contract.http_client import Response
from channels_wechat.wecom.api import _total, check
from channels_wechat.wecom.codes import PLATFORM
from channels_wechat.wecom.errors import error_for
from channels_wechat.wire.http import file_name
from tests.fuzz.strangers import UNSTORABLE, objects, storable, values

LONG_ENOUGH = 6  # a shorter secret may be part of our own words
QUICK = settings(max_examples=60, deadline=None)
NAMES = ("errcode", "errmsg", "access_token", "expires_in", "msgid", "invaliduser", "media_id", "created_at")
CODES = st.sampled_from(sorted(PLATFORM)) | st.integers()
BODIES = st.binary(max_size=120) | objects(*NAMES).map(lambda found: json.dumps(found).encode())
HEADERS = st.dictionaries(
    st.sampled_from(["Retry-After", "Content-Range", "Content-Disposition"]),
    st.text(alphabet=st.characters(codec="latin-1"), max_size=20)
    | st.sampled_from(["9" * 5000, "\xb2", "bytes 0-1/\xb2"]),
)


@QUICK
@given(st.integers(200, 599), BODIES, HEADERS, st.booleans(), st.sampled_from(["", "a", "canaryword"]))
@example(200, b"[" * 100_000, {}, True, "")
@example(200, b'{"errcode": ' + b"9" * 5000 + b"}", {}, False, "")
@example(200, b'{"errcode": 40001, "errmsg": "\\ud800\\u0000 your canaryword"}', {}, False, "canaryword")
def test_any_answer_is_taken_or_named(
    status: int, body: bytes, headers: dict[str, str], harmless: bool, secret: str
) -> None:
    response = Response(status, HTTPHeaderDict(headers), body)
    found: Any
    try:
        found = check(response, harmless, secret)
    except ChannelError as error:
        found = error
    if isinstance(found, ChannelError):
        assert UNSTORABLE.search(str(found)) is None
        assert found.retry_after is None or 0 <= found.retry_after <= 86400
        assert len(secret) < LONG_ENOUGH or secret not in str(found)
    else:
        assert found["errcode"] == 0
    assert _total(response) >= 0


@QUICK
@given(CODES, st.text(alphabet=st.characters(codec=None), max_size=60), values(*NAMES))
@example(60020, "from ip: ::::::", None)
@example(45033, "api concurrent out of limit, daily", None)
def test_any_refusal_is_named(code: int, words: str, more: Any) -> None:
    error = error_for({"errcode": code, "errmsg": words, "more": more})
    assert error.code == str(code)
    assert UNSTORABLE.search(str(error)) is None


@QUICK
@given(
    st.text(alphabet=st.characters(codec=None), max_size=60)
    | HEADERS.map(lambda found: "attachment; filename=" + "".join(found.values()))
)
@example("attachment; filename*=utf-8''%ED%A0%80%00.txt")
@example("attachment; filename*=nonsense'x'%ff")
@example('attachment; filename="../../etc/passwd"')
@example("attachment; filename*0*=a; filename*1=b; filename*99999999999999999999=c")
def test_any_header_names_a_file_or_none(header: str) -> None:
    name = file_name(header)
    assert storable(name)
    assert "/" not in name
    assert "\\" not in name
    assert len(name) <= 255
