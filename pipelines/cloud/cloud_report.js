"use strict";
// Points on a plain canvas, nearest in front (a depth buffer), so that the page needs neither WebGL nor a library.
(() => {
  const bytesOf = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const clouds = JSON.parse(document.getElementById("clouds").textContent);
  const canvas = document.getElementById("cloud"), which = document.getElementById("which"), dot = document.getElementById("dot");
  const context = canvas.getContext("2d");
  let cloud = null, turn = 0, tilt = 0, zoom = 1, waiting = false;

  // Low blue, middle green, high yellow.
  function colourOfHeight(height) {
    const stops = [[38, 74, 122], [44, 140, 110], [222, 186, 64]], at = Math.min(1.999, Math.max(0, 2 * height)), i = Math.floor(at), part = at - i;
    return stops[i].map((value, k) => value + part * (stops[i + 1][k] - value));
  }

  function unpack(packed) {
    const points = Float32Array.from(new Int16Array(bytesOf(packed.points).buffer), (value) => value / 32000);
    let colours = bytesOf(packed.colours);
    if (colours.length === 0) {
      let low = Infinity, high = -Infinity;
      for (let i = 2; i < points.length; i += 3) { low = Math.min(low, points[i]); high = Math.max(high, points[i]); }
      colours = new Uint8Array(points.length);
      for (let i = 0; i < points.length; i += 3) colours.set(colourOfHeight((points[i + 2] - low) / (high - low || 1)), i);
    }
    return { points, colours, legend: packed.legend };
  }

  function showLegend(legend) {
    const box = document.getElementById("legend");
    box.replaceChildren(...legend.map(([label, count, colour]) => {
      const line = document.createElement("span"), swatch = document.createElement("i");
      swatch.className = "swatch";
      swatch.style.background = "rgb(" + colour.join() + ")";
      line.append(swatch, label + " " + count.toLocaleString("en"));
      return line;
    }));
  }

  function begin() { turn = -0.7; tilt = 0.35; zoom = 1; draw(); }

  function show(index) {
    which.value = String(index);
    cloud = unpack(clouds[index]);
    showLegend(cloud.legend);
    begin();
  }

  function paint() {
    waiting = false;
    const ratio = window.devicePixelRatio || 1, width = Math.max(1, Math.round(canvas.clientWidth * ratio)), height = Math.max(1, Math.round(canvas.clientHeight * ratio));
    if (canvas.width !== width || canvas.height !== height) { canvas.width = width; canvas.height = height; }
    const picture = context.createImageData(width, height), depth = new Float32Array(width * height).fill(Infinity);
    const st = Math.sin(turn), ct = Math.cos(turn), sl = Math.sin(tilt), cl = Math.cos(tilt);
    const scale = 1.25 * zoom * Math.min(width, height) / 2, size = Math.max(1, Math.round(dot.value * ratio));
    const { points, colours } = cloud;
    for (let i = 0; i < points.length; i += 3) {
      const x = ct * points[i] - st * points[i + 1], y = st * points[i] + ct * points[i + 1], z = points[i + 2];
      const far = 3.2 + cl * y - sl * z;  // the eye stands at 3.2 before the middle
      if (far < 0.1) continue;
      const left = Math.round(width / 2 + scale * 2.6 * x / far - size / 2), top = Math.round(height / 2 - scale * 2.6 * (sl * y + cl * z) / far - size / 2);
      const shade = Math.min(1.1, Math.max(0.55, 1.55 - 0.2 * far));
      for (let row = Math.max(0, top); row < Math.min(height, top + size); ++row) {
        for (let column = Math.max(0, left); column < Math.min(width, left + size); ++column) {
          const at = row * width + column;
          if (far >= depth[at]) continue;
          depth[at] = far;
          picture.data[4 * at] = shade * colours[i];
          picture.data[4 * at + 1] = shade * colours[i + 1];
          picture.data[4 * at + 2] = shade * colours[i + 2];
          picture.data[4 * at + 3] = 255;
        }
      }
    }
    context.putImageData(picture, 0, 0);
  }

  function draw() {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(paint);
  }

  function turnBy(dx, dy) { turn += dx; tilt = Math.min(1.57, Math.max(-1.57, tilt + dy)); draw(); }
  function nearer(factor) { zoom = Math.min(20, Math.max(0.2, zoom * factor)); draw(); }

  canvas.addEventListener("pointerdown", (event) => canvas.setPointerCapture(event.pointerId));
  canvas.addEventListener("pointermove", (event) => { if (event.buttons & 1) turnBy(0.008 * event.movementX, 0.008 * event.movementY); });
  canvas.addEventListener("wheel", (event) => { event.preventDefault(); nearer(Math.exp(-0.0015 * event.deltaY)); }, { passive: false });
  const keys = { ArrowLeft: () => turnBy(-0.1, 0), ArrowRight: () => turnBy(0.1, 0), ArrowUp: () => turnBy(0, -0.1), ArrowDown: () => turnBy(0, 0.1),
                 "+": () => nearer(1.15), "-": () => nearer(1 / 1.15), Home: begin };
  canvas.addEventListener("keydown", (event) => { if (keys[event.key]) { event.preventDefault(); keys[event.key](); } });
  which.addEventListener("change", () => show(Number(which.value)));
  dot.addEventListener("input", draw);
  window.addEventListener("resize", draw);
  for (const button of document.querySelectorAll("button[data-cloud]")) {
    button.addEventListener("click", () => { show(Number(button.dataset.cloud)); canvas.scrollIntoView({ block: "center" }); canvas.focus({ preventScroll: true }); });
  }
  show(0);
})();
