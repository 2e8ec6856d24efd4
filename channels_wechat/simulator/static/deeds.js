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

export function standingOf(person) {
  if (person.typing) return "typing…";
  const until = new Date(person.ends * 1000).toLocaleString([], { dateStyle: "short", timeStyle: "medium" });
  const window = person.left ? `The account may send ${person.left} more, until ${until}` : "The account may send nothing until this person does something";
  return person.subscribed ? window : "Does not follow";
}
