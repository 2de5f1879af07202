// CLAHE in the browser: the twin of `medlearn.contrast.clahe` for uint8 images, with OpenCV's conventions. It works
// in float32 (`f` rounds after each operation), in OpenCV's order, so that the pixels are Python's, bit for bit.

const f = Math.fround;

function roundHalfToEven(value) {
  const below = Math.floor(value);
  const rest = value - below;
  return rest > 0.5 || (rest === 0.5 && below % 2 === 1) ? below + 1 : below;
}

// Tiles of equal size; unless both sides divide, the image is mirrored beyond its lower and right border to fill them.
function tileGrid([height, width], [rows, columns]) {
  const divides = height % rows === 0 && width % columns === 0;
  const extra = (size, tiles) => (divides ? 0 : tiles - (size % tiles));
  return {
    height, width, rows, columns,
    tileHeight: (height + extra(height, rows)) / rows,
    tileWidth: (width + extra(width, columns)) / columns,
  };
}

// Index within 0 … n − 1 of what a mirror at the last pixel (which is not repeated) shows at index i.
function mirror(i, n) {
  const period = Math.max(1, 2 * (n - 1));
  return Math.min(i % period, period - (i % period));
}

// Counts of gray values: (rows, columns, bins).
function tileHistograms(image, grid, bins) {
  const { rows, columns, tileHeight, tileWidth, width } = grid;
  const histograms = new Int32Array(rows * columns * bins);
  const tileOf = Int32Array.from({ length: columns * tileWidth }, (_, x) => Math.floor(x / tileWidth) * bins);
  const source = Int32Array.from({ length: columns * tileWidth }, (_, x) => mirror(x, width));
  for (let y = 0; y < rows * tileHeight; y++) {
    const first = mirror(y, grid.height) * width;
    const row = Math.floor(y / tileHeight) * columns * bins;
    for (let x = 0; x < source.length; x++) histograms[row + tileOf[x] + ((image[first + source[x]] * bins) >> 8)]++;
  }
  return histograms;
}

// Counts that a bin may hold before clipping, for a clip limit relative to the mean bin; 0 means no limit.
function clipCount(clipLimit, grid, bins) {
  return clipLimit > 0 ? Math.max(Math.floor((clipLimit * (grid.tileHeight * grid.tileWidth)) / bins), 1) : Infinity;
}

// What exceeds `count` goes to all bins in equal parts, and the remainder to bins at equal distances.
function clipHistogram(histogram, count) {
  let excess = 0;
  const clipped = histogram.map((n) => {
    excess += Math.max(n - count, 0);
    return Math.min(n, count);
  });
  const bins = clipped.length;
  const part = Math.floor(excess / bins);
  let rest = excess % bins;
  const step = rest ? Math.max(Math.floor(bins / rest), 1) : 1;
  for (let i = 0; i < bins; i++) clipped[i] += part;
  for (let i = 0; i < bins && rest > 0; i += step, rest--) clipped[i]++;
  return clipped;
}

// Cumulative histogram, scaled to 0 … 255.
function mappingOf(histogram, grid) {
  const scale = f(255 / (grid.tileHeight * grid.tileWidth));
  let sum = 0;
  return Uint8Array.from(histogram, (n) => Math.min(roundHalfToEven(f((sum += n) * scale)), 255));
}

// For each index along one side: the tiles whose centers lie before and after it, and the weight of each.
function neighbors(size, tiles, tileSize) {
  const [before, after] = [new Int32Array(size), new Int32Array(size)];
  const [near, far] = [new Float32Array(size), new Float32Array(size)];
  const perTile = f(1 / tileSize);
  for (let i = 0; i < size; i++) {
    const position = f(f(i * perTile) - 0.5);
    const tile = Math.floor(position);
    before[i] = Math.max(tile, 0);
    after[i] = Math.min(tile + 1, tiles - 1);
    far[i] = f(position - tile);
    near[i] = f(1 - far[i]);
  }
  return { before, after, near, far };
}

// Each pixel through the mappings of four tiles, blended by the distances to their centers.
function interpolateMappings(image, mappings, grid, bins) {
  const { height, width, rows, columns } = grid;
  const down = neighbors(height, rows, grid.tileHeight);
  const right = neighbors(width, columns, grid.tileWidth);
  const [before, after] = [right.before, right.after].map((tiles) => tiles.map((tile) => tile * bins));
  const result = new Uint8Array(height * width);
  for (let y = 0, p = 0; y < height; y++) {
    const [upper, lower] = [down.before[y] * columns * bins, down.after[y] * columns * bins];
    const [near, far] = [down.near[y], down.far[y]];
    for (let x = 0; x < width; x++, p++) {
      const bin = (image[p] * bins) >> 8;
      const [l, r] = [before[x] + bin, after[x] + bin];
      const top = f(f(mappings[upper + l] * right.near[x]) + f(mappings[upper + r] * right.far[x]));
      const bottom = f(f(mappings[lower + l] * right.near[x]) + f(mappings[lower + r] * right.far[x]));
      result[p] = roundHalfToEven(f(f(top * near) + f(bottom * far)));
    }
  }
  return result;
}

// All steps: an image, (height, width) uint8, with its contrast equalized, and what the steps made of it.
function clahe(image, shape, { clipLimit, tiles, bins = 256 }) {
  const grid = tileGrid(shape, tiles);
  const histograms = tileHistograms(image, grid, bins);
  const count = clipCount(clipLimit, grid, bins);
  const clipped = new Int32Array(histograms.length);
  const mappings = new Uint8Array(histograms.length);
  for (let tile = 0; tile < histograms.length; tile += bins) {
    clipped.set(clipHistogram(histograms.subarray(tile, tile + bins), count), tile);
    mappings.set(mappingOf(clipped.subarray(tile, tile + bins), grid), tile);
  }
  return { grid, histograms, clipped, mappings, result: interpolateMappings(image, mappings, grid, bins) };
}
