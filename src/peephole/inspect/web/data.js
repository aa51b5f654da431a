// Reads the traces inside the page; docs/traces.md describes their layout.

/**
 * @typedef {object} Matrix Rows of numbers.
 * @property {number} rows
 * @property {number} columns
 * @property {(row: number, column: number) => number} at
 * @property {(row: number) => Float32Array} row
 *
 * @typedef {object} Choice One symbol that a step could have.
 * @property {number} symbol
 * @property {string} text
 * @property {number} logProb
 *
 * @typedef {object} Trace
 * @property {string[]} source its symbols; one text for each place that attention chooses from
 * @property {string} text the target
 * @property {string[]} tokens the target's symbols, the end included
 * @property {boolean} isGiven
 * @property {boolean} finished
 * @property {number} logProb
 * @property {number[]} logProbs of each symbol
 * @property {number[]} ranks
 * @property {Choice[][]} choices of each step, most probable first
 * @property {string[]} unknown
 * @property {boolean} truncated
 * @property {Beam | null} beam
 * @property {string[]} names of its arrays
 * @property {(name: string) => Matrix | null} array
 * @property {(name: string) => Matrix[]} planes of an array of three dimensions: one a head of attention
 * @property {Record<string, any>} architecture
 * @property {Record<string, number>} means of how many units each row of an array is the mean
 *
 * @typedef {object} Beam The search: one entry a hypothesis.
 * @property {number[]} parent
 * @property {number[]} step
 * @property {string[]} text
 * @property {number[]} symbol
 * @property {(number | null)[]} logProb
 * @property {(number | null)[]} score
 * @property {string[]} fate
 */

export const END = "</s>";

/** @param {string} text */
function decodeBytes(text) {
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}

/** Returns the number of 16 bits. @param {number} bits */
function half(bits) {
  const sign = bits & 0x8000 ? -1 : 1, exponent = (bits >> 10) & 31, fraction = bits & 1023;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  return exponent === 31 ? (fraction ? NaN : sign * Infinity) : sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/**
 * Returns the numbers of an encoded array: float16, or bytes of 0 to 255 as 0 to 1, or numbers as they are.
 * @param {{shape: number[], float16?: string, uint8?: string, numbers?: Float32Array}} encoded
 */
export function decodeArray({ float16, uint8, numbers }) {
  if (numbers !== undefined) return numbers;
  if (uint8 !== undefined) return Float32Array.from(decodeBytes(uint8), (level) => level / 255);
  const view = new DataView(decodeBytes(float16 ?? "").buffer);
  return Float32Array.from({ length: view.byteLength / 2 }, (_, i) => half(view.getUint16(2 * i, true)));
}

/**
 * @param {Float32Array} numbers
 * @param {number} rows
 * @param {number} columns
 * @returns {Matrix}
 */
export function matrix(numbers, rows, columns) {
  return {
    rows,
    columns,
    at: (row, column) => numbers[row * columns + column],
    row: (row) => numbers.subarray(row * columns, (row + 1) * columns),
  };
}

/** @param {{shape: number[]}} encoded @returns {Matrix} */
export function decodeMatrix(encoded) {
  const [rows, columns] = encoded.shape;
  return matrix(decodeArray(encoded), rows, columns ?? 1);
}

/** Returns the texts of the places that attention chooses from. @param {string[]} tokens @param {number} places */
function placeTexts(tokens, places) {
  if (!tokens.length) return Array.from({ length: places }, (_, i) => `${i + 1}`);
  const span = Math.ceil(tokens.length / places); // an encoder with a pyramid reads several symbols as one place
  return Array.from({ length: places }, (_, i) => tokens.slice(i * span, (i + 1) * span).join(""));
}

/** @param {any} raw what `Trace.to_dict` of Python returns @returns {Trace} */
export function openTrace(raw) {
  const { source, target, names, beam, arrays } = raw;
  /** @type {Map<string, Matrix>} */
  const opened = new Map();
  const array = (/** @type {string} */ name) => {
    if (!(name in arrays)) return null;
    if (!opened.has(name)) opened.set(name, decodeMatrix(arrays[name]));
    return opened.get(name) ?? null;
  };
  const planes = (/** @type {string} */ name) => {
    if (!(name in arrays)) return [];
    const [rows, count, columns] = arrays[name].shape, numbers = decodeArray(arrays[name]);
    return Array.from({ length: count }, (_, k) => {
      const plane = new Float32Array(rows * columns);
      for (let row = 0; row < rows; ++row) plane.set(numbers.subarray((row * count + k) * columns, (row * count + k + 1) * columns), row * columns);
      return matrix(plane, rows, columns);
    });
  };
  const places = arrays.attention?.shape[1] ?? arrays["encoder.outputs"]?.shape[0] ?? source.tokens.length;
  return {
    source: placeTexts(source.tokens, places),
    text: target.text,
    tokens: target.tokens,
    isGiven: target.is_given,
    finished: target.finished,
    logProb: target.log_prob,
    logProbs: target.log_probs.map(finite),
    ranks: target.ranks,
    choices: target.top_symbols.map((/** @type {number[]} */ row, /** @type {number} */ t) =>
      row.map((symbol, k) => ({ symbol, text: names[symbol], logProb: finite(target.top_log_probs[t][k]) }))),
    unknown: source.unknown,
    truncated: source.truncated,
    beam: beam && {
      parent: beam.parent,
      step: beam.step,
      symbol: beam.symbol,
      text: beam.symbol.map((/** @type {number} */ symbol) => names[symbol]),
      logProb: beam.log_prob,
      score: beam.score,
      fate: beam.fate,
    },
    names: Object.keys(arrays),
    array,
    planes,
    architecture: raw.architecture,
    means: raw.means ?? {},
  };
}

/** Returns a number that JSON could not hold as it was. @param {number | null} number */
function finite(number) {
  return number ?? -Infinity;
}
