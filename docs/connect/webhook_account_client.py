"""A gateway by pipes: each line on stdin is an event as JSON, which is posted; each delivery is printed as a line of JSON."""
import json, os, sys, threading, time
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.request import Request, urlopen
from standardwebhooks import Webhook, WebhookVerificationError

INBOUND, OUTBOUND = (Webhook(os.environ[f"{way}_SECRET"]) for way in ("INBOUND", "OUTBOUND"))
taken = set()  # the webhook-ids of deliveries; keep them for a day in a database of yours

def post(event: str, key: str) -> None:
    """Post it until it is stored: by its id the bridge knows a repetition. A refusal (4xx) never gets better."""
    now = datetime.now(timezone.utc)
    headers = {"webhook-id": key, "webhook-timestamp": str(int(now.timestamp()))}
    headers["webhook-signature"] = INBOUND.sign(key, now, event)
    try:
        urlopen(Request(os.environ["CALLBACK_URL"], event.encode(), headers), timeout=20).close()
    except OSError as error:
        if 400 <= getattr(error, "code", 500) < 500:
            raise
        time.sleep(1)
        post(event, key)

class Receiver(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body, key = self.rfile.read(int(self.headers["Content-Length"])), self.headers["webhook-id"]
        try:
            delivery = OUTBOUND.verify(body, dict(self.headers))
        except (WebhookVerificationError, ValueError):
            return self.send_error(401)
        if key not in taken:  # a repetition is answered as before and shown once
            print(json.dumps(delivery), flush=True)
        taken.add(key)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps({"id": key}).encode())

threading.Thread(target=HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Receiver).serve_forever, daemon=True).start()
for line in map(str.strip, sys.stdin):
    post(line, json.loads(line)["id"])
