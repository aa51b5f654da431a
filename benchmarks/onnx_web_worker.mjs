// Beam search over exported graphs that onnxruntime-web computes on one thread: the worker of web_speed.py.
//
//     node onnx_web_worker.mjs PACKAGE GRAPHS
//
// PACKAGE is the folder of onnxruntime-web, GRAPHS that of `peephole export --to onnx`. Each line of stdin is JSON: the
// symbol ids of the sources, the longest target of each, and the beam size. The answer has for each source the ids of the
// best target and its log p, and the seconds of processor time. The search is that of peephole.search.beam for one best
// target; rows of sources that are done are dropped.

import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const [packageFolder, graphs] = process.argv.slice(2);
const ort = await import(pathToFileURL(`${packageFolder}/dist/ort.wasm.min.mjs`).href);
ort.env.wasm.numThreads = 1;
ort.env.logLevel = "error";
const open = (name) => ort.InferenceSession.create(readFileSync(`${graphs}/${name}.onnx`), { executionProviders: ["wasm"], logSeverityLevel: 3 });
const encoder = await open("encoder"), step = await open("decoder_step");
const carried = step.inputNames.filter((name) => step.outputNames.includes(`next_${name}`));
const constant = step.inputNames.filter((name) => name !== "previous" && !carried.includes(name));

const BOS = 1, EOS = 2, FORBIDDEN = [0, 1, 3]; // padding, begin and unknown are never predicted
const SOURCES = 64; // searched together

const int64 = (numbers, dims) => new ort.Tensor("int64", BigInt64Array.from(numbers, BigInt), dims);

/** Returns the rows of a tensor in another order. */
function select(tensor, rows) {
  const size = tensor.dims.slice(1).reduce((product, n) => product * n, 1);
  const data = new tensor.data.constructor(rows.length * size);
  rows.forEach((row, i) => data.set(tensor.data.subarray(row * size, (row + 1) * size), i * size));
  return new ort.Tensor(tensor.type, data, [rows.length, ...tensor.dims.slice(1)]);
}

/** Returns the `count` best extensions of a source's hypotheses, best first; of equals that of the better parent. */
function best(hypotheses, logProbs, numSymbols, count) {
  const found = [];
  for (const { row, score } of hypotheses) {
    for (let symbol = 0; symbol < numSymbols; ++symbol) {
      if (FORBIDDEN.includes(symbol)) continue;
      const total = score + logProbs[row * numSymbols + symbol];
      if (found.length === count && total <= found[count - 1].score) continue;
      let at = found.length;
      while (at > 0 && found[at - 1].score < total) --at;
      found.splice(at, 0, { parent: row, symbol, score: total });
      if (found.length > count) found.pop();
    }
  }
  return found;
}

async function search(sources, longest, beamSize) {
  const time = Math.max(...sources.map((ids) => ids.length));
  const padded = sources.flatMap((ids) => [...ids, ...Array(time - ids.length).fill(0)]);
  const given = { source: int64(padded, [sources.length, time]), source_lengths: int64(sources.map((ids) => ids.length), [sources.length]) };
  const read = { ...given, ...(await encoder.run(Object.fromEntries(encoder.inputNames.map((name) => [name, given[name]])))) };
  let feeds = Object.fromEntries([...carried, ...constant].map((name) => [name, read[name]]));
  const results = sources.map(() => ({ ids: null, score: -Infinity }));
  let live = sources.map((_, i) => ({ source: i, hypotheses: [{ row: i, score: 0, ids: [] }] }));
  let sourceOfRow = sources.map((_, i) => i), previous = sources.map(() => BOS);
  for (let length = 1; live.length; ++length) {
    const found = await step.run({ ...feeds, previous: int64(previous, [previous.length]) });
    const logProbs = found.log_probs.data, numSymbols = found.log_probs.dims[1];
    const going = [], rows = [];
    previous = [];
    for (const { source, hypotheses } of live) {
      const ids = new Map(hypotheses.map((one) => [one.row, one.ids])), result = results[source];
      const extended = best(hypotheses, logProbs, numSymbols, beamSize).map(({ parent, symbol, score }) => ({ parent, symbol, score, ids: symbol === EOS ? ids.get(parent) : [...ids.get(parent), symbol] }));
      const ended = extended.find(({ symbol }) => symbol === EOS), left = extended.filter(({ symbol }) => symbol !== EOS);
      if (ended && ended.score > result.score) Object.assign(result, { ids: ended.ids, score: ended.score });
      if (length === longest[source]) {
        if (result.ids === null) Object.assign(result, { ids: left[0].ids, score: left[0].score });
        continue;
      }
      if (!left.length || left[0].score <= result.score) continue;
      going.push({ source, hypotheses: left.map(({ parent, symbol, score, ids: own }) => {
        rows.push(parent);
        previous.push(symbol);
        return { row: rows.length - 1, score, ids: own };
      }) });
    }
    live = going;
    const next = rows.map((row) => sourceOfRow[row]);
    const isSame = next.length === sourceOfRow.length && next.every((source, i) => source === sourceOfRow[i]);
    feeds = Object.fromEntries([
      ...carried.map((name) => [name, select(found[`next_${name}`], rows)]),
      ...constant.map((name) => [name, isSame ? feeds[name] : select(feeds[name], rows)]),
    ]);
    sourceOfRow = next;
  }
  return results;
}

for await (const line of createInterface({ input: process.stdin })) {
  const { sources, longest, beamSize } = JSON.parse(line), before = process.cpuUsage();
  const order = sources.map((_, i) => i).sort((a, b) => sources[a].length - sources[b].length);
  const results = Array(sources.length);
  for (let first = 0; first < order.length; first += SOURCES) {
    const part = order.slice(first, first + SOURCES);
    const found = await search(part.map((i) => sources[i]), part.map((i) => longest[i]), beamSize);
    part.forEach((i, k) => {
      results[i] = [found[k].ids, found[k].score];
    });
  }
  const { user, system } = process.cpuUsage(before);
  process.stdout.write(`${JSON.stringify({ best: results, seconds: (user + system) / 1e6 })}\n`);
}
