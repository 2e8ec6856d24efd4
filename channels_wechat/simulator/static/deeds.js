// What a follower or a Mini Program user can do besides writing, and how they stand with the account.

const place = { kind: "location", location: { Label: "广州市海珠区新港中路397号" } };
const link = { kind: "link", link: { Title: "一篇文章", Url: "https://example.org/article" } };
const page = { kind: "miniprogrampage", miniprogrampage: { Title: "我的订单", PagePath: "pages/order/index" } };

// [label, path of the control API, request]; sender is {official | mini, from}.
export function deedsOf(chat, person) {
  const event = (label, name, fields = {}) => [label, "event", { event: name, fields }];
  const say = (label, message) => [label, "say", message];
  if (chat.mini) return [event("Enter the session", "user_enter_tempsession"), say("Send a page", page)];
  if (!chat.official) return [];
  if (!person.subscribed) return [event("Follow", "subscribe")];
  return [
    event("Unfollow", "unsubscribe"),
    event("Scan a code", "SCAN", { EventKey: "counter-1" }),
    event("Tap the menu", "CLICK", { EventKey: "HELP" }),
    say("Send a place", place),
    say("Send a link", link),
  ];
}

// What can happen to an AI bot's long connection.
export function deedsOfBot(bot) {
  if (!bot?.connected) return [];
  const end = (label, how) => [label, "connection", { how }];
  return [end("Close the connection", "close"), end("Break the connection", "abort"), end("Let another client connect", "kick")];
}

export function connectionOf(bot) {
  if (bot.mode !== "connection") return "One to one";
  return bot.connected ? "Long connection: connected" : "Long connection: nobody is connected, and messages are lost";
}

const STATES = ["new: the account answers", "the account answers", "waits for a servicer", "a servicer answers", "ended"];

// What a customer can do besides writing, and what a servicer does in their own client.
export function deedsOfCustomer(account, customer) {
  const at = { kind: "location", location: { latitude: 23.1, longitude: 113.3, name: "广州塔", address: "广州市海珠区" } };
  const deeds = [["Open the chat", "event", { event: "enter_session" }], ["Send a place", "say", at]];
  const taken = customer.sessions[account.open_kfid]?.state === 3;
  if (taken) return [...deeds, ["The servicer answers", "kf/servicer", { to: customer.external_userid, text: "您好，我是人工客服。" }], ["The servicer ends it", "kf/take", { change_type: 3 }]];
  const [servicer] = account.servicers;
  return servicer ? [...deeds, ["A servicer takes it", "kf/take", { servicer, change_type: 1 }]] : deeds;
}

export function sessionOf(customer, kf) {
  const session = customer?.sessions[kf];
  if (!session) return "One to one: nothing was said yet";
  return `${STATES[session.state]} · the account may send ${session.left} more`;
}

// What can be done with the phone of a personal account, and with its room.
export function deedsOfWechaty(account, chat) {
  const phone = (label, how) => [label, "wechaty/phone", { wechaty: account.id, how }];
  const ask = (label, path, request) => [label, `wechaty/${path}`, { wechaty: account.id, ...request }];
  if (!account.logged_in) {
    if (account.code_status === "scanned") return [phone("Confirm the login on the phone", "confirm"), phone("Cancel it", "cancel")];
    return [phone("Scan the code with the phone", "scan"), phone("Let the code expire", "expire")];
  }
  const deeds = [phone("Log out on the phone", "logout")];
  if (chat.group) return [["Rename the group", "wechaty/topic", { room: chat.id, topic: "新的群名" }], ...deeds];
  return [ask("Invite it into a group", "invite", { topic: "新群聊" }), ask("Ask for friendship", "friend", { hello: "我是群里的朋友" }), ...deeds];
}

export function loginOf(account) {
  if (!account.logged_in) return `Nobody is logged in: the code is ${account.code_status}`;
  return account.listening ? "Logged in, and somebody listens" : "Logged in, but nobody listens, and messages are lost";
}

// What somebody whose bot an agent is can do besides writing.
export function deedsOfIlink(person) {
  if (!person.logged_in) return [];
  return [["End the login", "ilink/logout", {}]];
}

export function loginOfIlink(person) {
  if (!person.logged_in) return person.bot ? "The login is lost: scan a new code" : "No login: scan a code";
  if (person.typing) return "typing…";
  const until = new Date(person.until * 1000).toLocaleString([], { dateStyle: "short", timeStyle: "medium" });
  return person.left ? `The bot may send ${person.left} more, until ${until}` : "The bot may send nothing until this person writes";
}

export function standingOf(person) {
  if (person.typing) return "typing…";
  const until = new Date(person.ends * 1000).toLocaleString([], { dateStyle: "short", timeStyle: "medium" });
  const window = person.left ? `The account may send ${person.left} more, until ${until}` : "The account may send nothing until this person does something";
  return person.subscribed ? window : "Does not follow";
}
