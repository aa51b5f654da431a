// Reads a trace out of the engine's memory: what docs/traces.md describes.

const FATES = [
  ...["expanded", "returned", "beaten", "duplicate", "outside_beam", "hopeless", "length_limit", "unfinished"],
  ...["unpredictable", "other_prefix", "too_short", "repeated_ngram", "phrases"],
]; // enum peephole_fate

// Returns { ids, logProbs, ranks, topSymbols, topLogProbs, arrays, beam } of the best target, or of the given one. Arrays
// are { shape, numbers }; `topSymbols` and `topLogProbs` have a list for each symbol.
export function readTrace(engine, address) {
  const layout = engine.layouts.peephole_trace, buffer = engine.code.memory.buffer;
  const pointer = (name) => engine.view.getUint32(address + layout[name].offset, true);
  const size = (name) => Number(engine.view.getBigInt64(address + layout[name].offset, true));
  const copy = (name, kind, count) => (count ? Array.from(new kind(buffer, pointer(name), count), Number) : []);
  const steps = size("num_symbols"), most = size("num_alternatives"), nodes = size("num_nodes");
  const rows = (numbers) => Array.from({ length: steps }, (_, t) => numbers.slice(t * most, (t + 1) * most));
  return {
    ids: copy("symbols", Int32Array, steps),
    logProbs: copy("log_probs", Float64Array, steps),
    ranks: copy("ranks", BigInt64Array, steps),
    topSymbols: rows(copy("top_symbols", Int32Array, steps * most)),
    topLogProbs: rows(copy("top_log_probs", Float32Array, steps * most)),
    arrays: readArrays(engine, pointer("arrays"), size("num_arrays")),
    beam: nodes ? {
      parent: copy("parents", BigInt64Array, nodes),
      step: copy("steps", BigInt64Array, nodes),
      symbol: copy("node_symbols", Int32Array, nodes),
      logProb: copy("node_log_probs", Float64Array, nodes),
      score: copy("scores", Float64Array, nodes),
      fate: copy("fates", Int32Array, nodes).map((fate) => FATES[fate]),
    } : null,
  };
}

function readArrays(engine, first, count) {
  const layout = engine.layouts.peephole_array, { view } = engine, buffer = engine.code.memory.buffer;
  const found = {};
  for (let address = first, i = 0; i < count; ++i, address += layout.size) {
    const name = engine.text(view.getUint32(address + layout.name.offset, true));
    const dimensions = Number(view.getBigInt64(address + layout.num_dimensions.offset, true));
    const shape = Array.from({ length: dimensions }, (_, d) => Number(view.getBigInt64(address + layout.shape.offset + 8 * d, true)));
    const numbers = view.getUint32(address + layout.numbers.offset, true);
    const total = shape.reduce((product, length) => product * length, 1);
    found[name] = { shape, numbers: new Float32Array(buffer, total ? numbers : 0, total).slice() };
  }
  return found;
}
