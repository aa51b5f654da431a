// Runs requests of the tests, one JSON object a line, with the module of a folder; answers in the same form.
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";

const folder = process.argv[2];
const { load } = await import(`${folder}/peephole.js`);
const { readTable } = await import(`${folder}/symbols.js`);

const plain = (prediction) => ({ ...prediction, attention: prediction.attention?.map((row) => Array.from(row)) ?? null });

const source = (given) => (given.frames ? Float32Array.from(given.frames) : given);

async function answer({ op, files, build, sources = [], targets, options = {}, table, texts }) {
  if (op === "segment") return texts.map((text) => readTable(table).segment(text));
  if (op === "join") return texts.map((tokens) => readTable(table).join(tokens));
  const model = await load(files.map((file) => readFileSync(file)), { build });
  try {
    if (op === "info") return model.info;
    if (op === "trace") {
      const found = await model.trace(source(sources[0]), options);
      const arrays = Object.entries(found.arrays).map(([name, { shape, numbers }]) => [name, { shape, numbers: Array.from(numbers) }]);
      return { ...found, arrays: Object.fromEntries(arrays) };
    }
    if (op === "score") return await model.score(sources.map(source), targets);
    return (await model.predict(sources.map(source), options)).map((found) => found.map(plain));
  } finally {
    model.free();
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  const reply = await answer(JSON.parse(line)).then((value) => ({ value }), ({ name, message }) => ({ name, message }));
  process.stdout.write(`${JSON.stringify(reply)}\n`);
}
