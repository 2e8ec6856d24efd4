"""A company on the WeCom platform, played in memory: for the demo, the tests, and runs that kill processes.

    python -m channels_wechat.simulator --port 8701        prints "simulator on http://127.0.0.1:8701"

It serves the platform's API under /cgi-bin/ (an account's api_base_url is the address above), sends callbacks, and
holds a small chat page at /. It is written against the platform's documents and shares no code with the channel
modules, so that the two check each other. Nothing is kept over a restart. It has no log-in: bind it to loopback only.

In Python: `Simulator` (async start/stop, url), `RunningSimulator` (a thread, `with`), `SimulatorClient` (synchronous).

Control API: JSON under /sim/; a wrong request is HTTP 400 {"error"}. Fields left out keep their old or default value.

POST apps         agentid, corpid, secret, name, token, aes_key, callback_url, members (userids in scope; null = the whole
                  company, which appchat needs), trusted_ip (false: 60020)
POST bots         aibotid, name, token, aes_key, callback_url, encrypt_userids (senders appear as wo… ids)
POST robots       chat, key (made up if absent), name → the key
POST members      userid, name, department
POST groups       chatid, name, owner, members, creator (agentid of the app that owns it)
POST settings     the fields of state.Settings: times, tries, copies, clients, persistent, poll_interval, limits
POST clock        advance: seconds by which tokens, codes, addresses, streams and limits age
POST tokens       app, how: "invalidate" (40014 from now on) or "expire" (42001)

POST say          app | bot, from, text, kind, chat (a group, only with bot) → {"id", "chat", "entry"}
                  kinds: text; image, voice, video, file with data (base64), name, mime; mixed with items [{kind, …}];
                  location, link with an object of that name (app only). quote: {kind, …}. mention false: said in the
                  group without the bot's name, which the bot does not hear. copies, persistent, tries as in settings.
                  {"messages": [say, …]} queues many → {"said": [answer, …]}
POST event        app | bot, from, event, fields (over the defaults in voices.py), chat; or raw: the plaintext, or an
                  object that becomes XML (app) or JSON (bot)
POST click        entry (its seq), from, key, selected {question: [option]}: a button or submit of a card
POST verify       app | bot: the console's GET with echostr → {"ok", "status", "body", "seconds"}

POST faults       path ("message/send", "media/bot" for a user's file, "*"), kind (faults.py), times (0 = for ever),
                  rate (share of the calls), errcode, errmsg, seconds, status.   DELETE faults clears them
POST reset        forget calls, counters and deliveries

GET directory     every account, member and group, without secrets
GET record        calls per path, errors per path and errcode, faults per path and kind, counters (token_requests, tokens_issued,
                  tokens_invalidated, wrong_secrets, duplicates, dropped), deliveries and streams by outcome, and
                  violations: answers the platform would have ignored or that break its rules
GET calls?path=   each API call with body, errcode and fault.   GET deliveries?id=   each callback with its tries
GET streams       polls and state per message
GET chats         every chat with its number of entries
GET chat/<chat>?since=<rev>&wait=<s>    the transcript as a member sees it, in order; `wait` holds until there is news

Chats are called app:<agentid>:<userid>, bot:<aibotid>:<userid> (userid in lower case) or by the group's chatid. Messages
of one chat go out in order, the next one after a 200 for the last or when its tries are used up.
"""

from channels_wechat.simulator.client import SimulatorClient, SimulatorError
from channels_wechat.simulator.server import RunningSimulator, Simulator

__all__ = ["RunningSimulator", "Simulator", "SimulatorClient", "SimulatorError"]
