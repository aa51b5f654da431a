// The engine: one WebAssembly instance, its memory, and the calls of its C interface (engine/include/peephole.h).

import { EngineStopped, PeepholeError } from "./checks.js";
import { readTrace } from "./trace.js";

const MESSAGE_BYTES = 1000;
const OK = 0;

// Modules of a few bytes, each with one instruction of a proposal.
const PROBES = {
  exceptions: "AGFzbQEAAAABBAFgAAADAgEACggBBgAGQBkLCw==",
  simd: "AGFzbQEAAAABBQFgAAF7AwIBAAoKAQgAQQD9D/1iCw==",
};

export function decodeBase64(text) {
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}

// Returns the name of the fastest build that this browser can run.
export function bestBuild() {
  const can = (probe) => WebAssembly.validate(decodeBase64(PROBES[probe]));
  if (typeof WebAssembly === "undefined") throw new PeepholeError("this browser has no WebAssembly");
  if (!can("exceptions")) {
    throw new PeepholeError("this browser has no WebAssembly exceptions; wanted Chrome 95, Firefox 100, Safari 15.2 or newer");
  }
  return can("simd") ? "simd" : "plain";
}

const encoder = new TextEncoder(), decoder = new TextDecoder();

export class Engine {
  // `module`: a compiled WebAssembly.Module of the engine.
  constructor(module) {
    const write = (_, pieces, count, written) => { // what a runtime error prints before it stops
      let total = 0;
      for (let i = 0; i < count; ++i) total += this.view.getUint32(pieces + 8 * i + 4, true);
      this.view.setUint32(written, total, true);
      return 0;
    };
    const clock = (_clock, _precision, to) => {
      this.view.setBigUint64(to, BigInt(Math.round(performance.now() * 1e6)), true);
      return 0;
    };
    const system = { clock_time_get: clock, fd_write: write, fd_close: () => 8, fd_seek: () => 8, proc_exit: () => {} };
    this.code = new WebAssembly.Instance(module, { wasi_snapshot_preview1: system }).exports;
    this.code._initialize();
    this.layouts = this.#readLayouts();
    this.message = this.allocate(MESSAGE_BYTES);
  }

  get view() {
    if (this.oldView?.buffer !== this.code.memory.buffer) this.oldView = new DataView(this.code.memory.buffer);
    return this.oldView;
  }

  allocate(size) {
    const address = this.code.malloc(Math.max(size, 1)) >>> 0;
    if (!address) throw new PeepholeError("not enough memory");
    return address;
  }

  text(address) {
    const bytes = new Uint8Array(this.code.memory.buffer, address);
    return decoder.decode(bytes.subarray(0, bytes.indexOf(0)));
  }

  // Calls `body`; a trap becomes an error that says that the engine is lost.
  guard(body) {
    try {
      return body();
    } catch (error) {
      if (error instanceof PeepholeError || error instanceof TypeError) throw error;
      throw new EngineStopped(`the engine stopped: ${error.message ?? error}`); // a trap, or a full stack
    }
  }

  // Returns the handle of a model file's content.
  open(bytes) {
    return this.guard(() => {
      const file = this.allocate(bytes.length);
      try {
        new Uint8Array(this.code.memory.buffer, file, bytes.length).set(bytes);
        const model = this.code.peephole_model_open(file, bytes.length, 0, this.message, MESSAGE_BYTES);
        if (!model) throw new PeepholeError(this.text(this.message));
        return model;
      } finally {
        this.code.free(file);
      }
    });
  }

  close(model) {
    this.code.peephole_model_close(model);
  }

  // Searches. `fields` are those of peephole_request: numbers, and typed arrays, which are copied. Returns for each
  // source its targets: { ids, logProb, symbolLogProbs, attention }, attention as one Float32Array.
  search(models, fields) {
    return this.#call(models, fields, "search", (request, result) => {
      const status = this.code.peephole_search(request, result, this.message, MESSAGE_BYTES);
      return [status, (found) => this.#readResult(found, Number(fields.num_sources)), this.code.peephole_result_release];
    });
  }

  // Searches the target of one source, or feeds a given one, and returns everything: see readTrace in trace.js. `bend`:
  // { step, weights }, or null.
  trace(models, fields, top, bend) {
    return this.#call(models, fields, "trace", (request, result, store) => {
      const layout = this.layouts.peephole_trace_request, traced = store(new Uint8Array(layout.size));
      const weights = bend ? store(Float32Array.from(bend.weights)) : 0;
      const values = { request, top, bent_step: bend ? bend.step : -1, bent_weights: weights };
      for (const [name, value] of Object.entries(values)) this.#write(traced + layout[name].offset, layout[name].type, value);
      const status = this.code.peephole_trace_make(traced, result, this.message, MESSAGE_BYTES);
      return [status, (found) => readTrace(this, found), this.code.peephole_trace_release];
    });
  }

  // Writes a request and a place for the address of its result, calls `call`, and returns what is read of the result.
  #call(models, fields, name, call) {
    return this.guard(() => {
      const layout = this.layouts.peephole_request, memory = [];
      const store = (array) => {
        const address = this.allocate(array.byteLength);
        memory.push(address);
        const bytes = new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
        new Uint8Array(this.code.memory.buffer, address, bytes.length).set(bytes);
        return address;
      };
      try {
        const request = store(new Uint8Array(layout.size));
        const all = { ...fields, threads: 1, num_models: models.length, models: Uint32Array.from(models) };
        for (const [name, value] of Object.entries(all)) {
          const field = layout[name];
          if (!field) throw new TypeError(`peephole_request has no field ${name}`);
          const content = ArrayBuffer.isView(value) ? store(value) : Number(value);
          this.#write(request + field.offset, field.type, content);
        }
        const result = store(new Uint32Array(1));
        const [status, read, release] = call(request, result, store);
        if (status !== OK) throw new PeepholeError(`${name}: ${this.text(this.message)}`);
        const found = this.view.getUint32(result, true);
        try {
          return read(found);
        } finally {
          release(found);
        }
      } finally {
        memory.forEach((address) => this.code.free(address));
      }
    });
  }

  #write(address, type, value) {
    if (type === "f64") this.view.setFloat64(address, value, true);
    else if (type === "i64") this.view.setBigInt64(address, BigInt(value), true);
    else this.view.setUint32(address, value >>> 0, true);
  }

  #readResult(address, numSources) {
    const layout = this.layouts.peephole_result, buffer = this.code.memory.buffer;
    const pointer = (name) => this.view.getUint32(address + layout[name].offset, true);
    const integers = (name, count) => Array.from(new BigInt64Array(buffer, pointer(name), count), Number);
    const count = Number(this.view.getBigInt64(address + layout.num_targets.offset, true));
    const offsets = integers("offsets", count + 1), sources = integers("source", count);
    const logProbs = new Float64Array(buffer, pointer("log_probs"), count);
    const symbols = new Int32Array(buffer, pointer("symbols"), offsets[count]);
    const symbolLogProbs = new Float32Array(buffer, pointer("symbol_log_probs"), offsets[count]);
    const places = pointer("attention") ? integers("attention_offsets", count + 1) : null;
    const attention = places && new Float32Array(buffer, pointer("attention"), places[count]);
    const found = Array.from({ length: numSources }, () => []);
    sources.forEach((source, i) => {
      const span = [offsets[i], offsets[i + 1]];
      found[source].push({
        ids: Array.from(symbols.subarray(...span)),
        logProb: logProbs[i],
        symbolLogProbs: Array.from(symbolLogProbs.subarray(...span)),
        attention: places && attention.slice(places[i], places[i + 1]),
      });
    });
    return found;
  }

  // Reads engine/wasm/layouts.cpp: { structure: { size, field: { offset, type } } }.
  #readLayouts() {
    const layouts = {};
    let layout;
    for (let at = this.code.peephole_layouts(); this.view.getUint32(at, true); at += 12) {
      const name = this.text(this.view.getUint32(at, true)), offset = this.view.getUint32(at + 4, true);
      const type = this.text(this.view.getUint32(at + 8, true));
      if (type === "struct") layouts[name] = layout = { size: offset };
      else layout[name] = { offset, type };
    }
    return layouts;
  }
}
