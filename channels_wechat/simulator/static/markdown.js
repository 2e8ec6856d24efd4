// The little Markdown that the client shows, built as DOM nodes: no HTML of an answer is ever interpreted.

const INLINE = /(`[^`]+`)|\*\*([^*]+)\*\*|\[([^\]]+)\]\((https?:[^)\s]+)\)|(https?:\/\/[^\s<>)，。]+)/g;

export function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== undefined && value !== false) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

function link(text, address) {
  return element("a", { href: address, target: "_blank", rel: "noreferrer noopener" }, text);
}

function inline(text) {
  const nodes = [];
  let end = 0;
  for (const match of text.matchAll(INLINE)) {
    nodes.push(text.slice(end, match.index));
    const [whole, code, bold, label, address, bare] = match;
    if (code) nodes.push(element("code", {}, code.slice(1, -1)));
    else if (bold) nodes.push(element("strong", {}, bold));
    else if (label) nodes.push(link(label, address));
    else nodes.push(link(bare, bare));
    end = match.index + whole.length;
  }
  nodes.push(text.slice(end));
  return nodes;
}

const KINDS = [["h4", /^#{1,6}\s+/], ["blockquote", /^>\s?/], ["ul", /^\s*[-*]\s+/], ["ol", /^\s*\d+\.\s+/]];

function kindOf(line) {
  return KINDS.find(([, mark]) => mark.test(line)) || ["p", /^/];
}

function block(tag, lines) {
  if (tag === "ul" || tag === "ol") return element(tag, {}, ...lines.map((line) => element("li", {}, ...inline(line))));
  return element(tag, {}, ...inline(lines.join("\n")));
}

// Neighbouring lines of one kind make one block; a heading is always alone.
function blocks(text) {
  const found = [];
  for (const line of text.split("\n")) {
    const [tag, mark] = line.trim() ? kindOf(line) : ["", /^/];
    const last = found.at(-1);
    if (last && last.tag === tag && tag !== "h4") last.lines.push(line.replace(mark, ""));
    else found.push({ tag, lines: [line.replace(mark, "")] });
  }
  return found.filter(({ tag }) => tag).map(({ tag, lines }) => block(tag, lines));
}

export function markdown(text) {
  const nodes = [];
  text.split(/^```.*$/m).forEach((part, index) => {
    if (index % 2) nodes.push(element("pre", {}, element("code", {}, part.replace(/^\n|\n$/g, ""))));
    else nodes.push(...blocks(part));
  });
  return nodes;
}
