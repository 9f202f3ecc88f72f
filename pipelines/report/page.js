"use strict";
// the numbers of a chart under the pointer, and the light/dark switch; the page is complete without either
(() => {
  const two = (n) => String(n).padStart(2, "0");
  const clock = (s) => {
    const w = Math.round(s), m = Math.floor(w / 60);
    return m >= 60 ? `${Math.floor(m / 60)}:${two(m % 60)}:${two(w % 60)}` : `${m}:${two(w % 60)}`;
  };
  const shown = {
    percent: (v) => `${(v * 100).toFixed(1)} %`,
    number: (v) => String(Number(v.toPrecision(4))),
    seconds: clock,
    epoch: (v) => `epoch ${v}`,
  };
  const line = (name, colour, value) => {
    const row = document.createElement("div"), swatch = document.createElement("i"), figure = document.createElement("em");
    swatch.className = `swatch c${colour}`;
    figure.textContent = value;
    row.append(swatch, name, figure);
    return row;
  };

  for (const chart of document.querySelectorAll(".chart")) {
    const data = JSON.parse(chart.dataset.chart), cross = chart.querySelector(".cross"), tip = chart.querySelector(".tip");
    const show = (event) => {
      const box = chart.getBoundingClientRect(), at = (event.clientX - box.left) / box.width;
      const wanted = data.low + at * (data.high - data.low);
      let near = 0;
      data.x.forEach((x, i) => { if (Math.abs(x - wanted) < Math.abs(data.x[near] - wanted)) near = i; });
      if (!data.x.length) return;
      const place = (data.x[near] - data.low) / (data.high - data.low), head = document.createElement("b");
      head.textContent = shown[data.xUnit](data.x[near]);
      const rows = data.series.filter((s) => s.y[near] != null).sort((a, b) => b.y[near] - a.y[near]);
      tip.replaceChildren(head, ...rows.map((s) => line(s.name, s.colour, shown[data.yUnit](s.y[near]))));
      cross.style.left = `${place * 100}%`;
      const room = box.width - tip.offsetWidth - 8, left = place * box.width + 10;
      tip.style.left = `${Math.max(0, left > room ? place * box.width - tip.offsetWidth - 10 : left)}px`;
      chart.classList.add("on");
    };
    chart.addEventListener("pointermove", show);
    chart.addEventListener("pointerdown", show);
    chart.addEventListener("pointerleave", () => chart.classList.remove("on"));
  }

  const root = document.documentElement, dark = matchMedia("(prefers-color-scheme: dark)");
  document.getElementById("theme").addEventListener("click", () => {
    const now = root.dataset.theme || (dark.matches ? "dark" : "light");
    root.dataset.theme = now === "dark" ? "light" : "dark";
  });
})();
