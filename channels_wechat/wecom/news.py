"""News messages (page 90236): one to eight articles, checked before they are stored rather than when they are sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.utils.translation import gettext as _

from channels_wechat.contract.errors import ContentRefused
from channels_wechat.contract.field_limits import Part, check, elements

if TYPE_CHECKING:
    from collections.abc import Mapping

NEWS = (
    Part("title", 128, required=True),
    Part("description", 512),
    Part("url", 2048, url=True),
    Part("picurl", url=True),
)


def articles(data: Mapping[str, Any], parts: tuple[Part, ...]) -> list[tuple[str, Mapping[str, Any]]]:
    """The articles with their places in words. Raises ContentRefused."""
    found = elements(data, "articles", 8)
    if not found:
        raise ContentRefused("articles", _("A news message has one to eight articles."))
    for place, article in found:
        check(article, parts, place)
    return found
