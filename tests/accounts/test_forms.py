"""The form of an account: what it leaves as it is, asks for anew, and never shows."""

from __future__ import annotations

import pytest
from django import forms

from accounts.forms import account_form, wrong_parameters
from channels_wechat import KINDS, channel_class
from channels_wechat.contract.sentences import CHINESE, SENTENCES, parameters_of
from tests.accounts.test_sentences import MAKE, filled

pytestmark = pytest.mark.django_db
ELSEWHERE = "https://elsewhere.example"


def test_a_form_that_does_not_name_it_leaves_it_as_it_is() -> None:
    account = MAKE["wecom_app"](columns={"gateway_share": 40, "language": "en"})
    form = filled(account)
    assert form.is_valid(), form.errors
    assert (form.cleaned_data["gateway_share"], form.cleaned_data["language"]) == (40, "en")
    form = filled(account, gateway_share="1", language=CHINESE)
    assert form.is_valid(), form.errors
    assert (form.cleaned_data["gateway_share"], form.cleaned_data["language"]) == (1, CHINESE)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scope", ["", "in", "out", "both"])
def test_only_kinds_with_a_content_check_take_one(kind: str, scope: str) -> None:
    form = filled(MAKE[kind](), moderation_scope=scope)
    is_right = not scope or kind == "mini_program"
    assert form.is_valid() is is_right
    assert list(form.errors) == ([] if is_right else ["moderation_scope"])


def test_braces_mean_something_only_in_a_sentence_with_parameters() -> None:
    for name in SENTENCES:
        allowed = parameters_of(name)
        assert bool(wrong_parameters(name, "{unheard_of}")) is bool(allowed)
        assert wrong_parameters(name, "") == ""
        assert wrong_parameters(name, " ".join(f"{{{each}}}" for each in allowed)) == ""


@pytest.mark.parametrize(
    ("kind", "sent"),
    [
        ("wecom_app", ["secret"]),
        ("official_account", ["app_secret"]),
        ("mini_program", ["app_secret"]),
        ("wecom_robot", ["robot_key"]),
        ("wecom_kf", ["secret"]),
        ("wechaty", ["token"]),
        ("ilink", ["bot_token"]),
        ("wecom_aibot", []),  # its secret goes to no API
    ],
)
def test_no_address_is_the_platforms_own(kind: str, sent: list[str]) -> None:
    account = MAKE[kind]()
    usual = channel_class(kind).default_api_base_url

    def asked_again(before: str, after: str) -> list[str]:
        account.api_base_url = before
        form = filled(account, api_base_url=after)
        return [name for name, said in form.errors.items() if "enter this again" in str(said)]

    for before, after in (("", usual), (usual, ""), ("", ""), (ELSEWHERE, ELSEWHERE)):
        assert asked_again(before, after) == []
    for before, after in (("", ELSEWHERE), (usual, ELSEWHERE), (ELSEWHERE, ""), (ELSEWHERE, usual)):
        assert asked_again(before, after) == sent


@pytest.mark.parametrize("kind", KINDS)
def test_no_secret_is_shown_or_filled_in_by_a_browser(kind: str) -> None:
    account = MAKE[kind]()
    form = account_form(kind)(instance=account)
    for name in form.credential_names:
        widget = form.fields[name].widget
        assert isinstance(widget, forms.PasswordInput) is (name in form.secrets)
        shown = str(form[name])
        if name in form.secrets:
            assert 'autocomplete="new-password"' in shown
            assert f'value="{account.credentials[name]}"' not in shown
            assert form.fields[name].required is not bool(account.credentials[name]) or not account.credentials[name]
