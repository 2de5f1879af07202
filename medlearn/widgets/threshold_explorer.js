// The threshold explorer in the browser. Python sends the slices once (threshold_explorer.py); the rest happens here,
// so that the explorer also works on a page without a kernel.

async function render({ model, el }) {
  const scene = model.get("_scene");
  const slices = await unpackSlices(model, scene);
  const limits = {
    z: [scene.first, scene.first + scene.shape[0] - 1],
    lower: scene.limits, upper: scene.limits, revealed: [false, true],
  };
  const { now, set, stop } = bind(model, limits, update);
  const top = scene.levels - 1;
  const toValue = (level) => scene.offset + scene.scale * level;
  const toLevel = (value) => Math.round((value - scene.offset) / scene.scale);

  // One limit pushes the other along: the lower one never lies above.
  const setLower = (level) => set({ lower: toValue(level), upper: Math.max(now().upper, toValue(level)) });
  const setUpper = (level) => set({ upper: toValue(level), lower: Math.min(now().lower, toValue(level)) });
  const move = (z) => set({ z: Math.round(z) });

  const many = scene.shape[0] > 1;
  const stage = pictureStage(many ? "Slice. Arrow keys, PageUp, PageDown, Home and End change it." : "Slice.",
    many ? { role: "slider" } : { role: "img" });
  const { canvas, marks } = stage;
  const slice = slider("slice", limits.z, 1, move);
  const keyStep = Math.max(1, Math.round(top / 250)); // a held key crosses the slider in some seconds
  const lower = slider("lower limit", [0, top], keyStep, setLower, 1);
  const upper = slider("upper limit", [0, top], keyStep, setUpper, 1);
  const presets = chips("preset", PRESETS.map((name) => [name, name]), (name) => {
    const [first, last] = facts(now().z).presets[name];
    set({ lower: toValue(first), upper: toValue(last) });
  });
  const reveal = toggle("reveal the truth", (revealed) => set({ revealed }));
  const text = readOut();
  const lines = element("div");
  const chart = chartStage("Histogram of the slice with the two limits", 190, () => drawHistogram());
  const root = explorerRoot(...(many ? [row(slice)] : []), stage, text, lines, chart, row(lower, upper),
    row(presets, ...(scene.hasTruth ? [reveal] : [])),
    help("Drag the two lines on the histogram, or use the sliders. Dashed curve: Otsu's variance between the classes.",
      scene.note));

  // What a slice alone determines; kept until another slice is shown.
  let kept = {};
  function facts(z) {
    if (kept.z !== z) {
      const levels = slices.levels(z);
      const counts = histogramOf(levels, scene.levels);
      const size = Math.ceil(scene.levels / 128); // levels in a bar
      const bars = new Float64Array(Math.ceil(scene.levels / size));
      counts.forEach((count, level) => (bars[Math.floor(level / size)] += count));
      const variance = betweenClassVariance(bars);
      kept = { z, levels, counts, size, bars, variance, presets: thresholdPresets(levels, scene) };
    }
    return kept;
  }

  function update() {
    const state = now();
    const { levels, presets: found } = facts(state.z);
    const region = thresholdMask(levels, scene, state.lower, state.upper);
    const truth = slices.truth(state.z);
    drawSlice(canvas, scene, levels, region, state.revealed ? truth : null);
    const { scaleBar } = markPen(marks, scene.lie.columns.length, scene.lie.rows.length);
    if (scene.unit === "mm") scaleBar(scene.pixel);
    const place = `z = ${state.z} of ${limits.z[0]}–${limits.z[1]}`;
    slice.show(state.z, place);
    if (many) {
      const [min, max] = limits.z;
      for (const [name, value] of Object.entries({ min, max, now: state.z, text: place }))
        canvas.setAttribute(`aria-value${name}`, value);
    }
    lower.show(toLevel(state.lower), words(state.lower));
    upper.show(toLevel(state.upper), words(state.upper));
    const same = ([a, b]) => toValue(a) === state.lower && toValue(b) === state.upper;
    presets.show(Object.keys(found).find((name) => same(found[name])) ?? null);
    for (const name of PRESETS) presets.buttons[name].disabled = !(name in found);
    reveal.show(state.revealed);
    const area = countOnes(region);
    const parts = [`${words(state.lower)} to ${words(state.upper)}`, areaWords(scene, area)];
    if (state.revealed) {
      let inside = 0;
      for (let p = 0; p < region.length; p++) inside += region[p] & truth[p];
      const both = area + slices.truthArea(state.z);
      parts.push(`outside the truth ${percent(1 - inside / area)}`);
      parts.push(both ? `Dice ${((2 * inside) / both).toFixed(3)}` : "Dice –");
    }
    text.textContent = parts.join(" · ");
    lines.replaceChildren(legend(shownLooks(scene, state.revealed)));
    drawHistogram();
  }

  let axes = null;
  function drawHistogram() {
    const state = now();
    const { size, bars, variance } = facts(state.z);
    const { orange, blue, dark } = theme(root);
    const end = (bar) => toValue((bar + 1) * size - 0.5);
    const high = 1.05 * bars.reduce((most, bar) => Math.max(most, bar), 0);
    const largest = Math.max(...variance) || 1;
    const points = Array.from(variance, (v, bar) => [end(bar), (0.95 * v) / largest]);
    const upright = (value, label) => ({ x: value, label: `${label} ${words(value)}`, color: blue });
    axes = drawChart(chart.canvas, {
      x: [toValue(-0.5), toValue(bars.length * size - 0.5)], y: [0, high],
      xLabel: "gray value", yLabel: "pixels",
      bars: {
        heights: bars,
        color: (value) => (state.lower <= value && value <= state.upper ? orange : dark ? "#888" : "#aaa"),
      },
      curves: [{ points, color: blue, dash: [6, 4], share: true }],
      lines: [upright(state.lower, "≥"), upright(state.upper, "≤")],
    });
  }

  let held = null; // the limit that is dragged: the one nearer to where the pointer went down
  dragging(chart.canvas, (event, begins) => {
    if (!axes) return;
    const level = clamp(toLevel(axes.toValue(event.offsetX)), [0, top]);
    const distance = (value) => Math.abs(axes.toX(value) - event.offsetX);
    const { lower, upper } = now();
    const above = axes.toValue(event.offsetX) > (lower + upper) / 2;
    if (begins) held = distance(lower) === distance(upper) ? (above ? setUpper : setLower)
      : distance(lower) < distance(upper) ? setLower : setUpper;
    held(level);
  });
  canvas.addEventListener("keydown", (event) => {
    const z = many && !isShortcut(event) ? stepOfKey(event.key, now().z, limits.z) : null;
    if (z === null) return;
    event.preventDefault();
    move(z);
  });

  el.append(root);
  update();
  const endTheme = onTheme(drawHistogram);
  return () => [stop, chart.stop, endTheme].forEach((end) => end());
}

export default { render };
