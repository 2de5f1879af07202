// The receptive field explorer in the browser. Python sends the slice once (receptive_field_explorer.py, whose
// functions have their twins here); the rest happens in the browser, so that it also works on a page without a kernel.

const SETTINGS = ["kernel", "stride", "dilation"];

// The input, n pixels long, and what it has become after every layer, along one axis.
function stagesOf(layers, n) {
  const stages = [{ size: n, step: 1, field: 1, first: 0 }];
  for (const [kernel, stride, dilation] of layers) {
    const { size, step, field, first } = stages.at(-1);
    const reach = dilation * (kernel - 1);
    const padding = Math.floor(reach / 2);
    stages.push({
      size: Math.floor((size + 2 * padding - reach - 1) / stride) + 1, step: step * stride,
      field: field + reach * step, first: first - padding * step,
    });
  }
  return stages;
}

// Number of paths from each of n pixels to voxel `index` of the output, along one axis.
function pathCounts(layers, n, index) {
  const sizes = stagesOf(layers, n).map(({ size }) => size);
  let counts = new Float64Array(sizes.at(-1));
  counts[index] = 1;
  for (let l = layers.length - 1; l >= 0; l--) {
    const [kernel, stride, dilation] = layers[l];
    const padding = Math.floor((dilation * (kernel - 1)) / 2);
    const before = new Float64Array(sizes[l]);
    counts.forEach((count, i) => {
      for (let tap = 0; tap < kernel; tap++) {
        const p = i * stride + tap * dilation - padding;
        if (p >= 0 && p < before.length) before[p] += count;
      }
    });
    counts = before;
  }
  return counts;
}

// Box and paths of the output voxel at a pixel, along one axis.
function along(layers, n, pixel) {
  const last = stagesOf(layers, n).at(-1);
  const index = Math.min(Math.floor(pixel / last.step), last.size - 1);
  const first = last.first + index * last.step;
  return { index, box: [first, first + last.field], counts: pathCounts(layers, n, index) };
}

const halved = ([first, end]) => {
  const cut = Math.floor((end - first) / 4);
  return [first + cut, end - cut];
};

// The pixels of two intervals: 1 inside, 0 outside.
function insideOf([rows, columns], [height, width]) {
  const layer = new Uint8Array(height * width);
  for (let r = Math.max(rows[0], 0); r < Math.min(rows[1], height); r++)
    layer.fill(1, r * width + Math.max(columns[0], 0), r * width + Math.min(columns[1], width));
  return layer;
}

// Numbers of paths as levels: 0 is none, one path is dark, the most is 255; square root in between.
function heatOf(down, across) {
  const most = Math.max(...down) * Math.max(...across);
  const levels = new Uint8Array(down.length * across.length);
  let p = 0;
  for (const a of down)
    for (const b of across) levels[p++] = a * b > 0 ? Math.floor(40 + 215 * Math.sqrt((a * b) / most)) : 0;
  return levels;
}

function heatPicture(layer, width) {
  const image = new ImageData(width, layer.length / width);
  layer.forEach((level, p) => image.data.set([level, Math.round(level * 0.8), Math.round(level * 0.4), 255], 4 * p));
  return image;
}

// What equal weights make of the slice at the voxel, and of its visible part: a mean, with zeros beyond the border.
function answer(slice, width, visible, down, across, layers) {
  const all = layers.reduce((product, [kernel]) => product * kernel ** 2, 1);
  let sum = 0;
  slice.forEach((gray, p) => (sum += visible[p] * gray * down[Math.floor(p / width)] * across[p % width]));
  return sum / all;
}

async function render({ model, el }) {
  const scene = model.get("_scene");
  const slice = await unpack(model, "_pixels", "uint8");
  const [height, width] = scene.shape;
  const most = scene.limits.n_layers[1];
  const { now, set, stop } = bind(model, { ...scene.limits, hide: scene.hide }, update);
  const identity = Uint8Array.from({ length: 256 }, (_, i) => i);

  const count = slider("layers", scene.limits.n_layers, 1, (value) => set({ n_layers: value }));
  const rows = Array.from({ length: most }, (_, l) => layerRow(l + 1));
  const hide = chips("hide", scene.hide.map((name) => [name, name]), (name) => set({ hide: name }));
  const panels = ["the slice, and the box that one voxel sees", "how much each pixel counts"].map((title) => {
    const label = `${title}. Arrow keys move to the next voxel of the output, with Shift by ten.`;
    return picturePanel(title, label, { role: "application" });
  });
  const told = readOut();
  const outcome = element("div", { role: "status" });
  const title = "Paths to the voxel along its row of the slice";
  const chart = chartStage(title, 150, () => drawProfile());
  const root = explorerRoot(
    row(count), ...rows.map(({ node }) => node), panelRow(...panels), told, row(hide), outcome, chart,
    help("Click a picture to choose the voxel of the output. Brighter: more paths; black: none. Equal weights, zeros",
      "beyond the border.", `Slice: ${scene.note}.`));

  function layerRow(number) {
    const sliders = SETTINGS.map((name) => {
      const part = slider(name, scene.limits[`${name}_${number}`], 1, (value) => set({ [`${name}_${number}`]: value }));
      part.input.setAttribute("aria-label", `${name} of layer ${number}`);
      part.input.style.width = "76px";
      part.node.querySelector("output").style.minWidth = "1.5em";
      return part;
    });
    const text = element("span", { className: "medlearn-read-out" });
    text.style.minHeight = "0";
    return { node: row(element("b", {}, `layer ${number}`), ...sliders, text), sliders, text };
  }

  const layersOf = (state) => Array.from({ length: state.n_layers }, (_, l) =>
    SETTINGS.map((name) => state[`${name}_${l + 1}`]));

  function look() {
    const state = now();
    const layers = layersOf(state);
    const [down, across] = [along(layers, height, state.row), along(layers, width, state.column)];
    return { state, layers, down, across, boxes: [down.box, across.box] };
  }

  function update() {
    const { state, layers, down, across, boxes } = look();
    const everything = new Uint8Array(slice.length).fill(1);
    const box = insideOf(boxes, scene.shape);
    const visible = [everything, box, insideOf(boxes.map(halved), scene.shape)][scene.hide.indexOf(state.hide)];
    const image = grayPicture(
      enlarge(slice.map((gray, p) => gray * visible[p]), width, scene), identity, scene.columns.length);
    const heat = heatPicture(enlarge(heatOf(down.counts, across.counts), width, scene), scene.columns.length);
    [image, heat].forEach((picture, i) => {
      paintMask(picture, enlarge(box, width, scene), scene.box);
      show(panels[i].canvas, picture);
      const { scaleBar, cross } = markPen(panels[i].marks, scene.columns.length, scene.rows.length);
      if (i === 0) cross(placeOf([state.row, state.column], scene));
      if (i === 0 && scene.unit === "mm") scaleBar(scene.pixel);
    });
    tell(state, layers, down, across);
    const [all, part] = [everything, visible].map((mask) =>
      answer(slice, width, mask, down.counts, across.counts, layers));
    outcome.textContent = state.hide === scene.hide[0]
      ? `Answer of the voxel: ${words(all)} (a weighted mean of gray values).`
      : `Answer of the voxel: ${words(all)} from the whole slice, ${words(part)} with ${state.hide} black.`;
    hide.show(state.hide);
    drawProfile();
  }

  function tell(state, layers, down, across) {
    count.show(state.n_layers, String(state.n_layers));
    const [tall, wide] = [stagesOf(layers, height), stagesOf(layers, width)];
    rows.forEach(({ node, sliders, text }, l) => {
      node.style.display = l < state.n_layers ? "" : "none";
      SETTINGS.forEach((name, i) => sliders[i].show(state[`${name}_${l + 1}`], state[`${name}_${l + 1}`]));
      if (l >= state.n_layers) return;
      const { step, field, size } = wide[l + 1];
      text.textContent = `sees ${field} · step ${step} · map ${tall[l + 1].size} × ${size}`;
    });
    const { field } = wide.at(-1);
    const paths = (counts) => Array.from(counts).filter((n) => n > 0).length;
    const seen = paths(down.counts) * paths(across.counts);
    const inside = down.box.concat(across.box);
    const cut = inside[0] < 0 || inside[1] > height || inside[2] < 0 || inside[3] > width;
    const mm = ([, b], [, a]) => `${words(field * b, 3)} × ${words(field * a, 3)} mm`;
    const size = scene.unit === "mm" ? ` = ${mm([0, scene.spacing[0]], [0, scene.spacing[1]])}` : "";
    const holes = cut ? "part of the box lies in the padding"
      : seen === field ** 2 ? "every pixel of the box counts" : `only ${seen} of its ${field ** 2} pixels count`;
    told.textContent =
      `Voxel (${down.index}, ${across.index}) of the output sees ${field} × ${field} pixels${size}; ${holes}.`;
  }

  function drawProfile() {
    const { across } = look();
    const { blue, dark } = theme(chart.canvas);
    const edges = across.box.map((edge) => clamp(edge, [0, width]));
    drawChart(chart.canvas, {
      x: [0, width], y: [0, 1.1 * Math.max(...across.counts)], xLabel: "column", yLabel: "paths",
      bars: { heights: across.counts, color: () => (dark ? "#999" : "#888") },
      lines: edges.map((x) => ({ x, label: "", color: blue, dash: [6, 4] })),
    });
  }

  for (const { canvas } of panels) {
    canvas.addEventListener("click", (event) => {
      const [r, c] = indexAt(event, canvas, scene);
      set({ row: r, column: c });
    });
    canvas.addEventListener("keydown", (event) => {
      const move = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
      if (!move || isShortcut(event)) return;
      event.preventDefault();
      const { state, layers } = look();
      const far = stagesOf(layers, width).at(-1).step * (event.shiftKey ? 10 : 1);
      set({ row: state.row + far * move[0], column: state.column + far * move[1] });
    });
  }

  el.append(root);
  update();
  const endTheme = onTheme(drawProfile);
  return () => [stop, endTheme, chart.stop].forEach((end) => end());
}

export default { render };
