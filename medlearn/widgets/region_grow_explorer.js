// The region growing explorer in the browser. Python sends the slices once (region_grow_explorer.py); the growth is
// that of _region_grow_twin.js, so that the explorer also works on a page without a kernel.

async function render({ model, el }) {
  const scene = model.get("_scene");
  const slices = await unpackSlices(model, scene);
  const [, height, width] = scene.shape;
  const limits = {
    z: [scene.first, scene.first + scene.shape[0] - 1], y: [0, height - 1], x: [0, width - 1],
    tolerance: [0, scene.most * scene.scale], connectivity: ["faces", "full"], revealed: [false, true],
  };
  const { now, set, stop } = bind(model, limits, update);
  const toValue = (steps) => steps * scene.scale;
  const toSteps = (tolerance) => Math.floor(tolerance / scene.scale + 1e-9);

  const stage = pictureStage("Seed. Arrow keys move it by a pixel, with Shift by ten.", { role: "application" });
  const { canvas, marks } = stage;
  const slice = slider("slice", limits.z, 1, (value) => set({ z: Math.round(value) }));
  const keyStep = Math.max(1, Math.round(scene.most / 250)); // a held key crosses the slider in some seconds
  const onTolerance = (steps) => set({ tolerance: toValue(steps) });
  const tolerance = slider("tolerance", [0, scene.most], keyStep, onTolerance, 1);
  const kinds = [["faces", "4 (edges)"], ["full", "8 (corners too)"]];
  const neighbors = chips("neighbors", kinds, (connectivity) => set({ connectivity }));
  const reveal = toggle("reveal the truth", (revealed) => set({ revealed }));
  const text = readOut();
  const chart = chartStage("Area of the region against the tolerance", 190, () => drawCurve());
  const root = explorerRoot(...(scene.shape[0] > 1 ? [row(slice)] : []), stage, row(tolerance),
    row(neighbors, ...(scene.hasTruth ? [reveal] : [])), text, chart,
    help("Click, or arrow keys on the picture: seed. Click on the curve: tolerance. Areas are on a square-root scale.",
      scene.note));
  const lines = element("div");
  text.after(lines);

  // The growth from a seed, for all tolerances; kept until the seed or the neighbors change.
  let growth = { key: "" };
  function grow({ z, y, x, connectivity }) {
    const key = [z, y, x, connectivity].join();
    if (growth.key !== key) {
      const levels = slices.levels(z);
      const reached = tolerances(levels, height, width, [y, x], connectivity === "full");
      growth = { key, levels, reached, ...leakCurve(reached, slices.truth(z), scene.most) };
    }
    return growth;
  }

  function update() {
    const state = now();
    const steps = toSteps(state.tolerance);
    const { levels, reached, area, inside } = grow(state);
    drawSlice(canvas, scene, levels, grown(reached, steps), state.revealed ? slices.truth(state.z) : null);
    drawSeed(state);
    slice.show(state.z, `z = ${state.z} of ${limits.z[0]}–${limits.z[1]}`);
    tolerance.show(steps, `± ${words(state.tolerance)}`);
    neighbors.show(state.connectivity);
    reveal.show(state.revealed);
    const value = scene.offset + scene.scale * levels[state.y * width + state.x];
    const parts = [`seed (y, x) = (${state.y}, ${state.x}), value ${words(value)}`, areaWords(scene, area[steps])];
    if (state.revealed) {
      const truth = slices.truthArea(state.z);
      parts.push(`outside the truth (leak) ${percent(1 - inside[steps] / area[steps])}`);
      parts.push(`Dice ${((2 * inside[steps]) / (area[steps] + truth)).toFixed(3)}`);
    }
    text.textContent = parts.join(" · ");
    lines.replaceChildren(legend(shownLooks(scene, state.revealed)));
    drawCurve();
  }

  function drawSeed(state) {
    const { rows, columns } = scene.lie;
    const { cross, scaleBar } = markPen(marks, columns.length, rows.length);
    cross(placeOf([state.y, state.x], scene.lie));
    if (scene.unit === "mm") scaleBar(scene.pixel);
  }

  let axes = null;
  function drawCurve() {
    const state = now();
    const { levels, area, inside } = grow(state);
    const { blue, orange } = theme(root);
    const steps = toSteps(state.tolerance);
    const inUnits = scene.unit === "mm" ? (scene.spacing[0] * scene.spacing[1]) / 100 : 1;
    const top = 1.05 * levels.length * inUnits;
    const curves = [{ points: Array.from(area, (n, i) => [toValue(i), n * inUnits]), color: blue, steps: true }];
    const dots = [[toValue(steps), area[steps] * inUnits, orange]];
    if (state.revealed) {
      const truth = slices.truthArea(state.z);
      const dice = Array.from(area, (n, i) => [toValue(i), (2 * inside[i]) / (n + truth)]);
      curves.push({ points: dice, color: orange, dash: [6, 4], steps: true, share: true });
    }
    axes = drawChart(chart.canvas, {
      x: [0, toValue(scene.most)], y: [0, top], root: true, curves, dots,
      xLabel: state.revealed ? "tolerance (dashed: Dice, from 0 at the bottom to 1 at the top)" : "tolerance",
      yLabel: scene.unit === "mm" ? "area, cm²" : "area, pixels",
      lines: [{ x: state.tolerance, label: words(state.tolerance), color: orange, dash: [2, 3] }],
    });
  }

  const seedAt = (event) => {
    const [y, x] = indexAt(event, canvas, scene.lie);
    set({ y, x });
  };
  dragging(canvas, seedAt);
  dragging(chart.canvas, (event) => {
    if (axes) set({ tolerance: toValue(Math.round(axes.toValue(event.offsetX) / scene.scale)) });
  });
  canvas.addEventListener("keydown", (event) => {
    const move = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (!move || isShortcut(event)) return;
    event.preventDefault();
    const far = event.shiftKey ? 10 : 1;
    const { y, x } = now();
    set({ y: y + far * move[0], x: x + far * move[1] });
  });

  el.append(root);
  update();
  const endTheme = onTheme(drawCurve);
  return () => [stop, chart.stop, endTheme].forEach((end) => end());
}

export default { render };
