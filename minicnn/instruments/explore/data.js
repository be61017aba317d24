// Looks up and formats what the library has counted; nothing is counted here.
"use strict";
const data = JSON.parse(document.getElementById("tables").textContent);
const $ = id => document.getElementById(id);
const SHAPES = 3; // facts begin with kind, input and output; the measures follow, but not for an operation
const BLOCK = 1, OPERATION = 2; // the sorts of lines; a layer is 0
const SIDES = ["first", "second"]; // the tree that is always there, and the one that it is compared with
const state = { first: data.start, second: data.against, measure: 1, chosen: null, side: "first", open: new Set() };

// ---- the tables

const known = new Map();

// The lines of a setting's tree; a key is a path, the same in every setting that has the layer. `reads` and `readBy`
// are lines without lines below them; of a block, those outside it.
function lines(number) {
  if (!known.has(number)) known.set(number, made(data.settings[number]));
  return known.get(number);
}

function made(setting) {
  const [tree, fields, reads] = ["tree", "fields", "reads"].map(name => data.columns[setting[name]]), path = [], above = [];
  const all = tree.map((id, at) => {
    const [label, level, sort] = data.labels[id];
    path.length = above.length = level;
    path.push(label);
    const line = { at, key: path.join("."), label, level, block: sort === BLOCK, operation: sort === OPERATION, parent: above.at(-1) ?? null,
      facts: data.facts[setting.facts[at]], field: data.fields[fields[at]], reads: [], readBy: [] };
    above.push(line);
    return line;
  });
  for (const line of all) for (const back of data.reads[reads[line.at]]) connect(all[line.at - back], line);
  return all;
}

// Tells both ends of an edge, and the blocks around one end that are not around the other.
function connect(from, to) {
  const around = line => line ? [line, ...around(line.parent)] : [];
  const [sources, targets] = [around(from), around(to)];
  for (const line of targets) if (!sources.includes(line) && !line.reads.includes(from)) line.reads.push(from);
  for (const line of sources) if (!targets.includes(line) && !line.readBy.includes(to)) line.readBy.push(to);
}

const find = (side, key) => state[side] === null ? undefined : lines(state[side]).find(line => line.key === key);
const layers = all => all.filter(line => !line.block && line.facts.length > SHAPES);
const nameOf = number => data.settings[number].name || data.knobs.map((knob, k) => `${knob.name} ${data.settings[number].at[k]}`).join(", ");

// The setting with this value of one knob that has most of the others' values, and else the nearest.
function nearest(from, knob, value) {
  const at = data.settings[from].at;
  const far = setting => setting.at.reduce((sum, v, k) => k === knob || v === at[k] ? sum : sum + 1 + Math.abs(v / at[k] - 1), 0);
  return data.settings.map((setting, number) => ({ number, setting })).filter(({ setting }) => setting.at[knob] === value)
    .reduce((best, next) => far(next.setting) < far(best.setting) ? next : best).number;
}

// ---- texts

// A shape, or several: of equal ones that follow each other, one and how many.
function shape(text) {
  const runs = [];
  for (const one of text.replaceAll("x", "\u00d7").split(", ")) {
    if (runs.at(-1)?.one === one) runs.at(-1).times += 1;
    else runs.push({ one, times: 1 });
  }
  return runs.map(({ one, times }) => times > 1 ? `${times} of ${one}` : one).join(", ");
}

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
