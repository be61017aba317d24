// Looks up, formats and compares what the library has counted; nothing is counted here.
"use strict";
const data = JSON.parse(document.getElementById("tables").textContent);
const $ = id => document.getElementById(id);
const SHAPES = 3; // facts begin with kind, input and output; the measures follow
const state = { first: data.start, second: null, measure: 1, chosen: null, open: new Set() };

// ---- the tables

// The lines of a setting's tree; a key is a path, the same in every setting that has the layer.
function lines(number) {
  const setting = data.settings[number], fields = data.columns[setting.fields], path = [];
  return data.columns[setting.tree].map((id, at) => {
    const [label, level, block] = data.labels[id];
    path.length = level;
    path.push(label);
    return { key: path.join("."), label, level, block: !!block, facts: data.facts[setting.facts[at]], field: data.fields[fields[at]] };
  });
}

// The setting with this value of one knob that has most of the others' values, and else the nearest.
function nearest(from, knob, value) {
  const at = data.settings[from].at;
  const far = setting => setting.at.reduce((sum, v, k) => k === knob || v === at[k] ? sum : sum + 1 + Math.abs(v / at[k] - 1), 0);
  return data.settings.map((setting, number) => ({ number, setting })).filter(({ setting }) => setting.at[knob] === value)
    .reduce((best, next) => far(next.setting) < far(best.setting) ? next : best).number;
}


// ---- texts

const shape = text => text.replaceAll("x", "\u00d7");
const exact = value => value === null ? "unknown" : value.toLocaleString("en-GB");

function short(value, measure) {
  if (value === null) return "";
  const [base, units] = measure.bytes ? [1024, [" B", " KiB", " MiB", " GiB", " TiB"]] : [1000, ["", " k", " M", " G", " T"]];
  let unit = 0, left = Math.abs(value);
  while (left >= base - 0.5 && unit < 4) {
    left /= base;
    unit += 1;
  }
  const digits = unit === 0 || left >= 99.95 ? left.toFixed(0) : left >= 9.995 ? left.toFixed(1) : left.toFixed(2);
  return (value < 0 ? "\u2212" : "") + digits + units[unit];
}

function difference(a, b, say) {
  if (a === null || b === null) return "";
  return a === b ? "equal" : (b > a ? "+" : "\u2212") + say(Math.abs(b - a));
}

function ratio(a, b) {
  if (!a || b === null || a === b) return "";
  const times = b / a;
  return `\u00d7${times >= 99.5 ? times.toFixed(0) : times.toPrecision(3)}`;
}

function element(tag, attributes, ...parts) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...parts);
  return made;
}

// ---- the controls

function options(select, values, chosen) {
  select.replaceChildren(...values.map(([value, text]) => {
    const option = element("option", { value }, text);
    option.selected = value === chosen;
    return option;
  }));
}

function makeControls(field, which) {
  const named = data.settings.some(setting => setting.name);
  if (named) field.append(element("label", {}, "network ", element("select", { "data-knob": "name" })));
  for (const [k, knob] of data.knobs.entries()) field.append(element("label", {}, `${knob.name} `, element("select", { "data-knob": k })));
  field.addEventListener("change", event => {
    const knob = event.target.dataset.knob, value = Number(event.target.value);
    state[which] = knob === "name" ? value : nearest(state[which], Number(knob), value);
    show();
  });
}

function showControls(field, number) {
  const setting = data.settings[number];
  for (const select of field.querySelectorAll("select")) {
    const k = select.dataset.knob;
    if (k === "name") {
      const named = data.settings.flatMap((s, n) => s.name ? [[n, s.name]] : []);
      options(select, setting.name ? named : [[number, "a mix"], ...named], number);
    } else {
      const values = [...new Set([...data.knobs[k].values, setting.at[k]])].sort((a, b) => a - b);
      options(select, values.map(value => [value, String(value)]), setting.at[k]);
    }
  }
}

// ---- totals, tree, detail

function showTotals() {
  const [a, b] = [state.first, state.second].map(number => number === null ? null : data.settings[number]);
  $("totals").replaceChildren(...data.measures.map((measure, k) => {
    const card = element("div", { class: "card" }, element("h3", {}, measure.name));
    for (const setting of b ? [a, b] : [a]) {
      const name = b ? [element("span", { class: "which" }, setting === a ? "A " : "B ")] : [];
      card.append(element("p", { class: "big" }, ...name, short(setting.totals[k], measure)),
        element("p", { class: "soft exact" }, exact(setting.totals[k])));
    }
    if (b) {
      const far = difference(a.totals[k], b.totals[k], value => short(value, measure));
      card.append(element("p", { class: "change" }, `${far} ${ratio(a.totals[k], b.totals[k])}`.trim()));
    }
    return card;
  }));
}

let shown = [], all = [];

function showTree() {
  const most = Math.max(1, ...all.filter(line => !line.block).map(line => line.facts[SHAPES + state.measure] ?? 0));
  let closed = Infinity;
  shown = all.filter(line => {
    if (line.level > closed) return false;
    closed = line.block && !state.open.has(line.key) ? line.level : Infinity;
    return true;
  });
  if (!shown.some(line => line.key === state.chosen)) state.chosen = shown[0].key;
  $("tree").replaceChildren(...shown.map(line => treeItem(line, most)));
}

function treeItem(line, most) {
  const value = line.facts[SHAPES + state.measure], chosen = line.key === state.chosen;
  const item = element("div", {
    role: "treeitem", class: line.block ? "line block" : "line", "aria-level": line.level + 1, "aria-selected": chosen,
    tabindex: chosen ? 0 : -1, "data-key": line.key,
  });
  if (line.block) item.setAttribute("aria-expanded", state.open.has(line.key));
  item.style.setProperty("--level", line.level);
  const bar = element("i", {});
  bar.style.width = line.block ? "0" : `${100 * (value ?? 0) / most}%`;
  item.append(
    element("span", { class: "name" }, element("b", {}, line.label), " ", element("span", { class: "soft" }, line.facts[0])),
    element("span", { class: "shape soft" }, shape(line.facts[2])), element("span", { class: "bar" }, bar),
    element("span", { class: "value" }, value ? short(value, data.measures[state.measure]) : ""));
  return item;
}

function showDetail() {
  const a = all.find(line => line.key === state.chosen);
  const b = state.second === null ? undefined : lines(state.second).find(line => line.key === a.key);
  const both = state.second !== null;
  const text = (name, of) => row(name, [of(a), ...both ? [b ? of(b) : "no such layer", ""] : []]);
  const row = (name, cells) => element("tr", {}, element("th", { scope: "row" }, name), ...cells.map((cell, k) => element("td", k < 2 ? {} : { class: "change" }, cell)));
  const body = element("tbody", {}, text(a.block ? "block of" : "kind", line => line.facts[0]),
    text("input", line => shape(line.facts[1])), text("output", line => shape(line.facts[2])),
    ...data.measures.map((measure, k) => {
      const [x, y] = [a, b].map(line => line ? line.facts[SHAPES + k] : null);
      const name = measure.bytes ? `${measure.name}, bytes` : measure.name;
      return row(name, both ? [exact(x), b ? exact(y) : "", b ? `${difference(x, y, exact)} ${ratio(x, y)}`.trim() : ""] : [exact(x)]);
    }), text("receptive field", line => line.field || "no window"));
  const head = element("thead", {}, element("tr", {}, element("td", {}), element("th", { scope: "col" }, "A"),
    ...both ? [element("th", { scope: "col" }, "B"), element("th", { scope: "col" }, "B\u2212A")] : []));
  $("detail").replaceChildren(element("h2", {}, a.key),
    element("div", { class: "scroll", tabindex: 0 }, element("table", {}, ...both ? [head] : [], body)));
}

function show() {
  all = lines(state.first);
  showControls($("first"), state.first);
  if (state.second !== null) showControls($("second"), state.second);
  $("second").hidden = state.second === null;
  document.body.classList.toggle("comparing", state.second !== null);
  const layers = all.filter(line => !line.block).length;
  $("about").textContent = `${exact(layers)} layers, input ${shape(data.settings[state.first].input)}`;
  document.querySelector("#first legend").textContent = state.second === null ? "Setting" : "A";
  document.querySelector("#second legend").textContent = "B, compared with A";
  showTotals();
  showTree();
  showDetail();
}

// ---- the tree under pointer and keys

function choose(key, toggle) {
  state.chosen = key;
  $("detail").classList.add("asked"); // where it is narrow, the row now lies over the page's foot
  if (toggle && !state.open.delete(key)) state.open.add(key);
  showTree();
  showDetail();
  const item = $("tree").querySelector("[tabindex='0']");
  item.focus({ preventScroll: true });
  item.scrollIntoView({ block: "nearest" });
}

function pressed(event) {
  const at = shown.findIndex(line => line.key === state.chosen), line = shown[at], open = state.open.has(line.key);
  const above = shown.slice(0, at).findLast(other => other.level < line.level);
  const to = { ArrowDown: shown[at + 1], ArrowUp: shown[at - 1], Home: shown[0], End: shown.at(-1) }[event.key];
  const toggles = line.block && (["Enter", " "].includes(event.key) || event.key === (open ? "ArrowLeft" : "ArrowRight"));
  if (to) choose(to.key, false);
  else if (toggles) choose(line.key, true);
  else if (event.key === "ArrowRight" && line.block) choose(shown[at + 1].key, false);
  else if (event.key === "ArrowLeft" && above) choose(above.key, false);
  else if (!["ArrowDown", "ArrowUp", "ArrowLeft", "ArrowRight", " "].includes(event.key)) return;
  event.preventDefault();
}

makeControls($("first"), "first");
makeControls($("second"), "second");
options($("measure"), data.measures.map((measure, k) => [k, measure.name]), state.measure);
$("note").textContent = data.note;
$("conventions").textContent = data.conventions;
$("controls").hidden = data.settings.length < 2;
$("controls").addEventListener("submit", event => event.preventDefault());
$("compare").addEventListener("change", event => {
  state.second = event.target.checked ? (state.first + 1) % data.settings.length : null;
  show();
});
$("measure").addEventListener("change", event => {
  state.measure = Number(event.target.value);
  showTree();
});
for (const [id, open] of [["unfold", true], ["fold", false]]) {
  $(id).addEventListener("click", () => {
    state.open = new Set(open ? all.filter(line => line.block).map(line => line.key) : []);
    showTree();
    showDetail();
  });
}
$("tree").addEventListener("click", event => {
  const item = event.target.closest(".line");
  if (item) choose(item.dataset.key, item.classList.contains("block"));
});
$("tree").addEventListener("keydown", pressed);
for (const line of lines(state.first)) if (line.level === 0 && line.block) state.open.add(line.key);
show();
