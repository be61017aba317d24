// Draws where data goes, beside the lines of a tree, as the log of a version control draws branches.
//
// A line that is shown is a row. What it puts out goes down a lane, straight, until the last row that reads it; a row
// that reads it earlier takes a branch off. A row stands in the lane of what it is the last to read, the leftmost of
// them, and else in a free one. The edges of a closed block are those of the lines inside that leave it.

const GAP = 11, EDGE = 11, TURN = 7; // pixels between lanes, at the margin, and of a rounded corner
const SIGNS = { add: [[-3, 0, 3, 0], [0, -3, 0, 3]], mul: [[-2.2, -2.2, 2.2, 2.2], [-2.2, 2.2, 2.2, -2.2]],
  cat: [[-2.5, -1.5, 2.5, -1.5], [-2.5, 1.5, 2.5, 1.5]] };

// Pairs of rows [source, reader], each once, in the order of readers; a source always stands above its reader.
function edgesOf(all, shown) {
  const row = new Map(shown.map((line, number) => [line, number]));
  const rowOf = line => row.get(line) ?? rowOf(line.parent);
  const pairs = new Map();
  for (const line of all) {
    if (line.block) continue;
    const to = rowOf(line);
    for (const source of line.reads) {
      const from = rowOf(source);
      if (from !== to) pairs.set(from * shown.length + to, [from, to]);
    }
  }
  return [...pairs.values()].sort((a, b) => a[1] - b[1] || a[0] - b[0]);
}

// The lane of every row. At most `most` are side by side; what finds none free goes into one more, the bundle.
function lanesOf(edges, count, most) {
  const last = Array(count).fill(-1), reads = Array.from({ length: count }, () => []);
  for (const [from, to] of edges) {
    last[from] = to;
    reads[to].push(from);
  }
  const held = new Map(), lane = Array(count).fill(0); // held: lane -> the row whose output goes down there
  for (let row = 0; row < count; row++) {
    const ended = reads[row].filter(from => last[from] === row && lane[from] < most).map(from => lane[from]);
    for (const free of ended) held.delete(free);
    let at = 0;
    if (ended.length) at = Math.min(...ended);
    else while (at < most && held.has(at)) at += 1;
    lane[row] = at;
    if (at < most && last[row] > row) held.set(at, row);
  }
  return lane;
}

// A tree laid out; `path` is what SVG calls the way of some edges, `bundled` how many outputs share the last lane.
function layOut(all, shown, most, height) {
  const edges = edgesOf(all, shown), lane = lanesOf(edges, shown.length, most);
  const used = edges.reduce((widest, [from, to]) => Math.max(widest, lane[from], lane[to]), 0);
  const x = row => EDGE + GAP * lane[row], y = row => height * (row + 0.5);
  const path = some => some.map(([from, to]) => {
    const turn = Math.sign(x(to) - x(from)) * TURN;
    const way = turn ? `V${y(to) - TURN}Q${x(from)} ${y(to)} ${x(from) + turn} ${y(to)}H${x(to)}` : `V${y(to)}`;
    return `M${x(from)} ${y(from)}${way}`;
  }).join("");
  const bundled = new Set(edges.map(([from]) => from).filter(from => lane[from] === most)).size;
  return { edges, ends: new Set(edges.flat()), lane, x, y, path, bundled, most, width: 2 * EDGE + GAP * used, height: height * shown.length };
}

const disc = (x, y, r) => `M${x - r} ${y}a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0`;

// Fills the picture: edges, over them those that `light` picks, over them a mark for every row at an end of one.
function drawLanes(svg, plan, shown) {
  const marks = { layer: "", block: "", operation: "", sign: "" };
  for (const [row, line] of shown.entries()) {
    const x = plan.x(row), y = plan.y(row);
    if (!plan.ends.has(row)) continue; // the head of an open block, or what a block was counted for itself
    if (line.operation) {
      const sign = SIGNS[line.label.replace(/^.*\((\w+)\)( \(call \d+\))?$/, "$1")] ?? [];
      marks.operation += disc(x, y, 5.5);
      marks.sign += sign.map(([a, b, c, d]) => `M${x + a} ${y + b}L${x + c} ${y + d}`).join("");
    } else if (!line.block) marks.layer += disc(x, y, 3.5);
    else marks.block += `M${x - 4.5} ${y - 4.5}h9v9h-9z`;
  }
  const thick = plan.edges.filter(([from]) => plan.lane[from] === plan.most);
  const thin = plan.edges.filter(([from]) => plan.lane[from] !== plan.most);
  svg.setAttribute("width", plan.width);
  svg.setAttribute("height", plan.height);
  for (const [name, d] of Object.entries({ ...marks, thin: plan.path(thin), thick: plan.path(thick), chosen: "", pointed: "" }))
    svg.querySelector(`.${name}`).setAttribute("d", d);
}

// Draws the edges of one row on top: of a layer those that come and go, of an open block those that cross its border.
function light(svg, name, plan, shown, line) {
  const inside = other => other && (other === line || inside(other.parent));
  const some = line ? plan.edges.filter(([from, to]) => !!inside(shown[from]) !== !!inside(shown[to])) : [];
  svg.querySelector(`.${name}`).setAttribute("d", plan.path(some));
}
