// The figures under the pointer. The charts are complete without this: it shows one epoch's values and a line there.
"use strict";
const charts = JSON.parse(document.getElementById("charts").textContent);

document.querySelectorAll(".chart:not(.still)").forEach((figure, number) => {
  const chart = charts[number];
  const svg = figure.querySelector("svg"), here = svg.querySelector(".here"), says = figure.querySelector("output");
  let index = -1;

  function show(next) {
    index = Math.max(0, Math.min(chart.x.length - 1, next));
    for (const end of ["x1", "x2"]) here.setAttribute(end, chart.at[index]);
    here.style.visibility = "visible";
    const values = chart.series.map(line => `${line.name} ${line.values[index] ?? "none"}`);
    says.textContent = `epoch ${chart.x[index]}: ${values.join(", ")}`;
  }

  function hide() {
    here.style.visibility = "hidden";
    says.textContent = "";
  }

  function point(event) {
    const box = svg.getBoundingClientRect();
    const x = (event.clientX - box.left) / box.width * svg.viewBox.baseVal.width;
    const gaps = chart.at.map(at => Math.abs(at - x));
    show(gaps.indexOf(Math.min(...gaps)));
  }

  svg.addEventListener("pointermove", point);
  svg.addEventListener("pointerdown", point);
  svg.addEventListener("pointerleave", hide);
  figure.addEventListener("blur", hide);
  figure.addEventListener("keydown", event => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (by) {
      event.preventDefault();
      show(index < 0 ? chart.x.length - 1 : index + by);
    }
  });
});
