// Draws the charts of a dashboard from the JSON that Datasette gives. Vega-Lite's expressions are interpreted: the page's
// policy allows nothing to be made code of.
"use strict";

const CONFIG = {
  background: null,
  font: "system-ui, sans-serif",
  view: { stroke: null },
  bar: { color: "#2f6db5" },
  axis: { labelFontSize: 12, titleFontSize: 12, titleFontWeight: "normal", labelLimit: 130, gridColor: "#e4e6ea" },
  legend: { labelFontSize: 12 },
};

async function rows(chart) {
  const asked = new URLSearchParams({ agent: "", since: "", ...Object.fromEntries(new URLSearchParams(location.search)) });
  asked.set("sql", chart.query);
  asked.set("_shape", "objects");
  const answer = await fetch(`/${chart.db}.json?${asked}`);
  const said = await answer.json();
  if (!answer.ok) throw new Error(said.error || `status ${answer.status}`);
  return said;
}

function table(found) {
  const rowOf = (kind, cells) => {
    const row = document.createElement("tr");
    row.append(...cells.map((text) => Object.assign(document.createElement(kind), { textContent: text ?? "" })));
    return row;
  };
  const it = document.createElement("table");
  it.append(rowOf("th", Object.keys(found[0])), ...found.map((row) => rowOf("td", Object.values(row))));
  return it;
}

async function draw(place, chart) {
  const { rows: found, truncated } = await rows(chart);
  if (!found.length) {
    place.textContent = "Nothing, in this time.";
  } else if (chart.library === "metric") {
    place.textContent = found[0][chart.display.field];
  } else {
    const about = { width: "container", height: 240, description: chart.title, config: CONFIG };
    const spec = { ...about, data: { values: found }, ...chart.display };
    spec.mark = { tooltip: { content: "data" }, ...(typeof spec.mark === "string" ? { type: spec.mark } : spec.mark) };
    await vegaEmbed(place, spec, { actions: false, ast: true, renderer: "svg" });
    place.nextElementSibling.hidden = false;
    place.nextElementSibling.lastElementChild.replaceChildren(table(found));
  }
  if (truncated) place.append(" There is more than this shows.");
}

for (const each of document.querySelectorAll("[data-chart]")) {
  const chart = JSON.parse(each.dataset.chart);
  draw(each, chart)
    .catch((error) => { each.textContent = `This cannot be shown: ${error.message}`; })
    .finally(() => { each.dataset.drawn = "yes"; });
}
