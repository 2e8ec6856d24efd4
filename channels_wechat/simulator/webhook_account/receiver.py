"""Where a gateway takes deliveries, at /own/<name>: verified, taken once for each webhook-id, and shown in the chat."""

import base64
import binascii
import json

from aiohttp import web

from channels_wechat.simulator.core import faults
from channels_wechat.simulator.core.content import media_facts
from channels_wechat.simulator.core.faults import Faults
from channels_wechat.simulator.core.record import BODY, Call
from channels_wechat.simulator.core.state import JSON
from channels_wechat.simulator.webhook_account.gateways import Gateway, GatewayWorld, is_authentic
from channels_wechat.simulator.webhook_account.people import chat_of

KINDS = ("image", "voice", "video", "file")


class Refused(Exception):
    """status and the words of the answer."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status


class Receiver:
    def __init__(self, own: GatewayWorld, faults_: Faults) -> None:
        self.own, self.world, self._faults = own, own.world, faults_

    def routes(self) -> list[web.RouteDef]:
        return [web.post("/own/{name}", self.serve)]

    async def serve(self, request: web.Request) -> web.StreamResponse:
        call = self.world.record.call(f"own/{request.match_info['name']}", {})
        fault = self._faults.take(call.path)

        async def process() -> web.StreamResponse:
            return self._answer(request, call, await request.read())

        if fault is None:
            return await process()
        self.world.record.broken(call, fault.kind)
        return await faults.apply(fault, request, process, self.world.settings.hang_seconds)

    def _answer(self, request: web.Request, call: Call, body: bytes) -> web.Response:
        try:
            gateway = self.own.gateways.get(request.match_info["name"])
            if gateway is None:
                raise Refused(404, "there is no such gateway")
            if not is_authentic(gateway.outbound_secret, request.headers, body):
                raise Refused(401, "the signature is wrong")
            call.account, call.body = gateway.id, body.decode(errors="replace")[:BODY]
            answer = self._take(gateway, request.headers["webhook-id"], body)
        except Refused as refused:
            self.world.record.answered(call, refused.status)
            self.world.record.violation("own_delivery", request.headers.get("webhook-id", ""), str(refused))
            return web.json_response({"error": str(refused)}, status=refused.status)
        self.world.record.answered(call, 0)
        return web.json_response(answer)

    def _take(self, gateway: Gateway, webhook_id: str, body: bytes) -> JSON:
        """A repetition is answered as before, and shown once."""
        key = gateway.name, webhook_id
        if key in self.own.taken:
            self.world.record.counters["own_repetitions"] += 1
            return self.own.taken[key]
        try:
            delivery = json.loads(body)
        except ValueError as error:
            raise Refused(400, "the body is no JSON") from error
        takers = {"message": self._take_message, "file": self._take_file}
        taker = takers.get(delivery.get("type"))
        self.own.taken[key] = taker(gateway, delivery) if taker else {}
        return self.own.taken[key]

    def _take_file(self, gateway: Gateway, delivery: JSON) -> JSON:
        try:
            content = base64.b64decode(delivery["content"], validate=True)
        except (KeyError, TypeError, binascii.Error) as error:
            raise Refused(400, "content must be base64") from error
        if delivery.get("kind") not in KINDS or not delivery.get("name") or not content:
            raise Refused(400, "a file has a kind, a name and content")
        facts = delivery["kind"], str(delivery["name"]), content, str(delivery.get("mime"))
        return {"id": self.world.keep_media(*facts, owner="shown").id}

    def _take_message(self, gateway: Gateway, delivery: JSON) -> JSON:
        conversation, files = delivery.get("conversation") or {}, delivery.get("files") or []
        if conversation.get("kind") not in ("direct", "group") or not conversation.get("id"):
            raise Refused(400, "a message names its conversation")
        media = [self.world.find_media(str(file.get("id")), "shown") for file in files]
        if None in media:
            raise Refused(404, "there is no such file")
        if not files and not str(delivery.get("text") or "").strip():
            raise Refused(400, "a message has a text or a file")
        data: JSON = {"media": [media_facts(one) for one in media if one], "ai": bool(delivery.get("ai"))}
        data |= {name: delivery[name] for name in ("mentions", "format") if name in delivery}
        kind, msgid = files[0].get("kind", "file") if files else "text", self.world.next_msgid()
        chat = chat_of(gateway, str(conversation["id"]))
        shown = {"text": str(delivery.get("text") or ""), "data": data, "msgid": msgid, "via": "own"}
        self.world.add(chat, gateway.id, kind, **shown)
        return {"id": msgid} if gateway.answers_id else {}
