"""The control API of customer service, under /sim/kf/ (described in the package's docstring)."""

from typing import Any

from aiohttp import web

from channels_wechat.simulator.control import Control, make
from channels_wechat.simulator.core.state import JSON, plain
from channels_wechat.simulator.wecom.kf.accounts import Customer, KfAccount
from channels_wechat.simulator.wecom.kf.customers import KfCustomers


class KfControl:
    def __init__(self, control: Control, customers: KfCustomers) -> None:
        self.control, self.customers, self.kf = control, customers, customers.kf

    def routes(self) -> list[web.RouteDef]:
        handlers = {
            "accounts": self.put_account,
            "customers": self.put_customer,
            "servicer": self.servicer,
            "take": self.take,
            "fail": self.fail,
            "knock": self.knock,
        }
        posts = [web.post(f"/sim/kf/{name}", self.control.served(handle)) for name, handle in handlers.items()]
        return [*posts, web.get("/sim/kf/session/{account}/{customer}", self.control.served(self.session))]

    async def put_account(self, request: web.Request, spec: JSON) -> JSON:
        account = make(KfAccount, spec, self.kf.accounts.get(str(spec.get("open_kfid"))))
        self.kf.accounts[account.open_kfid] = account
        return plain(account)

    async def put_customer(self, request: web.Request, spec: JSON) -> JSON:
        customer = make(Customer, spec, self.kf.customers.get(str(spec.get("external_userid"))))
        self.kf.customers[customer.external_userid] = customer
        return plain(customer)

    async def servicer(self, request: web.Request, spec: JSON) -> JSON:
        return self.customers.answer_as_servicer(spec)

    async def take(self, request: web.Request, spec: JSON) -> JSON:
        return self.customers.take(spec)

    async def fail(self, request: web.Request, spec: JSON) -> JSON:
        account = self.kf.account(spec.get("kf"))
        number = int(spec.get("fail_type", 0))
        return {"id": self.customers.fail(account, str(spec.get("to")), str(spec.get("msgid")), number)}

    async def knock(self, request: web.Request, spec: JSON) -> JSON:
        return self.customers.knock(self.kf.account(spec.get("kf")))

    async def session(self, request: web.Request, spec: JSON) -> Any:
        return plain(self.kf.session(request.match_info["account"], request.match_info["customer"]))
