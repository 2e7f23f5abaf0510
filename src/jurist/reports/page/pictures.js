"use strict";
// Pictures, each an element: bars, calibration, curves, brackets, ratings.

function bar(value, interval, mid) {
  const box = h("span", { class: "bar", role: "img", "aria-label": pct(value) + (interval ? `, 95% interval ${pct(interval[0])} to ${pct(interval[1])}` : "") });
  box.append(h("span", { class: "fill", style: { width: pct(Math.max(0, Math.min(1, value))) } }));
  if (interval) box.append(h("span", { class: "whisker", style: { left: pct(interval[0]), width: pct(Math.max(0.004, interval[1] - interval[0])) } }));
  if (mid !== null && mid !== undefined) box.append(h("span", { class: "mid", style: { left: pct(mid) } }));
  return box;
}
const spans = x => x ? `${(100 * x[0]).toFixed(1)} to ${(100 * x[1]).toFixed(1)}`.replaceAll("-", "−") : "";
function duration(s) {
  if (s < 90) return s.toFixed(s < 10 ? 1 : 0) + " s";
  return s < 5400 ? Math.round(s / 60) + " min" : (s / 3600).toFixed(1) + " h";
}
function reliability(c) {
  const W = 320, H = 220, x = v => 40 + (v - 0.5) * 2 * (W - 56), y = v => H - 30 - v * (H - 46);
  const g = svg("svg", { viewBox: `0 0 ${W} ${H}`, class: "plot", role: "img", "aria-label": "share of right verdicts by confidence" });
  for (const v of [0, 0.5, 1]) g.append(svg("line", { x1: 40, x2: W - 16, y1: y(v), y2: y(v), class: "grid" }), svg("text", { x: 34, y: y(v) + 4, "text-anchor": "end" }, pct(v, 0)));
  for (const v of [0.5, 0.75, 1]) g.append(svg("text", { x: x(v), y: H - 10, "text-anchor": "middle" }, pct(v, 0)));
  g.append(svg("line", { x1: x(0.5), y1: y(0.5), x2: x(1), y2: y(1), class: "ideal" }));
  for (const b of c.bins) g.append(svg("line", { x1: x(b.confidence), x2: x(b.confidence), y1: y(b.interval[0]), y2: y(b.interval[1]), class: "error" }),
    svg("circle", { cx: x(b.confidence), cy: y(b.accuracy), r: Math.max(3, Math.min(9, Math.sqrt(b.n))), class: "dot" }, svg("title", {}, `${pct(b.confidence)} sure: ${b.right} of ${b.n} right`)));
  return h("figure", {}, g, h("figcaption", {}, "How often verdicts are right (up) by how sure they are (across); on the line, a judge is as right as it is sure."));
}
function training(curves) {
  const box = h("div", { class: "curves" }, h("h3", {}, "Training"));
  for (const c of curves) {
    const W = 320, H = 150, xs = c.points.map(p => p[0]), ys = c.points.map(p => p[1]).concat((c.band || []).flatMap(b => [b[1], b[2]]));
    const x0 = Math.min(...xs), x1 = Math.max(...xs), y0 = Math.min(...ys), y1 = Math.max(...ys), span = y1 - y0 || 1;
    const x = v => 46 + (v - x0) / (x1 - x0 || 1) * (W - 60), y = v => H - 24 - (v - y0) / span * (H - 40);
    const g = svg("svg", { viewBox: `0 0 ${W} ${H}`, class: "plot", role: "img", "aria-label": c.name });
    for (const v of [y0, y1]) g.append(svg("line", { x1: 46, x2: W - 14, y1: y(v), y2: y(v), class: "grid" }), svg("text", { x: 42, y: y(v) + 4, "text-anchor": "end" }, Math.abs(v) >= 100 ? v.toFixed(0) : few(v)));
    g.append(svg("text", { x: 46, y: H - 8 }, "step " + num(x0)), svg("text", { x: W - 14, y: H - 8, "text-anchor": "end" }, num(x1)));
    if (c.band) g.append(svg("path", { class: "band", d: "M" + c.band.map(b => `${x(b[0])},${y(b[1])}`).join("L") + "L" + c.band.slice().reverse().map(b => `${x(b[0])},${y(b[2])}`).join("L") + "Z" }));
    g.append(svg("path", { class: "line", d: "M" + c.points.map(p => `${x(p[0])},${y(p[1])}`).join("L") }));
    box.append(h("figure", {}, h("figcaption", {}, c.name), g));
  }
  return box;
}
// Accuracy against what it cost: a line for each way of deciding, told apart by colour and by mark.
const MARKS = [["●", "M-4,0a4,4 0 1,0 8,0a4,4 0 1,0 -8,0"], ["■", "M-4,-4h8v8h-8Z"], ["▲", "M0,-5L5,4H-5Z"], ["◆", "M0,-5.5L5.5,0L0,5.5L-5.5,0Z"], ["▼", "M0,5L5,-4H-5Z"], ["✚", "M-1.5,-5h3v3.5h3.5v3h-3.5v3.5h-3v-3.5h-3.5v-3h3.5Z"]];
function costs(points, title, unit) {
  const W = 520, H = 250, L = 46, R = 14, T = 12, B = 40;
  const xs = points.map(p => p.x), lows = points.map(p => p.interval ? p.interval[0] : p.value), highs = points.map(p => p.interval ? p.interval[1] : p.value);
  const log = Math.min(...xs) > 0 && Math.max(...xs) > 3 * Math.min(...xs), by = v => log ? Math.log(v) : v;
  let x0 = by(Math.min(...xs)), x1 = by(Math.max(...xs));
  const room = (x1 - x0 || 1) * 0.06, y0 = Math.max(0, Math.floor(Math.min(...lows) * 20) / 20), y1 = Math.min(1, Math.ceil(Math.max(...highs) * 20) / 20);
  x0 -= room; x1 += room;
  const x = v => L + (by(v) - x0) / (x1 - x0) * (W - L - R), y = v => H - B - (v - y0) / (y1 - y0 || 1) * (H - B - T);
  const g = svg("svg", { viewBox: `0 0 ${W} ${H}`, class: "plot broad", role: "img", "aria-label": title + ", as a table below" });
  for (const v of [y0, (y0 + y1) / 2, y1]) g.append(svg("line", { x1: L, x2: W - R, y1: y(v), y2: y(v), class: "grid" }), svg("text", { x: L - 5, y: y(v) + 4, "text-anchor": "end" }, pct(v, 0)));
  const ticks = [];
  if (log) for (let e = Math.floor(Math.log10(Math.min(...xs))); e <= Math.ceil(Math.log10(Math.max(...xs))); e++) for (const m of [1, 2, 5]) ticks.push(m * 10 ** e);
  else for (const m of [0, 0.5, 1]) ticks.push(Math.round(Math.min(...xs) + m * (Math.max(...xs) - Math.min(...xs))));
  for (const v of new Set(ticks)) if (by(v) >= x0 && by(v) <= x1) g.append(svg("line", { x1: x(v), x2: x(v), y1: H - B, y2: H - B + 4, class: "grid" }), svg("text", { x: x(v), y: H - B + 16, "text-anchor": "middle" }, num(v)));
  g.append(svg("text", { x: W - R, y: H - 6, "text-anchor": "end" }, unit + (log ? " (log scale)" : "")));
  const lines = [...new Set(points.map(p => p.line))];
  lines.forEach((line, n) => {
    const some = points.filter(p => p.line === line).sort((p, q) => p.x - q.x), of = svg("g", { class: "series r" + n % 6 });
    if (some.length > 1) of.append(svg("path", { class: "line", d: "M" + some.map(p => `${x(p.x)},${y(p.value)}`).join("L") }));
    for (const p of some) {
      if (p.interval) of.append(svg("line", { class: "error", x1: x(p.x), x2: x(p.x), y1: y(p.interval[0]), y2: y(p.interval[1]) }));
      of.append(svg("path", { class: "mark", d: MARKS[n % 6][1], transform: `translate(${x(p.x)},${y(p.value)})` }, svg("title", {}, `${p.name}: ${pct(p.value)}, ${num(Math.round(p.x))} ${unit}`)));
    }
    g.append(of);
  });
  return h("figure", { class: "costs" }, h("figcaption", {}, title), g,
    lines.length > 1 ? h("p", { class: "legend" }, lines.map((line, n) => h("span", {}, h("i", { class: "r" + n % 6, "aria-hidden": "true" }, MARKS[n % 6][0]), " ", line, " "))) : "",
    h("details", {}, h("summary", {}, "as a table"), h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": title }, h("table", {}, h("thead", {}, h("tr", {}, ["", "score", "95% interval", unit].map(t => h("th", { scope: "col" }, t)))),
      h("tbody", {}, points.map(p => h("tr", {}, h("th", { scope: "row" }, (p.efficient ? "• " : "") + p.name), h("td", { class: "n" }, pct(p.value)), h("td", { class: "n" }, spans(p.interval)), h("td", { class: "n" }, num(Math.round(p.x))))))))));
}
// Who met whom in a decision about n responses: the row's share of the wins, and how many judgments there were.
function meetings(side) {
  const n = side.scores.length, won = Array.from({ length: n }, () => Array(n).fill(null));
  for (const j of side.judgments) if (j.scores && j.scores.length === 2 && j.order.length === 2) {
    const [a, b] = [...j.order].sort((x, y) => x - y);
    won[a][b] = (won[a][b] || 0) + j.scores[0];
    won[b][a] = (won[b][a] || 0) + j.scores[1];
  }
  return won;
}
// A knockout as a tree, or null where the matches are none: each but the champion lost one match and played no more.
// A score is the share of the rounds that a response survived, so it says in which round its last match was.
function knockout(side, won) {
  const players = side.scores.map((_, i) => i).filter(i => won[i].some(v => v !== null));
  const rounds = Math.ceil(Math.log2(players.length)), met = players.map(i => won[i].filter(v => v !== null).length);
  if (players.length < 3 || met.reduce((a, b) => a + b, 0) !== 2 * (players.length - 1)) return null;
  const last = i => Math.round(side.scores[i] * rounds) + 1; // the round in which it lost; the champion never did
  const champions = players.filter(i => last(i) > rounds);
  const beaten = new Map(players.map(i => [i, new Map()]));
  for (const i of players) {
    const winners = players.filter(k => won[i][k] !== null && last(k) > last(i));
    if (last(i) <= rounds) { if (winners.length !== 1 || beaten.get(winners[0]).has(last(i))) return null; beaten.get(winners[0]).set(last(i), i); }
  }
  if (champions.length !== 1) return null;
  const node = (i, round) => {
    if (round === 0) return { i, depth: 0, leaf: true };
    const loser = beaten.get(i).get(round);
    if (loser === undefined) return node(i, round - 1);
    return { i, loser, round, sides: [node(i, round - 1), node(loser, round - 1)] };
  };
  return { tree: node(champions[0], rounds), rounds };
}
function bracket(found, won, show) {
  const ROW = 24, COL = 118, leaves = [];
  const walk = (t, depth) => { if (t.leaf) { t.y = leaves.push(t) * ROW - ROW / 2; } else { t.sides.forEach(walk); t.y = (t.sides[0].y + t.sides[1].y) / 2; } };
  walk(found.tree);
  const H = leaves.length * ROW + 6, W = (found.rounds + 1) * COL + 20, g = svg("svg", { viewBox: `0 0 ${W} ${H}`, width: W, height: H, class: "bracket", role: "group", "aria-label": "bracket" });
  const draw = (t, round) => {
    const x = round * COL + 4;
    if (t.leaf) { g.append(svg("text", { x, y: t.y + 4 }, `response ${t.i + 1}`)); return; }
    for (const s of t.sides) {
      const from = s.leaf ? 0 : s.round;
      g.append(svg("path", { class: "way" + (s.i === t.i ? " on" : ""), d: `M${from * COL + (s.leaf ? 82 : 96)},${s.y}H${t.round * COL - 8}V${t.y}H${t.round * COL}` }));
      draw(s, from);
    }
    const a = won[t.i][t.loser], b = won[t.loser][t.i], words = `round ${t.round}: response ${t.i + 1} beat response ${t.loser + 1}`;
    const go = () => show(t.i, t.loser), m = svg("g", { class: "match", tabindex: 0, role: "button", "aria-label": `${t.i + 1} ${few(a)} : ${few(b)}, ${words}; show its judgments` }, svg("rect", { x: x - 2, y: t.y - 10, width: 92, height: 20, rx: 4 }), svg("text", { x: x + 3, y: t.y + 4 }, `${t.i + 1} `, svg("tspan", { class: "score", dx: 4 }, `${few(a)} : ${few(b)}`)), svg("title", {}, words));
    m.addEventListener("click", go);
    m.addEventListener("keydown", e => { if (e.key === "Enter" || e.key === " ") { e.preventDefault(); e.stopPropagation(); go(); } });
    g.append(m);
  };
  draw(found.tree, found.rounds);
  return h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "bracket" }, g);
}
function rated(score, error, low, high) {
  const at = v => pct((v - low) / (high - low || 1)), span = h("span", { class: "rated", role: "img", "aria-label": few(score) + (error ? ` plus or minus ${few(error)}` : "") });
  if (error) span.append(h("span", { class: "whisker", style: { left: at(score - error), width: pct(2 * error / (high - low || 1)) } }));
  span.append(h("span", { class: "point", style: { left: at(score) } }));
  return span;
}
function ranking(side, maybe, show) {
  const errors = side.errors || [], low = Math.min(...side.scores.map((s, i) => s - (errors[i] || 0))), high = Math.max(...side.scores.map((s, i) => s + (errors[i] || 0)));
  const order = side.scores.map((s, i) => i).sort((a, b) => side.scores[b] - side.scores[a]), won = meetings(side), tree = maybe && knockout(side, won);
  const met = won.some(r => r.some(v => v !== null));
  return h("div", { class: "ranking" }, tree ? bracket(tree, won, show) : "",
    h("table", { class: "groups" }, h("caption", {}, errors.length ? "ratings with their standard errors" : tree ? "share of the rounds survived" : "scores"), h("tbody", {}, order.map((i, p) => h("tr", {}, h("td", { class: "n" }, p + 1), h("td", {}, `response ${i + 1}`), h("td", { class: "n" }, few(side.scores[i]), errors[i] ? ` ± ${few(errors[i])}` : ""),
      h("td", { class: "wide" }, rated(side.scores[i], errors[i], low, high)))))),
    met && !tree ? h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "matches" }, h("table", { class: "matrix" }, h("caption", {}, "wins of the row over the column"), h("thead", {}, h("tr", {}, h("td", {}), order.map(i => h("th", {}, i + 1)))), h("tbody", {}, order.map(i => h("tr", {}, h("th", {}, i + 1), order.map(k => h("td", { class: won[i][k] === null ? "" : won[i][k] > (won[k][i] || 0) ? "win" : "" }, i === k ? "" : won[i][k] === null ? "·" : few(won[i][k])))))))) : "");
}
