"""A kind with two modes: what is entered chooses the class that speaks for the account."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django import forms

from accounts.channels import build_channel
from bridge.media import storage
from bridge.models.routes import why_not_mappable
from channels_wechat import KINDS, channel_class
from channels_wechat.contract.capabilities import Downloads
from channels_wechat.contract.channel import Channel, CredentialsForm
from channels_wechat.contract.messages import MediaItem, Upload
from tests.support.factories import account, hear

if TYPE_CHECKING:
    from collections.abc import Mapping

    from accounts.models import ChannelAccount
    from channels_wechat.contract.messages import Content, Outgoing, Payload, Receipt


class ToyCredentials(CredentialsForm):
    name = forms.CharField()
    mode = forms.ChoiceField(choices=[("quiet", "quiet"), ("files", "files")])


class Toy(Channel):
    """Says nothing and hears nothing."""

    kind = "toy"
    label = "Toy"
    Credentials = ToyCredentials

    @classmethod
    def mode_class(cls, credentials: Mapping[str, Any]) -> type[Channel]:
        return ToyWithFiles if credentials["mode"] == "files" else cls

    @classmethod
    def external_id(cls, credentials: Mapping[str, Any]) -> str:
        return str(credentials["name"])

    def render(self, content: Content) -> list[Payload]:
        return []

    def send(self, outgoing: Outgoing) -> Receipt:
        raise NotImplementedError


class ToyWithFiles(Toy, Downloads):
    """Opens each file with the key that came with it."""

    receives_from = frozenset({"group"})

    def download(self, item: MediaItem) -> Upload:
        return Upload(item.kind, "a.txt", "text/plain", f"{item.handle} opened with {item.key}".encode())


@pytest.fixture(autouse=True)
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KINDS, "toy", f"{__name__}.Toy")


def made(mode: str) -> ChannelAccount:
    return account("toy", {"name": mode, "mode": mode}, name=f"Toy {mode}", api_base_url="")


def test_a_kind_without_modes_is_one_class() -> None:
    assert channel_class("wecom_app", {"corp_id": "ww1"}) is channel_class("wecom_app")


@pytest.mark.django_db
def test_the_credentials_choose_the_class_and_what_it_hears() -> None:
    quiet, files = made("quiet"), made("files")
    assert (type(build_channel(quiet)), type(build_channel(files))) == (Toy, ToyWithFiles)
    assert why_not_mappable(files, "group") == ""
    assert "receives messages from: nothing" in why_not_mappable(quiet, "group")
    assert "receives messages from: nothing" in why_not_mappable(quiet, "")


@pytest.mark.django_db
def test_a_file_is_fetched_with_the_key_of_its_own() -> None:
    row = hear(made("files"), group="g", media=(MediaItem("file", "M1", key="its key"),)).attachments.get()
    for claimed in storage.claim_files(10):
        storage.fetch_file(claimed)
    assert storage.read_attachment(row.pk).content == b"M1 opened with its key"
