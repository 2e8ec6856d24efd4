"""kf/…: fetching and sending messages, states of conversations, servicers and customers."""

import secrets
from dataclasses import dataclass
from typing import cast

from channels_wechat.simulator.core.calls import Answer
from channels_wechat.simulator.core.content import show
from channels_wechat.simulator.core.errors import PlatformError
from channels_wechat.simulator.core.state import JSON
from channels_wechat.simulator.wecom.calls import Call, Endpoint
from channels_wechat.simulator.wecom.kf.accounts import (
    ASSISTANT,
    END_SECONDS,
    ENDED,
    NEW,
    POOL,
    SERVICER,
    WINDOW_SECONDS,
    Code,
    KfAccount,
    KfWorld,
    Session,
)
from channels_wechat.simulator.wecom.kf.checks import ON_EVENT, TYPES, check_content, check_msgid
from channels_wechat.simulator.wecom.kf.customers import KfCustomers, chat_of

# From state to the states that it may become.
MAY_BECOME = {
    NEW: (ASSISTANT, POOL, SERVICER, ENDED),
    ASSISTANT: (POOL, SERVICER, ENDED),
    POOL: (SERVICER, ENDED),
    SERVICER: (SERVICER, ENDED),
    ENDED: (),
}
MOST_CUSTOMERS = 100


@dataclass
class KfApi:
    kf: KfWorld
    customers: KfCustomers

    def _account(self, call: Call) -> KfAccount:
        account = self.kf.accounts.get(str(call.body.get("open_kfid") or ""))
        if account is None or account.agentid != call.account.agentid:
            raise PlatformError(95000, "invalid open_kfid")
        return account

    def _session(self, call: Call, account: KfAccount, name: str = "external_userid") -> tuple[str, Session]:
        customer = str(call.body.get(name) or "")
        if customer not in self.kf.customers:
            raise PlatformError(40096, "invalid external userid")
        return customer, self.kf.session(account.open_kfid, customer)

    async def list_accounts(self, call: Call) -> Answer:
        mine = [one for one in self.kf.accounts.values() if one.agentid == call.account.agentid]
        first, most = int(call.body.get("offset") or 0), int(call.body.get("limit") or 100)
        listed = [
            {"open_kfid": one.open_kfid, "name": one.name, "avatar": "", "manage_privilege": True} for one in mine
        ]
        return {"account_list": listed[first : first + most]}

    async def add_contact_way(self, call: Call) -> Answer:
        account = self._account(call)
        return {"url": f"https://work.weixin.qq.com/kfid/{account.open_kfid}"}

    async def sync_msg(self, call: Call) -> Answer:
        account, body = self._account(call), call.body
        limit = body.get("limit", 1000)
        if not isinstance(limit, int) or not 0 < limit <= 1000:
            raise PlatformError(40058, "limit must be 1 to 1000")
        return self.kf.page(account, str(body.get("cursor") or ""), str(body.get("token") or ""), limit)

    # -- sending ------------------------------------------------------------------------------------------------------

    async def send_msg(self, call: Call) -> Answer:
        """A msgid that was taken before is answered as then, and nothing is sent a second time."""
        account = self._account(call)
        msgid = check_msgid(call.body)
        if msgid and (first := self.kf.sent.get((account.open_kfid, msgid))):
            call.world.record.counters["duplicates"] += 1
            return first
        customer, session = self._session(call, account, "touser")
        if session.state not in (NEW, ASSISTANT):
            raise PlatformError(95018, "send msg session status invalid")
        if call.world.now() - session.wrote >= WINDOW_SECONDS or not session.left:
            raise PlatformError(95001, "send msg count limit")
        msgtype, content = check_content(call.world, call.body, TYPES)
        session.left -= 1
        return self._deliver(call, account, customer, msgtype, content, msgid, "kf/send_msg")

    async def send_msg_on_event(self, call: Call) -> Answer:
        code = self.kf.codes.get(str(call.body.get("code") or ""))
        if code is None or code.spent or code.expires < call.world.now():
            raise PlatformError(95012, "invalid code")
        account = self.kf.accounts[code.open_kfid]
        if account.agentid != call.account.agentid:
            raise PlatformError(95012, "invalid code")
        msgtype, content = check_content(call.world, call.body, ON_EVENT)
        return self._answer_event(call, account, code, msgtype, content)

    def _answer_event(self, call: Call, account: KfAccount, code: Code, msgtype: str, content: JSON) -> JSON:
        code.spent = True
        self.kf.session(account.open_kfid, code.external_userid).greeted = call.world.now()
        msgid = check_msgid(call.body)
        return self._deliver(call, account, code.external_userid, msgtype, content, msgid, "kf/send_msg_on_event")

    def _deliver(
        self, call: Call, account: KfAccount, customer: str, msgtype: str, content: JSON, msgid: str, via: str
    ) -> JSON:
        msgid = msgid or secrets.token_urlsafe(24)
        answer: JSON = {"msgid": msgid}
        self.kf.sent[account.open_kfid, msgid] = answer
        if self.kf.customers[customer].refuses:
            self.customers.fail(account, customer, msgid, 10)
            return answer
        text, data = show(call.world, msgtype, content)
        text = text or str(content.get("head_content") or "")
        call.world.add(chat_of(account, customer), account.id, msgtype, text=text, data=data, msgid=msgid, via=via)
        return answer

    # -- conversations ------------------------------------------------------------------------------------------------

    async def get_state(self, call: Call) -> Answer:
        _customer, session = self._session(call, self._account(call))
        return {"service_state": session.state, "servicer_userid": session.servicer}

    async def change_state(self, call: Call) -> Answer:
        account = self._account(call)
        customer, session = self._session(call, account)
        wanted = call.body.get("service_state")
        if wanted not in MAY_BECOME[session.state]:
            raise PlatformError(95016, "not allowed to change the service state")
        servicer = str(call.body.get("servicer_userid") or "") if wanted == SERVICER else ""
        if wanted == SERVICER and servicer not in account.servicers:
            raise PlatformError(95014, "not a servicer of this account")
        session.state, session.servicer = cast("int", wanted), servicer
        if wanted not in (POOL, ENDED):
            return {}
        return {"msg_code": self.kf.new_code(account.open_kfid, customer, END_SECONDS)}

    async def list_servicers(self, call: Call) -> Answer:
        open_kfid = str(call.query("open_kfid"))
        account = self.kf.accounts.get(open_kfid)
        if account is None or account.agentid != call.account.agentid:
            raise PlatformError(95000, "invalid open_kfid")
        return {"servicer_list": [{"userid": one, "status": 0} for one in account.servicers]}

    async def list_customers(self, call: Call) -> Answer:
        ids = call.body.get("external_userid_list")
        if not isinstance(ids, list) or not 0 < len(ids) <= MOST_CUSTOMERS:
            raise PlatformError(40058, "external_userid_list must have 1 to 100 ids")
        known = [self.kf.customers[one] for one in ids if one in self.kf.customers]
        found = [
            {"external_userid": one.external_userid, "nickname": one.name, "avatar": "", "gender": 0} for one in known
        ]
        return {"customer_list": found, "invalid_external_userid": [one for one in ids if one not in self.kf.customers]}

    def endpoints(self) -> dict[str, Endpoint]:
        posted = {
            "kf/account/list": self.list_accounts,
            "kf/add_contact_way": self.add_contact_way,
            "kf/sync_msg": self.sync_msg,
            "kf/send_msg": self.send_msg,
            "kf/send_msg_on_event": self.send_msg_on_event,
            "kf/service_state/get": self.get_state,
            "kf/service_state/trans": self.change_state,
            "kf/customer/batchget": self.list_customers,
        }
        found = {path: Endpoint("POST", handle) for path, handle in posted.items()}
        return found | {"kf/servicer/list": Endpoint("GET", self.list_servicers)}
