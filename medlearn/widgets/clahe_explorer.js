// The CLAHE explorer in the browser. Python sends the slice once (clahe_explorer.py); `clahe` of _clahe_twin.js does
// the rest, so that the explorer also works on a page without a kernel.

const PINS = { pin_a: "A", pin_b: "B" };

// Two pixels of one gray value: the one that becomes brightest, and the one that becomes darkest, the farthest apart.
function mostDifferent(before, after, width) {
  const [highest, lowest] = [new Int32Array(256).fill(-1), new Int32Array(256).fill(-1)];
  before.forEach((gray, p) => {
    if (highest[gray] < 0 || after[p] > after[highest[gray]]) highest[gray] = p;
    if (lowest[gray] < 0 || after[p] < after[lowest[gray]]) lowest[gray] = p;
  });
  const distance = (gray) => (highest[gray] < 0 ? -1 : after[highest[gray]] - after[lowest[gray]]);
  let best = 0;
  for (let gray = 1; gray < 256; gray++) if (distance(gray) > distance(best)) best = gray;
  return [highest[best], lowest[best]].map((p) => [Math.floor(p / width), p % width]);
}

// The tiles blended at a pixel, each once, with their shares of the result.
function sharesAt([y, x], grid) {
  const down = neighbors(grid.height, grid.rows, grid.tileHeight);
  const right = neighbors(grid.width, grid.columns, grid.tileWidth);
  const shares = new Map();
  for (const [r, a] of [[down.before[y], down.near[y]], [down.after[y], down.far[y]]])
    for (const [c, b] of [[right.before[x], right.near[x]], [right.after[x], right.far[x]]]) {
      const tile = r * grid.columns + c;
      shares.set(tile, (shares.get(tile) ?? 0) + a * b);
    }
  return [...shares].filter(([, share]) => share > 0).sort((s, t) => t[1] - s[1]);
}

const tileAt = ([y, x], { tileHeight, tileWidth, columns }) =>
  Math.floor(y / tileHeight) * columns + Math.floor(x / tileWidth);

const corner = (tile, { columns }) => [Math.floor(tile / columns), tile % columns];
const place = (pair) => `(${pair.join(", ")})`;

async function render({ model, el }) {
  const scene = model.get("_scene");
  const image = await unpack(model, "_pixels", "uint8");
  const [height, width] = scene.shape;
  const ends = (list) => [Math.min(...list), Math.max(...list)];
  const pins = { pin_a: null, pin_b: null };
  const limits = { clip_limit: [0, scene.most], tiles: [1, scene.tiles], bins: ends(scene.bins), ...pins };
  const { now, set, stop } = bind(model, limits, update);
  const gray = Uint8Array.from({ length: 256 }, (_, i) => i); // each level is its own gray
  let steps; // what `clahe` returned for the settings shown
  let hovered = null; // row and column under the pointer
  let active = "pin_a";

  const clip = slider("clip limit", limits.clip_limit, 0.5, (value) => set({ clip_limit: value }));
  const tiles = slider("tiles along each side", limits.tiles, 1, (value) => set({ tiles: value }));
  const bins = choice("bins", scene.bins.map((n) => [n, String(n)]), (value) => set({ bins: Number(value) }));
  const panels = ["original", "after CLAHE"].map((title) => {
    const label = `${title}. Arrow keys move the pin by one pixel, with Shift by ten.`;
    return picturePanel(title, label, { role: "application" });
  });
  const entries = Object.entries(PINS).map(([name, letter]) => [name, `pin ${letter}`]);
  const pin = chips("click and arrow keys move", entries, (name) => {
    active = name;
    look();
  });
  const findWords = "find equal grays that end farthest apart";
  const find = element("button", { type: "button", className: "medlearn-chip" }, findWords);
  find.addEventListener("click", () => {
    const [pin_a, pin_b] = mostDifferent(image, steps.result, width);
    set({ pin_a, pin_b });
  });
  const outcome = element("div", { "aria-live": "polite" });
  const blended = element("div");
  const meters = Object.values(PINS).map((letter) => meter(letter));
  const histogram = chartStage("Histogram of one tile, before and after clipping", 190, () => steps && drawHistogram());
  const mapping = chartStage("Mapping of gray values of one tile", 190, () => steps && drawMapping());
  [histogram, mapping].forEach(({ canvas }) => (canvas.style.width = "380px"));
  const title = element("div");
  const root = explorerRoot(
    row(clip, tiles, bins),
    panelRow(...panels),
    row(pin, find), element("div", {}, ...meters.map((m) => m.node)), outcome, blended, title,
    panelRow(histogram, mapping),
    help("Thin lines: borders of the tiles. Framed: the tile of the charts. Lines lead to the centers of the tiles",
      "that are blended at the pin, or under the pointer.", `Slice: ${scene.note}.`));

  const draw = ({ canvas }, slice) =>
    show(canvas, grayPicture(enlarge(slice, width, scene), gray, scene.columns.length));

  function update() {
    const { clip_limit, tiles: n, bins: count } = now();
    steps = clahe(image, scene.shape, { clipLimit: clip_limit, tiles: [n, n], bins: count });
    draw(panels[1], steps.result);
    clip.show(clip_limit, clip_limit ? `${words(clip_limit)} × mean bin` : "0: no limit");
    tiles.show(n, `${n} × ${n}`);
    bins.show(String(count));
    look();
  }

  const looked = () => hovered ?? now()[active];
  const valueAt = ([y, x]) => [image[y * width + x], steps.result[y * width + x]];

  // All that follows pins and pointer.
  function look() {
    const state = now();
    const { grid } = steps;
    const at = looked();
    pin.show(active);
    panels.forEach(({ marks }) => drawMarks(marks, state, at));
    const [a, b] = [state.pin_a, state.pin_b].map(valueAt);
    [a, b].forEach(([before, after], i) => meters[i].show(before, after));
    outcome.textContent = `A ${place(state.pin_a)}, B ${place(state.pin_b)}: ` + (a[0] === b[0]
      ? `the same gray before, ${Math.abs(a[1] - b[1])} apart after CLAHE`
      : `${Math.abs(a[0] - b[0])} apart before, ${Math.abs(a[1] - b[1])} after CLAHE`);
    const percent = (share) => `${Math.round(100 * share)} %`;
    const shares = sharesAt(at, grid).map(([tile, share]) => `${place(corner(tile, grid))} ${percent(share)}`);
    const who = hovered ? "pointer" : `pin ${PINS[active]}`;
    blended.textContent = `${who} ${place(at)}: ${valueAt(at).join(" → ")}, ` +
      `blended from the mappings of ${shares.length === 1 ? "tile" : "tiles"} ${shares.join(", ")}`;
    const area = grid.tileHeight * grid.tileWidth;
    const count = clipCount(state.clip_limit, grid, state.bins);
    title.textContent = `Tile ${place(corner(tileAt(at, grid), grid))}: ${area} pixels, ` +
      (state.clip_limit ? `at most ${count} in a bin before the rest is shared out` : "nothing is clipped");
    drawHistogram();
    drawMapping();
  }

  function drawMarks(marks, state, at) {
    const { grid } = steps;
    const [w, h] = [scene.columns.length, scene.rows.length];
    const { pen, line, text } = markPen(marks, w, h);
    const toPlace = (y, x) => [(x * scene.spacing[1]) / scene.pixel, (y * scene.spacing[0]) / scene.pixel];
    pen.fillStyle = "rgba(255,255,255,0.5)"; // no dashes: hundreds of them take longer than everything else together
    for (let r = 1; r < grid.rows; r++) pen.fillRect(0, toPlace(r * grid.tileHeight, 0)[1] - 0.5, w, 1);
    for (let c = 1; c < grid.columns; c++) pen.fillRect(toPlace(0, c * grid.tileWidth)[0] - 0.5, 0, 1, h);

    const [r, c] = corner(tileAt(at, grid), grid);
    const [left, top] = toPlace(r * grid.tileHeight, c * grid.tileWidth);
    const end = [Math.min((r + 1) * grid.tileHeight, height), Math.min((c + 1) * grid.tileWidth, width)];
    const [right, bottom] = toPlace(...end);
    const corners = [[left, top], [right, top], [right, bottom], [left, bottom]];
    line(...corners.flatMap((from, i) => [from, corners[(i + 1) % 4]]));
    const middle = toPlace(at[0] + 0.5, at[1] + 0.5);
    for (const [tile, share] of sharesAt(at, grid)) {
      const [down, over] = corner(tile, grid);
      const [x, y] = toPlace((down + 0.5) * grid.tileHeight, (over + 0.5) * grid.tileWidth);
      const center = [clamp(x, [4, w - 4]), clamp(y, [4, h - 4])];
      line(middle, center);
      pen.fillStyle = "white";
      pen.beginPath();
      pen.arc(...center, 2 + 5 * share, 0, 2 * Math.PI);
      pen.fill();
      pen.strokeStyle = "black";
      pen.stroke();
    }
    for (const [name, letter] of Object.entries(PINS)) {
      const [x, y] = toPlace(state[name][0] + 0.5, state[name][1] + 0.5);
      line([x - 7, y], [x - 2, y], [x + 2, y], [x + 7, y], [x, y - 7], [x, y - 2], [x, y + 2], [x, y + 7]);
      text(letter, x > w - 16 ? x - 14 : x + 5, y < 16 ? y + 17 : y - 3);
    }
  }

  function drawHistogram() {
    const { bins: n } = now();
    const first = tileAt(looked(), steps.grid) * n;
    const [before, after] = [steps.histograms, steps.clipped].map((all) => all.subarray(first, first + n));
    const { ink, dark, orange } = theme(histogram.canvas);
    const top = 1.1 * Math.min(Math.max(...before, ...after), 4 * Math.max(...after));
    const outline = Array.from(before, (count, i) => [(256 * i) / n, Math.min(count, top)]);
    const limit = clipCount(now().clip_limit, steps.grid, n);
    const curves = [{ points: [...outline, [256, 0]], color: orange, steps: true }];
    if (limit < top) curves.push({ points: [[0, limit], [256, limit]], color: ink, dash: [6, 4] });
    drawChart(histogram.canvas, {
      x: [0, 256], y: [0, top], yLabel: "pixels",
      xLabel: "gray value · line: before, bars: after clipping, dashed: limit",
      bars: { heights: after, color: () => (dark ? "#777" : "#bbb") }, curves,
    });
  }

  function drawMapping() {
    const state = now();
    const { bins: n } = state;
    const first = tileAt(looked(), steps.grid) * n;
    const { ink, blue } = theme(mapping.canvas);
    const points = Array.from({ length: n }, (_, i) => [(256 * i) / n, steps.mappings[first + i]]);
    const [a, b] = [state.pin_a, state.pin_b].map((at) => valueAt(at)[0]);
    const lines = a === b ? [{ x: a, label: "A, B" }] : [{ x: a, label: "A" }, { x: b, label: "B" }];
    drawChart(mapping.canvas, {
      x: [0, 256], y: [0, 256], xLabel: "gray value before", yLabel: "gray value after",
      curves: [
        { points: [[0, 0], [256, 256]], color: ink, dash: [2, 4] },
        { points: [...points, [256, points[n - 1][1]]], color: blue, steps: true },
      ],
      lines: lines.map((entry) => ({ ...entry, color: ink, dash: [6, 4] })),
    });
  }

  panels.forEach(({ canvas }) => {
    canvas.addEventListener("pointermove", (event) => {
      hovered = indexAt(event, canvas, scene);
      look();
    });
    canvas.addEventListener("pointerleave", () => {
      hovered = null;
      look();
    });
    canvas.addEventListener("click", (event) => set({ [active]: indexAt(event, canvas, scene) }));
    canvas.addEventListener("keydown", (event) => {
      const move = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
      if (!move || isShortcut(event)) return;
      event.preventDefault();
      hovered = null;
      const far = event.shiftKey ? 10 : 1;
      set({ [active]: now()[active].map((i, k) => clamp(i + far * move[k], [0, scene.shape[k] - 1])) });
    });
  });

  el.append(root);
  draw(panels[0], image);
  update();
  const endTheme = onTheme(look);
  return () => [stop, endTheme, histogram.stop, mapping.stop].forEach((end) => end());
}

// A bar from 0 to the gray value after CLAHE, and a stroke at the one before.
function meter(letter) {
  const fill = element("div", { className: "medlearn-meter-fill" });
  const stroke = element("div", { className: "medlearn-meter-stroke" });
  const track = element("div", { className: "medlearn-meter" }, fill, stroke);
  const text = element("span");
  const node = element("div", { className: "medlearn-row" }, element("b", {}, letter), track, text);
  const set = (before, after) => {
    fill.style.width = `${(100 * after) / 255}%`;
    stroke.style.left = `${(100 * before) / 255}%`;
    text.textContent = `${before} → ${after}`;
  };
  return { node, show: set };
}

export default { render };
