// One transcript entry as a member sees it.

import { element, markdown } from "/static/markdown.js";

const MARKDOWN = new Set(["stream", "markdown", "markdown_v2"]);
// What the platform says by itself.
const QUIET = new Set(["failure", "notice"]);

export function renderEntry(entry, names, me, act) {
  const mine = entry.who === me && entry.kind !== "notice";
  const bubble = element("div", { class: "bubble" + (entry.streaming ? " writing" : "") });
  if (entry.recalled) bubble.append("This message was recalled");
  else bubble.append(...body(entry, act));
  const time = new Date(entry.at * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  return element(
    "li",
    { class: "entry" + (mine ? " mine" : "") + (entry.recalled || QUIET.has(entry.kind) ? " recalled" : ""), "data-seq": entry.seq },
    element("span", { class: "who" }, [names(entry.who), time, ...way(entry)].join(" · ")),
    bubble,
    entry.data.ai ? element("span", { class: "who" }, "内容由第三方AI生成") : null,
    entry.data.feedback_id && !entry.streaming ? feedback(entry, act) : null,
  );
}

// How a follower's answer came, where that matters.
function way(entry) {
  return entry.data.delivery ? [`in answer to delivery ${entry.data.delivery}`] : [];
}

function body(entry, act) {
  const { data, kind, text } = entry;
  const nodes = [];
  if (data.quote) nodes.push(element("p", { class: "quote" }, data.quote));
  if (kind === "template_card") return [card(entry, data, act)];
  if (kind === "textcard") return [titled(data.title, data.description, data.url)];
  if (kind === "msgmenu") return menu(entry, act);
  if (kind === "link" || kind === "miniprogrampage") return [shared(entry)];
  if (kind === "location") return [element("p", {}, data.location?.Label || data.location?.name || data.name || "[location]")];
  if (kind === "subscribe_message") return [titled(data.title, text)];
  if (kind === "news" || kind === "mpnews") return data.articles.map((a) => titled(a.title, a.description || a.digest, a.url));
  if (text) nodes.push(...(MARKDOWN.has(kind) ? markdown(text) : [element("p", {}, text)]));
  if (data.url && data.mime) nodes.push(media(data));
  for (const item of [...(data.media || []), ...(data.images || [])]) nodes.push(media(item));
  if (data.card) nodes.push(card(entry, data.card, act));
  if (!nodes.length) nodes.push(element("p", {}, entry.streaming ? "…" : `[${kind}]`));
  return nodes;
}

function menu(entry, act) {
  const { data } = entry;
  const items = data.list.map((item) => choice(entry, item.type ? { ...item[item.type] } : item, act, item.type));
  const lines = [data.head_content, data.tail_content].map((line) => (line ? element("p", {}, line) : null));
  return [lines[0], element("div", { class: "actions" }, ...items), lines[1]].filter(Boolean);
}

// An entry of a menu; of customer service, which has several types, the click sends the label and the id.
function choice(entry, item, act, type) {
  if (type && type !== "click") return element("p", {}, item.content);
  return element("button", { type: "button", onclick: () => act.click(entry, item.id, type ? item.content : {}) }, item.content);
}

// A link or a page: the person's own in the platform's words, the account's in the API's.
function shared({ kind, data, text }) {
  const own = data[kind] || {};
  return titled(own.Title || data.title || text || `[${kind}]`, own.Description || data.description || own.PagePath || data.pagepath, own.Url || data.url);
}

function titled(title, description, url) {
  const safe = /^https?:/.test(url || "");
  return element(
    "div",
    { class: "card" },
    element("strong", {}, safe ? element("a", { href: url, target: "_blank", rel: "noreferrer noopener" }, title) : title || ""),
    description ? element("p", {}, description.replace(/<[^>]+>/g, "")) : null,
  );
}

function media(item) {
  if (item.mime.startsWith("image/")) return element("img", { src: item.url, alt: item.name });
  const size = item.size > 1024 ? `${Math.round(item.size / 1024)} kB` : `${item.size} B`;
  return element("p", {}, element("a", { href: item.url, download: item.name }, item.name), ` (${size})`);
}

function card(entry, data, act) {
  const box = element("form", { class: "card", onsubmit: (event) => submit(event, entry, data, act) });
  if (data.source) box.append(element("p", { class: "note" }, data.source.desc || ""));
  if (data.main_title) box.append(element("strong", {}, data.main_title.title || ""), element("p", {}, data.main_title.desc || ""));
  if (data.emphasis_content) box.append(element("h4", {}, data.emphasis_content.title || ""));
  if (data.sub_title_text) box.append(element("p", {}, data.sub_title_text));
  const rows = data.horizontal_content_list || [];
  if (rows.length) box.append(element("dl", {}, ...rows.flatMap((r) => [element("dt", {}, r.keyname), element("dd", {}, r.value || "")])));
  for (const row of data.vertical_content_list || []) box.append(element("p", {}, `${row.title} ${row.desc || ""}`));
  if (data.replaced) box.append(element("p", { class: "note" }, data.replaced));
  else box.append(...choices(data), actions(entry, data, act));
  return box;
}

function choices(data) {
  const nodes = [];
  if (data.checkbox) {
    const type = data.checkbox.mode === 1 ? "checkbox" : "radio";
    const options = data.checkbox.option_list.map((option) =>
      element("label", { class: "option" }, element("input", { type, name: data.checkbox.question_key, value: option.id }), ` ${option.text}`));
    nodes.push(element("fieldset", {}, ...options));
  }
  for (const select of data.select_list || []) {
    const options = select.option_list.map((option) => element("option", { value: option.id }, option.text));
    nodes.push(element("label", { class: "option" }, `${select.title || ""} `, element("select", { name: select.question_key }, ...options)));
  }
  return nodes;
}

function actions(entry, data, act) {
  const row = element("div", { class: "actions" });
  for (const button of data.button_list || []) {
    row.append(element("button", { type: "button", onclick: () => act.click(entry, button.key, {}) }, button.text));
  }
  if (data.submit_button) row.append(element("button", { type: "submit" }, data.submit_button.text));
  return row;
}

function submit(event, entry, data, act) {
  event.preventDefault();
  const selected = {};
  for (const [question, option] of new FormData(event.target)) (selected[question] ||= []).push(option);
  act.click(entry, data.submit_button.key, selected);
}

function feedback(entry, act) {
  const button = (label, type) => element("button", { type: "button", onclick: () => act.feedback(entry, type) }, label);
  return element("div", { class: "feedback" }, button("Accurate", 1), button("Not accurate", 2));
}
