"""What can go wrong with a puppet service: the status of its answers (gRPC), what puppets throw, and the way to the service."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import grpc
from django.utils.translation import gettext_lazy as _

from channels_wechat.contract.errors import Explanations
from channels_wechat.contract.explanations import UNLISTED_CURE, Action, Effect, Explanation
from channels_wechat.contract.text import HIDDEN, clean
from channels_wechat.wire.errors import WIRE

if TYPE_CHECKING:
    from channels_wechat.contract.errors import ChannelError

R, W, C, P = Action.RETRY, Action.WAIT, Action.CONFIG, Action.PERMANENT
BUSY_SECONDS, LOGIN_SECONDS = 30.0, 10.0
LONGEST_DETAIL = 300

WECHATY = Explanations(
    {
        **WIRE,
        "unlisted": Explanation(
            R,
            _("The puppet service answered with a number that is not known here yet."),
            UNLISTED_CURE,
            effect=Effect.POSSIBLE,
        ),
        "token_refused": Explanation(
            C,
            _("The puppet service refuses the token."),
            _("Enter the token that the service was started with (WECHATY_TOKEN), then press Test."),
            shows_code=False,
        ),
        "another_person": Explanation(
            C,
            _(
                "Somebody else than before is logged in on this phone or service: %(name)s. What waits would be sent as that person."
            ),
            _(
                "Log in the right one, or dismiss what waits. Then save the account's page: it goes on as whoever is logged in."
            ),
            shows_code=False,
        ),
        "taken": Explanation(
            W,
            _("Another program receives the events of this puppet service, which gives them to one program at a time."),
            _("Stop the other program. Where it is only a connection that broke, the service frees it by itself."),
            shows_code=False,
        ),
        "service_away": Explanation(
            R,
            _("The puppet service cannot be reached."),
            _(
                "See whether it runs under the address in the account's form, and whether the form and the service agree about TLS."
            ),
        ),
        "tls_failed": Explanation(
            R,
            _("TLS with the puppet service failed."),
            _(
                "Check in the account's form whether the service speaks TLS, its certificate authority and its server name."
            ),
        ),
        "service_silent": Explanation(
            R, _("The puppet service was silent for too long; the connection is opened again.")
        ),
        "service_failed": Explanation(
            R,
            _("The puppet service failed; nobody can say whether the call was carried out."),
            _("See the log of the service."),
            Effect.POSSIBLE,
        ),
        "service_busy": Explanation(W, _("The puppet service is overloaded and asks to wait.")),
        "puppet_failed": Explanation(
            R,
            _("The puppet, the part of the service that speaks to WeChat, reported an error."),
            _("Look into the chat on the phone before you send it again. The log of the service says more."),
            Effect.POSSIBLE,
        ),
        "puppet_cannot": Explanation(P, _("This puppet cannot do that, and did nothing.")),
        "call_unknown": Explanation(
            P, _("The service does not know this call: it is an older or another one, and did nothing.")
        ),
        "call_refused": Explanation(P, _("The service refused the call as wrong, and did nothing.")),
        "message_too_large": Explanation(P, _("The message is larger than the puppet service takes.")),
        "directory_unknown": Explanation(
            C,
            _("The directory of Wechaty does not know the token."),
            _("Enter the address of the service (host:port) in the account's form, or a token that is registered."),
        ),
        "directory_offline": Explanation(
            W,
            _("The directory of Wechaty knows the token, and its service is not online."),
            _("Start the service, or enter its address (host:port) in the account's form."),
        ),
        "directory_unreadable": Explanation(
            R,
            _("The answer of the directory of Wechaty could not be read."),
            _("Enter the address of the service (host:port) in the account's form."),
        ),
        "file_gone": Explanation(
            P, _("The puppet service does not have the file any more, or gives it in a way that cannot be read.")
        ),
        "file_too_large": Explanation(P, _("The file is larger than 100 MB.")),
        # What is refused before it is sent; people read `contract.sentences` of the same names about files.
        "message_empty": Explanation(P, _("The message is empty."), shows_code=False),
        "file_empty": Explanation(P, _("The file is empty, and WeChat takes no empty files."), shows_code=False),
        "file_over_limit": Explanation(
            P, _("The file is too large to send: %(size)s, WeChat takes %(most)s."), shows_code=False
        ),
    }
)
# Status → code. What is not here is a failure of the service.
CODES = {
    grpc.StatusCode.UNAUTHENTICATED: "token_refused",
    grpc.StatusCode.PERMISSION_DENIED: "token_refused",
    grpc.StatusCode.ALREADY_EXISTS: "taken",
    grpc.StatusCode.UNIMPLEMENTED: "call_unknown",
    grpc.StatusCode.INVALID_ARGUMENT: "call_refused",
    grpc.StatusCode.NOT_FOUND: "call_refused",
    grpc.StatusCode.FAILED_PRECONDITION: "call_refused",
    grpc.StatusCode.OUT_OF_RANGE: "call_refused",
    grpc.StatusCode.DEADLINE_EXCEEDED: "timeout",
    grpc.StatusCode.CANCELLED: "connection_lost",
    grpc.StatusCode.UNAVAILABLE: "connection_lost",
    grpc.StatusCode.UNKNOWN: "puppet_failed",
}
# What the words of gRPC, and of puppets, say beside the status. Puppets throw these before they do anything.
HANDSHAKE = re.compile(r"handshake|certificate|ssl|tls|wrong version number", re.IGNORECASE)
TOO_LARGE = re.compile(r"larger than max", re.IGNORECASE)
UNSUPPORTED = re.compile(r"unsupported|not (?:yet )?implemented|not supported", re.IGNORECASE)
LOGGED_OUT = re.compile(r"not logged[ -]?in|not login|no login|logged out", re.IGNORECASE)


def error_of(error: grpc.RpcError, token: str, *, harmless: bool, left: bool = True) -> ChannelError:
    """Return the error of a call.

    harmless: repeating the call changes nothing. left: whether the call can have left this machine; what never left was not carried out.
    The service repeats the token in its words, and puppets send the paths of their machine: of the words only the first line is kept,
    without the token.
    """
    code, words = _code_and_words(error)
    named = _name(code, words, left=left)
    detail = "" if named in ("token_refused", "taken") else without_token(words.partition("\n")[0], token)
    wait = {"service_busy": BUSY_SECONDS, "needs_login": LOGIN_SECONDS}.get(named)
    return WECHATY.error(named, WECHATY.row(named).action_for(harmless), detail=detail, retry_after=wait)


def without_token(words: str, token: str) -> str:
    """Return the words as they may be stored."""
    return clean(words.replace(token, HIDDEN) if token else words).strip()[:LONGEST_DETAIL]


def _code_and_words(error: grpc.RpcError) -> tuple[grpc.StatusCode, str]:
    """Every error of a call is a `grpc.Call` too, which its type does not say."""
    if not isinstance(error, grpc.aio.AioRpcError | grpc.Call):
        return grpc.StatusCode.UNKNOWN, type(error).__name__
    return error.code(), error.details() or ""


def _name(code: grpc.StatusCode, words: str, *, left: bool) -> str:
    if code is grpc.StatusCode.UNAVAILABLE and (not left or "failed to connect" in words.lower()):
        return "tls_failed" if HANDSHAKE.search(words) else "service_away"
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return "message_too_large" if TOO_LARGE.search(words) else "service_busy"
    if code is grpc.StatusCode.UNKNOWN and UNSUPPORTED.search(words.partition("\n")[0]):
        return "puppet_cannot"
    if code is grpc.StatusCode.UNKNOWN and LOGGED_OUT.search(words.partition("\n")[0]):
        return "needs_login"
    return CODES.get(code, "service_failed")
