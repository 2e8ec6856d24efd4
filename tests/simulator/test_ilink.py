"""iLink as the simulator plays it: the login in every state, messages behind a cursor, the window, files, and a lost login."""

from __future__ import annotations

import hashlib
import threading
from typing import TYPE_CHECKING, Any

import pytest
import requests

from channels_wechat.simulator import RunningSimulator, SimulatorError
from tests.simulator.ilink_client import IlinkClient

if TYPE_CHECKING:
    from collections.abc import Iterator

    from channels_wechat.simulator import SimulatorClient

ANN, BOB = "ann@im.wechat", "bob@im.wechat"
FILE = bytes(range(256)) * 50 + b"end"


@pytest.fixture
def people() -> Iterator[SimulatorClient]:
    with RunningSimulator() as simulator:
        simulator.client.settings(ilink_hold_seconds=0.3)
        simulator.client.ilink_person(ANN, "Ann")
        simulator.client.ilink_person(BOB, "Bob")
        yield simulator.client


@pytest.fixture
def bot(people: SimulatorClient) -> IlinkClient:
    return IlinkClient(people.url, people.log_in_ilink(ANN)["bot_token"])


def shown(people: SimulatorClient, person: str = ANN) -> list[dict[str, Any]]:
    """What the bot said to the person."""
    return [entry for entry in people.transcript(f"ilink:{person}:{person}") if entry["who"].startswith("ilink:")]


def violations(people: SimulatorClient) -> list[str]:
    return [one["what"] for one in people.record()["violations"]]


# --- the login


def test_a_code_is_scanned_and_confirmed(people: SimulatorClient) -> None:
    client = IlinkClient(people.url)
    code = client.make_code()
    assert code["qrcode_img_content"].startswith(people.url)
    assert client.status(code["qrcode"])["status"] == "wait"
    people.scan_ilink(code["qrcode"], "scan", ANN)
    assert client.status(code["qrcode"])["status"] == "scaned"
    people.scan_ilink(code["qrcode"])
    found = client.status(code["qrcode"])
    assert (found["status"], found["ilink_user_id"], found["baseurl"]) == ("confirmed", ANN, people.url)
    assert found["ilink_bot_id"].endswith("@im.bot")
    assert IlinkClient(people.url, found["bot_token"]).poll() == []
    (listed,) = people.ilink_scans()
    assert (listed["status"], listed["from"], listed["bot"]) == ("confirmed", ANN, found["ilink_bot_id"])
    assert found["bot_token"] not in str(people.call("GET", "directory"))


def test_a_question_is_held_until_the_state_changes(people: SimulatorClient) -> None:
    people.settings(ilink_hold_seconds=20)
    client = IlinkClient(people.url)
    code = client.make_code()["qrcode"]
    assert client.status(code)["status"] == "wait"
    timer = threading.Timer(0.2, lambda: people.scan_ilink(code, "scan", ANN))
    timer.start()
    assert client.status(code)["status"] == "scaned"
    timer.join()


def test_a_number_is_typed(people: SimulatorClient) -> None:
    client = IlinkClient(people.url)
    code = client.make_code()["qrcode"]
    number = people.scan_ilink(code, "ask", ANN)["number"]
    assert client.status(code)["status"] == "need_verifycode"
    with pytest.raises(SimulatorError, match="not typed"):
        people.scan_ilink(code)
    assert client.status(code, verify_code="0")["status"] == "need_verifycode"
    assert client.status(code, verify_code=number)["status"] == "scaned"
    people.scan_ilink(code)
    assert client.status(code)["status"] == "confirmed"


def test_three_wrong_numbers_end_it(people: SimulatorClient) -> None:
    client = IlinkClient(people.url)
    code = client.make_code()["qrcode"]
    people.scan_ilink(code, "ask", ANN, number="42")
    found = [client.status(code, verify_code="0")["status"] for _ in range(3)]
    assert found == ["need_verifycode", "need_verifycode", "verify_code_blocked"]
    with pytest.raises(SimulatorError, match="blocked"):
        people.scan_ilink(code)


def test_a_login_can_go_on_at_another_host(people: SimulatorClient) -> None:
    client = IlinkClient(people.url)
    code = client.make_code()["qrcode"]
    people.scan_ilink(code, "redirect", ANN)
    assert client.status(code) == {
        "ret": 0,
        "status": "scaned_but_redirect",
        "redirect_host": people.url.removeprefix("http://"),
    }
    assert client.status(code)["status"] == "scaned"
    people.scan_ilink(code)
    assert client.status(code)["status"] == "confirmed"


def test_who_is_bound_here_already_gets_no_new_login(people: SimulatorClient, bot: IlinkClient) -> None:
    code = bot.make_code(bot.token)["qrcode"]
    people.scan_ilink(code, from_=ANN)
    assert bot.status(code) == {"ret": 0, "status": "binded_redirect"}
    assert bot.poll() == []


def test_a_code_expires(people: SimulatorClient) -> None:
    client = IlinkClient(people.url)
    first, second = client.make_code()["qrcode"], client.make_code()["qrcode"]
    people.scan_ilink(first, "expire")
    people.advance(301)
    assert [client.status(code)["status"] for code in (first, second)] == ["expired", "expired"]
    with pytest.raises(SimulatorError, match="expired"):
        people.scan_ilink(second, from_=ANN)
    assert client.status("unknown")["ret"] == -1


def test_the_codes_page_is_a_phone(people: SimulatorClient) -> None:
    client = IlinkClient(people.url)
    code = client.make_code()
    page = requests.get(code["qrcode_img_content"], timeout=10)
    assert ("Ann" in page.text, "Confirm" in page.text) == (True, True)
    requests.post(code["qrcode_img_content"], data={"how": "confirm", "from": BOB}, timeout=10).raise_for_status()
    assert client.status(code["qrcode"])["ilink_user_id"] == BOB
    assert requests.post(code["qrcode_img_content"], data={"how": "x"}, timeout=10).status_code == 400
    assert requests.get(f"{people.url}/ilink/phone?qrcode=x", timeout=10).status_code == 404


@pytest.mark.parametrize(("how", "from_", "why"), [("tap", ANN, "how"), ("scan", "eve@im.wechat", "person")])
def test_a_wrong_scan_is_refused(people: SimulatorClient, how: str, from_: str, why: str) -> None:
    code = IlinkClient(people.url).make_code()["qrcode"]
    with pytest.raises(SimulatorError, match=why):
        people.scan_ilink(code, how, from_)
    with pytest.raises(SimulatorError, match="no such qrcode"):
        people.scan_ilink("unknown")


def test_a_second_login_ends_the_first(people: SimulatorClient, bot: IlinkClient) -> None:
    people.settings(ilink_hold_seconds=20)
    timer = threading.Timer(0.2, lambda: people.log_in_ilink(ANN))
    timer.start()
    assert bot.post("getupdates", {"get_updates_buf": ""})["errcode"] == -14
    timer.join()
    for path in ("getconfig", "sendmessage", "getuploadurl", "msg/notifystart"):
        assert bot.post(path, {})["ret"] == -14
    assert IlinkClient(people.url, "never").post("getupdates", {})["ret"] == -14


# --- messages


def test_what_people_write_stands_behind_the_cursor(people: SimulatorClient, bot: IlinkClient) -> None:
    first, second = (people.say(text, ilink=ANN) for text in ("one", "two"))
    found = bot.poll()
    assert [message["item_list"][0]["text_item"]["text"] for message in found] == ["one", "two"]
    assert [str(message["message_id"]) for message in found] == [first["id"], second["id"]]
    assert found[0]["message_id"] > 2**53
    assert (found[0]["from_user_id"], found[0]["message_type"]) == (ANN, 1)
    assert bot.poll() == []
    bot.cursor = ""
    assert len(bot.poll()) == 2
    bot.cursor = "bm9uc2Vuc2U="
    assert len(bot.poll()) == 2


def test_an_answer_comes_in_pages(people: SimulatorClient, bot: IlinkClient) -> None:
    people.settings(ilink_page=2)
    people.say_many([{"ilink": ANN, "text": str(number)} for number in range(5)])
    assert [len(bot.poll()) for _ in range(3)] == [2, 2, 1]


def test_a_question_for_messages_is_held(people: SimulatorClient, bot: IlinkClient) -> None:
    people.settings(ilink_hold_seconds=20)
    timer = threading.Timer(0.2, lambda: people.say("hello", ilink=ANN))
    timer.start()
    assert len(bot.poll()) == 1
    timer.join()


def test_a_person_reads_what_is_sent_with_their_newest_token(people: SimulatorClient, bot: IlinkClient) -> None:
    people.say("one", ilink=ANN)
    people.say("two", ilink=ANN)
    old, new = (message["context_token"] for message in bot.poll())
    answer = bot.send(ANN, new, "hello")
    assert (answer["ret"], answer["message_id"] > 2**53) == (0, True)
    assert [(entry["kind"], entry["text"]) for entry in shown(people)] == [("text", "hello")]
    assert violations(people) == []
    assert bot.send(ANN, old, "old")["ret"] == 0
    assert violations(people) == ["old_context_token"]
    assert bot.send(ANN, "made up", "x")["ret"] == -1
    assert bot.send("eve@im.wechat", new, "x")["ret"] == -1


def test_ten_messages_within_a_day(people: SimulatorClient, bot: IlinkClient) -> None:
    assert bot.send(ANN, "", "unasked")["ret"] == -2
    people.say("hello", ilink=ANN)
    (context,) = (message["context_token"] for message in bot.poll())
    assert [bot.send(ANN, context, str(number))["ret"] for number in range(11)] == [0] * 10 + [-2]
    assert people.ilink_standing(ANN)["left"] == 0
    people.say("again", ilink=ANN)
    (context,) = (message["context_token"] for message in bot.poll())
    people.advance(86401)
    assert bot.send(ANN, context, "late")["ret"] == -2
    assert len(shown(people)) == 10


@pytest.mark.parametrize(
    "fields",
    [{"item_list": []}, {"item_list": [{}]}, {"message_type": 1}, {"message_state": 0}, {"from_user_id": "x"}],
)
def test_what_is_no_message_is_refused(people: SimulatorClient, bot: IlinkClient, fields: dict[str, Any]) -> None:
    people.say("hello", ilink=ANN)
    (context,) = (message["context_token"] for message in bot.poll())
    assert bot.send(ANN, context, "x", **fields)["ret"] == -1
    assert shown(people) == []


@pytest.mark.parametrize(
    "headers",
    [{"X-WECHAT-UIN": "NDI="}, {"X-WECHAT-UIN": "abc"}, {"iLink-App-Id": "app"}, {"AuthorizationType": "x"}],
)
def test_headers_that_are_not_the_protocols_are_noted(
    people: SimulatorClient, bot: IlinkClient, headers: dict[str, str]
) -> None:
    for _ in range(2):
        assert bot.post("msg/notifystart", {}, **headers)["ret"] == 0
    assert len(violations(people)) in (1, 2)


# --- files


@pytest.mark.parametrize("kind", ["image", "file", "video", "voice"])
def test_a_file_of_a_person_can_be_fetched_and_decrypted(people: SimulatorClient, bot: IlinkClient, kind: str) -> None:
    people.say(ilink=ANN, kind=kind, data=FILE, name="a.bin")
    (message,) = bot.poll()
    content = message["item_list"][0][f"{kind}_item"]
    found = bot.fetch(content["media"])
    assert hashlib.sha256(found).digest() == hashlib.sha256(FILE).digest()
    assert (content.get("file_name"), "aeskey" in content) == ("a.bin" if kind == "file" else None, kind == "image")
    (entry,) = people.transcript(f"ilink:{ANN}:{ANN}")
    assert requests.get(people.url + entry["data"]["media"][0]["url"], timeout=10).content == FILE


def test_a_phone_decrypts_what_it_is_sent(people: SimulatorClient, bot: IlinkClient) -> None:
    people.say("hello", ilink=ANN)
    (context,) = (message["context_token"] for message in bot.poll())
    item = {"type": 4, "file_item": {"media": bot.upload(FILE, ANN), "file_name": "a.bin", "len": str(len(FILE))}}
    assert bot.send(ANN, context, item)["ret"] == 0
    (entry,) = shown(people)
    (file,) = entry["data"]["media"]
    assert (entry["kind"], file["name"], file["size"]) == ("file", "a.bin", len(FILE))
    seen = requests.get(people.url + file["url"], timeout=10).content
    assert hashlib.sha256(seen).digest() == hashlib.sha256(FILE).digest()
    assert violations(people) == []


def test_a_wrong_key_shows_nothing_and_is_noted(people: SimulatorClient, bot: IlinkClient) -> None:
    people.say("hello", ilink=ANN)
    (context,) = (message["context_token"] for message in bot.poll())
    media = {**bot.upload(FILE, ANN), "aes_key": "MTExMTExMTExMTExMTExMQ=="}
    bot.send(ANN, context, {"type": 2, "image_item": {"media": media, "mid_size": 1}})
    assert violations(people) == ["cannot_be_decrypted"]
    assert "media" not in shown(people)[0]["data"]
    assert bot.send(ANN, context, {"type": 2, "image_item": {"media": {"encrypt_query_param": "x"}}})["ret"] == -1


@pytest.mark.parametrize(
    "fields", [{"filesize": 3}, {"rawsize": 0}, {"media_type": 9}, {"filekey": "short"}, {"rawsize": "5"}]
)
def test_a_file_that_is_described_wrong_gets_no_address(bot: IlinkClient, fields: dict[str, Any]) -> None:
    assert bot.describe(FILE, b"0" * 16, ANN, **fields)["ret"] == -1


def test_the_storage_takes_only_what_was_described(people: SimulatorClient, bot: IlinkClient) -> None:
    address = bot.describe(FILE, b"0" * 16, ANN)["upload_full_url"]
    assert requests.post(address, data=b"x", timeout=10).status_code == 400
    assert requests.post(address + "x", data=b"x", timeout=10).status_code == 403
    assert requests.get(f"{people.url}/c2c/download?encrypted_query_param=x", timeout=10).status_code == 404
    other = bot.describe(FILE, b"0" * 16, ANN, rawfilemd5="0" * 32)["upload_full_url"]
    requests.post(other, data=b"\0" * ((len(FILE) // 16 + 1) * 16), timeout=10).raise_for_status()
    assert violations(people) == ["cannot_be_decrypted"]


# --- the sign, quotes, faults


def test_the_sign_needs_its_ticket(people: SimulatorClient, bot: IlinkClient) -> None:
    ticket = bot.post("getconfig", {"ilink_user_id": ANN, "context_token": ""})["typing_ticket"]
    sign = {"ilink_user_id": ANN, "typing_ticket": ticket, "status": 1}
    assert bot.post("sendtyping", sign)["ret"] == 0
    assert people.ilink_standing(ANN)["typing"]
    assert bot.post("sendtyping", {**sign, "status": 2})["ret"] == 0
    assert not people.ilink_standing(ANN)["typing"]
    assert bot.post("sendtyping", {**sign, "typing_ticket": "x"})["ret"] == -1


def test_quotes_voice_and_anything_else(people: SimulatorClient, bot: IlinkClient) -> None:
    said = people.say("one", ilink=ANN)
    people.say("this?", ilink=ANN, quote={"id": said["id"]})
    people.say("that?", ilink=ANN, quote={"text": "one"})
    people.say("说的话", ilink=ANN, kind="voice", data=b"#!SILK_V3")
    people.ilink_raw(ANN, message_type=2, item_list=[{"type": 99}])
    _one, by_id, whole, voice, other = (message["item_list"][0] for message in bot.poll())
    assert by_id["ref_msg"] == {"svr_id": int(said["id"])}
    assert whole["ref_msg"]["message_item"]["text_item"] == {"text": "one"}
    assert voice["voice_item"]["text"] == "说的话"
    assert other == {"type": 99}
    with pytest.raises(SimulatorError, match="kind"):
        people.say(ilink=ANN, kind="poll")
    with pytest.raises(SimulatorError, match="not scanned"):
        people.say("hello", ilink=BOB)


def test_a_fault_meets_one_path(people: SimulatorClient, bot: IlinkClient) -> None:
    people.fault("ilink/sendmessage", "errcode", errcode=-1, errmsg="busy")
    assert bot.send(ANN, "", "x")["ret"] == -1
    people.fault("c2c/download", "html", status=502)
    assert requests.get(f"{people.url}/c2c/download", timeout=10).status_code == 502
    assert {call["path"] for call in people.calls()} == {"ilink/sendmessage", "c2c/download"}
    assert bot.token not in str(people.calls())
