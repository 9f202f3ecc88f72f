"use strict";
// draws the charts in the page's colours, moves the charts and pictures of one video together, switches light and dark
(() => {
  const root = document.documentElement, prefersDark = matchMedia("(prefers-color-scheme: dark)");
  const charts = [...document.querySelectorAll(".chart")];
  const colour = (name) => getComputedStyle(root).getPropertyValue(name).trim();

  // plotly.js is in the page as gzip in base64
  const load = async () => {
    const packed = Uint8Array.from(atob(document.getElementById("plotly").textContent), (c) => c.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
    const script = document.createElement("script");
    script.textContent = await new Response(stream).text();
    document.head.append(script);
  };

  const inColours = (figure) => {
    const ink = colour("--ink"), soft = colour("--soft"), grid = colour("--grid"), card = colour("--card");
    const axis = { color: soft, gridcolor: grid, linecolor: grid, spikecolor: soft, spikethickness: 1 };
    Object.assign(figure.layout, {
      paper_bgcolor: "transparent", plot_bgcolor: "transparent",
      font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: soft },
      modebar: { bgcolor: "transparent", color: soft, activecolor: ink },
      hoverlabel: { bgcolor: card, bordercolor: colour("--line"), font: { color: ink, size: 12.5 } },
    });
    Object.assign(figure.layout.xaxis, axis);
    Object.assign(figure.layout.yaxis, axis);
    for (const trace of figure.data) {
      const own = colour(`--c${trace.meta}`);
      Object.assign(trace.line, { color: own });
      Object.assign(trace.marker, { color: own, line: { color: card, width: 1.5 } });
    }
    return figure;
  };

  // what one chart of a video shows, the others and the pictures show too
  const together = (chart, moved) => {
    const video = chart.closest(".video"), axis = chart.layout.xaxis;
    if (!video || !Object.keys(moved).some((name) => name.startsWith("xaxis."))) return;
    const number = (end) => (typeof end === "number" ? end : Date.parse(`${end.replace(" ", "T")}Z`));
    const [first, last] = JSON.parse(chart.dataset.range).map(number), [low, high] = axis.range.map(number);
    const film = video.querySelector(".film");
    if (film) {
      film.style.setProperty("--zoom", (last - first) / (high - low));
      film.style.setProperty("--shift", (low - first) / (last - first));
    }
    for (const other of video.querySelectorAll(".chart")) {
      if (other.layout && other.layout.xaxis.range.map(number).join() !== [low, high].join()) {
        Plotly.relayout(other, { "xaxis.range": [low, high] });
      }
    }
  };

  const draw = async (chart) => {
    const holder = chart.querySelector("script"), figure = inColours(JSON.parse(holder.textContent));
    chart.dataset.range = JSON.stringify(figure.layout.xaxis.range);
    if (matchMedia("(pointer: coarse)").matches) figure.layout.dragmode = false;  // a finger scrolls the page
    await Plotly.newPlot(chart, figure.data, figure.layout, {
      responsive: true, displaylogo: false, displayModeBar: "hover", doubleClick: "reset",
      modeBarButtons: [["toImage", "resetScale2d"]],
      toImageButtonOptions: { format: "svg", filename: "chart" },
    });
    chart.on("plotly_relayout", (moved) => together(chart, moved));
  };

  const recolour = () => charts.filter((chart) => chart.layout)
    .forEach((chart) => Plotly.react(chart, inColours({ data: chart.data, layout: chart.layout })));
  document.getElementById("theme").addEventListener("click", () => {
    const now = root.dataset.theme || (prefersDark.matches ? "dark" : "light");
    root.dataset.theme = now === "dark" ? "light" : "dark";
    recolour();
  });
  prefersDark.addEventListener("change", recolour);

  (charts.length ? load() : Promise.resolve()).then(async () => {
    for (const chart of charts) await draw(chart);
    root.dataset.drawn = charts.length;
  }).catch((error) => {
    for (const chart of charts) if (!chart.layout) chart.textContent = "This browser cannot draw the charts.";
    throw error;
  });
})();
