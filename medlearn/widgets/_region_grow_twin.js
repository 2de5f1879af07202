// Region growing of medlearn.classical on one slice of levels, for every tolerance at once. A browser test compares.

// For every pixel the smallest tolerance, in levels, at which growth from the seed reaches it: on the best path to it,
// the largest difference from the seed's level. The region of a tolerance is where this is not larger.
//
// The growth takes pixels in the order of their tolerance, out of one list for each level of difference. A pixel is put
// on a list once, by the first neighbor that is taken: no later neighbor could offer it a smaller tolerance.
// A frame of pixels that count as taken stands around the slice: no step leaves it.
function tolerances(levels, height, width, [seedRow, seedColumn], full) {
  const wide = width + 2;
  const framed = new Uint16Array((height + 2) * wide);
  const reached = new Int32Array(framed.length);
  for (let row = 0; row < height; row++) {
    const first = (row + 1) * wide + 1;
    framed.set(levels.subarray(row * width, (row + 1) * width), first);
    reached.fill(-1, first, first + width);
  }
  const heads = new Int32Array(65536).fill(-1); // first pixel on the list of each difference
  const next = new Int32Array(framed.length); // the pixel behind each pixel on its list
  const steps = full ? [-wide - 1, -wide, -wide + 1, -1, 1, wide - 1, wide, wide + 1] : [-wide, -1, 1, wide];

  const seed = (seedRow + 1) * wide + seedColumn + 1;
  const own = framed[seed];
  reached[seed] = 0;
  next[seed] = -1;
  heads[0] = seed;
  for (let tolerance = 0; tolerance < heads.length; tolerance++) {
    while (heads[tolerance] >= 0) {
      const pixel = heads[tolerance];
      heads[tolerance] = next[pixel];
      for (let i = 0; i < steps.length; i++) {
        const neighbor = pixel + steps[i];
        if (reached[neighbor] >= 0) continue;
        const needed = Math.max(Math.abs(framed[neighbor] - own), tolerance);
        reached[neighbor] = needed;
        next[neighbor] = heads[needed];
        heads[needed] = neighbor;
      }
    }
  }
  const inside = new Int32Array(height * width);
  for (let row = 0; row < height; row++) {
    const first = (row + 1) * wide + 1;
    inside.set(reached.subarray(first, first + width), row * width);
  }
  return inside;
}

// The region of a tolerance, 1 inside.
function grown(reached, tolerance) {
  const region = new Uint8Array(reached.length);
  for (let p = 0; p < region.length; p++) region[p] = reached[p] <= tolerance ? 1 : 0;
  return region;
}

// Pixels of the region, and those of them in the truth, for every tolerance 0…most.
function leakCurve(reached, truth, most) {
  const area = new Float64Array(most + 1);
  const inside = new Float64Array(most + 1);
  for (let p = 0; p < reached.length; p++) {
    if (reached[p] > most) continue;
    area[reached[p]]++;
    if (truth && truth[p]) inside[reached[p]]++;
  }
  for (let tolerance = 1; tolerance <= most; tolerance++) {
    area[tolerance] += area[tolerance - 1];
    inside[tolerance] += inside[tolerance - 1];
  }
  return { area, inside };
}
