"""Each sentence that WeChat users read has a field on the form of every kind, and in the API; the fields of old bots moved there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.urls import reverse

from accounts.channels import build_channel
from accounts.forms import account_form
from channels_wechat import KINDS
from channels_wechat.contract.messages import Content, File
from channels_wechat.contract.sentences import SENTENCES
from tests.support import factories

if TYPE_CHECKING:
    from accounts.models import ChannelAccount

pytestmark = pytest.mark.django_db
MAKE = {
    "wecom_app": factories.app,
    "wecom_aibot": factories.bot,
    "wecom_robot": factories.robot,
    "wecom_kf": factories.kf,
    "official_account": factories.official,
    "mini_program": factories.mini,
    "wechaty": factories.wechaty,
    "webhook_account": factories.own_connection,
    "ilink": factories.ilink,
}


def filled(account: ChannelAccount, **more: str) -> Any:
    form = account_form(account.kind)
    stored = {name: value for name, value in account.credentials.items() if name not in form(instance=account).secrets}
    fields = {"name": account.name, "enabled": "on", "api_base_url": account.api_base_url}
    return form({**fields, **stored, **more}, instance=account)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_a_field_for_each_sentence(kind: str) -> None:
    form = filled(MAKE[kind]())
    for name, sentence in SENTENCES.items():
        assert form.fields[f"sentence_{name}"].widget.attrs.get("placeholder", "") == sentence.zh


@pytest.mark.parametrize("kind", KINDS)
def test_what_staff_write_is_said_and_an_empty_text_is_the_default(kind: str) -> None:
    form = filled(MAKE[kind](), sentence_failed="出错了", sentence_stopped="  ")
    assert form.is_valid(), form.errors
    assert form.instance.sentences == {"failed": "出错了"}
    assert form.instance.sentence("failed") == "出错了"
    assert form.instance.sentence("stopped") == SENTENCES["stopped"].zh


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_names_a_file_that_it_cannot_send_in_the_accounts_words(kind: str) -> None:
    account = MAKE[kind]()
    account.sentences = dict.fromkeys(("file_kind", "file_empty", "no_files"), "{name}?")
    content = Content("see", files=(File("file", "plan.pdf", "application/pdf", 0, "1"),))
    assert "plan.pdf?" in str(build_channel(account).render(content))


@pytest.mark.parametrize(
    "text", ["{nam} missing", "{} missing", "{0} missing", "{name missing", "{name.x}", "{name[x]}"]
)
def test_a_parameter_that_would_not_be_filled_in_is_refused(text: str) -> None:
    form = filled(factories.app(), sentence_file_missing=text)
    assert not form.is_valid()
    assert "Only {name} may stand in braces" in str(form.errors["sentence_file_missing"])


def test_the_page_saves_them(admin_client: Any) -> None:
    account = factories.app()
    url = reverse("admin:accounts_channelaccount_change", args=[account.pk])
    page = admin_client.get(url)
    assert SENTENCES["failed"].zh in page.content.decode()
    stored = {
        name: value
        for name, value in account.credentials.items()
        if name not in ("secret", "token", "encoding_aes_key")
    }
    fields = {"name": account.name, "api_base_url": account.api_base_url, "language": "en"}
    answer = admin_client.post(url, {**fields, **stored, "seats": "", "sentence_failed": "出错了"})
    assert answer.status_code == 302
    account.refresh_from_db()
    assert (account.language, account.sentences) == ("en", {"failed": "出错了"})
