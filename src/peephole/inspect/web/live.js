// The engine inside the page: decodes anew what a reader edits. The only file that calls it.

/**
 * @typedef {object} Live
 * @property {(source: string, how: How) => Promise<Record<string, any>>} decode returns the trace of a new
 *   prediction; a call that another one overtakes is rejected with an AbortError
 *
 * @typedef {object} How
 * @property {string | string[]} prefix what the target begins with: a text, or symbols
 * @property {{step: number, weights: number[]} | null} bend attention weights that a step has in place of computed ones
 * @property {number} beamSize
 */

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
    async decode(source, how) {
      running?.abort();
      running = new AbortController();
      const { prefix, bend, beamSize } = how;
      const found = await loaded.trace(source, { prefix: [prefix], bend, beamSize, signal: running.signal });
      return traceOf(found, loaded.info.architecture);
    },
  };
}

/**
 * Returns a trace of the engine in the layout of docs/traces.md.
 * @param {any} found
 * @param {Record<string, any>} architecture
 */
function traceOf(found, architecture) {
  const { text, tokens, finished, names, arrays, beam, sourceTokens, unknown, truncated } = found;
  return {
    architecture,
    source: { tokens: sourceTokens, unknown, truncated },
    target: {
      text,
      tokens,
      is_given: false,
      finished,
      log_prob: found.logProbs.reduce((/** @type {number} */ sum, /** @type {number} */ logProb) => sum + logProb, 0),
      log_probs: found.logProbs,
      ranks: found.ranks,
      top_symbols: found.topSymbols,
      top_log_probs: found.topLogProbs,
    },
    names,
    arrays,
    beam: beam && { ...beam, log_prob: beam.logProb },
  };
}
