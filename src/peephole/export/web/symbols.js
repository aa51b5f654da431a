// Splits texts into symbols, and joins symbols to texts, as src/peephole/symbols/tables.py does.

import { PeepholeError } from "./checks.js";

export const EOS = 2, UNK = 3;
const SPECIALS = ["<pad>", "<s>", "</s>", "<unk>"];
const SPACE = "\u2581"; // a space inside a subword
const UNKNOWN_COST = 10; // what an unknown piece scores below the worst piece of a unigram model

// What Python calls whitespace.
const WHITESPACE = "[\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000]+";
const BETWEEN = new RegExp(WHITESPACE, "u");
const OUTER = new RegExp(`^${WHITESPACE}|${WHITESPACE}$`, "gu");
// Texts of these code points alone have one grapheme cluster a code point.
const SINGLE =
  /^[ -~\u00a1-\u02ff\u0391-\u03ff\u0400-\u0482\u048a-\u052f\u3001-\u3029\u3041-\u3096\u30a1-\u30ff\u4e00-\u9fff\uac00-\ud7a3]*$/u;

let segmenter;

function splitClusters(text) {
  if (SINGLE.test(text)) return [...text];
  segmenter ??= new Intl.Segmenter("und", { granularity: "grapheme" });
  return Array.from(segmenter.segment(text), ({ segment }) => segment);
}

const strip = (text) => text.replace(OUTER, "");

// A table of one side: its symbols, and how texts become them. `pieces` splits a normalised text into pairs of the text
// of a symbol and its id, or undefined: the id is looked up.
class Table {
  constructor(kind, normalize, ordinary, split, join) {
    this.kind = kind;
    this.normalize = normalize;
    this.names = [...SPECIALS, ...ordinary];
    this.numbers = new Map(ordinary.map((name, i) => [name, i + SPECIALS.length]));
    this.splitNormal = split;
    this.join = join;
  }

  get size() {
    return this.names.length;
  }

  number(name) {
    return this.numbers.get(name) ?? UNK;
  }

  // Returns the symbols of a text, or of a list of symbols, and their numbers.
  segment(text) {
    if (Array.isArray(text)) return { tokens: text, ids: text.map((token) => this.number(token)) };
    const normal = this.normalize === "none" ? text : text.normalize(this.normalize);
    const tokens = this.splitNormal(normal);
    return { tokens, ids: tokens.map((token) => this.number(token)) };
  }
}

// Splits a word as the `tokenizers` library does: by merging pairs, the earliest learned first.
function mergePairs(model) {
  const ranks = new Map(
    model.merges.map((pair, rank) => [(Array.isArray(pair) ? pair : pair.split(" ")).join("\0"), rank]),
  );
  return (word) => {
    const pieces = [...word];
    for (;;) {
      let best = Infinity, at = -1;
      for (let i = 0; i + 1 < pieces.length; ++i) {
        const rank = ranks.get(`${pieces[i]}\0${pieces[i + 1]}`) ?? Infinity;
        if (rank < best) [best, at] = [rank, i];
      }
      if (at < 0) return pieces;
      pieces.splice(at, 2, pieces[at] + pieces[at + 1]);
    }
  };
}

// Splits a word into the pieces with the largest sum of scores; neighbouring unknown pieces become one.
function bestPieces(model) {
  const scores = new Map(model.vocab.map(([piece, score]) => [piece, score]));
  const unknownPiece = model.vocab[model.unk_id ?? 0]?.[0];
  const all = model.vocab.map(([, score]) => score);
  const unknownScore = all.reduce((least, score) => Math.min(least, score), Infinity) - UNKNOWN_COST;
  const longest = model.vocab.reduce((most, [piece]) => Math.max(most, [...piece].length), 1);
  return (word) => {
    const letters = [...word];
    const paths = Array.from({ length: letters.length + 1 }, () => null); // best path that ends before each letter
    paths[0] = { score: 0 };
    for (let start = 0; start < letters.length; ++start) {
      let piece = "";
      const offer = (end, score, unknown) => {
        const total = paths[start].score + score;
        if (!paths[end] || total > paths[end].score) paths[end] = { score: total, start, unknown };
      };
      for (let end = start + 1; end <= letters.length && end <= start + longest; ++end) {
        piece += letters[end - 1];
        const score = scores.get(piece);
        if (score !== undefined) offer(end, score, piece === unknownPiece);
        else if (end === start + 1) offer(end, unknownScore, true);
      }
    }
    const pieces = [];
    for (let end = letters.length, fused = false; end > 0; end = paths[end].start) {
      const { start, unknown } = paths[end], text = letters.slice(start, end).join("");
      if (unknown && fused) pieces[pieces.length - 1] = text + pieces[pieces.length - 1];
      else pieces.push(text);
      fused = unknown;
    }
    return pieces.reverse();
  };
}

const segmenterFails = (kind, reason) =>
  new PeepholeError(`symbol table: cannot read the ${kind} segmenter: ${reason}; give sources as lists of symbols`);

function subwordTable({ kind, normalize, segmenter: description }) {
  const { model, normalizer } = JSON.parse(description);
  const wanted = { bpe: "BPE", unigram: "Unigram" }[kind];
  const pieces = kind === "bpe"
    ? Object.entries(model.vocab).sort(([, a], [, b]) => a - b).map(([piece]) => piece)
    : model.vocab.map(([piece]) => piece);
  let splitWord = kind === "bpe" ? mergePairs(model) : bestPieces(model);
  const other = model.type !== wanted || normalizer || model.byte_fallback || model.ignore_merges || model.dropout ||
    (kind === "bpe" && (model.continuing_subword_prefix || model.end_of_word_suffix || model.fuse_unk));
  if (other) {
    splitWord = () => {
      throw segmenterFails(kind, "it was not written by peephole");
    };
  }
  const split = (text) => {
    const clean = strip(text);
    if (!clean) return [];
    const words = clean.split(" ").flatMap((word) => (SPACE + word).split(new RegExp(`(?=${SPACE})`, "u")));
    return words.flatMap(splitWord);
  };
  return new Table(kind, normalize, pieces.slice(1), split, (tokens) => strip(tokens.join("").replaceAll(SPACE, " ")));
}

// Returns the table in the metadata of a model file, or null for sources of frames.
export function readTable(tree) {
  switch (tree.kind) {
    case "characters":
      return new Table("characters", tree.normalize, tree.symbols, splitClusters, (tokens) => tokens.join(""));
    case "whitespace": {
      const split = (text) => text.split(BETWEEN).filter(Boolean);
      return new Table("whitespace", tree.normalize, tree.symbols, split, (tokens) => tokens.join(" "));
    }
    case "bpe":
    case "unigram":
      return subwordTable(tree);
    default:
      return null;
  }
}

// Returns the target symbol with the text of each source symbol; texts without one are numbered from the table's size,
// in the order of their first use. See src/peephole/symbols/copying.py.
export function findCopies(tokens, target) {
  const texts = new Map();
  const ids = tokens.map((token) => {
    const known = target.number(token);
    if (known !== UNK) return known;
    if (!texts.has(token)) texts.set(token, target.size + texts.size);
    return texts.get(token);
  });
  return { ids, texts };
}
