// The trees of layers, one a side, with the lanes of their data; pointer and keys.

const trees = Object.fromEntries(SIDES.map(side => [side, { box: $(`box-${side}`), svg: $(`lanes-${side}`), list: $(`tree-${side}`) }]));
const narrow = matchMedia("(max-width: 860px)");

const sidesShown = () => SIDES.filter(side => state[side] !== null);
const valueOf = line => line.facts[SHAPES + state.measure];

// The rows of both trees anew, after blocks opened or a network changed.
function showTrees() {
  for (const side of sidesShown()) {
    const tree = trees[side];
    tree.all = lines(state[side]);
    let closed = Infinity;
    tree.shown = tree.all.filter(line => {
      if (line.level > closed) return false;
      closed = line.block && !state.open.has(line.key) ? line.level : Infinity;
      return true;
    });
  }
  keepChosen();
  const most = Math.max(1, ...sidesShown().flatMap(side => layers(trees[side].all)).map(line => valueOf(line) ?? 0));
  for (const side of sidesShown()) drawTree(trees[side], most);
  const bundled = sidesShown().reduce((sum, side) => sum + trees[side].plan.bundled, 0);
  $("bundled").textContent = bundled ? `The thick one at the right is for what found no lane, ${bundled} outputs in all; a chosen row shows its own.` : "";
  markChosen();
}

// What is chosen is shown in some tree: itself, the closed block around it, or else the first row.
function keepChosen() {
  const shows = key => sidesShown().some(side => trees[side].shown.some(line => line.key === key));
  let line = find(state.side, state.chosen);
  while (line && !shows(line.key)) line = line.parent;
  if (line) state.chosen = line.key;
  else if (!shows(state.chosen)) [state.side, state.chosen] = ["first", (trees.first.shown.find(row => !row.operation) ?? trees.first.shown[0]).key];
}

function drawTree(tree, most) {
  const height = narrow.matches ? 30 : 26, lanes = narrow.matches ? 4 : state.second === null ? 14 : 9;
  tree.plan = layOut(tree.all, tree.shown, lanes, height);
  drawLanes(tree.svg, tree.plan, tree.shown);
  tree.box.style.setProperty("--row", `${height}px`);
  tree.box.style.setProperty("--lanes", `${tree.plan.width}px`);
  tree.list.replaceChildren(...tree.shown.map(line => treeItem(line, most)));
}

function treeItem(line, most) {
  const value = valueOf(line), sort = line.block ? " block" : line.operation ? " operation" : "";
  const item = element("div", { role: "treeitem", class: `line${sort}`, "aria-level": line.level + 1, "data-key": line.key });
  if (line.block) item.setAttribute("aria-expanded", state.open.has(line.key));
  item.style.setProperty("--level", line.level);
  const bar = element("i", {}), kind = line.operation && line.facts.length === SHAPES ? "" : line.facts[0];
  bar.style.width = line.block ? "0" : `${100 * (value ?? 0) / most}%`;
  item.append(
    element("span", { class: "name", title: `${line.key} ${kind}` }, element("b", {}, line.label), " ", element("span", { class: "soft" }, kind)),
    element("span", { class: "shape soft" }, shape(line.facts[2])), element("span", { class: line.block ? "" : "bar" }, bar),
    element("span", { class: "value" }, value ? short(value, data.measures[state.measure]) : ""));
  return item;
}

// The chosen row in each tree that has it, where it differs in shape too, and the way of its data.
function markChosen() {
  const chosen = SIDES.map(side => find(side, state.chosen));
  const differs = chosen[0] && chosen[1] && [1, 2].some(k => chosen[0].facts[k] !== chosen[1].facts[k]);
  for (const side of sidesShown()) {
    const { list, shown, svg, plan } = trees[side], at = shown.findIndex(line => line.key === state.chosen);
    for (const [row, item] of [...list.children].entries()) {
      item.setAttribute("aria-selected", row === at);
      item.tabIndex = row === Math.max(at, 0) ? 0 : -1;
      item.classList.toggle("linked", row === at && side !== state.side);
      item.classList.toggle("differs", row === at && !!differs);
    }
    light(svg, "chosen", plan, shown, shown[at]);
  }
}

// Chooses a line of a side; opens the blocks around it, and it too or not when it is to toggle.
function choose(side, key, toggle) {
  const before = state.open.size;
  [state.side, state.chosen] = [side, key];
  for (let line = find(side, key).parent; line; line = line.parent) state.open.add(line.key);
  $("detail").classList.add("asked"); // where it is narrow, the row now lies over the page's foot
  if (toggle && !state.open.delete(key)) state.open.add(key);
  if (toggle || state.open.size !== before) showTrees();
  else markChosen();
  showDetail();
  for (const other of sidesShown()) {
    const item = trees[other].list.querySelector("[aria-selected='true']");
    if (other === side) item.focus({ preventScroll: true });
    if (other === side) item.scrollIntoView({ block: "nearest" });
    else if (item) trees[other].box.scrollTop = item.offsetTop - trees[other].box.clientHeight / 2;
  }
}

function pressed(event, side) {
  const { shown, list } = trees[side], at = [...list.children].indexOf(event.target), line = shown[at];
  if (!line) return;
  const open = state.open.has(line.key);
  const to = { ArrowDown: shown[at + 1], ArrowUp: shown[at - 1], Home: shown[0], End: shown.at(-1) }[event.key];
  const toggles = line.block && (["Enter", " "].includes(event.key) || event.key === (open ? "ArrowLeft" : "ArrowRight"));
  if (to) choose(side, to.key, false);
  else if (toggles) choose(side, line.key, true);
  else if (event.key === "ArrowRight" && line.block) choose(side, shown[at + 1].key, false);
  else if (event.key === "ArrowLeft" && line.parent) choose(side, line.parent.key, false);
  else if (["Enter", " "].includes(event.key)) choose(side, line.key, false);
  else if (!["ArrowDown", "ArrowUp", "ArrowLeft", "ArrowRight"].includes(event.key)) return;
  event.preventDefault();
}

function makeTree(side) {
  const tree = trees[side];
  const rowOf = event => [...tree.list.children].indexOf(event.target.closest(".line"));
  tree.list.addEventListener("click", event => {
    const line = tree.shown[rowOf(event)];
    if (line) choose(side, line.key, line.block);
  });
  tree.list.addEventListener("keydown", event => pressed(event, side));
  tree.list.addEventListener("mouseover", event => light(tree.svg, "pointed", tree.plan, tree.shown, tree.shown[rowOf(event)]));
  tree.list.addEventListener("mouseleave", () => light(tree.svg, "pointed", tree.plan, tree.shown));
}
