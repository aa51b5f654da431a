// A model, or an ensemble, in one engine: reads sources, searches, and returns predictions.

import { OPTIONS, PeepholeError, checkNumber, isGiven } from "./checks.js";
import { EOS, UNK, findCopies, readTable } from "./symbols.js";

const BEAM = 0, FORCE = 2; // enum peephole_search_kind
const PART = 8; // sources searched between two calls of onProgress
const LARGEST_HALF = 65504;
const MOST_IN_SOURCE = 1000; // data.max_length where a file has none

function readMetadata(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const length = bytes.length < 8 ? Infinity : Number(view.getBigUint64(0, true));
  if (length > bytes.length - 8) throw new PeepholeError("not a whole safetensors file");
  return JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + length))).__metadata__;
}

// Returns what a model file says about itself; the engine has checked the file.
function readHeader(bytes) {
  const metadata = readMetadata(bytes);
  const table = (name) => {
    try {
      return JSON.parse(metadata[name] ?? "{}");
    } catch {
      return {}; // settings are information, and never make a file unreadable
    }
  };
  const settings = "settings" in metadata ? table("settings") : table("config");
  return {
    version: Number(metadata.format_version),
    settings,
    architecture: "architecture" in metadata ? table("architecture") : settings.model ?? {},
    source: table("source_symbols"),
    target: table("target_symbols"),
  };
}

export class LocalModel {
  // `files`: the bytes of one model file, or of several for an ensemble.
  constructor(engine, files) {
    this.engine = engine;
    this.models = [];
    try {
      for (const bytes of files) this.models.push(engine.open(bytes));
      const code = engine.code, [first] = this.models;
      const { version, settings, architecture, source, target } = (this.header = readHeader(files[0]));
      if (Number(code.peephole_model_vector_size(first))) {
        throw new PeepholeError("a model of real vectors (forecasting) does not run in the browser yet");
      }
      this.source = readTable(source);
      this.target = readTable(target);
      this.frameSize = Number(code.peephole_model_frame_size(first));
      this.copies = Boolean(code.peephole_model_copies(first));
      this.isLanguageModel = architecture.input === "none";
      this.info = {
        formatVersion: version,
        architecture,
        settings,
        sourceSymbols: { kind: source.kind, size: this.source?.size ?? 0 },
        targetSymbols: { kind: target.kind, size: this.target.size },
        bytes: files.reduce((sum, file) => sum + file.length, 0),
        members: files.length,
      };
    } catch (error) {
      this.free();
      throw error;
    }
  }

  free() {
    this.models.forEach((model) => this.engine.close(model));
    this.models = [];
  }

  // Returns the predictions of each source. Calls `between(done)` between parts; a promise that it returns is awaited.
  // The arguments of this and of the next two have passed checks.js.
  async predict(sources, options, between) {
    const search = this.#searchOptions(options);
    const read = this.#readSources(sources, options, search);
    const results = read.map((source) => (source.length ? [] : [emptyPrediction(search.attention && this.#hasAttention)]));
    const order = read.map((_, i) => i).filter((i) => read[i].length);
    order.sort((a, b) => read[a].length - read[b].length);
    for (let first = 0; first < order.length; first += PART) {
      await between(first + read.length - order.length);
      const rows = order.slice(first, first + PART), part = rows.map((i) => read[i]);
      const found = this.engine.search(this.models, { ...this.#sourceFields(part), ...targetFields(part, search) });
      found.forEach((targets, i) => {
        results[rows[i]] = targets.map((target) => this.#prediction(target, part[i]));
      });
    }
    await between(read.length);
    return results;
  }

  // Returns log p(Y | X) of each target given its source.
  async score(sources, targets, between) {
    if (sources.length !== targets.length) {
      throw new PeepholeError(`score: wanted as many targets as sources, got ${targets.length} and ${sources.length}`);
    }
    const read = this.#readSources(sources, {}, this.#searchOptions({}));
    read.forEach((source, i) => {
      if (!source.length) throw new PeepholeError(`score: source ${i} is empty; wanted at least one symbol`);
      source.begin = this.#targetIds(targets[i], source.copied);
    });
    const scores = [];
    for (let first = 0; first < read.length; first += PART) {
      await between(first);
      const part = read.slice(first, first + PART);
      const fields = { kind: FORCE, with_attention: 0, ...joined("target", part.map(({ begin }) => begin)) };
      scores.push(...this.engine.search(this.models, { ...this.#sourceFields(part), ...fields }));
    }
    await between(read.length);
    return scores.map(([{ logProb }]) => logProb);
  }

  // Returns everything of the prediction of one source: see readTrace in trace.js; `names` has the text of each symbol.
  // `bend`: attention weights that one step has in place of computed ones, { step, weights }, or null.
  async trace(source, { bend, top, ...options }, between) {
    await between(0);
    const search = this.#searchOptions(options), [read] = this.#readSources([source], options, search);
    if (!read.length) throw new PeepholeError("trace: source 0 is empty; wanted at least one symbol");
    if (bend && this.#hasAttention && bend.weights.length !== this.#places(read.length)) {
      throw new PeepholeError(`bend: wanted ${this.#places(read.length)} weights, one for each place, got ${bend.weights.length}`);
    }
    const fields = { ...this.#sourceFields([read]), ...targetFields([read], search) };
    const found = this.engine.trace(this.models, fields, top ?? 5, bend);
    const texts = read.copied ? [...read.copied.texts.keys()] : [], names = {};
    for (const id of [...found.ids, ...found.topSymbols.flat(), ...(found.beam?.symbol ?? [])]) {
      names[id] ??= id < this.target.size ? this.target.names[id] : texts[id - this.target.size];
    }
    const tokens = found.ids.map((id) => names[id]), finished = found.ids[found.ids.length - 1] === EOS;
    const { tokens: sourceTokens, unknown, truncated } = read;
    const text = this.target.join(finished ? tokens.slice(0, -1) : tokens);
    return { ...found, text, tokens, finished, names, sourceTokens, unknown, truncated };
  }

  get #hasAttention() {
    return (this.header.architecture.context ?? "attention") === "attention";
  }

  #searchOptions(options) {
    const { search = {}, train = {} } = this.header.settings, found = { attention: options.attention ?? true };
    for (const [name, [setting, usual, range]] of Object.entries(OPTIONS)) {
      const value = options[name] ?? search[setting] ?? usual;
      if (value !== null) checkNumber(name, value, range);
      found[name] = value;
    }
    found.nbest = Math.min(found.nbest, isGiven(options.nbest) ? Infinity : found.beamSize);
    if (found.ctcWeight && !this.header.architecture.ctc) {
      throw new PeepholeError(`ctcWeight: wanted a model with a CTC output, or 0; got ${found.ctcWeight} without one`);
    }
    found.ctcWeight ??= this.header.architecture.ctc ? train.ctc_weight ?? 0.3 : 0;
    return found;
  }

  #readSources(sources, options, search) {
    const prefixes = typeof options.prefix === "string" ? sources.map(() => options.prefix) : options.prefix;
    if (prefixes && prefixes.length !== sources.length) {
      throw new PeepholeError(`prefix: wanted a text or a list of ${sources.length}, one a source, got ${prefixes.length}`);
    }
    if (prefixes && this.isLanguageModel) {
      throw new PeepholeError("prefix: a language model continues its sources; wanted none");
    }
    return sources.map((given, index) => {
      const source = this.#readSource(given, index);
      source.begin = this.isLanguageModel ? this.target.segment(given).ids : [];
      if (prefixes) source.begin = this.#targetIds(prefixes[index], source.copied);
      if (!source.length) return source;
      const places = this.isLanguageModel ? source.begin.length : this.#places(source.length);
      const usual = Math.trunc(places * search.maxLengthFactor) + search.maxLengthExtra;
      source.most = options.maxLength ?? Math.max(usual, search.minLength + 1);
      if (source.begin.length >= source.most) {
        throw new PeepholeError(`prefix of source ${index}: wanted fewer than ${source.most} symbols, got ${source.begin.length}`);
      }
      return source;
    });
  }

  #places(length) {
    return Number(this.engine.code.peephole_model_places(this.models[0], BigInt(length)));
  }

  #readSource(given, index) {
    if (this.frameSize && !this.isLanguageModel) return this.#readFrames(given, index);
    if (given instanceof Float32Array) {
      throw new PeepholeError(`source ${index}: this model reads text; wanted a text or a list of symbols, got frames`);
    }
    if (this.isLanguageModel) return { ids: [EOS], tokens: [], unknown: [], truncated: false, length: 1 };
    const all = this.source.segment(given), longest = this.header.settings.data?.max_length ?? MOST_IN_SOURCE;
    const ids = all.ids.slice(0, longest), tokens = all.tokens.slice(0, longest);
    const unknown = tokens.filter((_, i) => ids[i] === UNK);
    const source = { ids, tokens, unknown, truncated: ids.length < all.ids.length, length: ids.length };
    return this.copies ? { ...source, copied: findCopies(tokens, this.target) } : source;
  }

  // Frames are one Float32Array of T × F numbers.
  #readFrames(given, index) {
    const size = this.frameSize;
    if (!(given instanceof Float32Array) || given.length % size) {
      const kind = this.info?.sourceSymbols.kind ?? "frames";
      throw new PeepholeError(`source ${index}: this model reads ${kind}; wanted a Float32Array of frames of ${size} numbers`);
    }
    const longest = this.header.settings.frames?.max_frames ?? Infinity, length = Math.min(given.length / size, longest);
    if (!given.every(Number.isFinite)) throw new PeepholeError(`source ${index}: holds a number that is not finite`);
    const read = given.subarray(0, length * size);
    const frames = this.info.sourceSymbols.kind === "numbers" ? read : read.map(roundToHalf);
    return { frames, tokens: [], unknown: [], truncated: frames.length < given.length, length };
  }

  #targetIds(text, copied) {
    const { ids, tokens } = this.target.segment(text);
    return ids.map((id, i) => (id === UNK ? copied?.texts.get(tokens[i]) ?? UNK : id));
  }

  #sourceFields(part) {
    const fields = { num_sources: part.length, batch_size: part.length, source_offsets: offsets(part.map(({ length }) => length)) };
    if (this.frameSize && !this.isLanguageModel) {
      const frames = new Float32Array(part.reduce((sum, source) => sum + source.frames.length, 0));
      let at = 0;
      for (const source of part) {
        frames.set(source.frames, at);
        at += source.frames.length;
      }
      return { ...fields, frames };
    }
    fields.sources = Int32Array.from(part.flatMap(({ ids }) => ids));
    if (this.copies) fields.copies = Int32Array.from(part.flatMap(({ copied }) => copied.ids));
    return fields;
  }

  #prediction({ ids, logProb, symbolLogProbs, attention }, source) {
    const finished = ids[ids.length - 1] === EOS;
    if (finished) ids.pop();
    const texts = source.copied && [...source.copied.texts.keys()];
    const tokens = ids.map((id) => (id < this.target.size ? this.target.names[id] : texts[id - this.target.size]));
    const places = attention && ids.length ? attention.length / ids.length : 0;
    return {
      text: this.target.join(tokens),
      tokens,
      logProb,
      symbolLogProbs,
      finished,
      sourceTokens: source.tokens,
      attention: attention && ids.map((_, t) => attention.slice(t * places, (t + 1) * places)),
      unknown: source.unknown,
      truncated: source.truncated,
    };
  }
}

function emptyPrediction(attends) {
  return {
    text: "",
    tokens: [],
    logProb: 0,
    symbolLogProbs: [],
    finished: true,
    sourceTokens: [],
    attention: attends ? [] : null,
    unknown: [],
    truncated: false,
  };
}

// Rounds to the nearest number of 16 bits, in which frames of sound and of images are stored.
function roundToHalf(x) {
  const size = Math.min(Math.abs(x), LARGEST_HALF);
  const step = 2 ** (Math.max(Math.floor(Math.log2(size || 1)), -14) - 10);
  const steps = size / step, down = Math.floor(steps), rest = steps - down;
  return Math.sign(x) * (rest > 0.5 || (rest === 0.5 && down % 2) ? down + 1 : down) * step;
}

function offsets(lengths) {
  const found = new BigInt64Array(lengths.length + 1);
  lengths.forEach((length, i) => (found[i + 1] = found[i] + BigInt(length)));
  return found;
}

function joined(name, sequences) {
  return {
    [`${name}_offsets`]: offsets(sequences.map(({ length }) => length)),
    [`${name}s`]: Int32Array.from(sequences.flat()),
  };
}

function targetFields(part, search) {
  return {
    kind: BEAM,
    with_attention: Number(search.attention),
    max_lengths: BigInt64Array.from(part, ({ most }) => BigInt(most)),
    ...joined("target", part.map(({ begin }) => begin)),
    ctc_weight: search.ctcWeight,
    beam_size: search.beamSize,
    nbest: search.nbest,
    length_penalty: search.lengthPenalty,
    length_reward: search.lengthReward,
    coverage_penalty: search.coveragePenalty,
    diverse_groups: search.diverseGroups,
    diversity: search.diversity,
    min_length: search.minLength,
    no_repeat_ngram: search.noRepeatNgram,
  };
}
