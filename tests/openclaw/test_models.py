"""The row of a gateway: its limits, its states, and what it forgets with its address."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.exceptions import ValidationError

from accounts.health import Health
from openclaw.models import Gateway
from tests.support.factories import NOWHERE, gateway

pytestmark = pytest.mark.django_db
ELSEWHERE = "http://127.0.0.1:10"
LEARNED = {"device_key": "PEM", "device_token": "device", "boot_id": "boot", "version": "2026.9.6"}


def learned(found: Gateway) -> dict[str, str]:
    return {name: getattr(found, name) for name in LEARNED}


@pytest.mark.parametrize("update_fields", [None, ["base_url", "updated_at"]])
def test_at_another_address_it_forgets_what_the_one_before_gave(update_fields: Any) -> None:
    gateway(**LEARNED)
    found = Gateway.objects.get()
    found.base_url = f"{NOWHERE}/path"  # of the same gateway
    found.save(update_fields=update_fields)
    assert learned(Gateway.objects.get()) == LEARNED
    found.base_url = ELSEWHERE
    found.save(update_fields=update_fields)
    assert learned(Gateway.objects.get()) == dict.fromkeys(LEARNED, "")
    # What is learned there is kept, by this object too.
    for name, value in LEARNED.items():
        setattr(found, name, value)
    found.save()
    assert learned(Gateway.objects.get()) == LEARNED


def test_a_state_is_written_when_any_of_it_differs() -> None:
    home, other = gateway(), gateway()
    assert home.set_state(Health.FAILING, "unreachable", {"detail": "no answer"})
    since = Gateway.objects.get(pk=home.pk).state_since
    assert not home.set_state(Health.FAILING, "unreachable", {"detail": "no answer"})
    assert Gateway.objects.get(pk=home.pk).state_since == since
    assert home.set_state(Health.FAILING, "draining", {"detail": "no answer"})
    assert home.set_state(Health.FAILING, "draining", {"detail": "it restarts"})
    assert home.set_state(Health.OK, "draining", {"detail": "it restarts"})
    found = Gateway.objects.get(pk=home.pk)
    assert (found.state, found.state_code, found.state_reason, found.state_since > since) == (
        Health.OK, "draining", home.state_reason, True,
    )  # fmt: skip
    assert found.state_params == {"detail": "it restarts"}
    assert Gateway.objects.get(pk=other.pk).state == Health.NEW


def test_only_staff_lead_out_of_stopped_and_only_out_of_it() -> None:
    stopped, works = gateway(), gateway()
    stopped.set_state(Health.STOPPED, "bad_token", {"detail": "no"})
    works.set_state(Health.OK)
    for state in (Health.OK, Health.FAILING, Health.NEW):
        assert not stopped.set_state(state)
    for each in (stopped, works):
        each.revive()
    found = Gateway.objects.get(pk=stopped.pk)
    assert (found.state, found.state_code, found.state_reason) == (Health.NEW, "", "")
    assert Gateway.objects.get(pk=works.pk).state == Health.OK


@pytest.mark.parametrize(("name", "least", "most"), [("timeout_seconds", 5, 24 * 3600), ("max_in_flight", 1, 2000)])
def test_a_number_lies_between_its_ends(name: str, least: int, most: int) -> None:
    home = gateway()
    for value, is_right in ((least - 1, False), (least, True), (most, True), (most + 1, False)):
        setattr(home, name, value)
        if is_right:
            home.clean_fields()
            continue
        with pytest.raises(ValidationError) as caught:
            home.clean_fields()
        assert list(caught.value.message_dict) == [name]


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (f"{NOWHERE}/", NOWHERE),
        (f"{NOWHERE}//", NOWHERE),
        (f"\u200b{NOWHERE}/path/ ", f"{NOWHERE}/path"),
        (NOWHERE, NOWHERE),
    ],
)
def test_an_address_is_stored_without_a_slash_at_its_end(given: str, kept: str) -> None:
    home = Gateway(name="home", base_url=given)
    home.clean()
    assert home.base_url == kept


def test_a_name_is_compared_where_it_is_a_new_one() -> None:
    first, second = gateway(), gateway()
    first.name = f" {second.name.upper()} "
    with pytest.raises(ValidationError, match=f"with this name already: “{second.name}”"):
        first.clean()
    with pytest.raises(ValidationError, match="with this name already"):
        Gateway(name=second.name, base_url=NOWHERE).clean()
    Gateway.objects.filter(pk=first.pk).update(name=second.name.upper())  # of before names were compared
    old = Gateway.objects.get(pk=first.pk)
    old.clean()
    old.name = " Another  one "
    old.clean()
    assert old.name == "Another one"
    with pytest.raises(ValidationError):
        Gateway(name="\u200b", base_url=NOWHERE).clean()


@pytest.mark.parametrize(
    ("token", "address", "needed"),
    [("t", ELSEWHERE, True), ("t", f"{NOWHERE}/path", False), ("", ELSEWHERE, False), ("t", NOWHERE, False)],
)
def test_only_a_stored_token_is_asked_for_anew_and_only_for_another_host(
    token: str, address: str, needed: bool
) -> None:
    assert gateway(token=token).needs_token_for(address) is needed
    assert not Gateway(base_url=NOWHERE, token="t").needs_token_for(ELSEWHERE)  # noqa: S106  # not a secret
