"use strict";
(() => {
  const data = JSON.parse(document.getElementById("curves").textContent);
  const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const points = (list) => list.map(([x, y]) => ({ x, y }));
  let charts = [];

  function series(label, list, style) {
    return { label, data: points(list), borderWidth: 2, pointRadius: list.length === 1 ? 3 : 0, tension: 0, fill: false, ...style };
  }

  function draw(id, datasets, yTitle, extra = {}) {
    const canvas = document.getElementById(id);
    if (!canvas) return;
    const text = color("--soft"), grid = color("--line");
    const axis = (title) => ({
      type: "linear", title: { display: true, text: title, color: text }, ticks: { color: text, maxTicksLimit: 7 },
      grid: { color: grid, borderColor: grid, tickColor: grid },
    });
    const y = { ...axis(yTitle), beginAtZero: Boolean(extra.fromZero) };
    const lastStep = Math.max(...datasets.flatMap((set) => set.data.map((point) => point.x)));
    charts.push(new Chart(canvas, {
      type: "line",
      data: { datasets },
      options: {
        responsive: true, maintainAspectRatio: false, animation: false, layout: { padding: { right: 8 } },
        interaction: { mode: "nearest", axis: "x", intersect: false },
        scales: { x: { ...axis("step"), min: 0, max: lastStep }, y },
        plugins: {
          legend: { display: datasets.length > 1, align: "start", labels: { color: text, boxHeight: 2, boxWidth: 22 } },
          tooltip: { callbacks: { title: (items) => "step " + items[0].parsed.x } },
        },
      },
    }));
  }

  function drawAll() {
    charts.forEach((chart) => chart.destroy());
    charts = [];
    Chart.defaults.font.family = getComputedStyle(document.body).fontFamily;
    const accent = color("--accent"), amber = color("--amber"), faint = color("--faint");
    const loss = [
      series("training, each step", data.loss, { borderColor: faint, borderWidth: 1, order: 3 }),
      series("training, smoothed", data.smooth, { borderColor: accent, borderWidth: 2.5, order: 2 }),
    ];
    if (data.held_out.length > 0) {
      loss.push(series("held out", data.held_out,
        { borderColor: amber, backgroundColor: amber, borderDash: [5, 4], borderWidth: 1.5, clip: 8, pointRadius: 4.5, pointHoverRadius: 6, order: 1 }));
    }
    draw("loss-plot", loss, "loss, nats a token");
    draw("speed-plot", [series("tokens a second", data.speed, { borderColor: accent })], "tokens a second", { fromZero: true });
    draw("memory-plot", [series("peak memory", data.memory, { borderColor: accent })], "GiB", { fromZero: true });
  }

  drawAll();
  for (const query of ["(prefers-color-scheme: dark)", "print"]) window.matchMedia(query).addEventListener("change", drawAll);
})();
