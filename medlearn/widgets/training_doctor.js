// The training doctor in the browser: it looks up curves that were computed beforehand (training_doctor.py). Nothing is
// asked of Python.

const TOP = 1.4; // of the chart; a loss beyond it is drawn at the border

async function render({ model, el }) {
  const { axes, steps, curves } = model.get("_scene");
  const exponents = axes.rate.map((rate) => Math.round(Math.log10(rate)));
  const ends = (list) => [Math.min(...list), Math.max(...list)];
  const limits = {
    cases: ends(axes.cases), log_rate: ends(exponents), width: ends(axes.width), augmentation: [false, true],
    draw: ends(axes.seed),
  };
  const { now, set, stop } = bind(model, limits, update);

  const cases = slider("patients", [0, axes.cases.length - 1], 1, (i) => set({ cases: axes.cases[i] }));
  const rate = slider("learning rate", limits.log_rate, 1, (value) => set({ log_rate: value }));
  const width = slider("width", [0, axes.width.length - 1], 1, (i) => set({ width: axes.width[i] }));
  const augmentation = toggle("augmentation", (on) => set({ augmentation: on }));
  const draws = chips("draw", axes.seed.map((seed) => [seed, String(seed)]), (draw) => set({ draw }));
  const told = readOut();
  const chart = chartStage("Dice of training and held-out patients, and the loss, against the steps", 280, drawCurves);
  const root = explorerRoot(row(cases, rate), row(width, augmentation, draws), chart, told,
    help("Solid line, round marks: Dice of the training patients. Dashed: Dice of six held-out patients. Dotted: the",
      "loss. A draw is other patients and other first weights. Every setting was trained beforehand."));

  // Curves of the settings as numbers; null where a loss was not finite.
  function found() {
    const state = now();
    const place = [axes.seed.indexOf(state.draw), axes.cases.indexOf(state.cases), exponents.indexOf(state.log_rate),
      axes.width.indexOf(state.width), axes.augmentation.indexOf(state.augmentation)];
    const pick = (nested) => place.reduce((part, i) => part[i], nested).map((v) => (v === null ? null : v / 1000));
    return Object.fromEntries(Object.entries(curves).map(([name, nested]) => [name, pick(nested)]));
  }

  function update() {
    const state = now();
    cases.show(axes.cases.indexOf(state.cases), String(state.cases));
    rate.show(state.log_rate, `1e${words(state.log_rate)}`);
    width.show(axes.width.indexOf(state.width), `${state.width} channels`);
    augmentation.show(state.augmentation);
    draws.show(state.draw);
    const { training, held_out: heldOut, loss } = found();
    const last = steps.length - 1;
    const best = heldOut.indexOf(Math.max(...heldOut));
    told.textContent = `after ${steps[last]} steps: Dice ${training[last].toFixed(2)} in training, `
      + `${heldOut[last].toFixed(2)} held out · gap ${(training[last] - heldOut[last]).toFixed(2).replace("-", "−")} · `
      + `loss ${loss[last] === null ? "not finite" : loss[last].toFixed(2)} · `
      + `best held-out Dice ${heldOut[best].toFixed(2)} at step ${steps[best]}`;
    drawCurves();
  }

  function drawCurves() {
    const { blue, orange, ink } = theme(root);
    const values = found();
    const points = (name) => steps.map((step, i) => [step, values[name][i]])
      .filter(([, value]) => value !== null).map(([step, value]) => [step, Math.min(value, TOP)]);
    drawChart(chart.canvas, {
      x: [0, steps.at(-1)], y: [0, TOP], xLabel: "step", yLabel: "Dice; loss",
      curves: [
        { points: points("loss"), color: ink, dash: [2, 4] },
        { points: points("training"), color: blue },
        { points: points("held_out"), color: orange, dash: [7, 4] },
      ],
      dots: points("training").map(([step, value]) => [step, value, blue]),
    });
  }

  el.append(root);
  update();
  const endTheme = onTheme(drawCurves);
  return () => [stop, chart.stop, endTheme].forEach((end) => end());
}

export default { render };
