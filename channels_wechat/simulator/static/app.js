// The chat page: choose a member, a follower, a Mini Program user, a customer or somebody in WeChat and a chat, speak, and watch the transcript by long polling.

import { connectionOf, deedsOf, deedsOfBot, deedsOfCustomer, deedsOfIlink, deedsOfWechaty, loginOf, loginOfIlink, sessionOf, standingOf } from "/static/deeds.js";
import { element } from "/static/markdown.js";
import { renderEntry } from "/static/view.js";

const $ = (id) => document.getElementById(id);
const state = { directory: null, me: "", chat: null, rev: 0, round: 0 };

async function call(path, body) {
  const options = body ? { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) } : {};
  const response = await fetch(`/sim/${path}`, options);
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error);
  return answer;
}

async function attempt(work) {
  $("problem").hidden = true;
  try {
    await work();
  } catch (error) {
    $("problem").textContent = error.message || "The simulator does not answer.";
    $("problem").hidden = false;
  }
}

function names(who) {
  const [kind, id] = [who.split(":")[0], who.slice(who.indexOf(":") + 1)];
  const { members, apps, bots, officials, minis, persons } = state.directory;
  if (kind === "app") return apps.find((app) => String(app.agentid) === id)?.name || who;
  if (kind === "bot") return bots.find((bot) => bot.aibotid === id)?.name || who;
  if (kind === "official" || kind === "mini") return [...officials, ...minis].find((account) => account.appid === id)?.name || who;
  if (kind === "robot") return id;
  if (kind === "kf") return state.directory.kfs.find((account) => account.open_kfid === id)?.name || who;
  if (kind === "servicer") return `${names(id)} (servicer)`;
  if (kind === "wechaty") return state.directory.wechaty_accounts.find((account) => account.id === id)?.name || who;
  if (kind === "ilink") return "Agent";
  const known = [...state.directory.ilink_people, ...state.directory.wechaty_contacts, ...state.directory.wechaty_accounts].find((one) => one.id === who);
  if (known) return known.name;
  const customer = state.directory.kf_customers.find((one) => one.external_userid === who);
  if (customer) return customer.name;
  return persons.find((person) => person.openid === who)?.name || members.find((member) => member.userid === who)?.name || who;
}

function person() {
  return state.directory?.persons.find((one) => one.openid === state.me);
}

function customer() {
  return state.directory?.kf_customers.find((one) => one.external_userid === state.me);
}

function friend() {
  return state.directory?.wechaty_contacts.find((one) => one.id === state.me);
}

function scanner() {
  return state.directory?.ilink_people.find((one) => one.id === state.me);
}

// Of somebody in WeChat: their rooms in which a personal account is, and each account one to one.
function chatsOfFriend(me) {
  const { wechaty_accounts: accounts, wechaty_rooms: rooms } = state.directory;
  const there = (room) => accounts.filter((account) => room.members.includes(account.id)).map((account) => account.id);
  const open = rooms.filter((room) => room.members.includes(me) && there(room).length);
  return [
    ["WeChat groups", open.map((room) => ({ id: room.id, name: room.topic, group: true, wechaty: there(room)[0] }))],
    ["Personal accounts", accounts.map((account) => ({ id: `wechaty:${account.id}:${me}`, name: account.name, wechaty: account.id }))],
  ];
}

function chatOf(person) {
  const { officials, minis } = state.directory;
  const official = officials.find((account) => account.appid === person.account);
  const account = official || minis.find((one) => one.appid === person.account);
  const rights = official ? [official.kind, official.verified ? "verified" : "not verified"].join(", ") : "";
  const chat = { id: person.chat, name: account.name, kind: rights };
  return [official ? "Official Accounts" : "Mini Programs", [{ ...chat, [official ? "official" : "mini"]: account.appid }]];
}

function chatsOf(me) {
  if (person()) return [chatOf(person())];
  if (customer()) {
    const chats = state.directory.kfs.map((account) => ({ id: `kf:${account.open_kfid}:${me}`, name: account.name, kf: account.open_kfid }));
    return [["Customer service", chats]];
  }
  if (friend()) return chatsOfFriend(me);
  if (scanner()) return [["Agents", scanner().bot ? [{ id: `ilink:${me}:${me}`, name: "Agent", ilink: me }] : []]];
  const { groups, bots, apps } = state.directory;
  const has = (list) => list === null || list.some((userid) => userid.toLowerCase() === me.toLowerCase());
  const user = me.toLowerCase();
  return [
    ["Groups", groups.filter((g) => !g.members.length || has(g.members)).map((g) => ({ id: g.chatid, name: g.name, group: true }))],
    ["AI bots", bots.map((b) => ({ id: `bot:${b.aibotid}:${user}`, name: b.name, bot: b.aibotid }))],
    ["Apps", apps.filter((a) => has(a.members)).map((a) => ({ id: `app:${a.agentid}:${user}`, name: a.name, app: a.agentid }))],
  ];
}

function showChats() {
  $("chats").replaceChildren();
  for (const [title, chats] of chatsOf(state.me)) {
    if (!chats.length) continue;
    $("chats").append(element("h3", {}, title));
    for (const chat of chats) {
      const current = state.chat?.id === chat.id;
      $("chats").append(element("button", { type: "button", "aria-current": String(current), onclick: () => openChat(chat) }, chat.name));
    }
  }
  if (!$("chats").childElementCount) $("chats").append(element("p", { class: "note" }, "Nothing yet: create accounts with POST /sim/bots, /sim/apps, /sim/groups, /sim/officials, /sim/minis."));
}

function openChat(chat) {
  state.chat = chat;
  state.rev = 0;
  document.body.classList.add("talking");
  $("title").textContent = chat.name;
  showStanding();
  $("entries").replaceChildren();
  $("composer").hidden = false;
  $("enter").hidden = Boolean(chat.group || person() || chat.kf || chat.wechaty || chat.ilink);
  $("listener-label").hidden = !chat.group;
  $("listener").replaceChildren(...listenersOf(chat).map(([value, label]) => element("option", { value }, label)));
  showChats();
  follow(++state.round);
}

// Whom a group's message mentions.
function listenersOf(chat) {
  const { bots, wechaty_accounts: accounts, wechaty_rooms: rooms } = state.directory;
  if (!chat.group) return [];
  if (!chat.wechaty) return [...bots.map((bot) => [bot.aibotid, `@${bot.name}`]), ["", "everybody (no bot hears it)"]];
  const { members } = rooms.find((room) => room.id === chat.id);
  return [...accounts.filter((one) => members.includes(one.id)).map((one) => [one.id, `@${one.name}`]), ["", "everybody"]];
}

function showStanding() {
  const { chat } = state;
  const me = person();
  if (!chat) return;
  $("subtitle").textContent = chat.group ? "Group: a bot hears only what mentions it" : "One to one";
  if (me) $("subtitle").textContent = [chat.kind, standingOf(me)].filter(Boolean).join(" · ");
  const bot = state.directory.bots.find((one) => one.aibotid === chat.bot);
  if (bot) $("subtitle").textContent = connectionOf(bot);
  const account = state.directory.kfs.find((one) => one.open_kfid === chat.kf);
  if (account) $("subtitle").textContent = sessionOf(customer(), chat.kf);
  const personal = state.directory.wechaty_accounts.find((one) => one.id === chat.wechaty);
  if (personal) $("subtitle").textContent = loginOf(personal);
  if (personal && chat.group) $("title").textContent = state.directory.wechaty_rooms.find((room) => room.id === chat.id).topic;
  if (chat.ilink) $("subtitle").textContent = loginOfIlink(scanner());
  if (chat.ilink) showDeeds(deedsOfIlink(scanner()));
  else if (personal) showDeeds(deedsOfWechaty(personal, chat));
  else if (account) showDeeds(deedsOfCustomer(account, customer()));
  else showDeeds(me ? deedsOf(chat, me) : deedsOfBot(bot));
}

// Built anew only when they are others, so that a button that was pressed keeps the focus.
function showDeeds(deeds) {
  const labels = [state.me, ...deeds.map(([label]) => label)].join();
  if ($("deeds").dataset.labels === labels) return;
  $("deeds").dataset.labels = labels;
  $("deeds").replaceChildren();
  for (const [label, path, request] of deeds) {
    const act = () => attempt(() => call(path, { ...target(), from: state.me, ...request }).then(refresh));
    $("deeds").append(element("button", { type: "button", onclick: act }, label));
  }
}

async function follow(round) {
  while (round === state.round) {
    try {
      const news = await call(`chat/${encodeURIComponent(state.chat.id)}?since=${state.rev}&wait=20`);
      if (round !== state.round) return;
      state.rev = news.rev;
      news.entries.forEach(show);
    } catch {
      await new Promise((resume) => setTimeout(resume, 1000));
    }
  }
}

function show(entry) {
  const list = $("entries");
  const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 80;
  const node = renderEntry(entry, names, state.me, { click, feedback });
  const old = list.querySelector(`[data-seq="${entry.seq}"]`);
  if (old) old.replaceWith(node);
  else list.append(node);
  if (atEnd) list.scrollTop = list.scrollHeight;
}

function target() {
  const { chat } = state;
  if (chat.official) return { official: chat.official };
  if (chat.mini) return { mini: chat.mini };
  if (chat.kf) return { kf: chat.kf };
  if (chat.ilink) return { ilink: chat.ilink };
  if (chat.wechaty) {
    const heard = $("listener").value;
    return { wechaty: heard || chat.wechaty, ...(chat.group ? { chat: chat.id, mention: Boolean(heard) } : {}) };
  }
  if (!chat.group) return chat.bot ? { bot: chat.bot } : { app: chat.app };
  const heard = $("listener").value;
  return { bot: heard || state.directory.bots[0]?.aibotid, chat: chat.id, mention: Boolean(heard) };
}

function say(message) {
  return attempt(() => call("say", { ...target(), from: state.me, ...message }).then(person() || state.chat.kf || state.chat.ilink ? refresh : null));
}

function click(entry, key, selected) {
  if (state.chat.kf) return say({ text: selected, menu_id: key });
  return attempt(() => call("click", { entry: entry.seq, from: state.me, key, selected }));
}

function feedback(entry, type) {
  const bot = entry.who.slice("bot:".length);
  const chat = state.chat.group ? { chat: state.chat.id } : {};
  const fields = { id: entry.data.feedback_id, type, content: "", inaccurate_reason_list: type === 2 ? [2] : [] };
  return attempt(() => call("event", { bot, from: state.me, ...chat, event: "feedback_event", fields }));
}

function kindOf(file) {
  if (file.type.startsWith("image/")) return "image";
  if (file.type.startsWith("video/")) return "video";
  if (state.chat.official) return "voice";
  if (state.chat.kf) return /amr/.test(file.type + file.name) ? "voice" : "file";
  return state.chat.app !== undefined && /amr/.test(file.type + file.name) ? "voice" : "file";
}

function base64(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result.slice(reader.result.indexOf(",") + 1));
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(file);
  });
}

async function attach(file) {
  const part = { kind: kindOf(file), name: file.name, mime: file.type || "application/octet-stream", data: await base64(file) };
  if (state.chat.wechaty) await say({ ...part, mention: false });
  else if (state.chat.group && part.kind === "image") await say({ kind: "mixed", items: [part] });
  else await say(part);
}

function submit(event) {
  event.preventDefault();
  const text = $("text").value.trim();
  if (!text) return;
  $("text").value = "";
  say({ text });
}

function wire() {
  $("member").onchange = () => {
    state.me = $("member").value;
    leave();
  };
  $("composer").onsubmit = submit;
  $("text").onkeydown = (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) submit(event);
  };
  $("file").onchange = () => {
    const [file] = $("file").files;
    if (file) attempt(() => attach(file));
    $("file").value = "";
  };
  $("enter").onclick = () => {
    const { chat } = state;
    const event = chat.bot ? "enter_chat" : "enter_agent";
    attempt(() => call("event", { ...target(), from: state.me, event }));
  };
  $("back").onclick = leave;
}

function leave() {
  state.round += 1;
  state.chat = null;
  document.body.classList.remove("talking");
  $("title").textContent = "Choose a chat";
  $("subtitle").textContent = "";
  showDeeds([]);
  $("entries").replaceChildren();
  $("composer").hidden = $("enter").hidden = true;
  showChats();
}

async function refresh() {
  const directory = await call("directory");
  if (JSON.stringify(directory) === JSON.stringify(state.directory)) return;
  state.directory = directory;
  const people = peopleOf(directory);
  const known = [...$("member").options].map((one) => one.value);
  if (String(known) !== String(people.flatMap(([, list]) => list.map((one) => one.id)))) {
    $("member").replaceChildren(...people.filter(([, list]) => list.length).map(([label, list]) => element("optgroup", { label }, ...list.map(option))));
    state.me = $("member").value;
  }
  showChats();
  showStanding();
}

function peopleOf({ members, persons, officials, kf_customers, wechaty_contacts, ilink_people }) {
  const follower = (person) => officials.some((account) => account.appid === person.account);
  const named = (list, id) => list.map((one) => ({ id: one[id], name: one.name }));
  return [
    ["Members", named(members, "userid")],
    ["Followers", named(persons.filter(follower), "openid")],
    ["Mini Program users", named(persons.filter((one) => !follower(one)), "openid")],
    ["Customers", named(kf_customers, "external_userid")],
    ["In WeChat", named(wechaty_contacts, "id")],
    ["With an agent as a contact", named(ilink_people, "id")],
  ];
}

function option({ id, name }) {
  return element("option", { value: id, selected: id === state.me }, name);
}

wire();
attempt(refresh);
setInterval(() => refresh().catch(() => {}), 3000);
