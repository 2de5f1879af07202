// The loss field in the browser: the probabilities, the truth, and the push on every logit (loss_field.py). Nothing is
// asked of Python; a browser test compares this push with automatic differentiation.

const sigmoid = (logit) => 1 / (1 + Math.exp(-logit));

// 1 for the pixels of a gland that fills so many percent of the map.
function glandMask({ order }, gland) {
  const mask = new Uint8Array(order.length);
  const n = Math.floor((order.length * gland) / 100 + 0.5);
  for (let i = 0; i < n; i++) mask[order[i]] = 1;
  return mask;
}

function sums(p, mask) {
  const total = { overlap: 0, p: 0, squares: 0, gland: 0 };
  p.forEach((value, i) => {
    total.overlap += value * mask[i];
    total.p += value;
    total.squares += value * value;
    total.gland += mask[i];
  });
  return total;
}

// Loss, and ∂L/∂logit of every pixel. D = (2I + ε) / (S + ε); S is Σp + Σg, or Σp² + Σg².
function diceField(p, mask, epsilon, squared) {
  const { overlap, p: sum, squares, gland } = sums(p, mask);
  const above = 2 * overlap + epsilon;
  const below = (squared ? squares : sum) + gland + epsilon;
  const slope = (value, i) => (above * (squared ? 2 * value : 1) - 2 * mask[i] * below) / below ** 2;
  return { loss: 1 - above / below, gradient: p.map((value, i) => slope(value, i) * value * (1 - value)) };
}

function crossEntropyField(logits, p, mask) {
  const n = logits.length;
  const one = (z, i) => Math.max(z, 0) - z * mask[i] + Math.log1p(Math.exp(-Math.abs(z)));
  return {
    loss: logits.reduce((all, z, i) => all + one(z, i), 0) / n,
    gradient: p.map((value, i) => (value - mask[i]) / n),
  };
}

function lossField(logits, mask, name, epsilon) {
  const p = logits.map(sigmoid);
  const entropy = () => crossEntropyField(logits, p, mask);
  if (name === "cross-entropy") return { p, ...entropy() };
  const overlap = diceField(p, mask, epsilon, name === "Dice, squared");
  if (name !== "Dice + cross-entropy") return { p, ...overlap };
  const { loss, gradient } = entropy();
  return { p, loss: overlap.loss + loss, gradient: gradient.map((value, i) => value + overlap.gradient[i]) };
}

// A picture of square cells, each painted by `paint(set, index)`; set(row, column, color) speaks of the cell's pixels.
function cellPicture({ side, cell }, paint) {
  const width = side * cell;
  const image = new ImageData(width, width);
  for (let i = 0; i < side * side; i++) {
    const corner = Math.floor(i / side) * cell * width + (i % side) * cell;
    paint((row, column, color) => image.data.set([...color, 255], 4 * (corner + row * width + column)), i);
  }
  return image;
}

const filled = (set, cell, color) => {
  for (let row = 0; row < cell; row++) for (let column = 0; column < cell; column++) set(row, column, color);
};

const grayCells = (scene, values) =>
  cellPicture(scene, (set, i) => filled(set, scene.cell, Array(3).fill(Math.floor(255 * values[i] + 0.5))));

function pushCells(scene, push) {
  const { cell, colors } = scene;
  return cellPicture(scene, (set, i) => {
    const strength = Math.sqrt(Math.min(Math.abs(push[i]), 1));
    const color = push[i] > 0 ? colors.raise : colors.lower;
    filled(set, cell, color.map((channel) => Math.floor(255 + strength * (channel - 255) + 0.5)));
    const length = Math.floor(strength * (cell / 2 - 1) + 0.5);
    const first = push[i] > 0 ? cell / 2 - length : cell / 2;
    for (let row = first; row < first + length; row++)
      for (const column of [cell / 2 - 1, cell / 2]) set(row, column, [0, 0, 0]);
  });
}

// A number that may be very small: 0.125, 7.2e-5.
const small = (value) => (value && Math.abs(value) < 1e-3 ? value.toExponential(1).replaceAll("-", "−") : words(value, 3));

async function render({ model, el }) {
  const scene = model.get("_scene");
  const { side, cell, highest, rate, losses, starts } = scene;
  const size = side * cell;
  const limits = { loss: losses, gland: [0, 30], log_epsilon: [-5, 2], _logits: null };
  const { now, set, stop } = bind(model, limits, update);
  const near = Array.from({ length: size }, (_, i) => Math.floor(i / cell));
  const cells = { rows: near, columns: near }; // of a panel's pixels
  let [brush, cursor] = ["raise", [side / 2, side / 2]];

  function logitsNow() {
    const view = now()._logits;
    return Array.from({ length: side * side }, (_, i) => view.getFloat64(8 * i, true));
  }
  function store(logits) {
    set({ _logits: new DataView(Float64Array.from(logits, (z) => clamp(z, [-highest, highest])).buffer) });
  }
  // Raise or lower the logits around a cell.
  function paint([row, column]) {
    const amount = brush === "raise" ? 1 : -1;
    cursor = [row, column];
    store(logitsNow().map((z, i) =>
      Math.hypot(Math.floor(i / side) - row, (i % side) - column) <= 1.5 ? z + amount : z));
  }
  const field = () => lossField(logitsNow(), mask(), now().loss, 10 ** now().log_epsilon);
  const mask = () => glandMask(scene, now().gland);

  const loss = choice("loss", losses.map((name) => [name, name]), (value) => set({ loss: value }));
  const gland = slider("gland", limits.gland, 1, (value) => set({ gland: value }));
  const epsilon = slider("ε", limits.log_epsilon, 1, (value) => set({ log_epsilon: value }));
  const brushes = chips("brush", [["raise", "raise p"], ["lower", "lower p"]], (value) => {
    brush = value;
    brushes.show(brush);
  });
  brushes.show(brush);
  const begin = chips("start from", Object.keys(starts).map((name) => [name, name]), (name) => store(starts[name]));
  const step = element("button", { type: "button", className: "medlearn-chip" }, "one step");
  step.addEventListener("click", () => {
    const { gradient } = field();
    store(logitsNow().map((z, i) => z - rate * gradient.length * gradient[i]));
  });
  const canvasHelp = "Probabilities. Arrow keys move the brush, Enter or space paints.";
  const panels = [
    picturePanel("probability p (paint here)", canvasHelp, { role: "application" }),
    picturePanel("truth", "The truth, white on black", { role: "img" }),
    picturePanel("push on the logit", "Push on every logit", { role: "img" }),
  ];
  const [{ canvas, marks }] = panels;
  const told = readOut();
  const root = explorerRoot(row(loss, gland, epsilon), panelRow(...panels), told, row(brushes, step, begin),
    help("Orange, bar upward: the loss raises p. Blue, bar downward: it lowers p. White: no push. The push is",
      "−∂L/∂logit × number of pixels; color and bar grow with its square root and are full at 1.",
      "Outline: the truth. Drag over the left picture to paint; one step moves each logit by twice its push."));

  function update() {
    const state = now();
    const truth = mask();
    const { p, loss: value, gradient } = field();
    const push = gradient.map((slope) => -gradient.length * slope || 0);
    const outline = { color: scene.colors.contour, dash: [1], fill: 0, contour: 2 };
    const layer = enlarge(truth, side, cells);
    const pictures = [grayCells(scene, p), grayCells(scene, truth), pushCells(scene, push)];
    pictures.forEach((picture, i) => {
      paintMask(picture, layer, outline);
      show(panels[i].canvas, picture);
    });
    loss.show(state.loss);
    gland.show(state.gland, `${state.gland} % of the pixels`);
    epsilon.show(state.log_epsilon, `1e${words(state.log_epsilon)}`);
    const mean = (wanted) => {
      const values = push.filter((_, i) => truth[i] === wanted);
      return values.length ? small(values.reduce((sum, v) => sum + v, 0) / values.length) : "–";
    };
    const [overlap, both] = p.reduce(
      ([a, b], v, i) => [a + (v >= 0.5 && truth[i]), b + (v >= 0.5) + truth[i]], [0, 0]);
    told.textContent = `loss ${value.toFixed(4)} · Dice of p ≥ ½: ${both ? ((2 * overlap) / both).toFixed(3) : "–"} · `
      + `mean push in the gland ${mean(1)}, outside ${mean(0)}`;
    drawCursor();
  }
  function drawCursor() {
    const { line } = markPen(marks, size, size);
    if (document.activeElement !== canvas) return;
    const [y, x] = cursor.map((index) => (index + 0.5) * cell);
    line([x - 6, y], [x + 6, y], [x, y - 6], [x, y + 6]);
  }

  let last = null; // the cell that was painted last: a drag paints each cell that it enters once
  dragging(canvas, (event, begins) => {
    const place = indexAt(event, canvas, cells);
    if (!begins && String(place) === String(last)) return;
    last = place;
    paint(place);
  });
  canvas.addEventListener("keydown", (event) => {
    const steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    if (isShortcut(event)) return;
    if (event.key in steps) cursor = cursor.map((index, axis) => clamp(index + steps[event.key][axis], [0, side - 1]));
    else if (event.key === "Enter" || event.key === " ") paint(cursor);
    else return;
    event.preventDefault();
    drawCursor();
  });
  for (const kind of ["focus", "blur"]) canvas.addEventListener(kind, drawCursor);

  el.append(root);
  update();
  return stop;
}

export default { render };
