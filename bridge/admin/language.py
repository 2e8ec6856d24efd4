"""The switch in the menu and on the login page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.views.decorators.http import require_POST
from django.views.i18n import set_language

from bridge.ui import language

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponseBase


@require_POST
def choose_language(request: HttpRequest) -> HttpResponseBase:
    """Take `language` for this browser and, of a person who is logged in, for every other; go back to the page `next`."""
    chosen = request.POST.get("language", "")
    if chosen in language.LANGUAGES:
        language.choose(request, chosen)
    return set_language(request)
