"""WeCom, Official Accounts, Mini Programs and personal accounts, played in memory: for the demo, the tests, and runs that kill processes.

    python -m channels_wechat.simulator --port 8701        prints "simulator on http://127.0.0.1:8701"

It serves both platforms' APIs under /cgi-bin/, /wxa/ and /wxaapi/ (an account's api_base_url is the address above; a path that
WeCom and WeChat both have goes by whose access_token it carries), sends callbacks, holds AI bots' long connections at
ws://HOST:PORT/openws (`SimulatorClient.websocket_url`), and a small chat page at /. It is
written against the platforms' documents and shares no code with the channel modules, so that the two check each other. Nothing
is kept over a restart. It has no log-in: bind it to loopback only.

In Python: `Simulator` (async start/stop, url), `RunningSimulator` (a thread, `with`), `SimulatorClient` (synchronous).

Control API: JSON under /sim/; a wrong request is HTTP 400 {"error"}. Fields left out keep their old or default value.

POST apps         agentid, corpid, secret, name, token, aes_key, callback_url, members (userids in scope; null = the whole
                  company, which appchat needs), trusted_ip (false: 60020), refused {path: errcode}
POST bots         aibotid, name, encrypt_userids (senders appear as wo… ids), and mode: "callback" with token, aes_key, callback_url,
                  or "connection" with the secret that it subscribes with. A change of the mode cuts the connection
POST robots       chat, key (made up if absent), name → the key
POST members      userid, name, department
POST customers    external_userid, name, type, followers {userid: how this member calls the customer}
POST customer_groups  chat_id, name, owner, members (userids and external_userids), status
POST groups       chatid, name, owner, members, creator (agentid of the app that owns it)
POST officials    appid, secret, name, original_id, token, aes_key, callback_url, kind (service, subscription), verified, mode
                  (plaintext, compatible, safe), format (xml, json), ip_whitelist (null = every address), denied (paths
                  answered with 48001), daily_limits {path: calls}, takes_ai_label (false: 47001), menu_ids (false: a
                  msgmenu's choice arrives with bizmsgmenuid 0)
POST minis        appid … daily_limits as above, words {word: review | risky} and media_verdict for the content checks,
                  templates (as gettemplate lists them), pages (null = all are released)
POST persons      account (appid), name, openid (made up if absent), subscribed, remark → with the standing of GET person
POST settings     the fields of core.state.Settings: times, tries, copies, clients, persistent, poll_interval, limits
POST clock        advance: seconds by which tokens, codes, addresses, streams and limits age
POST tokens       app | official | mini, how: "invalidate" (40014 from now on, 40001 for WeChat) or "expire" (42001)

POST say          app | bot | official | mini, from, text, kind, chat (a group, only with bot) → {"id", "chat", "entry"}
                  kinds: text; image, voice, video, file with data (base64), name, mime; mixed with items [{kind, …}];
                  location, link with an object of that name (app, official), miniprogrampage too (mini); shortvideo
                  (official); a voice's text is its transcript (official). quote: {kind, …}. mention false: said in the
                  group without the bot's name, which the bot does not hear. copies, persistent, tries as in settings.
                  {"messages": [say, …]} queues many → {"said": [answer, …]}
POST event        app | bot | official | mini, from, event, fields (over the defaults in wecom/payloads.py, weixin/actions.py), chat; or
                  raw: the plaintext, or an object that becomes XML (app) or JSON (bot), or is written in a WeChat account's
                  format.
                  subscribe, unsubscribe, SCAN, CLICK, user_enter_tempsession … change the person's standing
POST click        entry (its seq), from, key, selected {question: [option]}: a button or submit of a card, or with key alone
                  the choice of a msgmenu
POST customer_added  app, customer, member, state: the customer adds the member, an event with a code for one welcome
POST accept       mini, from, template: the person agrees to one notice
POST verify       app | bot | official | mini: the console's GET with echostr → {"ok", "status", "body", "seconds"}

POST connection   bot, how: close (1000), abort (reset), kick (disconnected_event, then 1000), unsubscribe (846609 from now on, pings
                  go on), stall (nothing is read or written until resume) → {"connection": its number, null without one}
POST refusals     bot, chat, stream (600039 for streams there), push, push_errcode: what the platform refuses in this chat

POST scans        scode (of GET /ai/qc/generate), how: scan, confirm (makes the bot; name, aibotid), expire. The code's auth_url
                  opens a page that does the same. It expires by itself after 5 minutes
POST kf/accounts  open_kfid, agentid (of the app that may call and gets the notices), name, servicers, page_size, empty_pages, knocks
POST kf/customers external_userid, name, refuses (fail_type 10). A customer speaks by POST say and event with kf, from; event
                  enter_session brings a welcome_code where the platform gives one; raw: a message in any form
POST kf/take      kf, from, servicer, change_type: a servicer takes the conversation (1), hands it over (2) or ends it (3)
POST kf/servicer  kf, to, text: the servicer who has it answers (origin 5).   POST kf/fail: kf, to, msgid, fail_type (msg_send_fail)
POST kf/knock     kf: the notice that there is something to fetch.   GET kf/session/<open_kfid>/<customer>: state, left, wrote

POST wechaty/accounts  id, token, name, port (0: a free one), logged_in (of a new one), and what puppets do in different ways
                  (wechaty/world.py: Account): echo, answer_ids, mention_ids, stamps, greets, heartbeat_seconds → with `endpoint`, where
                  its puppet service listens (gRPC, without TLS), logged_in, listening, running, code, code_status
POST wechaty/contacts  id, name, alias, friend.   POST wechaty/rooms: id, topic, owner, members, aliases {id: name in the room}
                  People speak by POST say with wechaty (the account), from, and chat (a room); kinds: wire.MESSAGE_TYPES, or `type` a
                  number; mention (the account, by name and id) or mentions (ids alone), quote {name, text}; files with box: base64,
                  uuid, url or buffer (which MessageFile cannot hand over when it is small)
POST wechaty/phone     wechaty, how: show (a new code), scan, confirm, cancel, expire, logout. The text of a code is an address whose
                  page does the same
POST wechaty/recall: wechaty, from, message.   POST wechaty/members: room, how (join, leave), ids, by.   POST wechaty/topic: room, topic, by
POST wechaty/invite: wechaty, from, topic, members.   POST wechaty/friend: wechaty, from, hello.   POST wechaty/raw: wechaty, type, payload
POST wechaty/service   wechaty, how: silence (the stream writes nothing until resume), resume, end (the stream), cut (every connection),
                  away (until back), back, heartbeat, error
GET wechaty/streams?wechaty=, wechaty/sent?wechaty= (what clients had the account do), wechaty/requests

POST own/gateways name, callback_url, inbound_secret, outbound_secret, answers_id → with `address`, where it takes deliveries
POST own/say      own (the gateway), from, name, text, chat and title (a group), kind, data, addressed, mentions, reply_to, own_words, id
POST own/event    own, event (joined, left, renamed, …), from or chat, fields; or raw: a whole body

POST ilink/people  id (ends in @im.wechat), name: somebody who may scan. They write by POST say with ilink (whose bot), from (its owner
                  where nobody is named); kinds text, image, voice (text: its transcript), file, video; quote {text} or {id}
POST ilink/scans  qrcode, from, how: scan, ask (a number to type; three wrong ones end it), redirect (host), confirm (logs in), expire.
                  The text of a code is an address whose page does the same.   GET ilink/scans: each code
POST ilink/login  from: a login without a scan → bot_token, ilink_bot_id, ilink_user_id.   POST ilink/logout: from (-14 from now on)
POST ilink/raw    ilink, message: fields over the usual ones

POST faults       path ("message/send", "media/bot" for a user's file, a frame's cmd, "wechaty/MessageSendText",
                  "*"), kind (core/faults.py; over gRPC as in wechaty/service.py), times (0 = for ever),
                  rate (share of the calls), errcode, errmsg, seconds, status.   DELETE faults clears them
POST reset        forget calls, counters and deliveries

GET directory     every account, member, group and person, without secrets
GET person/<id>   subscribed, chat, left (messages the account may still send) until ends, typing, seen, accepted notices
GET record        calls per path, errors per path and errcode, faults per path and kind, counters (token_requests, tokens_issued,
                  tokens_invalidated, wrong_secrets, duplicates, dropped), deliveries and streams by outcome, and
                  violations: answers the platform would have ignored or that break its rules
GET calls?path=   each API call with body, errcode and fault.   GET deliveries?id=   each callback with its tries
GET streams       polls, frames and state per message
GET connections?bot=    each long connection: number, bot, device_id, opened, subscribed, pings, handed, closed, ended (by what)
GET scans         each code of "scan to create": scode, source, status (wait, scanned, success, expired), bot
GET chats         every chat with its number of entries
GET chat/<chat>?since=<rev>&wait=<s>    the transcript as a member sees it, in order; `wait` holds until there is news

Chats are called own:<gateway>:<conversation>, kf:<open_kfid>:<external_userid>, ilink:<whose bot>:<person>,
wechaty:<account>:<contact> (a room by its id),
app:<agentid>:<userid>, bot:<aibotid>:<userid> (userid in lower case), official:<appid>:<openid>,
mini:<appid>:<openid> or by the group's chatid. Messages of one chat go out in order, the next one after a 200 for the last or
when its tries are used up; one of WeChat goes also when the last is held for `overtake_seconds`, as on the platform.

Over a long connection a message is written once; its delivery is "delivered" with the connection's number when it was handed to a
live socket, read or not, and "lost" where no connection was subscribed. Wrong credentials are 853000, too quick a subscription
45009, frames without one 846609, over 30 a minute or 1000 an hour in a chat 846607, an unknown or late req_id 846605, a stream
after six minutes 846608, a chat where nobody has written to the bot 93006. Violations name what a client should not do, like
frame_before_ack: a second frame for a req_id whose first is not acknowledged.

A WeChat callback is dropped after callback_timeout and sent again delivery_interval after its start, callback_tries in all. A
passive reply is an entry with via "passive", answers (the message's id) and data.delivery (which delivery it answered); kind
"failure" is the platform's own sentence after three without a valid answer, or a malformed one. Messages of custom/send have
data.ai where they bore the label of AI text.
"""

from channels_wechat.simulator.client import SimulatorClient, SimulatorError
from channels_wechat.simulator.server import RunningSimulator, Simulator

__all__ = ["RunningSimulator", "Simulator", "SimulatorClient", "SimulatorError"]
