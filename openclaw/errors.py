"""The errors of a connection to an OpenClaw gateway, and what to do about each.

One table says, for every named error, what the owner of the connection does next, why it happened and what staff do.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from django.utils.translation import gettext_lazy as _

from channels_wechat.contract.explanations import Action, Cause, Explanation, explain, render_param
from channels_wechat.contract.text import hide
from channels_wechat.wire.errors import WIRE

if TYPE_CHECKING:
    from django_stubs_ext import StrPromise

DETAIL_LIMIT: Final = 500
"""Characters of `detail` that are kept: enough for the gateway's own message, and not too many for a line of the log."""


LONGEST_WAIT: Final = 24 * 3600.0
"""Seconds. A gateway that asks for a longer wait is asked again after this, because a wrong number must not stop it for years."""
_REQUEST_ID: Final = re.compile(r"[\w-]{1,100}", re.ASCII)
"""Only these characters, because staff paste the id into a shell on the gateway's host."""


SCAN_LIMIT: Final = 2 * DETAIL_LIMIT
"""Characters that are searched: to search a megabyte with a pattern would delay the turns of every gateway."""


class Code(StrEnum):
    ANSWER_TOO_LARGE = "answer_too_large"
    ANSWER_UNKNOWN = "answer_unknown"
    BAD_TOKEN = "bad_token"  # noqa: S105 - the name of an error
    BAD_URL = "bad_url"
    CONNECTION_LOST = "connection_lost"
    DRAINING = "draining"
    FORBIDDEN_ADDRESS = "forbidden_address"
    HTTP_DISABLED = "http_disabled"
    INVALID_REQUEST = "invalid_request"
    LOCKED_OUT = "locked_out"
    MEDIA_GONE = "media_gone"
    MISSING_SCOPE = "missing_scope"
    NOT_A_GATEWAY = "not_a_gateway"
    NOT_ANSWERED = "not_answered"
    PAIRING_REQUIRED = "pairing_required"
    PROTOCOL_MISMATCH = "protocol_mismatch"
    REDIRECTED = "redirected"
    RUN_ABORTED = "run_aborted"
    RUN_FAILED = "run_failed"
    RUN_NOT_STARTED = "run_not_started"
    STARTING = "starting"
    TIMEOUT = "timeout"
    TOO_LARGE = "too_large"
    UNAVAILABLE = "unavailable"
    UNKNOWN_AGENT = "unknown_agent"
    UNREACHABLE = "unreachable"
    UNREADABLE = "unreadable"


class ConnectionFailure(StrEnum):
    """Why a connection could not be opened, or broke, where the error of the network says it."""

    CLOSED = "closed"
    NO_ANSWER = "no_answer"
    NO_ROUTE = "no_route"
    NOT_SECURE = "not_secure"
    OTHER_PROTOCOL = "other_protocol"
    REFUSED = "refused"
    UNKNOWN_HOST = "unknown_host"


def _failure(words: StrPromise) -> Explanation:
    return Explanation(Action.UNKNOWN, words, shows_code=False)


EXPLANATIONS: Final[dict[str, Explanation]] = {
    Code.ANSWER_TOO_LARGE: Explanation(
        Action.PERMANENT,
        _("What came is larger than any answer of a gateway, so the bridge stopped reading."),
        _("Check that host and port are those of an OpenClaw gateway."),
    ),
    Code.ANSWER_UNKNOWN: Explanation(
        Action.PERMANENT,
        _("The connection was lost, and this version of the gateway does not say what became of the turn."),
        _("Look at the conversation in OpenClaw, then replay the message if it was not answered; newer gateways tell."),
    ),
    Code.BAD_TOKEN: Explanation(
        Action.CONFIG,
        _("The gateway refused the token."),
        _("Enter the token from gateway.auth.token in openclaw.json and press Test."),
    ),
    Code.BAD_URL: Explanation(
        Action.CONFIG,
        _("The base URL cannot be used."),
        _("Enter it as http://host:port or https://host on the gateway's page."),
    ),
    Code.CONNECTION_LOST: Explanation(
        Action.UNKNOWN,
        _(
            "The connection to the gateway ended before the answer came. The bridge connects again and looks in the "
            "gateway's history for the answer; nothing needs to be done."
        ),
    ),
    Code.DRAINING: Explanation(
        Action.WAIT, _("The gateway is shutting down or restarting. The bridge connects again when it is back.")
    ),
    Code.FORBIDDEN_ADDRESS: Explanation(
        Action.CONFIG,
        _("The bridge does not call this address; the detail says why."),
        _("Enter another one on the gateway's page, or name host and port in the setting."),
    ),
    Code.HTTP_DISABLED: Explanation(
        Action.CONFIG,
        _("The gateway does not offer the HTTP chat endpoint."),
        _(
            "Set gateway.http.endpoints.chatCompletions.enabled to true in openclaw.json and restart the gateway, or "
            "choose the WebSocket transport."
        ),
    ),
    Code.INVALID_REQUEST: Explanation(
        Action.PERMANENT,
        _("The gateway did not accept this request; the detail holds its reason."),
        _("If it repeats, compare the gateway's version with the versions named in docs/connect/openclaw.md."),
    ),
    Code.LOCKED_OUT: Explanation(
        Action.WAIT,
        _("The gateway blocks this address after too many wrong tokens, even with the right one."),
        _("Check the token, then wait for the time shown; nothing is sent before."),
    ),
    Code.MEDIA_GONE: Explanation(
        Action.PERMANENT, _("The gateway no longer has this file."), _("Ask the agent to make it again.")
    ),
    Code.MISSING_SCOPE: Explanation(
        Action.CONFIG,
        _(
            "The gateway let the bridge in without the right to use agents. It runs on another host and does not know "
            "this bridge."
        ),
        _("Make a device key on the gateway's page and approve it on the gateway's host."),
    ),
    Code.NOT_A_GATEWAY: Explanation(
        Action.CONFIG,
        _(
            "Something answered at the base URL, but it is not an OpenClaw gateway (or a proxy before it refuses "
            "WebSockets)."
        ),
        _("Check host and port; the gateway's default port is 18789."),
    ),
    Code.NOT_ANSWERED: Explanation(Action.RETRY, _("The lost run gave no answer; asked anew.")),
    Code.PAIRING_REQUIRED: Explanation(
        Action.CONFIG,
        _("The gateway does not know this bridge's device key yet."),
        _("Run “%(command)s” on the gateway's host, then press Test."),
    ),
    Code.PROTOCOL_MISMATCH: Explanation(
        Action.CONFIG,
        _("The gateway speaks another version of the protocol."),
        _("Update the gateway or this bridge; docs/connect/openclaw.md names the versions that work together."),
    ),
    Code.REDIRECTED: Explanation(
        Action.CONFIG,
        _(
            "The base URL answers with a redirect, which is not followed: token and messages go only to the address that "
            "staff entered."
        ),
        _("Enter the address it leads to, if that is right."),
    ),
    Code.RUN_ABORTED: Explanation(
        Action.PERMANENT,
        _("The turn was stopped before the agent had answered."),
        _("Replay the message to ask again."),
    ),
    Code.RUN_FAILED: Explanation(
        Action.RETRY,
        _("The agent's run failed at the gateway, most often because the model did not answer."),
        _("The detail holds the gateway's reason; check the model's settings and quota in OpenClaw."),
    ),
    Code.RUN_NOT_STARTED: Explanation(
        Action.RETRY,
        _(
            "The gateway could not start the agent's run, because its own database was locked, as it may be for a while after a "
            "start. The model was not asked. The bridge tries again by itself."
        ),
        _("If it repeats, restart the gateway: OpenClaw 2026.9 keeps this failure for an agent until then."),
    ),
    Code.STARTING: Explanation(Action.WAIT, _("The gateway is still starting. The bridge tries again by itself.")),
    Code.TIMEOUT: Explanation(
        Action.UNKNOWN,
        _("The agent did not answer in time."),
        _("Raise the time limit on the gateway's page if such long turns are normal, then replay the message."),
    ),
    Code.TOO_LARGE: Explanation(
        Action.PERMANENT,
        _("The message with its files is larger than the gateway accepts."),
        _("Send smaller files."),
    ),
    Code.UNAVAILABLE: Explanation(
        Action.RETRY, _("The gateway could not take the request just now. The bridge tries again by itself.")
    ),
    Code.UNKNOWN_AGENT: Explanation(
        Action.PERMANENT,
        _("The gateway has no agent of this name."),
        _("Choose one of its agents in the mapping (Test on the gateway's page lists them), then replay the message."),
    ),
    Code.UNREACHABLE: Explanation(
        Action.RETRY,
        _("Nothing answers at the base URL."),
        _(
            "Check that the gateway runs and that host, port and firewall let this server reach it; the bridge keeps "
            "trying."
        ),
    ),
    Code.UNREADABLE: Explanation(
        Action.UNKNOWN,
        _(
            "The gateway's answer has a form that the bridge does not know. The bridge looks in the gateway's history for "
            "the answer."
        ),
        _("If it repeats, compare the gateway's version with those named in docs/connect/openclaw.md."),
    ),
    # What another row's detail says.
    **{code: row._replace(shows_code=False) for code, row in WIRE.items() if code.startswith("address_")},
    ConnectionFailure.CLOSED: _failure(_("the other side closed the connection")),
    ConnectionFailure.NO_ANSWER: _failure(_("no answer came in time")),
    ConnectionFailure.NO_ROUTE: _failure(_("there is no way from this server to that host")),
    ConnectionFailure.NOT_SECURE: _failure(
        _("no secure connection came about: the certificate is not valid for this address, or the port has no TLS")
    ),
    ConnectionFailure.OTHER_PROTOCOL: _failure(_("what came is not what a gateway answers")),
    ConnectionFailure.REFUSED: _failure(_("the connection was refused: no program listens on this port")),
    ConnectionFailure.UNKNOWN_HOST: _failure(_("nobody knows a host of this name")),
}


_ADVICE: Final = re.compile(r"\b(?:usually temporary|try(?:ing)? again|retry(?:ing)?)\b", re.IGNORECASE)
_SENTENCE_END: Final = re.compile(r"[.!?]+|(?=\n)|\Z")
"""The end of a sentence that gives advice. The sentence starts after one of `_SENTENCE_BORDERS`."""
_SENTENCE_BORDERS: Final = ".!?:;()\n"


def remove_advice(detail: str) -> str:
    """Remove the gateway's advice to people in its own chat ("This is usually temporary — try again shortly."), because the
    bridge decides whether a turn is tried again, and says so itself. A text that is nothing but advice stays as it is.
    """
    remaining, position = "", 0
    while advice := _ADVICE.search(detail, position):
        start = max(position, *(detail.rfind(mark, position, advice.start()) + 1 for mark in _SENTENCE_BORDERS))
        remaining += detail[position:start].rstrip()
        end = _SENTENCE_END.search(detail, advice.end())
        position = end.end() if end else len(detail)
    return (remaining + detail[position:]).strip() or detail


def _detail_as_json(detail: str | ConnectionFailure | Cause) -> str | dict[str, Any]:
    """Return the gateway's own text, cut and without secrets, or our words by their code."""
    if isinstance(detail, ConnectionFailure):
        detail = Cause(str(detail))
    return detail.as_json() if isinstance(detail, Cause) else hide(remove_advice(detail[:SCAN_LIMIT]))[:DETAIL_LIMIT]


class GatewayError(Exception):
    """A failed connection or turn: `code` names it, `action` says what to do.

    `detail` is the gateway's own text, cut, without secrets, or our words for a failure of the network. `retry_after` is in
    seconds. `request_id` is set for pairing_required only. `params` is what a row stores beside the code.
    """

    def __init__(
        self,
        code: Code,
        detail: str | ConnectionFailure | Cause = "",
        *,
        action: Action | None = None,
        retry_after: float | None = None,
        request_id: str = "",
    ) -> None:
        self.code = code
        self.action = action or EXPLANATIONS[code].action
        self.retry_after = None if retry_after is None else min(retry_after, LONGEST_WAIT)
        self.request_id = request_id if _REQUEST_ID.fullmatch(request_id) else ""
        self._detail = detail
        values = {"detail": _detail_as_json(detail), "request_id": self.request_id, "command": self._approve_command()}
        self.params: dict[str, Any] = {name: value for name, value in values.items() if value}
        super().__init__(f"{code}: {self.detail}" if detail else str(code))

    def _approve_command(self) -> str:
        """Return what staff run on the gateway's host to let this bridge in; empty where that would not help."""
        if self.code != Code.PAIRING_REQUIRED:
            return ""
        return f"openclaw devices approve {self.request_id}" if self.request_id else "openclaw devices list"

    def copy(self, action: Action | None = None) -> GatewayError:
        """Return an equal error to raise: one cause may end many turns, and Python adds a traceback to the error at each raise."""
        return GatewayError(
            self.code,
            self._detail,
            action=action or self.action,
            retry_after=self.retry_after,
            request_id=self.request_id,
        )

    @property
    def detail(self) -> str:
        return str(render_param(EXPLANATIONS, self.params.get("detail", "")))

    @property
    def explained(self) -> str:
        """The sentence for staff, with the code and the gateway's own words behind it."""
        return explain(EXPLANATIONS, self.code, self.params)

    @property
    def cause(self) -> Cause:
        """What a row keeps."""
        return Cause(str(self.code), self.params)

    @property
    def sentence(self) -> str:
        """Cause and cure for staff, in the language that is active now."""
        return EXPLANATIONS[self.code].text(self.params)
