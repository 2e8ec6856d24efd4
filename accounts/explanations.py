"""Explains the codes of an account's errors: those of its kind, and our own ones of its tokens."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from django.utils.module_loading import import_string
from django.utils.translation import gettext_lazy as _

from channels_wechat import KINDS, UNREGISTERED
from channels_wechat.contract.errors import Explanations
from channels_wechat.contract.explanations import Action, Explanation

if TYPE_CHECKING:
    from channels_wechat.contract.explanations import Table

TOKENS = Explanations(
    {
        "token_unfinished": Explanation(
            Action.RETRY, _("Another process is fetching the access token and does not finish.")
        )
    }
)


@cache
def explanations_of(kind: str) -> Table:
    """kind: also one that is not registered any more."""
    return {**TOKENS, **import_string(KINDS.get(kind, UNREGISTERED)).explanations}
