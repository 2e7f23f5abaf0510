"use strict";
// Elements of the page, and texts of others as elements: plain, or as Markdown without HTML that DOMPurify has cleaned.
function h(tag, attrs, ...children) {
  const e = document.createElement(tag);
  for (const [k, v] of Object.entries(attrs || {})) {
    if (v === null || v === undefined || v === false) continue;
    if (k.startsWith("on")) e.addEventListener(k.slice(2), v);
    else if (k === "style") Object.assign(e.style, v);
    else if (k === "class") e.className = v;
    else e.setAttribute(k, v === true ? "" : v);
  }
  add(e, children);
  return e;
}
function add(e, children) {
  for (const c of children.flat(9)) if (c !== null && c !== undefined && c !== false && c !== "") e.append(c.nodeType ? c : String(c));
  return e;
}
function svg(tag, attrs, ...children) {
  const e = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [k, v] of Object.entries(attrs || {})) if (v !== null && v !== undefined) e.setAttribute(k, v);
  return add(e, children);
}
const pct = (x, d = 1) => (100 * x).toFixed(d) + "%";
const num = x => x.toLocaleString("en-US");
const few = x => x.toFixed(2).replace(/\.?0+$/, "") || "0";

const md = markdownit({ html: false, linkify: false, breaks: true }).disable(["image", "escape"]); // a backslash is part of a formula
const CLEAN = {
  ALLOWED_TAGS: ["p", "br", "em", "strong", "s", "code", "pre", "ul", "ol", "li", "blockquote", "h1", "h2", "h3", "h4", "h5", "h6",
    "hr", "table", "thead", "tbody", "tr", "th", "td", "a"],
  ALLOWED_ATTR: ["start"], RETURN_DOM_FRAGMENT: true,
};
const LONG = 60000;
const reading = { plain: false };
// Code that nobody put between fences would lose its indentation and its underscores: it gets fences of its own.
const OPENS = /^(?:(?:async )?def \w+\(|class \w+.*:\s*$|import [\w.]+|from [\w.]+ import\b|@\w[\w.]*(?:\(.*\))?$|#include\b|(?:export )?(?:async )?function \w*\(|(?:public|private|static) .*\{\s*$)/;
const GOES_ON = /^(?:[\w.[\]'"]+ *(?:[-+*/|&]?=[^=]|\()|(?:return|print|for|while|if|elif|else|try|except|finally|with|assert|raise|pass)\b.*[:)]\s*$|[})\]]|#\s)/;
function withFences(text) {
  const out = [], lines = text.split("\n");
  let fence = null;
  for (let i = 0; i < lines.length; i++) {
    const mark = lines[i].match(/^ {0,3}(`{3,}|~{3,})/);
    if (mark && (fence === null || mark[1].startsWith(fence))) fence = fence === null ? mark[1] : null;
    if (fence !== null || mark || !OPENS.test(lines[i])) { out.push(lines[i]); continue; }
    let end = i, last = i, indented = false;
    while (++end < lines.length) {
      const line = lines[end];
      if (!line.trim()) continue;
      if (!/^[ \t]/.test(line) && !OPENS.test(line) && !GOES_ON.test(line)) break;
      indented = indented || /^[ \t]/.test(line);
      last = end;
    }
    if (!indented || lines.slice(i, last + 1).some(l => l.includes("```"))) { out.push(lines[i]); continue; }
    out.push("", "```", ...lines.slice(i, last + 1), "```", "");
    i = last;
  }
  return out.join("\n");
}
function prose(text) {
  const box = h("div", { class: "prose", dir: "auto" });
  if (text.length > LONG) {
    const pre = h("pre", { class: "plain" }, text.slice(0, LONG));
    box.append(pre, h("button", { onclick: e => { pre.textContent = text; e.target.remove(); } },
      `show all ${num(text.length)} characters`));
  } else if (reading.plain) box.append(h("pre", { class: "plain" }, text));
  else {
    const part = DOMPurify.sanitize(md.render(withFences(text)), CLEAN);
    // Headings of a text must not stand among those of the page.
    for (const e of part.querySelectorAll("h1,h2,h3,h4,h5,h6")) e.replaceWith(h("p", { class: "heading" }, ...e.childNodes));
    for (const e of part.querySelectorAll("a")) e.replaceWith(h("span", { class: "link" }, ...e.childNodes));
    box.append(part);
  }
  return box;
}
// Marks a quotation in an element's text, white space and case aside.
function mark(root, quotation, cls) {
  const fold = s => s.replace(/[‘’]/g, "'").replace(/[“”]/g, '"').toLowerCase();
  const nodes = [], chars = [];
  const walk = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
  let space = true;
  for (let n = walk.nextNode(); n; n = walk.nextNode()) {
    nodes.push(n);
    for (let i = 0; i < n.data.length; i++) {
      const c = n.data[i];
      if (/\s/.test(c)) { if (!space) chars.push([" ", nodes.length - 1, i]); space = true; }
      else { chars.push([fold(c), nodes.length - 1, i]); space = false; }
    }
    if (chars.length && !space) { chars.push([" ", nodes.length - 1, n.data.length]); space = true; }
  }
  const whole = chars.map(c => c[0]).join("");
  const wanted = fold(quotation).replace(/[*_`#]/g, "").replace(/\s+/g, " ").trim().replace(/^["'.,;:]+|["'.,;:]+$/g, "");
  const at = wanted.length < 3 ? -1 : whole.indexOf(wanted);
  if (at < 0) return false;
  const spans = new Map();
  for (const [, n, i] of chars.slice(at, at + wanted.length)) {
    const s = spans.get(n) || [i, i];
    spans.set(n, [Math.min(s[0], i), Math.max(s[1], i)]);
  }
  for (const [n, [from, to]] of spans) {
    const node = nodes[n];
    if (from >= node.data.length) continue;
    const range = document.createRange();
    range.setStart(node, from);
    range.setEnd(node, Math.min(to + 1, node.data.length));
    const m = h("mark", { class: cls });
    range.surroundContents(m);
    nodes[n] = m.nextSibling && m.nextSibling.nodeType === 3 ? m.nextSibling : node;
  }
  return true;
}
