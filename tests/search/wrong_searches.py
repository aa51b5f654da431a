"""Make wrong searches: copies of the package with one error inserted into the source."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import peephole.search

from . import contract

NAME = "wrong_search"  # module name of the changed copy


class Wrong(NamedTuple):
    """One error: in a module, a text that occurs once, and its wrong replacement."""

    name: str
    rejected_by: contract.Check
    module: str
    right: str
    wrong: str


WRONG_SEARCHES = [
    # -- record of the steps
    Wrong(
        "a finished hypothesis is continued",
        contract.force_scores_any_target,
        "history",
        "step.parent[row].where(reached, node)",
        "step.parent[row]",
    ),
    Wrong(
        "EOS is not scored",
        contract.force_scores_any_target,
        "history",
        "totals = log_probs.cumsum(1)[:, -1]",
        "totals = log_probs.where(symbols != EOS, 0.0).cumsum(1)[:, -1]",
    ),
    Wrong(
        "EOS stays in the symbols",
        contract.force_scores_any_target,
        "history",
        "ids=tuple(ids[: length - is_finished])",
        "ids=tuple(ids[:length])",
    ),
    Wrong(
        "the attention shows padding",
        contract.force_scores_any_target,
        "history",
        ": length - is_finished, :width]",
        ": length - is_finished]",
    ),
    Wrong(
        "every hypothesis counts as finished",
        contract.unfinished_hypotheses_are_kept_only_if_none_finished,
        "history",
        ".squeeze(1) == EOS",
        ".squeeze(1) >= 0",
    ),
    Wrong(
        "scores of a longer hypothesis remain",
        contract.force_scores_any_target,
        "history",
        "step.log_prob[row].where(reached, 0.0)",
        "step.log_prob[row]",
    ),
    # -- greedy, sampled and forced
    Wrong(
        "remaining rows take the state of other rows",
        contract.force_scores_any_target,
        "rollout",
        "stepper.reorder(state, going.to(device))",
        "stepper.reorder(state, torch.arange(len(going)))",
    ),
    Wrong(
        "goes on after EOS",
        contract.greedy_takes_the_most_probable_symbol,
        "rollout",
        "(symbols != EOS) &",
        "(symbols == symbols) &",
    ),
    Wrong(
        "a maximal length of another row",
        contract.force_scores_any_target,
        "rollout",
        "max_lengths[rows]",
        "max_lengths[: len(rows)]",
    ),
    Wrong(
        "BOS is fed in every step",
        contract.force_scores_any_target,
        "rollout",
        "symbols[going].to(device)",
        "previous[going]",
    ),
    Wrong(
        "PAD is predicted",
        contract.greedy_takes_the_most_probable_symbol,
        "stepper",
        "torch.tensor(UNPREDICTABLE,",
        "torch.tensor((1, 3),",
    ),
    Wrong(
        "BOS is predicted",
        contract.greedy_takes_the_most_probable_symbol,
        "stepper",
        "torch.tensor(UNPREDICTABLE,",
        "torch.tensor((0, 3),",
    ),
    Wrong(
        "UNK is predicted",
        contract.greedy_takes_the_most_probable_symbol,
        "stepper",
        "torch.tensor(UNPREDICTABLE,",
        "torch.tensor((0, 1),",
    ),
    Wrong(
        "probabilities are renormalised",
        contract.narrow_beam_equals_the_definition,
        "stepper",
        "log_probs.index_fill(1, never, -torch.inf)",
        "log_probs.index_fill(1, never, -torch.inf).log_softmax(1)",
    ),
    Wrong(
        "greedy takes the last among ties",
        contract.greedy_takes_the_most_probable_symbol,
        "greedy",
        "mask_unpredictable(scores).argmax(1)",
        "(scores.shape[1] - 1 - mask_unpredictable(scores).flip(1).argmax(1))",
    ),
    Wrong(
        "targets of other rows are forced",
        contract.force_scores_any_target,
        "forced",
        "given[rows, step]",
        "given[: len(rows), step]",
    ),
    Wrong(
        "forced scoring hides UNK",
        contract.force_scores_any_target,
        "forced",
        "return given[rows, step]",
        "return given[rows, step].where(given[rows, step] != 3, 4)",
    ),
    Wrong(
        "one random number for all steps",
        contract.samples_are_a_function_of_the_seed,
        "sampling",
        "self._numbers[rows, step % self._STEPS]",
        "self._numbers[rows, 0]",
    ),
    Wrong(
        "random numbers by row of the batch",
        contract.sources_are_independent,
        "sampling",
        "self._numbers[rows, step % self._STEPS]",
        "self._numbers[torch.arange(len(rows)), step % self._STEPS]",
    ),
    Wrong(
        "the seed is ignored",
        contract.samples_are_a_function_of_the_seed,
        "sampling",
        "PCG64((seed, example))",
        "PCG64(example)",
    ),
    Wrong(
        "sources share their random numbers",
        contract.samples_are_a_function_of_the_seed,
        "sampling",
        "PCG64((seed, example))",
        "PCG64(seed)",
    ),
    Wrong(
        "random numbers by index in the batch",
        contract.samples_are_a_function_of_the_seed,
        "sampling",
        "for example, length in zip(examples,",
        "for example, length in zip(range(len(examples)),",
    ),
    Wrong(
        "samples of one source share their random numbers",
        contract.samples_are_a_function_of_the_seed,
        "sampling",
        ".advance(sample * length)",
        ".advance(0)",
    ),
    Wrong(
        "the temperature multiplies",
        contract.maximal_length_counts_eos,
        "sampling",
        ".double() / temperature",
        ".double() * temperature",
    ),
    Wrong(
        "top_k keeps one too many",
        contract.cold_samples_are_greedy,
        "sampling",
        "ordered[:, top_k:] = 0",
        "ordered[:, top_k + 1 :] = 0",
    ),
    Wrong(
        "top_p leaves out the symbol that reaches it",
        contract.cold_samples_are_greedy,
        "sampling",
        "ordered.where(held_before <",
        "ordered.where(held <",
    ),
    Wrong(
        "top_p keeps the improbable",
        contract.special_symbols_are_never_predicted,
        "sampling",
        "probs.sort(dim=1, descending=True,",
        "probs.sort(dim=1, descending=False,",
    ),
    Wrong(
        "symbols are drawn by rank",
        contract.special_symbols_are_never_predicted,
        "sampling",
        ".scatter(1, symbols, ordered)",
        ".add(ordered)",
    ),
    Wrong(
        "all allowed symbols are equally frequent",
        contract.sample_frequencies_match_probabilities,
        "sampling",
        "held = weights.cumsum(1)",
        "held = (weights > 0).double().cumsum(1)",
    ),
    # -- ensembles
    Wrong(
        "mean of log-probabilities",
        contract.ensemble_is_the_mean_of_probabilities,
        "ensemble",
        ".logsumexp(0) - math.log(len(steps))",
        ".mean(0)",
    ),
    Wrong(
        "sum of probabilities",
        contract.ensemble_is_the_mean_of_probabilities,
        "ensemble",
        ".logsumexp(0) - math.log(len(steps))",
        ".logsumexp(0)",
    ),
    Wrong(
        "only the first model reorders its rows",
        contract.ensemble_is_the_mean_of_probabilities,
        "ensemble",
        "stepper.reorder(part, rows)",
        "stepper.reorder(part, rows if part is state[0] else rows.sort().values)",
    ),
    Wrong(
        "every model uses the state of the first",
        contract.ensemble_is_the_mean_of_probabilities,
        "ensemble",
        "mean.clamp(max=0), tuple(states), attention",
        "mean.clamp(max=0), (states[0],) * len(states), attention",
    ),
]


@contextmanager
def wrong_search(change: Wrong, folder: Path) -> Iterator[ModuleType]:
    """Write the package with one change to a folder, import it under another name and yield the module."""
    assert peephole.search.__file__ is not None
    package = folder / NAME
    package.mkdir()
    for path in Path(peephole.search.__file__).parent.glob("*.py"):
        text = path.read_text(encoding="utf-8")
        if path.stem == change.module:
            assert text.count(change.right) == 1, (
                f"{change.name}: wanted the replaced text once; update it to the changed code"
            )
            text = text.replace(change.right, change.wrong)
        (package / path.name).write_text(text.replace("peephole.search", NAME), encoding="utf-8")
    sys.path.insert(0, str(folder))
    try:
        importlib.invalidate_caches()
        yield importlib.import_module(NAME)
    finally:
        sys.path.remove(str(folder))
        for name in [name for name in sys.modules if name.split(".")[0] == NAME]:
            del sys.modules[name]
