"""The control API of a company's own gateways, under /sim/own/ (described in the package's docstring)."""

from aiohttp import web

from channels_wechat.simulator.control import Control, make
from channels_wechat.simulator.core.state import JSON, plain
from channels_wechat.simulator.webhook_account.gateways import Gateway
from channels_wechat.simulator.webhook_account.people import GatewayPeople


class WebhookAccountControl:
    def __init__(self, control: Control, people: GatewayPeople) -> None:
        self.control, self.people = control, people

    def routes(self) -> list[web.RouteDef]:
        handlers = {"gateways": self.put_gateway, "say": self.say, "event": self.event}
        return [web.post(f"/sim/own/{name}", self.control.served(handle)) for name, handle in handlers.items()]

    async def put_gateway(self, request: web.Request, spec: JSON) -> JSON:
        """→ with `address`, where it takes deliveries."""
        own = self.people.own
        gateway = make(Gateway, spec, own.gateways.get(str(spec.get("name"))))
        own.gateways[gateway.name] = gateway
        return plain(gateway) | {"address": f"{own.world.base_url}/own/{gateway.name}"}

    async def say(self, request: web.Request, spec: JSON) -> JSON:
        return self.people.say(spec)

    async def event(self, request: web.Request, spec: JSON) -> JSON:
        return self.people.event(spec)
