"""Session keys, the device key, and what an error tells."""

from __future__ import annotations

import base64
import hashlib

import pytest
from Crypto.PublicKey import ECC
from Crypto.Signature import eddsa

from channels_wechat.contract.explanations import Action
from openclaw.device import Device, Signer
from openclaw.errors import DETAIL_LIMIT, LONGEST_WAIT, Code, GatewayError
from openclaw.session import is_bridge_session, make_session_key
from openclaw.turns import Endpoint, Hello, Policy

SIGNER = Signer("gateway-client", "backend", "operator", ("operator.read", "operator.write"), "linux")


def test_session_key_is_stable_and_lower_case() -> None:
    key = make_session_key("Main", "acc", "group", "wrChat001", 0)
    assert key == make_session_key("Main", "acc", "group", "wrChat001", 0)
    assert key == key.lower()
    assert len(key.rsplit(":", 1)[1]) == 40
    assert is_bridge_session(key)
    assert is_bridge_session(make_session_key("Main", "acc", "direct", "zhangsan", 0))


def test_chat_ids_that_differ_only_in_case_do_not_share_a_session() -> None:
    assert make_session_key("main", "acc", "group", "wrChat001", 0) != make_session_key(
        "main", "acc", "group", "wrCHAT001", 0
    )


def test_every_part_of_the_key_counts() -> None:
    keys = {
        make_session_key("main", "acc", "group", "ab", 0),
        make_session_key("support", "acc", "group", "ab", 0),
        make_session_key("main", "other", "group", "ab", 0),
        make_session_key("main", "acc", "direct", "ab", 0),
        make_session_key("main", "acc", "group", "ab", 1),
        make_session_key("main", "acc", "group", "ab", 0, "zhangsan"),
        make_session_key("main", "acca", "group", "b", 0),
        make_session_key("main", "acc", "group", "ab", 0, renewals=1),
        make_session_key("main", "acc", "group", "ab", 0, renewals=2),
        make_session_key("main", "acc", "group", "ab", 0, "zhangsan", renewals=1),
    }
    assert len(keys) == 10


@pytest.mark.parametrize(
    "key",
    [
        *("agent:main:main", "agent:main:wecom:group:" + "a" * 40, "agent:main:wechat:group:xyz", ""),
        *(f"agent:main:wechat:{kind}:{'a' * length}" for kind, length in (("group", 39), ("direct", 41), ("room", 40))),
    ],
)
def test_other_sessions_are_not_ours(key: str) -> None:
    assert not is_bridge_session(key)


def test_device_key_survives_storage_and_shows_no_secret() -> None:
    device = Device.generate()
    again = Device(device.pem)
    assert again.id == device.id == hashlib.sha256(device.public_bytes).hexdigest()
    assert len(device.public_bytes) == 32
    assert "PRIVATE" not in repr(device)


def test_device_signature_holds_what_the_gateway_checks() -> None:
    device = Device.generate()
    block = device.sign(SIGNER, nonce="n-1", signed_at=1795303238670, token="secret")
    scopes = "operator.read,operator.write"
    signed = f"v3|{device.id}|gateway-client|backend|operator|{scopes}|1795303238670|secret|n-1|linux|"
    signature = base64.urlsafe_b64decode(str(block["signature"]) + "==")
    raw = base64.urlsafe_b64decode(str(block["publicKey"]) + "=")
    eddsa.new(eddsa.import_public_key(raw), "rfc8032").verify(signed.encode(), signature)
    assert (block["id"], block["nonce"], block["signedAt"]) == (device.id, "n-1", 1795303238670)
    assert ECC.import_key(device.pem).curve == "Ed25519"


ACTIONS = {
    Action.RETRY: {Code.NOT_ANSWERED, Code.RUN_FAILED, Code.RUN_NOT_STARTED, Code.UNAVAILABLE, Code.UNREACHABLE},
    Action.WAIT: {Code.DRAINING, Code.LOCKED_OUT, Code.STARTING},
    Action.CONFIG: {
        *(Code.BAD_TOKEN, Code.BAD_URL, Code.FORBIDDEN_ADDRESS, Code.HTTP_DISABLED, Code.MISSING_SCOPE),
        *(Code.NOT_A_GATEWAY, Code.PAIRING_REQUIRED, Code.PROTOCOL_MISMATCH, Code.REDIRECTED),
    },
    Action.PERMANENT: {
        *(Code.ANSWER_TOO_LARGE, Code.ANSWER_UNKNOWN, Code.INVALID_REQUEST, Code.MEDIA_GONE, Code.RUN_ABORTED),
        *(Code.TOO_LARGE, Code.UNKNOWN_AGENT),
    },
    Action.UNKNOWN: {Code.CONNECTION_LOST, Code.TIMEOUT, Code.UNREADABLE},
}


@pytest.mark.parametrize("code", list(Code))
def test_every_error_has_an_action_and_a_sentence(code: Code) -> None:
    error = GatewayError(code, "x" * 2000, retry_after=3.0)
    assert str(error.sentence).endswith(".")
    assert [action for action, codes in ACTIONS.items() if code in codes] == [error.action]
    assert error.detail == "x" * DETAIL_LIMIT
    assert str(error) == f"{code}: {error.detail}"
    assert error.explained == f"{error.sentence} ({code}: {error.detail})"
    copy = error.copy()
    assert (copy.code, copy.action, copy.detail, copy.retry_after) == (code, error.action, error.detail, 3.0)
    bare = GatewayError(code)
    assert (str(bare), bare.explained, bare.retry_after) == (code, f"{bare.sentence} ({code})", None)


def test_a_copy_of_an_error_keeps_all_of_it_but_what_is_said_anew() -> None:
    error = GatewayError(Code.TIMEOUT, "late", action=Action.PERMANENT, retry_after=1.0, request_id="r-1")
    copy, other = error.copy(), error.copy(Action.RETRY)
    for found, action in ((copy, Action.PERMANENT), (other, Action.RETRY)):
        assert (found.code, found.detail, found.action) == (Code.TIMEOUT, "late", action)
        assert (found.retry_after, found.request_id) == (1.0, "r-1")


def test_no_gateway_is_left_alone_for_longer_than_a_day() -> None:
    assert GatewayError(Code.RUN_FAILED, retry_after=10 * LONGEST_WAIT).retry_after == LONGEST_WAIT == 24 * 3600
    assert GatewayError(Code.RUN_FAILED, retry_after=LONGEST_WAIT - 1).retry_after == LONGEST_WAIT - 1


def test_secrets_stay_out_of_reprs() -> None:
    endpoint = Endpoint("http://127.0.0.1:1", "s3cret", device_token="d3vice")
    assert "s3cret" not in repr(endpoint)
    assert "d3vice" not in repr(endpoint)
    assert "d3vice" not in repr(Hello(4, "1", "b", "d3vice", Policy()))
