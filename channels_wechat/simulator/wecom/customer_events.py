"""What happens between members and customers, each with its event (facts: wecom.md 2.5)."""

import secrets

from channels_wechat.simulator.core.errors import ControlError
from channels_wechat.simulator.core.state import JSON
from channels_wechat.simulator.wecom.company import App, Company
from channels_wechat.simulator.wecom.customers import WELCOME_SECONDS, WelcomeCode
from channels_wechat.simulator.wecom.members import Members


class CustomerEvents:
    """What the control API makes happen."""

    def __init__(self, company: Company, members: Members) -> None:
        self._company, self._members = company, members

    def add(self, app: App, spec: JSON) -> JSON:
        """A customer adds a member: {"customer", "member", "state"}. The event has a code for one welcome."""
        customer = self._company.customers.get(str(spec.get("customer")))
        member = self._company.member(str(spec.get("member")))
        if customer is None or member is None:
            raise ControlError("`customer` and `member` must exist")
        customer.followers.setdefault(member.userid, "")
        code = secrets.token_urlsafe(32)
        expires = self._company.world.now() + WELCOME_SECONDS
        self._company.welcome_codes[code] = WelcomeCode(customer.external_userid, member.userid, expires)
        fields = {
            "ChangeType": "add_external_contact",
            "UserID": member.userid,
            "ExternalUserID": customer.external_userid,
            "State": str(spec.get("state", "")),
            "WelcomeCode": code,
        }
        return self._members.event(app, {"event": "change_external_contact", "fields": fields}) | {"code": code}
