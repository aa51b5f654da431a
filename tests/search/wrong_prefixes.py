"""List searches with wrong prefixes; `wrong_searches` makes them."""

from __future__ import annotations

from . import contract_prefix as contract
from .wrong_searches import Wrong

WRONG_PREFIXES = [
    # -- the table
    Wrong(
        "the last step of the longest prefix is free",
        contract.greedy_continues_its_prefix,
        "prefix",
        "if step < table.shape[1] else",
        "if step < table.shape[1] - 1 else",
    ),
    Wrong(
        "one step late",
        contract.greedy_continues_its_prefix,
        "prefix",
        "table[rows, step]",
        "table.roll(1, 1)[rows, step]",
    ),
    Wrong(
        "one step early",
        contract.greedy_continues_its_prefix,
        "prefix",
        "table[rows, step]",
        "table.roll(-1, 1)[rows, step]",
    ),
    Wrong(
        "prefixes are aligned at their ends",
        contract.greedy_continues_its_prefix,
        "prefix",
        "[[*prefix] + [FREE] * (longest - len(prefix)) for prefix in prefixes]",
        "[[FREE] * (longest - len(prefix)) + [*prefix] for prefix in prefixes]",
    ),
    Wrong(
        "the prefix of the neighbour",
        contract.beam_after_a_prefix_equals_the_definition,
        "prefix",
        "table[rows, step]",
        "table.roll(1, 0)[rows, step]",
    ),
    Wrong(
        "the prefix of another row, once a source is done",
        contract.prefixes_of_other_sources_have_no_effect,
        "prefix",
        "table[rows, step]",
        "table[: len(rows), step]",
    ),
    Wrong(
        "PAD is forced after the longest prefix",
        contract.greedy_continues_its_prefix,
        "prefix",
        "if step < table.shape[1] else torch.full_like(rows, FREE)",
        "if step < table.shape[1] else torch.zeros_like(rows)",
    ),
    # -- one hypothesis a row
    Wrong(
        "greedy and samples ignore their prefix",
        contract.scores_after_a_prefix_equal_forced_scoring,
        "prefix",
        "return forced.where(forced != FREE, chosen)",
        "return chosen",
    ),
    Wrong(
        "UNK of a prefix is replaced",
        contract.greedy_continues_its_prefix,
        "prefix",
        "return forced.where(forced != FREE, chosen)",
        "return forced.where(forced > UNK, chosen)",
    ),
    Wrong(
        "samples have the prefix of another source",
        contract.prefixes_of_other_sources_have_no_effect,
        "sampling",
        "prefix_table(prefixes, max_lengths).repeat_interleave(num_samples, 0)",
        "prefix_table(prefixes, max_lengths).repeat(num_samples, 1)",
    ),
    Wrong(
        "random numbers are counted from the end of the prefix",
        contract.samples_after_a_prefix_use_the_random_numbers_of_their_steps,
        "sampling",
        "uniform.at(rows, step)",
        "(lambda u: (u.at(torch.arange(len(forced)), 0),"
        " u._numbers[rows, (step - (forced[rows] >= 0).sum(1)).clamp(min=0)])[1])"
        "(UniformNumbers(seed, examples, max_lengths.tolist(), num_samples))",
    ),
    Wrong(
        "samples are cut at the maximal length after the prefix",
        contract.samples_after_a_prefix_use_the_random_numbers_of_their_steps,
        "sampling",
        "max_lengths.cpu()[rows], after_prefix",
        "max_lengths.cpu()[rows] - (forced >= 0).sum(1), after_prefix",
    ),
    # -- beams
    Wrong(
        "the score of the prefix is left out",
        contract.beam_after_a_prefix_equals_the_definition,
        "extensions",
        "scores.gather(1, column))",
        "torch.zeros_like(column, dtype=scores.dtype))",
    ),
    Wrong(
        "a forced symbol has the score of the best one",
        contract.beam_after_a_prefix_equals_the_definition,
        "extensions",
        "scores.gather(1, column))",
        "scores.amax(1, keepdim=True))",
    ),
    Wrong(
        "UNK of a prefix has hardly any probability in a beam",
        contract.beam_after_a_prefix_equals_the_definition,
        "extensions",
        "scores.gather(1, column))",
        "allowed.gather(1, column).clamp(min=-99))",
    ),
    Wrong(
        "other hypotheses live beside the prefix",
        contract.beam_after_a_prefix_equals_the_definition,
        "extensions",
        "torch.full_like(scores, -torch.inf).scatter",
        "(scores - 1e-3).scatter",
    ),
    Wrong(
        "a beam has the prefix of another source",
        contract.beam_after_a_prefix_equals_the_definition,
        "extensions",
        "forced.repeat_interleave(len(scores) // len(forced))",
        "forced.repeat(len(scores) // len(forced))",
    ),
    Wrong(
        "free sources lose their beam to one with a prefix",
        contract.prefixes_of_other_sources_have_no_effect,
        "beam",
        "1 if (forced != FREE).all() else",
        "1 if (forced != FREE).any() else",
    ),
    Wrong(
        "empty slots are stepped in the prefix",
        contract.a_prefix_is_one_live_hypothesis,
        "beam",
        "1 if (forced != FREE).all() else beam_size",
        "beam_size",
    ),
    Wrong(
        "nothing is forced while one source is free",
        contract.beam_after_a_prefix_equals_the_definition,
        "extensions",
        "if (forced == FREE).all():",
        "if (forced == FREE).any():",
    ),
]
