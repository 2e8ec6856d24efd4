"""Stores a failed login: the name, the address, how often and when; neither the browser's name nor the form that was sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from axes.handlers.database import AxesDatabaseHandler

if TYPE_CHECKING:
    from django.http import HttpRequest


class Failures(AxesDatabaseHandler):  # type: ignore[misc]
    """The AXES_HANDLER of the settings. Without it a stranger who tries ever new names could write some kilobytes for each."""

    def user_login_failed(
        self, sender: Any, credentials: dict[str, Any], request: HttpRequest | None = None, **kwargs: Any
    ) -> None:
        if request is None:
            super().user_login_failed(sender, credentials, request, **kwargs)
            return
        bare: Any = _Bare(request)
        super().user_login_failed(sender, credentials, bare, **kwargs)


class _Bare:
    """A view of the request without its form and query. An attribute that axes sets here is set on the request."""

    GET: dict[str, str] = {}  # noqa: RUF012 - never changed
    POST: dict[str, str] = {}  # noqa: RUF012
    axes_user_agent = axes_http_accept = axes_path_info = ""

    def __init__(self, request: HttpRequest) -> None:
        object.__setattr__(self, "request", request)

    def __getattr__(self, name: str) -> Any:
        return getattr(object.__getattribute__(self, "request"), name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(object.__getattribute__(self, "request"), name, value)
