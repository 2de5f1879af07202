// The thresholds of medlearn.classical on levels: whole numbers from 0. A browser test compares the two.

// 1 where lower <= value <= upper, 0 elsewhere; value = offset + scale * level.
function thresholdMask(slice, { offset, scale, levels }, lower, upper) {
  const table = new Uint8Array(levels);
  for (let level = 0; level < levels; level++) {
    const value = offset + scale * level;
    table[level] = lower <= value && value <= upper ? 1 : 0;
  }
  const mask = new Uint8Array(slice.length);
  for (let p = 0; p < slice.length; p++) mask[p] = table[slice[p]];
  return mask;
}

// How many pixels have each level.
function histogramOf(slice, levels) {
  const counts = new Float64Array(levels);
  for (let p = 0; p < slice.length; p++) counts[slice[p]]++;
  return counts;
}

// Otsu's between-class variance for the threshold after each bin.
function betweenClassVariance(counts) {
  const sum = counts.reduce((all, count) => all + count, 0);
  const [w0, moment] = [new Float64Array(counts.length), new Float64Array(counts.length)];
  let [weight, first] = [0, 0];
  for (let t = 0; t < counts.length; t++) {
    weight += counts[t] / sum;
    first += (counts[t] / sum) * t;
    [w0[t], moment[t]] = [weight, first];
  }
  return w0.map((w, t) => {
    const difference = first * w - moment[t];
    return w * (1 - w) > 1e-12 ? (difference * difference) / (w * (1 - w)) : 0;
  });
}

const argmax = (numbers) => numbers.reduce((best, number, i) => (number > numbers[best] ? i : best), 0);

// The last bin of the darker class; of several equally good ones the first.
const otsu = (counts) => argmax(betweenClassVariance(counts));

// The last bins of the two darker ones of three classes: the cuts of the largest variance between them, found by
// dynamic programming. null where there are fewer than three different levels.
function multiOtsu(counts) {
  const values = Array.from(counts.keys()).filter((level) => counts[level]);
  const n = values.length;
  if (n < 3) return null;
  const all = values.reduce((sum, level) => sum + counts[level], 0);
  const mean = values.reduce((sum, level) => sum + counts[level] * level, 0) / all;
  const [number, total] = [new Float64Array(n + 1), new Float64Array(n + 1)]; // of the first j values
  values.forEach((level, i) => {
    number[i + 1] = number[i] + counts[level];
    total[i + 1] = total[i] + counts[level] * (level - mean);
  });
  const one = total.map((sum, j) => (j ? (sum * sum) / number[j] : -Infinity));
  const bestCut = (previous, j) => {
    let [cut, best] = [0, -Infinity];
    for (let i = 1; i < j; i++) {
      const sum = total[j] - total[i];
      const candidate = previous[i] + (sum * sum) / (number[j] - number[i]);
      if (candidate > best) [cut, best] = [i, candidate];
    }
    return [cut, best];
  };
  const two = Array.from({ length: n + 1 }, (_, j) => (j < 2 ? [0, -Infinity] : bestCut(one, j)));
  const [second] = bestCut(two.map(([, best]) => best), n);
  return [values[two[second][0] - 1], values[second - 1]];
}

const PRESETS = ["Otsu", "darkest of 3", "middle of 3", "brightest of 3"];

// Interval [first, last] of levels for each preset, of one slice; {} where it has one level only. More than 4096
// levels are taken 2, 4, 8 … together, by `shift` bits: the classes are those of the coarser levels.
function thresholdPresets(slice, { levels, shift }) {
  const counts = histogramOf(slice.map((level) => level >> shift), ((levels - 1) >> shift) + 1);
  if (counts.filter((count) => count).length < 2) return {};
  const last = (bin) => ((bin + 1) << shift) - 1;
  const top = levels - 1;
  const intervals = [[last(otsu(counts)) + 1, top]];
  const cuts = multiOtsu(counts);
  if (cuts) {
    const [dark, middle] = cuts.map(last);
    intervals.push([0, dark], [dark + 1, middle], [middle + 1, top]);
  }
  return Object.fromEntries(intervals.map((interval, i) => [PRESETS[i], interval]));
}
