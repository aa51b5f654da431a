"""Lists plausible vectors of trigrams, (66), wrong in one place each; the suite must reject all."""

from __future__ import annotations

from .wrong_networks import Wrong

TRIGRAMS = ({"ngram_rows": 40}, {"ngram_rows": 40, "encoder_layers": 2})
AROUND = "around = [BOS, *source[b, :length].tolist(), EOS]"
CODE = "code = (code + symbol) * (code + symbol + 668265263) % P"

WRONG_TRIGRAMS = (
    Wrong("no trigrams", "return x + found", "return x", TRIGRAMS),
    Wrong("trigrams alone", "return x + found", "return found", TRIGRAMS),
    Wrong("the mean of both", "return x + found", "return (x + found) / 2", TRIGRAMS),
    Wrong("the trigram that ends here", AROUND, "around = [BOS, BOS, *source[b, :length].tolist()]", TRIGRAMS),
    Wrong("the trigram that begins here", AROUND, "around = [*source[b, :length].tolist(), EOS, EOS]", TRIGRAMS),
    Wrong("padding in the last trigram", AROUND, "around = [BOS, *source[b].tolist(), EOS]", TRIGRAMS),
    Wrong("begins with <pad>", "around = [BOS,", "around = [PAD,", TRIGRAMS),
    Wrong("ends with <pad>", ".tolist(), EOS]", ".tolist(), PAD]", TRIGRAMS),
    Wrong("bigrams", "around[t : t + 3]", "around[t : t + 2]", TRIGRAMS),
    Wrong("backwards", "around[t : t + 3]", "around[t : t + 3][::-1]", TRIGRAMS),
    Wrong("another summand", "668265263", "668265265", TRIGRAMS),
    Wrong("another prime", "% P\n", "% (2**31 - 19)\n", TRIGRAMS),
    Wrong("the last symbol after the product", CODE, "code = (code * (code + 668265263) + symbol) % P", TRIGRAMS),
    Wrong("the rest in place of the share", "code * len(table) // P", "code % len(table)", TRIGRAMS),
    Wrong("trigrams of the first source", "source[b, :length]", "source[0, :length]", TRIGRAMS),
    Wrong(
        "no gradient", "return x + found", "return x + found.detach() + 0 * found", TRIGRAMS, seen_in="frontend.ngrams"
    ),
)
