// The denoise explorer in the browser. Python sends all iterates of a setting (denoise_explorer.py); the one chosen is
// drawn here: the result, what was taken away, and the isophotes. Another method or time step asks Python.

// Python sends each iterate as its difference, modulo 256, to the one before.
async function unpackFrames(model) {
  const [count, height, width] = model.get("_scene").shape;
  const bytes = await unpack(model, "_frames", "uint8");
  const size = height * width;
  for (let i = size; i < bytes.length; i++) bytes[i] += bytes[i - size];
  return Array.from({ length: count }, (_, n) => bytes.subarray(n * size, (n + 1) * size));
}

// For each pixel of the picture along one side, the two of the slice that it lies between; `far` weighs the second.
function between(nearest, n, spacing, pixel) {
  return nearest.map((_, i) => {
    const position = clamp(((i + 0.5) * pixel) / spacing - 0.5, [0, n - 1]);
    const before = Math.floor(position);
    return { before, after: Math.min(before + 1, n - 1), far: position - before };
  });
}

// Gray values removed, as a picture: what was as bright as before is gray 128, what was brighter is bright.
function removedGrays(first, frame, gain) {
  const grays = new Uint8ClampedArray(frame.length); // clamps, and rounds
  for (let p = 0; p < frame.length; p++) grays[p] = 128 + gain * (first[p] - frame[p]);
  return grays;
}

// The picture at half its brightness, with a line where the interpolated gray value passes a level.
function isophotePicture(frame, width, rows, columns, { levels, line }) {
  const [h, w] = [rows.length, columns.length];
  const image = new ImageData(w, h);
  const grays = new Uint8ClampedArray(w * h);
  const bands = new Uint8Array(w * h);
  let p = 0;
  for (const { before: upper, after: lower, far: down } of rows) {
    for (const { before, after, far } of columns) {
      const top = frame[upper * width + before] * (1 - far) + frame[upper * width + after] * far;
      const bottom = frame[lower * width + before] * (1 - far) + frame[lower * width + after] * far;
      const value = top * (1 - down) + bottom * down;
      for (const level of levels) if (value > level) bands[p]++;
      grays[p++] = value / 2;
    }
  }
  const pixels = new Uint32Array(image.data.buffer);
  const ink = 0xff000000 | (line[2] << 16) | (line[1] << 8) | line[0];
  for (p = 0; p < grays.length; p++) {
    const passed = ((p + 1) % w && bands[p] !== bands[p + 1]) || (p + w < grays.length && bands[p] !== bands[p + w]);
    pixels[p] = passed ? ink : 0xff000000 | (grays[p] * 0x010101);
  }
  return image;
}

// What the theory says about the time that has passed.
function consequence(method, time, unit) {
  const length = `√(2t) = ${words(Math.sqrt(2 * time), 3)} ${unit}`;
  if (method === "curvature flow") return `a disk's radius shrinks as r² = r₀² − 2t: those below ${length} are gone`;
  if (method === "Gaussian filter") return `its standard deviation is ${length}`;
  return "";
}

async function render({ model, el }) {
  let scene = model.get("_scene");
  let frames = await unpackFrames(model);
  const [count, height, width] = scene.shape;
  const steps = scene.allowed.time_step;
  const identity = Uint8Array.from({ length: 256 }, (_, i) => i);
  const [down, over] = [["rows", 0], ["columns", 1]].map(([name, i]) =>
    between(scene[name], scene.shape[1 + i], scene.spacing[i], scene.pixel));
  const limits = { method: null, time_step: [Math.min(...steps), Math.max(...steps)], iterations: [0, count - 1] };
  const { now, set, stop } = bind(model, limits, update);

  const method = choice("method", scene.allowed.method.map((name) => [name, name]), (value) => set({ method: value }));
  const stepEntries = steps.map((value) => [value, `${words(value, 3)} ${scene.unit}²`]);
  const step = choice("time step", stepEntries, (value) => set({ time_step: Number(value) }));
  const iterations = slider("iterations", limits.iterations, 1, (value) => set({ iterations: value }));
  const panels = ["result", "taken away", "isophotes of the result"].map((title) => {
    const label = `${title}. Arrow keys, PageUp, PageDown, Home and End change the iterations.`;
    return picturePanel(title, label, { role: "slider" });
  });
  const told = readOut();
  const note = element("div", { className: "medlearn-note", role: "status" });
  const errors = chartStage("Error of each iterate against the truth", 150, () => drawErrors());
  const root = explorerRoot(
    row(method, step, iterations), note, panelRow(...panels), told,
    ...(scene.errors.length ? [errors] : []),
    help("Hold an arrow key on the iterations or on a picture.", `Slice: ${scene.note}.`));

  function update() {
    const state = now();
    const frame = frames[state.iterations];
    const layer = (slice) => grayPicture(enlarge(slice, width, scene), identity, scene.columns.length);
    show(panels[0].canvas, layer(frame));
    show(panels[1].canvas, layer(removedGrays(frames[0], frame, scene.gain)));
    show(panels[2].canvas, isophotePicture(frame, width, down, over, scene));
    panels[1].node.firstChild.textContent = `taken away (× ${words(scene.gain, 2)}; gray: nothing)`;
    method.show(state.method);
    step.show(String(state.time_step));
    const text = `${state.iterations} of ${count - 1}`;
    iterations.show(state.iterations, text);
    for (const { canvas } of panels) {
      const said = { "aria-valuemin": 0, "aria-valuemax": count - 1, "aria-valuenow": state.iterations };
      const attributes = Object.entries({ ...said, "aria-valuetext": `iteration ${text}` });
      attributes.forEach((pair) => canvas.setAttribute(...pair));
    }
    const time = state.iterations * scene.setting.time_step;
    const parts = [`t = ${state.iterations} × ${words(scene.setting.time_step)} = ${words(time)} ${scene.unit}²`];
    parts.push(consequence(scene.setting.method, time, scene.unit));
    if (scene.errors.length) parts.push(`root mean square error ${words(scene.errors[state.iterations], 3)}`);
    told.textContent = parts.filter(Boolean).join(" · ");
    drawErrors();
    tellKernel();
  }

  function drawErrors() {
    if (!scene.errors.length) return;
    const { blue, orange } = theme(errors.canvas);
    const points = scene.errors.map((error, i) => [i, error]);
    drawChart(errors.canvas, {
      x: limits.iterations, y: [0, 1.1 * Math.max(...scene.errors)], xLabel: "iterations", yLabel: "error",
      curves: [{ points, color: blue }], dots: [[...points[now().iterations], orange]],
    });
  }

  // ---- Python: is it there, is it at work?

  let kernel = "asked"; // then "there" or "away"

  function tellKernel() {
    const { method: wanted, time_step } = now();
    const shown = scene.setting;
    const waiting = wanted !== shown.method || time_step !== shown.time_step;
    method.select.disabled = step.select.disabled = kernel !== "there";
    note.hidden = kernel === "asked" || (kernel === "there" && !waiting);
    note.textContent = kernel === "away"
      ? "No kernel is running: the iterations can be moved, another method or time step needs Python."
      : `Python computes: ${wanted} …`;
  }

  const stopAsking = askForKernel(model, (answer) => {
    kernel = answer;
    tellKernel();
  });

  const onFrames = async () => {
    const fresh = model.get("_scene");
    const unpacked = await unpackFrames(model);
    if (fresh !== model.get("_scene")) return; // a later setting has arrived meanwhile
    [scene, frames] = [fresh, unpacked];
    update();
  };
  model.on("change:_frames", onFrames);

  for (const { canvas } of panels) {
    canvas.addEventListener("keydown", (event) => {
      const next = isShortcut(event) ? null : stepOfKey(event.key, now().iterations, limits.iterations);
      if (next === null) return;
      event.preventDefault();
      set({ iterations: next });
    });
  }

  el.append(root);
  update();
  const endTheme = onTheme(drawErrors);
  return () => {
    stopAsking();
    model.off("change:_frames", onFrames);
    [stop, endTheme, errors.stop].forEach((end) => end());
  };
}

export default { render };
