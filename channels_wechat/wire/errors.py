"""What the way to a platform says in its place: an address that is not called, no connection, no answer, a foreign server's answer."""

from __future__ import annotations

from django.utils.translation import gettext_lazy as _

from channels_wechat.contract.connection import CONNECTION_CODES
from channels_wechat.contract.errors import Explanations
from channels_wechat.contract.explanations import Action, Effect, Explanation

_TOO_LATE = _("The platform did not take the call in time.")
_FOREIGN = Explanation(
    Action.CONFIG,
    _("This is not the platform answering."),
    _("Check the API address of the account and any proxy on the way."),
)
_FAILED = Explanation(
    Action.RETRY,
    _("A server between us and the platform failed; nobody can say whether the call was carried out."),
    effect=Effect.POSSIBLE,
)

# Every kind of account has these in its own table. setting: the name of the list in which a host can be allowed.
WIRE = Explanations(
    {
        "address_invalid": Explanation(
            Action.CONFIG,
            _("This is not an address that can be called."),
            _("It needs http:// or https:// and a host name."),
        ),
        "address_never": Explanation(
            Action.CONFIG, _("This is a link-local or metadata address, which is never called.")
        ),
        "address_private": Explanation(
            Action.CONFIG,
            _("The address is on a private network."),
            _("Name host and port in %(setting)s if that is meant."),
        ),
        "address_plain_http": Explanation(
            Action.CONFIG,
            _("Without https everybody on the way can read the secrets."),
            _("Use https, or name host and port in %(setting)s."),
        ),
        "connect": Explanation(
            Action.RETRY,
            _("No connection to the platform."),
            _("Check its address, and whether this machine reaches the internet."),
        ),
        "timeout": Explanation(
            Action.RETRY, _("The request went out and no answer came in time."), effect=Effect.POSSIBLE
        ),
        "reset": Explanation(
            Action.RETRY,
            _("The request went out and the connection broke before the answer came."),
            effect=Effect.POSSIBLE,
        ),
        "too_large": Explanation(Action.PERMANENT, _("The answer is too large."), effect=Effect.POSSIBLE),
        "html": Explanation(
            Action.RETRY,
            _("The answer is not the platform's."),
            _("See whether a proxy or a wrong API address stands between."),
            Effect.POSSIBLE,
        ),
        "http_3xx": _FOREIGN,
        "http_4xx": _FOREIGN,
        "http_408": Explanation(Action.RETRY, _TOO_LATE, effect=Effect.POSSIBLE),
        "http_413": Explanation(Action.PERMANENT, _("The message or file is too large for the platform.")),
        "http_425": Explanation(Action.RETRY, _TOO_LATE),
        "http_429": Explanation(Action.WAIT, _("The platform is overloaded and asks to wait.")),
        "http_503": Explanation(
            Action.RETRY,
            _("The platform, or a server before it, is overloaded; nobody can say whether the call was carried out."),
            effect=Effect.POSSIBLE,
        ),
        # A status may have any three digits.
        **CONNECTION_CODES,
        **dict.fromkeys(("http_5xx", "http_6xx", "http_7xx", "http_8xx", "http_9xx"), _FAILED),
    }
)
