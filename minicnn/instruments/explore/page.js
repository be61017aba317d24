// The controls, the totals, the chosen layer; and the page begins.

// ---- the controls

function options(select, values, chosen) {
  select.replaceChildren(...values.map(([value, text]) => {
    const option = element("option", { value }, text);
    option.selected = value === chosen;
    return option;
  }));
}

function makeControls(side) {
  const field = $(side), named = data.settings.some(setting => setting.name);
  if (named) field.append(element("label", {}, "network ", element("select", { "data-knob": "name" })));
  for (const [k, knob] of data.knobs.entries()) field.append(element("label", {}, `${knob.name} `, element("select", { "data-knob": k })));
  field.addEventListener("change", event => {
    const knob = event.target.dataset.knob, value = Number(event.target.value);
    state[side] = knob === "name" ? value : nearest(state[side], Number(knob), value);
    if (!data.knobs.length) openOutside(side); // it may be another network
    show();
  });
}

function showControls(side) {
  const number = state[side], setting = data.settings[number];
  for (const select of $(side).querySelectorAll("select")) {
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

// ---- totals and detail

function showTotals() {
  const [a, b] = SIDES.map(side => state[side] === null ? null : data.settings[state[side]]);
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

function showDetail() {
  const sides = sidesShown(), found = sides.map(side => find(side, state.chosen)), both = sides.length === 2;
  const [a, b] = found, some = a ?? b, counted = some.facts.length > SHAPES;
  const row = (name, cells) => element("tr", {}, element("th", { scope: "row" }, name),
    ...cells.map((cell, k) => element("td", k < 2 ? {} : { class: cell === "equal" ? "change soft" : "change" }, cell)));
  const text = (name, of) => row(name, [...found.map(line => line ? of(line) : "no such layer"), ...both ? [""] : []]);
  const links = (name, of) => row(name, [...found.map((line, k) => line ? linksTo(of(line), sides[k]) : ""), ...both ? [""] : []]);
  const measure = (about, k) => {
    const [x, y] = [a, b].map(line => line?.facts[SHAPES + k] ?? null);
    const change = a && b ? `${difference(x, y, exact)} ${ratio(x, y)}`.trim() : "";
    return row(about.bytes ? `${about.name}, bytes` : about.name, [...found.map((line, n) => line ? exact([x, y][n]) : ""), ...both ? [change] : []]);
  };
  const body = element("tbody", {}, text(some.block ? "block of" : "kind", line => line.facts[0]),
    text("input", line => shape(line.facts[1]) || "the network's own"), text("output", line => shape(line.facts[2])),
    ...counted ? data.measures.map(measure) : [], ...counted ? [text("receptive field", line => line.field || "no window")] : [],
    links("reads from", line => line.reads), links("is read by", line => line.readBy));
  const head = element("thead", {}, element("tr", {}, element("td", {}), ...["A", "B", "B\u2212A"].map(name => element("th", { scope: "col" }, name))));
  $("detail").replaceChildren(element("h2", {}, some.key),
    element("div", { class: "scroll", tabindex: 0 }, element("table", {}, ...both ? [head] : [], body)));
}

function linksTo(found, side) {
  const links = found.map(line => {
    const parts = line.key.split(/(?<=\.)/).flatMap(part => [part, element("wbr", {})]);
    const link = element("button", { type: "button", class: "link" }, ...parts);
    link.addEventListener("click", () => choose(side, line.key, false));
    return link;
  });
  const many = links.length > 4 ? [element("span", { class: "soft" }, `${links.length} lines:`)] : [];
  return element("div", { class: "links" }, ...many, ...links.length ? links : [element("span", { class: "soft" }, "nothing")]);
}

// ---- the page

const MANY = 60; // rows that one looks through

// Opens the blocks that lie in no other, unless that would be many rows.
function openOutside(side) {
  const all = lines(state[side]);
  if (all.filter(line => line.level < 2).length <= MANY) for (const line of all) if (line.block && !line.level) state.open.add(line.key);
}

function show() {
  const both = state.second !== null;
  document.body.classList.toggle("comparing", both);
  $("second").hidden = $("side-second").hidden = !both;
  $("compare").checked = both;
  document.querySelector("#first legend").textContent = both ? "A" : "Setting";
  document.querySelector("#second legend").textContent = "B, compared with A";
  for (const side of sidesShown()) showControls(side);
  const told = sidesShown().map((side, k) => {
    const facts = `${exact(layers(lines(state[side])).length)} layers, input ${shape(data.settings[state[side]].input)}`;
    $(`title-${side}`).replaceChildren(element("b", {}, `${"AB"[k]}: ${nameOf(state[side])}`), " ", element("span", { class: "soft" }, facts));
    return facts;
  });
  $("title-first").hidden = !both;
  $("about").textContent = both ? "" : told[0];
  showTotals();
  showTrees();
  showDetail();
}

for (const side of SIDES) {
  makeControls(side);
  makeTree(side);
  if (state[side] !== null) openOutside(side);
}
options($("measure"), data.measures.map((measure, k) => [k, measure.name]), state.measure);
$("note").textContent = data.note;
$("conventions").textContent = data.conventions;
$("controls").hidden = data.settings.length < 2;
$("controls").addEventListener("submit", event => event.preventDefault());
$("compare").addEventListener("change", event => {
  state.second = event.target.checked ? (state.first + 1) % data.settings.length : null;
  if (state.second !== null) openOutside("second");
  show();
});
$("measure").addEventListener("change", event => {
  state.measure = Number(event.target.value);
  showTrees();
});
for (const [id, open] of [["unfold", true], ["fold", false]]) {
  $(id).addEventListener("click", () => {
    state.open = new Set(open ? sidesShown().flatMap(side => lines(state[side])).filter(line => line.block).map(line => line.key) : []);
    showTrees();
    showDetail();
  });
}
narrow.addEventListener("change", showTrees);
show();
