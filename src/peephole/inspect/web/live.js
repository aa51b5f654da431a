// The engine inside the page: decodes anew what a reader edits. The only file that calls it.

/**
 * @typedef {object} Live
 * @property {(source: string, how: How) => Promise<Record<string, any>>} decode returns what a view draws of a new
 *   prediction; a call that another one overtakes is rejected with an AbortError
 * @property {boolean} bends whether attention weights can be given
 *
 * @typedef {object} How
 * @property {string | string[]} prefix what the target begins with: a text, or symbols
 * @property {{step: number, weights: number[]} | null} bend attention weights that a step has in place of computed ones
 * @property {number} beamSize
 */

const NBEST = 5;

/**
 * Starts the engine with one of the page's models.
 * @param {number} model its index
 * @returns {Promise<Live>}
 * @throws {Error} its message says why nothing can be decoded
 */
export async function startLive(model) {
  const engine = /** @type {any} */ (globalThis).peephole;
  if (!engine) throw new Error("This page was made without its model, so it shows what was recorded.");
  if (typeof WebAssembly === "undefined") throw new Error("This browser has no WebAssembly, so the page shows what was recorded.");
  const load = (/** @type {boolean} */ worker) => engine.load(engine.models[model], { worker });
  const loaded = await load(typeof Worker !== "undefined").catch(() => load(false));
  /** @type {AbortController | null} */
  let running = null;
  return {
    bends: typeof loaded.trace === "function",
    async decode(source, { prefix, bend, beamSize }) {
      running?.abort();
      running = new AbortController();
      const options = { prefix: [prefix], beamSize, signal: running.signal };
      if (loaded.trace) return { trace: await loaded.trace(source, { ...options, bend }) };
      const [found] = await loaded.predict([source], { ...options, nbest: Math.min(NBEST, beamSize) });
      return { trace: traceOf(found[0], loaded.info.architecture), others: found.slice(1).map((/** @type {any} */ { text, tokens, logProb }) => ({ text, tokens, logProb })) };
    },
  };
}

/**
 * Returns a prediction in the layout of a trace.
 * @param {any} found
 * @param {Record<string, any>} architecture
 */
function traceOf(found, architecture) {
  const tokens = found.finished ? [...found.tokens, "</s>"] : found.tokens;
  const weights = found.attention ?? [], columns = weights[0]?.length ?? 0;
  const numbers = new Float32Array(weights.length * columns);
  weights.forEach((/** @type {ArrayLike<number>} */ row, /** @type {number} */ t) => numbers.set(row, t * columns));
  return {
    architecture,
    source: { tokens: found.sourceTokens, unknown: found.unknown, truncated: found.truncated },
    target: {
      text: found.text,
      tokens,
      is_given: false,
      finished: found.finished,
      log_prob: found.logProb,
      log_probs: found.symbolLogProbs,
      ranks: tokens.map(() => 1),
      top_symbols: tokens.map(() => []),
      top_log_probs: tokens.map(() => []),
    },
    names: {},
    arrays: found.attention ? { attention: { shape: [weights.length, columns], numbers } } : {},
    beam: null,
  };
}
