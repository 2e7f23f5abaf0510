"use strict";
// The report: an overview, a list of all cases with filters and search, and each case whole.
(() => {
  const index = JSON.parse(document.getElementById("index").textContent);
  const cases = index.cases, runs = index.runs;
  const place = new Map(cases.map((c, i) => [c.id, i]));
  const STATES = { right: ["✓", "right"], wrong: ["✗", "wrong"], tie: ["=", "tie"], unanswered: ["∅", "unanswered"], open: ["·", "no gold"] };
  const FEW = 0.75;

  // --- blocks -----------------------------------------------------------------------------------------------
  // Blocks stand behind this script; all are there once the document is read.
  const blocks = new Promise(done => {
    const all = () => done([...document.querySelectorAll("script.block")]);
    if (document.readyState === "loading") addEventListener("DOMContentLoaded", all); else all();
  });
  const inflated = new Map();
  async function inflate(n) {
    const bytes = Uint8Array.from(atob((await blocks)[n].textContent), c => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return JSON.parse(await new Response(stream).text());
  }
  function block(n) {
    if (!inflated.has(n)) inflated.set(n, inflate(n));
    return inflated.get(n);
  }
  const detail = async i => (await block(Math.floor(i / index.block)))[i % index.block];

  // --- labels of the reader ---------------------------------------------------------------------------------
  const KEY = "jurist:" + index.title + ":" + cases.length;
  let labels = {};
  try { labels = JSON.parse(localStorage.getItem(KEY) || "{}"); } catch { /* no storage: kept while the page is open */ }
  function label(i, gold) {
    const id = cases[i].id;
    if (labels[id] && labels[id].join() === gold.join()) delete labels[id]; else labels[id] = gold;
    try { localStorage.setItem(KEY, JSON.stringify(labels)); } catch { /* as above */ }
    draw();
  }
  async function exported() {
    const rows = [];
    for (const id of Object.keys(labels)) {
      const i = place.get(id);
      if (i === undefined) continue;
      const d = await detail(i), row = { id };
      if (d.responses) {
        const turns = t => t.map(([role, content]) => ({ role, content }));
        row.prompt = turns(d.prompt);
        row.responses = d.responses.map(r => typeof r === "string" ? r : turns(r));
      }
      row.gold = labels[id];
      if (cases[i].g) row.group = cases[i].g;
      rows.push(JSON.stringify(row));
    }
    const a = h("a", { href: URL.createObjectURL(new Blob([rows.join("\n") + "\n"], { type: "application/jsonl" })), download: "labels.jsonl" });
    a.click();
    setTimeout(() => URL.revokeObjectURL(a.href), 1000);
  }

  // --- state ------------------------------------------------------------------------------------------------
  // The hash holds all of it, so that every view has an address.
  const FILTERS = [
    ["wrong", "wrong", c => c && c.s === "wrong"],
    ["tie", "tie", c => c && c.w === null],
    ["unanswered", "unanswered", c => c && c.s === "unanswered"],
    ["order", "flipped by order", c => c && c.o],
    ["low", "low agreement", c => c && c.a !== undefined && c.a < FEW],
    ["unfaithful", "reasons that do not hold", c => c && c.f],
    ["right", "right", c => c && c.s === "right"],
  ];
  const SORTS = [["input", "in the order of the input"], ["agreement", "least agreement first"], ["tokens", "most tokens first"], ["id", "by id"]];
  let state = {};
  function read() {
    const [path, query] = location.hash.slice(2).split("?");
    const p = new URLSearchParams(query || ""), parts = (path || "").split("/");
    let id = null;
    try { id = parts[0] === "case" ? decodeURIComponent(parts.slice(1).join("/")) : null; } catch { id = null; }
    state = {
      view: id !== null && place.has(id) ? "cases" : parts[0] === "cases" ? "cases" : "overview",
      case: id !== null && place.has(id) ? place.get(id) : null,
      f: new Set((p.get("f") || "").split(",").filter(Boolean)), g: p.get("g") || "", k: p.get("k") || "", fault: p.get("fault") || "",
      q: p.get("q") || "", sort: p.get("sort") || "input", run: Math.min(runs.length - 1, Number(p.get("run")) || 0),
      blind: p.get("blind") === "1",
    };
  }
  function address(change) {
    const s = { ...state, ...change }, p = new URLSearchParams();
    if (s.f.size) p.set("f", [...s.f].join(","));
    for (const k of ["g", "k", "fault", "q"]) if (s[k]) p.set(k, s[k]);
    if (s.sort !== "input") p.set("sort", s.sort);
    if (s.run) p.set("run", s.run);
    if (s.blind) p.set("blind", "1");
    const path = s.view === "overview" ? "" : s.case === null ? "cases" : "case/" + encodeURIComponent(cases[s.case].id);
    const query = p.toString();
    return "#/" + path + (query ? "?" + query : "");
  }
  const go = (change, replace) => {
    const to = address(change);
    if (to === location.hash) return draw();
    if (replace) { history.replaceState(null, "", to); read(); draw(); } else location.hash = to;
  };

  // --- which cases ------------------------------------------------------------------------------------------
  let texts = null; // lower-cased texts of all cases, for the search; filled when it is first used
  let filling = null;
  function fill() {
    filling = filling || (async () => {
      const all = new Array(cases.length);
      for (let b = 0; b * index.block < cases.length; b++) {
        (await (inflated.get(b) || inflate(b))).forEach((d, i) => {
          const parts = [d.id, ...d.prompt.map(m => m[1]), ...(d.responses || []).map(r => typeof r === "string" ? r : r.map(m => m[1]).join("\n"))];
          for (const side of d.runs) for (const j of side ? side.judgments : []) parts.push(j.text, j.thinking || "");
          all[b * index.block + i] = parts.join("\n").toLowerCase();
        });
      }
      texts = all;
      draw();
    })();
  }
  let shownKey = null, shown = [];
  function matching() {
    const key = JSON.stringify([[...state.f], state.g, state.k, state.fault, state.q, state.sort, state.run, !!texts, Object.keys(labels).length]);
    if (key === shownKey) return shown;
    const words = state.q.toLowerCase().split(/\s+/).filter(Boolean);
    if (words.length && !texts) fill();
    const tests = FILTERS.filter(f => state.f.has(f[0])).map(f => f[2]);
    let found = [];
    cases.forEach((c, i) => {
      const cell = c.runs[state.run];
      if (tests.length && !tests.some(t => t(cell))) return;
      if (state.f.has("flip") && !flipped(c)) return;
      if (state.f.has("labelled") && !labels[c.id]) return;
      if (state.g && c.g !== state.g) return;
      if (state.k && !(cell && cell.k === state.k)) return;
      if (state.fault && !(cell && cell.f && cell.f.includes(state.fault))) return;
      if (words.length) {
        const text = texts ? texts[i] : (c.id + " " + c.q).toLowerCase();
        if (!words.every(w => text.includes(w))) return;
      }
      found.push(i);
    });
    const cell = i => cases[i].runs[state.run] || {};
    if (state.sort === "agreement") found.sort((x, y) => (cell(x).a ?? 2) - (cell(y).a ?? 2) || x - y);
    if (state.sort === "tokens") found.sort((x, y) => (cell(y).t || 0) - (cell(x).t || 0) || x - y);
    if (state.sort === "id") found.sort((x, y) => cases[x].id < cases[y].id ? -1 : 1);
    shownKey = key;
    return shown = found;
  }
  const flipped = c => new Set(c.runs.filter(r => r && r.s !== "unanswered").map(r => r.w ?? "tie")).size > 1;

  // --- overview ---------------------------------------------------------------------------------------------
  function runCard(run, r) {
    const card = run.card, head = card.headline, total = Object.values(card.statuses || {}).reduce((a, b) => a + b, 0);
    const ok = (card.statuses || {}).ok || 0, usage = card.usage || {};
    const bits = h("section", { class: "run" }, h("h2", {}, run.name));
    const answered = ok > 0 || !total;
    bits.append(h("div", { class: "headline" },
      head && answered ? [h("strong", {}, pct(head.value)), h("span", {}, ` ${head.name || "overall"}`, head.interval ? h("small", {}, ` 95% interval ${spans(head.interval)}, n = ${num(head.n)}`) : "")]
        : h("strong", { class: "none" }, answered ? "no gold: nothing was measured" : "nothing was answered")));
    if (run.config.length) bits.append(h("dl", { class: "config" }, run.config.map(([k, v]) => [h("dt", {}, k.replace("_", " ")), h("dd", {}, v)])));
    const facts = [`${num(total)} judgments, ${num(total - ok)} without a verdict`];
    if (usage.completion_tokens) facts.push(`${num(usage.completion_tokens)} tokens written, ${num(usage.prompt_tokens || 0)} read`);
    if (card.seconds) facts.push(duration(card.seconds));
    if (run.cost) facts.push(`cost ${run.cost.toFixed(2)}`);
    if (run.lost) facts.push(`${num(run.lost)} damaged records left out`);
    bits.append(h("p", { class: "facts" }, facts.join(" · ")));
    const reasons = Object.entries(card.reasons || {});
    if (reasons.length) bits.append(h("h3", {}, "What was not answered, and why"), h("table", {}, h("tbody", {}, reasons.map(([why, n]) => h("tr", {}, h("td", { class: "n" }, num(n)), h("td", {}, why))))));
    if (card.unresolved) bits.append(h("p", { class: "note" }, card.unresolved));
    if ((card.groups || []).length) bits.append(h("h3", {}, "Accuracy by group"), h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": `accuracy of ${run.name} by group` }, h("table", { class: "groups" },
      h("thead", {}, h("tr", {}, h("th", {}, "group"), h("th", { class: "n" }, "n"), h("th", { class: "n" }, "score"), h("th", { class: "wide" }, "0 to 100%"))),
      h("tbody", {}, card.groups.map(g => h("tr", {}, h("td", {}, cases.some(c => c.g === g.name) ? h("a", { href: address({ view: "cases", case: null, g: g.name, run: r, f: new Set() }) }, g.name) : g.name),
        h("td", { class: "n" }, num(g.n)), h("td", { class: "n" }, pct(g.value)), h("td", { class: "wide" }, bar(g.value, g.interval))))))));
    const counts = FILTERS.map(([key, name, test]) => [key, name, cases.filter(c => test(c.runs[r])).length]).filter(c => c[2]);
    bits.append(h("h3", {}, "Read the cases that are"), h("p", { class: "chips" }, counts.map(([key, name, n]) =>
      h("a", { class: "chip", href: address({ view: "cases", case: null, run: r, f: new Set([key]), g: "" }) }, `${name} ${num(n)}`))));
    for (const s of run.audit) bits.append(findings(s.title, s.findings));
    if (run.calibration && run.calibration.bins.length > 1) bits.append(reliability(run.calibration));
    if (run.faithfulness.length) {
      bits.append(findings("Do the reasons hold", run.faithfulness));
      const names = Object.keys(index.faults).filter(f => cases.some(c => c.runs[r] && c.runs[r].f && c.runs[r].f.includes(f)));
      bits.append(h("p", { class: "chips" }, names.map(f => h("a", { class: "chip", href: address({ view: "cases", case: null, run: r, f: new Set(), fault: f }) }, index.faults[f]))));
    }
    if (run.left_out.length) bits.append(h("p", { class: "note" }, "Not looked at: " + run.left_out.join("; ") + "."));
    if (run.policies) bits.append(costs(run.policies, "Accuracy against tokens, for each way of deciding", run.policies[0].unit));
    if (run.curves) bits.append(training(run.curves));
    return bits;
  }
  function findings(title, list) {
    return h("div", { class: "findings" }, h("h3", {}, title[0].toUpperCase() + title.slice(1)), h("ul", {}, list.map(f => h("li", { class: f.shown ? "shown" : "" },
      h("span", {}, f.sentence, f.shown ? h("b", { title: "the 95% interval leaves out what a judge without the habit shows" }, " shown") : ""),
      f.interval && f.value >= 0 && f.value <= 1 && f.interval[0] >= 0 ? bar(f.value, f.interval, f.neutral) : ""))));
  }
  function choose(n, k) { let r = 1; for (let i = 1; i <= k; i++) r = r * (n - k + i) / i; return r; }
  function mcnemar(b, c) { // exact, two-sided
    const n = b + c;
    if (!n) return 1;
    let p = 0, term = Math.exp(-n * Math.LN2);
    for (let k = 0; k <= Math.min(b, c); k++) { p += term; term = term * (n - k) / (k + 1); }
    return Math.min(1, 2 * p);
  }
  function comparison(a, b) {
    let gained = 0, lost = 0, both = 0, n = 0;
    for (const c of cases) {
      const x = c.runs[a], y = c.runs[b];
      if (!x || !y || x.s === "open" || y.s === "open") continue;
      n++;
      const rx = x.s === "right", ry = y.s === "right";
      if (rx && ry) both++; else if (ry) gained++; else if (rx) lost++;
    }
    if (!n) return "";
    const d = (gained - lost) / n, se = Math.sqrt(Math.max(0, gained + lost - (gained - lost) ** 2 / n)) / n;
    return h("section", { class: "run" }, h("h2", {}, `${runs[b].name} against ${runs[a].name}`),
      h("div", { class: "headline" }, h("strong", {}, `${d > 0 ? "+" : d < 0 ? "−" : ""}${Math.abs(100 * d).toFixed(1)} points`),
        h("span", {}, ` on the same ${num(n)} cases `, h("small", {}, `95% interval ${spans([d - 1.96 * se, d + 1.96 * se])}, McNemar p = ${mcnemar(gained, lost).toPrecision(2)}`))),
      h("p", {}, `Only ${runs[b].name} is right in ${num(gained)}, only ${runs[a].name} in ${num(lost)}, both in ${num(both)}.`),
      h("p", { class: "chips" }, h("a", { class: "chip", href: address({ view: "cases", case: null, f: new Set(["flip"]), g: "", run: b }) }, "cases that they decide differently")));
  }
  function overview() {
    // What each run reached for how many tokens a case.
    const points = runs.map((run, r) => ({ run, n: cases.filter(c => c.runs[r]).length })).filter(x => x.run.card.headline && x.run.card.usage.completion_tokens && x.n)
      .map(({ run, n }) => ({ name: run.name, line: run.name, x: run.card.usage.completion_tokens / n, value: run.card.headline.value, interval: run.card.headline.interval }));
    return h("div", { class: "overview" }, runs.length > 1 ? runs.slice(1).map((_, i) => comparison(0, i + 1)) : "",
      points.length > 1 ? h("section", { class: "run" }, h("h2", {}, "What the tokens buy"), costs(points, "Accuracy against tokens written a case", "tokens written a case")) : "", h("div", { class: "runs" }, runs.map(runCard)));
  }

  // --- list -------------------------------------------------------------------------------------------------
  const ROW = 58;
  let list = null, listed = null;
  function cells(c) {
    return c.runs.map((r, i) => {
      if (!r) return h("span", { class: "state none", title: runs[i].name + ": not judged" }, "–");
      const [sign, word] = STATES[r.s];
      return h("span", { class: "state " + (state.blind ? "open" : r.s), title: `${runs[i].name}: ${state.blind ? "hidden" : word}` }, state.blind ? "·" : sign, h("span", { class: "sr" }, state.blind ? "hidden" : word));
    });
  }
  function filters() {
    const toggle = key => { const f = new Set(state.f); f.has(key) ? f.delete(key) : f.add(key); go({ f }, true); };
    const all = [...FILTERS.map(f => [f[0], f[1], cases.filter(c => f[2](c.runs[state.run])).length]),
      ...(runs.length > 1 ? [["flip", "flipped between runs", cases.filter(flipped).length]] : []),
      ["labelled", "labelled by me", Object.keys(labels).length]];
    const groups = [...new Set(cases.map(c => c.g).filter(Boolean))].sort();
    const tasks = [...new Set(cases.map(c => (c.runs[state.run] || {}).k).filter(Boolean))].sort();
    const pick = (name, value, options, on) => h("label", {}, h("span", { class: "sr" }, name), h("select", { "aria-label": name, onchange: e => on(e.target.value) },
      options.map(([v, t]) => h("option", { value: v, selected: v === value }, t))));
    return h("div", { class: "filters" },
      h("div", { class: "searching" }, h("input", { id: "search", type: "search", placeholder: "search all texts  ( / )", "aria-label": "search", value: state.q,
        oninput: e => { clearTimeout(filters.t); filters.t = setTimeout(() => go({ q: e.target.value }, true), 120); } })),
      h("div", { class: "chips" }, all.map(([key, name, n], i) => n || state.f.has(key) ? h("button", { class: "chip", "aria-pressed": String(state.f.has(key)), title: i < 9 ? `key ${i + 1}` : null, onclick: () => toggle(key) }, `${name} ${num(n)}`) : "")),
      h("div", { class: "picks" },
        runs.length > 1 ? pick("run", String(state.run), runs.map((r, i) => [String(i), r.name]), v => go({ run: Number(v) }, true)) : "",
        groups.length ? pick("group", state.g, [["", "all groups"], ...groups.map(g => [g, g])], v => go({ g: v }, true)) : "",
        tasks.length > 1 ? pick("task", state.k, [["", "all tasks"], ...tasks.map(g => [g, g])], v => go({ k: v }, true)) : "",
        state.fault ? h("button", { class: "chip", "aria-pressed": "true", onclick: () => go({ fault: "" }, true) }, index.faults[state.fault] || state.fault, " ×") : "",
        pick("order of the list", state.sort, SORTS, v => go({ sort: v }, true))));
  }
  filters.all = () => [...FILTERS.map(f => f[0]), ...(runs.length > 1 ? ["flip"] : []), "labelled"];
  function listing(found) {
    const inner = h("div", { class: "inner", role: "presentation", style: { height: found.length * ROW + "px" } });
    const box = h("div", { class: "list", tabindex: 0, role: "listbox", "aria-label": `${num(found.length)} cases`, onscroll: () => rows() }, inner);
    const rows = () => {
      const from = Math.max(0, Math.floor(box.scrollTop / ROW) - 4), to = Math.min(found.length, from + Math.ceil((box.clientHeight || 800) / ROW) + 9);
      inner.replaceChildren(...found.slice(from, to).map((i, n) => {
        const c = cases[i], r = c.runs[state.run] || {};
        return h("a", { class: "row" + (i === state.case ? " on" : ""), id: "row-" + i, role: "option", "aria-selected": String(i === state.case), "aria-setsize": found.length, "aria-posinset": from + n + 1,
          href: address({ view: "cases", case: i }), tabindex: -1, style: { top: (from + n) * ROW + "px" } },
          h("span", { class: "states" }, cells(c)), h("span", { class: "what" }, h("b", {}, c.id), h("span", {}, c.q)),
          h("span", { class: "side" }, labels[c.id] ? h("i", { title: "labelled by me" }, "✎") : "", state.blind ? "" : r.f ? h("i", { title: "reasons that do not hold" }, "⚑") : "", r.o && !state.blind ? h("i", { title: "flipped by order" }, "⇄") : "",
            r.a !== undefined && !state.blind ? h("small", {}, pct(r.a, 0)) : ""));
      }));
      if (state.case !== null) box.setAttribute("aria-activedescendant", "row-" + state.case);
    };
    box.rows = rows;
    box.toward = at => { const top = at * ROW; if (top < box.scrollTop || top + ROW > box.scrollTop + box.clientHeight) box.scrollTop = Math.max(0, top - box.clientHeight / 2); };
    requestAnimationFrame(() => { const at = found.indexOf(state.case); if (at >= 0) box.toward(at); rows(); });
    return box;
  }

  // --- one case ---------------------------------------------------------------------------------------------
  function turns(list) { return list.map(([role, text]) => h("div", { class: "turn" }, h("h4", {}, role), prose(text))); }
  function chosenBy(side) {
    if (!side || !side.scores) return null;
    const best = Math.max(...side.scores);
    return side.scores.filter(s => s === best).length === 1 ? side.scores.indexOf(best) : -1;
  }
  function said(side) {
    if (!side) return "not judged";
    if (!side.scores) return "no verdict: " + side.status + (side.note ? ` (${side.note})` : "");
    if (side.scores.length === 1) return "rating " + few(side.scores[0]);
    const w = chosenBy(side);
    return (w < 0 ? "tie" : `response ${w + 1}`) + (side.scores.length > 4 ? "" : ` (${side.scores.map(few).join(", ")})`);
  }
  function responses(d, i) {
    const gold = d.gold, best = gold && Math.max(...gold);
    return h("div", { class: "responses n" + Math.min(3, d.responses.length) }, d.responses.map((r, n) => h("article", { class: "response r" + n % 6, "data-n": n },
      h("h3", {}, `Response ${n + 1}`, state.blind ? "" : [
        gold && gold.length > 1 && gold[n] === best && gold.some(g => g !== best) ? h("span", { class: "tag gold" }, "gold") : "",
        d.runs.map((side, k) => chosenBy(side) === n && d.responses.length > 1 ? h("span", { class: "tag chosen" }, runs.length > 1 ? runs[k].name : "chosen") : "")],
        labels[cases[i].id] && labels[cases[i].id][n] === 1 ? h("span", { class: "tag mine" }, "mine") : ""),
      typeof r === "string" ? prose(r) : turns(r))));
  }
  function judgmentOf(j, run, d) {
    const scores = j.scores, ascending = [...j.order].sort((a, b) => a - b);
    let verdict = "no verdict: " + (j.status || "") + (j.note ? ` (${j.note})` : j.error ? ` (${j.error})` : "");
    if (scores) {
      const best = Math.max(...scores), top = scores.filter(s => s === best).length;
      verdict = scores.length === 1 ? "rating " + few(scores[0]) : top === 1 ? `response ${(ascending[scores.indexOf(best)] ?? scores.indexOf(best)) + 1}` : "tie";
      if (top === 1 && scores.length > 1 && best < 1) verdict += ` (${few(best)})`;
      if (j.note) verdict += ", " + j.note;
    }
    const chain = j.chain || {};
    const box = h("article", { class: "judgment" }, h("h4", {}, j.shown || "judgment", j.sample ? `, vote ${j.sample + 1}` : "", j.judge ? `, ${j.judge} judge` : ""),
      h("p", { class: "verdict" }, h("b", {}, verdict), j.tokens ? ` · ${num(j.tokens)} tokens` : "", j.way ? ` · ${j.way}` : "", j.finish ? ` · finish: ${j.finish}` : ""));
    for (const f of j.faults || []) box.append(h("p", { class: "fault" }, "⚑ ", index.faults[f]));
    if (chain.task) box.append(h("p", { class: "task" }, "task: ", chain.task));
    if (chain.criteria) box.append(h("table", { class: "rubric" }, h("thead", {}, h("tr", {}, h("th", {}, "weight"), h("th", {}, "criterion"), h("th", {}, "what it asks"))),
      h("tbody", {}, chain.criteria.map(([name, weight, text]) => h("tr", {}, h("td", { class: "n" }, few(weight) + "%"), h("td", {}, name), h("td", {}, text))))));
    if (chain.why) box.append(h("div", { class: "why" }, prose(chain.why)));
    if (chain.solution) box.append(h("h5", {}, "Solution"), prose(chain.solution));
    const body = chain.evaluation ? evaluation(chain, j) : j.text ? prose(j.text) : h("p", { class: "note" }, "no text");
    if (chain.evaluation) box.append(h("h5", {}, "Evaluation"));
    box.append(body);
    if (j.thinking) box.append(h("details", { class: "thinking", open: thinkingOpen }, h("summary", {}, `thinking, ${num(j.thinking.length)} characters`), prose(j.thinking)));
    const raw = h("details", { class: "raw" }, h("summary", {}, "raw text and prompt"));
    raw.addEventListener("toggle", () => { if (raw.open && raw.childElementCount === 1) raw.append(h("pre", { class: "plain" }, j.text), ...(j.prompt !== undefined ? d.prompts[j.prompt].map(([role, text]) => h("div", {}, h("h5", {}, role), h("pre", { class: "plain" }, text))) : []), j.logprobs ? h("pre", { class: "plain" }, JSON.stringify(j.logprobs, null, 1)) : ""); });
    box.append(raw);
    return box;
  }
  // The comparison as it was written: its quotations are marked, those that do not occur are said to be.
  function evaluation(chain, j) {
    const text = chain.evaluation, quotes = chain.quotes || [], box = h("div", { class: "evaluation" });
    const tag = /<\s*(quote|summary)_?([A-Z])\s*>([\s\S]*?)(?:<\s*\/\s*\1_?\2\s*>|(?=<\s*(?:quote|summary)_)|$)/gi;
    let at = 0, n = 0;
    for (let m = tag.exec(text); m && m[0]; m = tag.exec(text)) {
      if (m.index > at) box.append(prose(text.slice(at, m.index)));
      const closed = /<\s*\/[^<>]*>$/.test(m[0]), from = m.index + m[0].indexOf(">") + 1;
      const open_ = m[3].match(/^\s*[^\n]*/)[0]; // one that is not closed ends with its line
      const [kind, index_, words, there] = quotes[n++] || [m[1].toLowerCase(), null, (closed ? m[3] : open_).trim(), null];
      box.append(h("blockquote", { class: `quote r${(index_ ?? 5) % 6}${there === false ? " missing" : ""}` }, kind === "quote" ? `“${words}”` : words,
        h("small", {}, index_ === null ? ` ${m[2]}` : ` response ${index_ + 1}`, there === false ? " · does not occur there" : kind === "summary" ? " · summary" : "")));
      at = closed ? m.index + m[0].length : from + open_.length;
    }
    if (at < text.length) box.append(prose(text.slice(at)));
    return box;
  }
  let picked = {}, thinkingOpen = false;
  function sideOf(side, r, d, i) {
    const box = h("section", { class: "judged" }, h("h3", {}, runs.length > 1 ? runs[r].name + ": " : "Decision: ", said(side)));
    if (!side) return box;
    const cell = cases[i].runs[r], [sign, word] = STATES[cell.s];
    box.firstChild.append(h("span", { class: "state " + cell.s }, sign, " ", word));
    if (side.agreement !== undefined && side.judgments.length > 1) box.append(h("p", { class: "facts" }, `${pct(side.agreement, 0)} of ${num(side.judgments.length)} judgments agree`, cell.o ? " · the two orders disagree" : ""));
    if (side.scores && side.scores.length > 2) box.append(ranking(side, /^knockout/.test(Object.fromEntries(runs[r].config).deliberation || "knockout"), (a, b) => {
      const found = side.judgments.map((j, n) => n).filter(n => [...side.judgments[n].order].sort((x, y) => x - y).join() === [a, b].sort((x, y) => x - y).join());
      picked[i + "/" + r] = found.slice(0, 2);
      draw();
      setTimeout(() => { const e = document.querySelector(".pair"); if (e) e.scrollIntoView({ block: "nearest" }); }, 50);
    }));
    // A grid: an order in each row, its votes across. What is picked is shown below, an order beside the other.
    const orders = [...new Set(side.judgments.map(j => j.order.join()))];
    const key = i + "/" + r;
    const on = picked[key] = picked[key] || orders.slice(0, 2).map(o => side.judgments.findIndex(j => j.order.join() === o));
    if (side.judgments.length > 2) box.append(h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "judgments" }, h("table", { class: "grid" }, h("tbody", {}, orders.map(o => h("tr", {}, h("th", {}, o.split(",").map(x => Number(x) + 1).join(", ")),
      side.judgments.map((j, n) => j.order.join() !== o ? "" : h("td", {}, (() => {
        const asc = [...j.order].sort((a, b) => a - b), best = j.scores && Math.max(...j.scores);
        const w = !j.scores ? "∅" : j.scores.length === 1 ? few(j.scores[0]) : j.scores.filter(s => s === best).length > 1 ? "=" : String((asc[j.scores.indexOf(best)] ?? 0) + 1);
        return h("button", { class: "vote" + (on.includes(n) ? " on" : ""), "aria-pressed": String(on.includes(n)), "aria-label": `order ${o.split(",").map(x => Number(x) + 1).join(", ")}, vote ${j.sample + 1}: ${w}`, onclick: () => { picked[key] = [n, ...on.filter(x => x !== n && side.judgments[x].order.join() !== o)].slice(0, 2).sort((a, b) => a - b); draw(); } }, w, j.faults ? "⚑" : "");
      })()))))))));
    box.append(h("div", { class: "pair" }, on.filter(n => side.judgments[n]).map(n => judgmentOf(side.judgments[n], r, d))));
    return box;
  }
  async function caseView(i, holder) {
    const d = await detail(i), c = cases[i];
    if (state.case !== i) return;
    const found = matching(), at = found.indexOf(i), near = n => at >= 0 && found[at + n] !== undefined ? address({ case: found[at + n] }) : null;
    const pair = d.responses && d.responses.length > 1;
    const golds = d.responses ? (k => d.responses.map((_, n) => k === null ? 0.5 : n === k ? 1 : 0)) : null;
    const given = [d.reference ? h("section", {}, h("h3", {}, "Reference"), prose(d.reference)) : "", d.rubric ? h("section", {}, h("h3", {}, "Rubric of the case"), prose(d.rubric)) : ""];
    const decided = state.blind ? h("p", { class: "note" }, "The judge's verdict, its reasons and gold are hidden (x shows them).") : h("div", { class: "sides n" + Math.min(2, runs.length) }, d.runs.map((side, r) => sideOf(side, r, d, i)));
    const answers = d.responses ? responses(d, i) : "";
    const many = d.responses && d.responses.length > 4; // a ranking says more than the first of many responses
    const view = h("div", { class: "case" },
      h("header", {}, h("a", { class: "back", href: address({ case: null }) }, "← list"), h("h2", { tabindex: -1 }, c.id), c.g ? h("span", { class: "tag" }, c.g) : "",
        h("span", { class: "move" }, near(-1) ? h("a", { href: near(-1), rel: "prev", "aria-label": "previous case (k)" }, "↑") : "", near(1) ? h("a", { href: near(1), rel: "next", "aria-label": "next case (j)" }, "↓") : "", at >= 0 ? h("small", {}, ` ${num(at + 1)} of ${num(found.length)}`) : "")),
      pair ? h("p", { class: "mine" }, h("span", {}, "My verdict:"), [0, 1].map(k => h("button", { class: "chip", "aria-pressed": String(!!labels[c.id] && labels[c.id][k] === 1), onclick: () => label(i, golds(k)) }, `response ${k + 1} (${"ab"[k]})`)),
        h("button", { class: "chip", "aria-pressed": String(!!labels[c.id] && labels[c.id].every(v => v === 0.5)), onclick: () => label(i, golds(null)) }, "tie (t)"),
        h("button", { class: "chip", "aria-pressed": String(state.blind), onclick: () => go({ blind: !state.blind }, true) }, "blind (x)"),
        Object.keys(labels).length ? h("button", { class: "chip", onclick: exported }, `export ${num(Object.keys(labels).length)} labels`) : "") : "",
      h("section", { class: "prompt" }, h("h3", {}, d.rendered ? "Prompt as it was rendered (the run does not hold its cases)" : "Prompt"), turns(d.prompt)),
      many ? [decided, answers, given] : [answers, given, decided]);
    // Quotations of the judgments that are open, in the responses.
    if (!state.blind && d.responses) for (const [r, side] of d.runs.entries()) for (const n of (picked[i + "/" + r] || [])) {
      const chain = side && side.judgments[n] && side.judgments[n].chain;
      for (const [kind, k, words, there] of (chain && chain.quotes) || []) {
        const target = there && kind === "quote" && view.querySelector(`.response[data-n="${k}"]`);
        for (const box of target ? target.querySelectorAll(".prose") : []) if (mark(box, words, "quoted")) break;
      }
    }
    holder.replaceChildren(view);
    if (caseView.last !== i) { holder.scrollTop = 0; if (holder.contains(document.activeElement) || narrow()) view.querySelector("h2").focus({ preventScroll: true }); }
    caseView.last = i;
    if (list) { const row = found.indexOf(i); if (row >= 0) list.toward(row); list.rows(); }
  }
  const narrow = () => innerWidth < 860;

  // --- the page ---------------------------------------------------------------------------------------------
  const app = document.getElementById("app");
  const holder = h("main", { id: "main", tabindex: -1 });
  function theme(next) {
    let t = document.documentElement.dataset.theme || "auto";
    try { t = next || localStorage.getItem("jurist:theme") || t; localStorage.setItem("jurist:theme", t); } catch { t = next || t; }
    if (t === "auto") delete document.documentElement.dataset.theme; else document.documentElement.dataset.theme = t;
    return t;
  }
  let themed = theme();
  const KEYS = [["j k", "next, previous case"], ["Enter", "open the first case"], ["/", "search"], ["1 … 9", "filters"], ["0", "all cases"], ["o", "thinking open or folded"], ["m", "Markdown or plain text"], ["a b t", "my verdict: response 1, response 2, tie"], ["x", "blind: hide verdict and gold"], ["g", "overview"], ["Esc", "back"], ["?", "this list"]];
  const help = h("dialog", { "aria-label": "keys" }, h("h2", {}, "Keys"), h("table", {}, h("tbody", {}, KEYS.map(([k, t]) => h("tr", {}, h("th", { scope: "row" }, k), h("td", {}, t))))), h("form", { method: "dialog" }, h("button", {}, "close")));
  let drawn = null;
  function draw() {
    const focus = document.activeElement && document.activeElement.id === "search" ? document.activeElement.selectionStart : null;
    const top = h("header", { class: "top" }, h("a", { class: "skip", href: "#main", onclick: e => { e.preventDefault(); holder.focus(); } }, "skip to the content"),
      h("h1", {}, h("a", { href: address({ view: "overview" }) }, index.title)),
      h("nav", { "aria-label": "views" }, h("a", { href: address({ view: "overview" }), "aria-current": state.view === "overview" ? "page" : null }, "Overview"), h("a", { href: address({ view: "cases", case: null }), "aria-current": state.view === "cases" ? "page" : null }, `Cases ${num(cases.length)}`)),
      h("span", { class: "tools" }, h("button", { onclick: () => { themed = theme({ auto: "dark", dark: "light", light: "auto" }[themed]); draw(); }, "aria-label": "theme: " + themed }, { auto: "◐", dark: "●", light: "○" }[themed]), h("button", { onclick: () => help.showModal(), "aria-label": "keys" }, "?")));
    if (state.view === "overview") {
      drawn = "overview";
      holder.className = "";
      holder.replaceChildren(overview());
      app.replaceChildren(top, holder);
    } else {
      const found = matching();
      const bar_ = filters();
      const fresh = listed !== shownKey + state.blind || !list || drawn !== "cases";
      const scroll = list ? list.scrollTop : 0;
      if (fresh) { list = listing(found); listed = shownKey + state.blind; }
      const aside = h("aside", { class: "browse", "aria-label": "cases", role: narrow() && state.case === null ? "main" : null }, bar_, h("p", { class: "count", role: "status" }, `${num(found.length)} of ${num(cases.length)} cases`, state.q && !texts ? " · reading the texts …" : ""), found.length ? list : h("p", { class: "note" }, "No case fits. ", h("button", { onclick: () => go({ f: new Set(), g: "", k: "", q: "", fault: "" }, true) }, "all cases")));
      holder.className = state.case === null ? "empty" : "open";
      app.replaceChildren(top, h("div", { class: "split" + (state.case === null ? "" : " one") }, aside, holder));
      if (!fresh && list) { list.scrollTop = scroll; const at = found.indexOf(state.case); if (at >= 0) list.toward(at); list.rows(); }
      if (state.case === null) holder.replaceChildren(h("p", { class: "note" }, "Choose a case, or press Enter for the first.")); else caseView(state.case, holder);
      drawn = "cases";
      if (focus !== null) { const s = document.getElementById("search"); s.focus(); s.setSelectionRange(focus, focus); }
    }
    app.append(help);
  }
  addEventListener("hashchange", () => { read(); draw(); });
  addEventListener("resize", () => list && list.rows && list.rows());
  addEventListener("keydown", e => {
    if (e.ctrlKey || e.metaKey || e.altKey || help.open) return;
    if (/^(INPUT|SELECT|TEXTAREA)$/.test(e.target.tagName)) { if (e.key === "Escape") e.target.blur(); return; }
    const found = state.view === "cases" ? matching() : [], at = found.indexOf(state.case);
    const open = n => n >= 0 && n < found.length && go({ case: found[n] });
    const d = state.case !== null && cases[state.case];
    const act = {
      "?": () => help.showModal(), "/": () => { if (state.view !== "cases") go({ view: "cases", case: null }); setTimeout(() => document.getElementById("search").focus(), 0); },
      j: () => open(at + 1), ArrowDown: () => open(at + 1), k: () => open(Math.max(0, at - 1)), ArrowUp: () => open(Math.max(0, at - 1)),
      Enter: () => { if (at < 0 && !/^(A|BUTTON|SUMMARY)$/.test(e.target.tagName)) open(0); else return true; }, g: () => go({ view: "overview" }), 0: () => go({ view: "cases", f: new Set(), g: "", k: "", q: "", fault: "" }, true),
      Escape: () => go(state.case !== null ? { case: null } : { view: "overview" }), o: () => { thinkingOpen = !thinkingOpen; draw(); }, m: () => { reading.plain = !reading.plain; draw(); }, x: () => go({ blind: !state.blind }, true),
      a: () => d && d.n > 1 && label(state.case, Array.from({ length: d.n }, (_, n) => +(n === 0))), b: () => d && d.n > 1 && label(state.case, Array.from({ length: d.n }, (_, n) => +(n === 1))), t: () => d && d.n > 1 && label(state.case, Array(d.n).fill(0.5)),
    }[e.key];
    const number = /^[1-9]$/.test(e.key) && filters.all()[Number(e.key) - 1];
    if (number) { const f = new Set(state.f); f.has(number) ? f.delete(number) : f.add(number); go({ view: "cases", f }, true); e.preventDefault(); }
    else if (act && act() !== true) e.preventDefault();
  });
  if (index.live) setInterval(async () => {
    try { const r = await fetch("stamp"); const s = await r.text(); if (index.stamp && s !== index.stamp) location.reload(); index.stamp = index.stamp || s; } catch { /* the server ended */ }
  }, 3000);
  read();
  draw();
  performance.mark("list");
})();
