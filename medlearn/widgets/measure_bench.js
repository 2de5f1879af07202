// The measure bench in the browser. The masks are disks, drawn here at once; Python measures them (measure_bench.py),
// and its answer fills the gauges a moment later. A state that was kept is compared with the one of now.

const SLIDERS = {
  radius: "gland radius", grow: "grow (below 0: erode)", right: "move right", down: "move down",
  island: "radius of an island", island_distance: "its distance", bite: "radius of a bite",
};
const TASK = { dice: 0.005, times: 3 }; // how far two Dice may differ and still count as equal; ratio of the HD95
const HD95 = "HD95, larger direction";

// The masks of measure_bench.py, truth and prediction, enlarged: one number for each pixel of the picture.
function maskLayers({ side, zoom }, { radius, right, down, grow, island, island_distance, bite }) {
  const disk = (row, column, r) => (y, x) => r >= 0 && (y - row) ** 2 + (x - column) ** 2 <= r ** 2;
  const middle = side / 2;
  const [row, column, grown] = [middle + down, middle + right, radius + grow];
  const along = Math.round((radius + island_distance) / Math.SQRT2);
  const truth = disk(middle, middle, radius);
  const body = disk(row, column, grown);
  const missing = disk(row, column - grown, bite || -1);
  const extra = disk(middle - along, middle + along, island || -1);
  const pred = (y, x) => (body(y, x) && !missing(y, x)) || extra(y, x);
  return [truth, pred].map((inside) => {
    const mask = Uint8Array.from({ length: side * side }, (_, p) => inside(Math.floor(p / side), p % side));
    const nearest = Array.from({ length: side * zoom }, (_, p) => Math.floor(p / zoom));
    return enlarge(mask, side, { rows: nearest, columns: nearest });
  });
}

// Has the task been solved by the kept state and that of now? In words.
function judge(kept, now) {
  const [a, b] = [kept, now].map((gauges) => Object.fromEntries(gauges.map(({ name, value }) => [name, value])));
  if (!(a.Dice > 0 && b.Dice > 0 && a[HD95] > 0 && b[HD95] > 0)) return "Both need a Dice and an HD95 above 0.";
  const [gap, ratio] = [Math.abs(a.Dice - b.Dice), Math.max(a[HD95] / b[HD95], b[HD95] / a[HD95])];
  const told = `Dice ${gap.toFixed(3)} apart, HD95 in the ratio ${ratio.toFixed(1)} to 1`;
  return gap <= TASK.dice && ratio >= TASK.times ? `Solved: ${told}.` : `Not yet: ${told}.`;
}

function gaugeRow({ name, words, full }, kept) {
  const bar = element("span", { className: "medlearn-bar", "aria-hidden": "true" }, element("span"));
  bar.firstChild.style.width = `${100 * full}%`;
  return element("tr", {}, element("th", { scope: "row" }, name), element("td", {}, words), element("td", {}, bar),
    element("td", {}, kept ? kept.words : "–"));
}

function render({ model, el }) {
  const scene = model.get("_scene");
  const { now, set, stop } = bind(model, scene.limits, update);
  const size = scene.side * scene.zoom;
  const stage = pictureStage("Prediction and truth. Arrow keys move the prediction by 1 mm.", { role: "application" });
  const { canvas, marks } = stage;
  const sliders = Object.fromEntries(Object.entries(SLIDERS).map(([name, caption]) =>
    [name, slider(caption, scene.limits[name], 1, (value) => set({ [name]: value }))]));
  const head = ["measure", "now", "", "kept"].map((text) => element("th", { scope: "col" }, text));
  const body = element("tbody");
  const titles = element("thead", {}, element("tr", {}, ...head));
  const table = element("table", { className: "medlearn-gauges" }, titles, body);
  const keep = element("button", { type: "button", className: "medlearn-chip" }, "keep");
  const reset = element("button", { type: "button", className: "medlearn-chip" }, "undo all");
  const verdict = element("div", { className: "medlearn-read-out", role: "status" });
  const note = element("div", { className: "medlearn-note", role: "status", hidden: true },
    "No kernel is running: this is a stored state. Moving anything needs Python.");
  const side = element("div", {}, table, element("div", { className: "medlearn-row" }, keep, reset), verdict);
  const root = explorerRoot(
    note, element("div", { className: "medlearn-bench" }, element("div", {}, stage.node, legend(scene.looks)), side),
    element("div", { className: "medlearn-bench-sliders" }, ...Object.values(sliders).map(({ node }) => node)),
    help("All lengths in mm. Drag the picture, or use its arrow keys: the prediction moves.",
      "A bar of a distance is full at 25 mm."));
  let [kept, alive] = [null, true];

  function update() {
    const state = now();
    for (const [name, value] of Object.entries(state)) sliders[name].show(value, `${words(value)} mm`);
    const image = grayPicture(new Uint8Array(size * size), [0], size);
    maskLayers(scene, state).forEach((layer, i) => paintMask(image, layer, scene.looks[i]));
    show(canvas, image);
    markPen(marks, size, size).scaleBar(1 / scene.zoom);
    tell();
  }

  // Gauges of an earlier state stay, dimmed, until Python has measured that of now.
  function tell() {
    const [{ of, rows }, state] = [model.get("_gauges"), now()];
    const waiting = Object.keys(state).some((name) => of[name] !== state[name]);
    table.setAttribute("aria-busy", String(waiting));
    keep.disabled = waiting || !alive;
    body.replaceChildren(...rows.map((gauge, i) => gaugeRow(gauge, kept?.[i])));
    const task = `Task: keep a state, then make another of equal Dice (within ${TASK.dice}) with three times its HD95.`;
    verdict.textContent = kept ? judge(kept, rows) : task;
  }

  keep.addEventListener("click", () => {
    kept = model.get("_gauges").rows;
    tell();
  });
  reset.addEventListener("click", () => set({ right: 0, down: 0, grow: 0, island: 0, bite: 0 }));
  let start = null; // of a drag: pointer and prediction
  dragging(canvas, ({ clientX, clientY }, first) => {
    if (!alive) return;
    if (first) start = { clientX, clientY, ...now() };
    const mm = scene.side / canvas.getBoundingClientRect().width;
    const [right, down] = [clientX - start.clientX, clientY - start.clientY].map((way) => Math.round(way * mm));
    set({ right: start.right + right, down: start.down + down });
  });
  canvas.addEventListener("keydown", (event) => {
    const move = { ArrowUp: ["down", -1], ArrowDown: ["down", 1], ArrowLeft: ["right", -1], ArrowRight: ["right", 1] };
    const [name, step] = move[event.key] ?? [];
    if (!name || !alive || isShortcut(event)) return;
    event.preventDefault();
    set({ [name]: now()[name] + step });
  });

  // Without a kernel nothing is measured, so nothing can be moved.
  const live = (yes) => {
    alive = yes;
    note.hidden = yes;
    for (const { input } of Object.values(sliders)) input.disabled = !yes;
    reset.disabled = !yes;
    tell();
  };
  const stopAsking = askForKernel(model, (answer) => live(answer === "there"));
  model.on("change:_gauges", tell);

  el.append(root);
  update();
  return () => {
    stopAsking();
    stop();
    model.off("change:_gauges", tell);
  };
}

export default { render };
