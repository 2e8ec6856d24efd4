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

function block(text) {
  const lines = text.split("\n");
  const heading = text.match(/^#{1,6}\s+(.*)$/);
  if (heading && lines.length === 1) return element("h4", {}, ...inline(heading[1]));
  if (lines.every((line) => /^>\s?/.test(line))) {
    return element("blockquote", {}, element("p", {}, ...inline(lines.map((l) => l.replace(/^>\s?/, "")).join("\n"))));
  }
  if (lines.every((line) => /^\s*[-*]\s+/.test(line))) {
    return element("ul", {}, ...lines.map((line) => element("li", {}, ...inline(line.replace(/^\s*[-*]\s+/, "")))));
  }
  return element("p", {}, ...inline(text));
}

export function markdown(text) {
  const nodes = [];
  text.split(/^```.*$/m).forEach((part, index) => {
    if (index % 2) nodes.push(element("pre", {}, element("code", {}, part.replace(/^\n|\n$/g, ""))));
    else part.split(/\n{2,}/).filter((piece) => piece.trim()).forEach((piece) => nodes.push(block(piece.trim())));
  });
  return nodes;
}
