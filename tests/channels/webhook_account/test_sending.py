"""What the receiver gets, signed, and what becomes of each of its answers."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from standardwebhooks import Webhook

from channels_wechat.contract.errors import ChannelError, ContentRefused
from channels_wechat.contract.explanations import Action
from channels_wechat.contract.messages import Content, File, MediaItem, Outgoing, Payload, Peer, Upload
from tests.channels.harness import Recorded, Recorder, Reply, recorder
from tests.channels.webhook_account.gateway import OTHER, OUTBOUND, channel

GROUP = Peer("group", "room-7")
PICTURE = File("image", "a.png", "image/png", 3, "17")
TEXT = Payload({"type": "message", "text": "hello", "format": "text"})


def said(status: int = 200, **answer: Any) -> Reply:
    return Reply(json.dumps(answer).encode(), status)


def verified(request: Recorded, secret: str = OUTBOUND) -> Any:
    """The body, after the library found the signature right."""
    return Webhook(secret).verify(request.body, request.headers)


def send(platform: Recorder, payload: Payload = TEXT, peer: Peer = GROUP, **fields: Any) -> Any:
    outgoing = Outgoing(peer, payload, fields.pop("handle", ""), key=fields.pop("key", "key-1"))
    return channel(f"{platform.url}/in", **fields).send(outgoing)


def refused(reply: Reply, payload: Payload = TEXT) -> ChannelError:
    with recorder() as platform:
        platform.will(reply)
        with pytest.raises(ChannelError) as error:
            send(platform, payload)
    return error.value


# --- what goes out


def test_a_text_is_one_signed_delivery() -> None:
    with recorder() as platform:
        platform.will(said(201, id="r-1"))
        receipt = send(platform)
    (request,) = platform.requests
    assert (request.method, request.path, request.headers["webhook-id"]) == ("POST", "/in", "key-1")
    assert request.headers["Content-Type"] == "application/json; charset=utf-8"
    assert verified(request) == {
        "type": "message", "text": "hello", "format": "text", "conversation": {"kind": "group", "id": "room-7"},
    }  # fmt: skip
    assert (receipt.remote_id, receipt.response) == ("r-1", {"status": 201, "id": "r-1"})


def test_two_secrets_both_sign() -> None:
    with recorder() as platform:
        send(platform, outbound_secret=f"{OTHER},{OUTBOUND}")
    (request,) = platform.requests
    assert verified(request, OTHER) == verified(request, OUTBOUND)


@pytest.mark.parametrize("body", [b"", b"ok", b"{}", b"[]", b'{"id": null}', b'{"id": {}}', b'{"id": ""}'])
def test_an_answer_without_an_id_is_known_by_our_own(body: bytes) -> None:
    with recorder() as platform:
        platform.will(Reply(body, 200))
        assert send(platform).remote_id == "key-1"


def test_a_number_is_an_id_too() -> None:
    with recorder() as platform:
        platform.will(said(id=17))
        assert send(platform).remote_id == "17"


def test_a_file_is_uploaded_first_and_then_named() -> None:
    with recorder() as platform:
        platform.will(said(id="f-1"), said(id="r-1"))
        own = channel(f"{platform.url}/in")
        (payload,) = own.render(Content(files=(PICTURE,)))
        handle = own.upload(Upload("image", "a.png", "image/png", b"png"))
        own.send(Outgoing(GROUP, payload, handle, key="key-1"))
    first, second = map(verified, platform.requests)
    assert first == {
        "type": "file", "kind": "image", "name": "a.png", "mime": "image/png", "content": base64.b64encode(b"png").decode(),
    }  # fmt: skip
    assert second["files"] == [{"id": "f-1", "kind": "image", "name": "a.png", "mime": "image/png", "size": 3}]
    assert platform.requests[0].headers["webhook-id"] != "key-1"


def test_an_upload_without_an_id_can_be_named_in_no_message() -> None:
    with recorder() as platform:
        platform.will(said())
        with pytest.raises(ChannelError) as error:
            channel(platform.url).upload(Upload("file", "a", "b", b"c"))
    assert (error.value.code, error.value.action) == ("no_file_id", Action.PERMANENT)


def test_a_test_shows_that_the_receiver_takes_the_signature() -> None:
    with recorder() as platform:
        assert len(channel(f"{platform.url}/in").test()) == 2
    (request,) = platform.requests
    assert verified(request) == {"type": "test"}


@pytest.mark.parametrize(("choice", "seconds"), [("repeat", 86400), ("ask", 0), ("", 0)])
def test_a_repetition_is_safe_only_where_staff_say_so(choice: str, seconds: int) -> None:
    assert channel(repetitions=choice).repeat_window(GROUP, TEXT) == seconds


# --- what it answers


@pytest.mark.parametrize(
    ("reply", "code", "action"),
    [
        (said(400, error="no such room"), "refused", Action.PERMANENT),
        (said(403, message="not this room"), "refused", Action.PERMANENT),
        (Reply(b"gone fishing", 404), "refused", Action.PERMANENT),
        (said(422, detail="too long"), "refused", Action.PERMANENT),
        (said(401), "signature_refused", Action.CONFIG),
        (said(410), "receiver_closed", Action.CONFIG),
        (Reply(b"", 302, (("Location", "https://elsewhere.example/"),)), "redirected", Action.CONFIG),
        (Reply(b"", 308), "redirected", Action.CONFIG),
        (said(413), "http_413", Action.PERMANENT),
        (said(408), "http_408", Action.UNKNOWN),
        (said(425), "http_425", Action.RETRY),
        (said(429), "http_429", Action.WAIT),
        (said(500), "http_500", Action.UNKNOWN),
        (said(503), "http_503", Action.UNKNOWN),
        (Reply(b"<html><title>Log in</title>", 200, (("Content-Type", "text/html"),)), "html", Action.UNKNOWN),
        (Reply(fault="reset"), "reset", Action.UNKNOWN),
        (Reply(fault="close"), "reset", Action.UNKNOWN),
    ],
)
def test_a_refusal_says_what_to_do(reply: Reply, code: str, action: Action) -> None:
    error = refused(reply)
    assert (error.code, error.action) == (code, action)
    assert error.text


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (said(400, error="no such room"), "HTTP 400: no such room"),
        (said(422, message="too long"), "HTTP 422: too long"),
        (Reply(b"gone fishing", 404, ()), "HTTP 404: gone fishing"),
        (Reply(b"<title>Nobody</title>", 404, (("Content-Type", "text/html"),)), "HTTP 404: a web page: Nobody"),
        (said(400, error="bad token=abcdefgh1234"), "HTTP 400: bad token=•••"),
    ],
)
def test_the_receivers_own_words_are_kept_without_secrets(reply: Reply, words: str) -> None:
    assert refused(reply).detail == words


def test_a_receiver_that_is_overloaded_says_how_long() -> None:
    error = refused(Reply(b"{}", 429, (("Retry-After", "7"),)))
    assert (error.action, error.retry_after) == (Action.WAIT, 7)


def test_a_redirect_is_not_followed() -> None:
    with recorder() as elsewhere:
        assert refused(Reply(b"", 307, (("Location", elsewhere.url),))).code == "redirected"
        assert elsewhere.requests == []


def test_an_upload_may_be_repeated_after_any_loss() -> None:
    for reply in (Reply(fault="reset"), said(500), said(408)):
        with recorder() as platform:
            platform.will(reply)
            with pytest.raises(ChannelError) as error:
                channel(platform.url).upload(Upload("file", "a", "b", b"c"))
        assert error.value.action is Action.RETRY


def test_no_error_names_the_path_of_the_receiver() -> None:
    own = channel("http://127.0.0.1:9/very/secret")
    with pytest.raises(ChannelError) as error:
        own.send(Outgoing(GROUP, TEXT, key="k"))
    assert (error.value.code, error.value.detail) == ("connect", "http://127.0.0.1:9")
    assert "secret" not in f"{error.value} {error.value.params}"


def test_an_address_on_a_private_network_is_not_called() -> None:
    with pytest.raises(ChannelError) as error:
        channel("https://10.0.0.1/in").send(Outgoing(GROUP, TEXT, key="k"))
    assert (error.value.code, error.value.action) == ("address_private", Action.CONFIG)


# --- what is rendered


def bodies(content: Content, **fields: Any) -> list[dict[str, Any]]:
    return [dict(payload.body) for payload in channel(**fields).render(content)]


def test_markdown_is_made_plain_or_passed_on() -> None:
    content = Content(text="**bold**")
    assert bodies(content) == [{"type": "message", "text": "bold", "format": "text"}]
    assert bodies(content, format="markdown") == [{"type": "message", "text": "**bold**", "format": "markdown"}]


def test_a_long_text_is_cut_where_staff_chose() -> None:
    found = bodies(Content(text="字" * 500), text_bytes=300)
    assert [len(body["text"].encode()) for body in found] == [300] * 5


def test_text_stands_before_files_and_an_ai_is_named() -> None:
    payloads = channel().render(Content(text="see", files=(PICTURE, PICTURE), ai=True))
    assert [payload.file for payload in payloads] == ["", "17", "17"]
    assert [payload.body["ai"] for payload in payloads] == [True] * 3


def test_people_are_mentioned_in_the_first_part() -> None:
    content = Content(text="a" * 300, data={"mentions": ["ann", "bob"]})
    first, second = bodies(content, text_bytes=200)
    assert first["mentions"] == [{"id": "ann"}, {"id": "bob"}]
    assert "mentions" not in second


@pytest.mark.parametrize(
    ("content", "field"),
    [
        (Content(), "text"),
        (Content(text=" \n"), "text"),
        (Content(kind="image", files=(PICTURE,)), "kind"),
        (Content(text="a", data={"mentions": "ann"}), "mentions"),
        (Content(text="a", data={"mentions": [1]}), "mentions"),
        (Content(files=(File("file", "a", "b", 0, "1"),)), "files"),
        (Content(files=(File("file", "a", "b", 20 * 1024 * 1024 + 1, "1"),)), "files"),
    ],
)
def test_what_cannot_be_sent_is_refused(content: Content, field: str) -> None:
    with pytest.raises(ContentRefused) as error:
        channel().render(content)
    assert (error.value.field, bool(str(error.value))) == (field, True)


def test_a_file_that_is_too_large_is_named_in_the_text() -> None:
    (body,) = bodies(Content(text="see", files=(File("file", "film.mp4", "video/mp4", 2**25, "1"),)))
    assert body["text"].startswith("see\n\n[film.mp4，32 MB")


# --- files that come


def download(handle: str, **fields: Any) -> Upload:
    return channel().download(MediaItem("file", handle, **fields))


def test_a_file_within_the_message_is_decoded() -> None:
    content = base64.b64encode(b"%PDF-1.7\n").decode()
    found = download(f"data:;base64,{content}", name="plan")
    assert (found.name, found.mime, found.content) == ("plan.pdf", "application/pdf", b"%PDF-1.7\n")


def test_a_file_is_fetched_from_its_address() -> None:
    with recorder() as platform:
        headers = (("Content-Type", "text/plain"), ("Content-Disposition", 'attachment; filename="a.txt"'))
        platform.will(Reply(b"words", 200, headers))
        found = channel(guarded=False).download(MediaItem("file", f"{platform.url}/f"))
    assert (found.name, found.mime, found.content) == ("a.txt", "text/plain", b"words")


def test_the_address_of_a_file_is_guarded_as_any_strangers() -> None:
    """What staff allow for the receiver is not allowed for addresses in messages."""
    with recorder() as platform:
        with pytest.raises(ChannelError) as error:
            download(f"{platform.url}/f")
        assert platform.requests == []
    assert error.value.code == "address_private"


def test_a_file_that_is_gone_says_so() -> None:
    with recorder() as platform:
        platform.will(Reply(b"{}", 404))
        with pytest.raises(ChannelError) as error:
            channel(guarded=False).download(MediaItem("file", f"{platform.url}/f"))
    assert error.value.code == "http_404"
