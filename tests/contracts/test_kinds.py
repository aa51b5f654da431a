"""Tests that an implementation declines unknown kinds by name, so that the definition computes them."""

from __future__ import annotations

import itertools

import pytest
import torch

from peephole import engine
from peephole.config import Config, ModelConfig
from peephole.model import Model
from peephole.model.reading import Notices
from peephole.nn import DotAttention, Noise, Seq2SeqStepper, backends, build_seq2seq, schema, use_engine
from peephole.nn.attention import Attended, attend
from peephole.nn.backends import Request, find
from peephole.nn.layers import LSTM
from peephole.nn.outputs import Readouts
from peephole.search import beam_search, force, greedy_search
from peephole.symbols import CharacterSymbols
from peephole.training.backend_choice import training_requests

needs_engine = pytest.mark.skipif(not engine.available(), reason="without a compiler there is no engine")
SMALL = {"hidden_size": 6, "encoder_size": 6, "embedding_size": 5}


class ScaledDotAttention(torch.nn.Module):
    """Computes e_ij = s_{i-1}ᵀ h_j / 4, a kind that the engine lacks, with the shapes of dot attention."""

    kind = "scaled_dot"

    def keys(self, memory):
        return memory

    def first_state(self, valid):
        return ()

    def forward(self, query, keys, memory, valid, state=()):
        return Attended(*attend(torch.bmm(keys, query[:, :, None])[..., 0] / 4, memory, valid), state)


class RecedingAttention(torch.nn.Module):
    """Lowers the energy of attended steps: a kind with a state, like location-aware attention and coverage."""

    kind = "receding"

    def keys(self, memory):
        return memory

    def first_state(self, valid):
        return (torch.zeros(valid.shape),)

    def forward(self, query, keys, memory, valid, state):
        energy = torch.bmm(keys, query[:, :, None])[..., 0] - 2 * state[0]
        context, weights = attend(energy, memory, valid)
        return Attended(context, weights, (state[0] + weights,))


def network(attention=None, seed=1, **settings):
    """Return a network with random weights and, if given, another attention module."""
    config = ModelConfig(**SMALL, attention="dot", **settings)
    made = build_seq2seq(config, 9, 8)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(0.7 * torch.randn(parameter.shape, generator=generator))
    if attention is not None:
        made.decoder.attention = attention
    return made


def batch():
    return torch.tensor([[4, 5, 6, 7], [8, 4, 0, 0]]), torch.tensor([4, 2]), torch.tensor([[5, 6, 2], [7, 2, 0]])


def gradients(made, setting):
    """Return the loss and the gradients of all parameters under an engine setting."""
    with use_engine(setting):
        loss = made.loss_sum(*batch())
    return [loss.detach(), *torch.autograd.grad(loss, list(made.parameters()))]


@needs_engine
def test_an_attention_of_an_unknown_kind_is_computed_by_its_definition():
    """Its weights and shapes are those of dot attention: chosen by these, the engine would omit the scale."""
    scaled, dot = network(ScaledDotAttention()), network(DotAttention(6, 6))
    for one, other in zip(gradients(scaled, "auto"), gradients(scaled, "off"), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
    assert abs(float(gradients(scaled, "auto")[0] - gradients(dot, "auto")[0])) > 1e-3
    request = Request("decoder", scaled.decoder.kinds(), "cpu", "float32")
    assert find(request) == (None, "engine: has no attention of kind 'scaled_dot'")


@needs_engine
@pytest.mark.parametrize("part", ["cell", "peephole", "attention"])
def test_each_part_of_an_unknown_kind_is_declined_by_name(part):
    known = network().decoder.kinds()
    assert find(Request("decoder", known, "cpu", "float32")).reason is None
    assert find(Request("decoder", known | {part: "made-up"}, "cpu", "float32")) == (
        None,
        f"engine: has no {part} of kind 'made-up'",
    )


@needs_engine
def test_the_engine_can_pass_the_weights_of_each_attention_that_it_trains():
    from peephole.engine.attention import ATTENTIONS
    from peephole.engine.kinds import PREDICTION_KINDS, TRAINING_KINDS

    assert tuple(ATTENTIONS) == TRAINING_KINDS["attention"]
    for part, kinds in TRAINING_KINDS.items():
        assert set(kinds) <= set(PREDICTION_KINDS[part])  # a model is also measured while it trains


@needs_engine
def test_unlisted_parts_operators_devices_and_types_are_declined():
    kinds = network().decoder.kinds()
    assert find(Request("decoder", kinds | {"copying": "pointer"}, "cpu", "float32")).reason == (
        "engine: has no copying of kind 'pointer'"
    )
    assert find(Request("convolution", {}, "cpu", "float32")).reason == "engine: has no operator 'convolution'"
    assert find(Request("linear", {}, "cuda", "float32")).reason == "engine: not used on cuda, it is made for CPUs"
    assert find(Request("linear", {}, "cpu", "int8")).reason == "engine: does not compute on tensors of kind 'int8'"


@needs_engine
def test_the_engine_is_not_called_for_a_cell_of_an_unknown_kind(monkeypatch):
    monkeypatch.setattr(engine.LSTMProblem, "forward", lambda *_: pytest.fail("the engine was called"))
    layers = LSTM(3, 4)
    layers.kind = "made-up"
    layers(torch.ones(1, 2, 3), torch.tensor([2]))


@needs_engine
def test_a_network_that_differs_from_its_config_is_not_packed():
    """Packing uses only tensors and config, whose attention is dot."""
    config = Config().with_values({f"model.{name}": value for name, value in {**SMALL, "attention": "dot"}.items()})
    symbols = CharacterSymbols(list("abcde"), "NFC"), CharacterSymbols(list("WXYZ"), "NFC")
    scaled, dot = (Model(config, *symbols, [network(part)]) for part in (ScaledDotAttention(), DotAttention(6, 6)))
    sources, targets = ["abc", "e"], ["XY", "W"]
    stepper = Seq2SeqStepper(scaled.networks[0])
    ids = torch.tensor([[4, 5, 6], [8, 0, 0]]), torch.tensor([3, 1])
    wanted = [found.log_prob for found in force(stepper, *ids, [[5, 6], [4]])]
    notices = Notices()
    assert scaled.score(sources, targets, notices=notices) == pytest.approx(wanted, abs=1e-5)
    assert dot.score(sources, targets) != pytest.approx(wanted, abs=1e-3)
    assert notices.slow_search == "the network has attention 'scaled_dot' where its config has 'dot'"


@needs_engine
def test_the_definition_predicts_with_a_kind_unknown_to_the_engine(monkeypatch):
    monkeypatch.setitem(schema.ATTENTIONS, "scaled_dot", lambda _: iter(()))
    config = Config(model=ModelConfig(**SMALL))
    object.__setattr__(config.model, "attention", "scaled_dot")  # as if config.py allowed this choice
    symbols = CharacterSymbols(list("abcde"), "NFC"), CharacterSymbols(list("WXYZ"), "NFC")
    made = network(ScaledDotAttention())
    model, notices = Model(config, *symbols, [made]), Notices()
    [found] = model.predict(["abc"], notices=notices)
    assert notices.slow_search == "the engine has no attention of kind 'scaled_dot'"
    ids = torch.tensor([[4, 5, 6]]), torch.tensor([3])
    wanted = beam_search(Seq2SeqStepper(made), *ids, beam_size=5, nbest=1, max_lengths=torch.tensor([29]))
    assert found[0].log_prob == pytest.approx(wanted[0][0].log_prob, abs=1e-6)
    model.prepare()  # builds the networks without packing


def test_attention_state_is_kept_in_steps_and_searches():
    """Compare teacher forcing, single steps, and beam search, which reorders its hypotheses at every step."""
    made = network(RecedingAttention())
    source, lengths, target = batch()
    wanted = made.log_prob(source, lengths, target, torch.tensor([3, 2])).tolist()
    stepper = Seq2SeqStepper(made)
    forced = force(stepper, source, lengths, [[5, 6], [7]])
    assert [found.log_prob for found in forced] == pytest.approx(wanted, abs=1e-5)
    most = torch.tensor([4, 3])
    for row, found in enumerate(beam_search(stepper, source, lengths, beam_size=6, nbest=6, max_lengths=most)):
        for one in found:
            if one.finished:
                alone = source[row : row + 1, : lengths[row]], lengths[row : row + 1]
                [again] = force(stepper, *alone, [list(one.ids)])
                assert one.log_prob == pytest.approx(again.log_prob, abs=1e-5)
    best = greedy_search(stepper, source, lengths, max_lengths=most)
    plain = greedy_search(Seq2SeqStepper(network()), source, lengths, max_lengths=most)
    assert [one.symbol_log_probs for one in best] != [one.symbol_log_probs for one in plain]


def test_a_search_creates_the_recurrence_once(monkeypatch):
    made = network()
    calls = []
    recurrence = made.decoder.recurrence
    monkeypatch.setattr(made.decoder, "recurrence", lambda: calls.append(1) or recurrence())
    source, lengths, _ = batch()
    greedy_search(Seq2SeqStepper(made), source, lengths, max_lengths=torch.tensor([5, 5]))
    assert calls == [1]


MODELS = [
    {"cell": cell, "peephole": peephole, "context": context, "attention": attention, "decoder_layers": layers}
    for (cell, peephole), (context, attention), layers in itertools.product(
        [("lstm", "full"), ("lstm", "diagonal"), ("lstm", "none"), ("gru", "none")],
        [("attention", "additive"), ("attention", "dot"), ("attention", "general"), ("last", "dot"), ("mean", "dot")],
        [1, 2],
    )
]
MODELS += [
    {"residual": True, "encoder_layers": 2, "decoder_layers": 2},
    {"zoneout_hidden": 0.1, "dropout": 0.0},
    {"layer_norm": True},
]
MODELS += [{"input": "none", "residual": True, "decoder_layers": 2, "layer_norm": True, "zoneout_hidden": 0.1}]
MODELS += [{"input": "none", "cell": cell, "peephole": form} for cell, form in (("lstm", "full"), ("gru", "none"))]


MODELS += [{"output": "copy", "attention": kind} for kind in ("additive", "coverage")]
MODELS += [{"input_feeding": True, "decoder_layers": 2}, {"input_feeding": True, "input": "none"}]
MODELS += [{"attention_symbol": True, "attention": kind} for kind in ("additive", "location", "coverage")]
MODELS += [{"input_feeding": True, "context": "mean", "cell": "gru", "peephole": "none"}]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: "-".join(map(str, model.values())))
@pytest.mark.parametrize("precision", ["32-true", "64-true", "bf16-mixed"])
def test_a_training_step_makes_the_requests_that_its_notice_lists(model, precision, monkeypatch):
    """Compare `training_requests`, computed from the config, with the requests of a training step."""
    config = Config().with_values({f"model.{name}": value for name, value in {**SMALL, **model}.items()})
    made = build_seq2seq(config.model, 9, 8)
    made = made.double() if precision == "64-true" else made
    seen = []
    for module in ("layers", "decoder", "linear", "outputs", "copying"):
        monkeypatch.setattr(f"peephole.nn.{module}.find_for", lambda *given: find_and_record(seen, *given))
    monkeypatch.setattr("peephole.nn.noise.find", lambda request: seen.append(request) or find(request))
    noise = Noise(seed=1, step=1, examples=torch.arange(2), rate=config.model.dropout)
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16-mixed"):
        source, lengths, target = batch()
        source = torch.stack([source, source], 2) if model.get("output") == "copy" else source
        made.loss_sum(source, lengths, target, noise=noise)
    wanted = training_requests(config, "cpu", precision)
    assert {str(request) for request in seen} == {str(request) for request in wanted}


def find_and_record(seen, operator, kinds, tensors):
    """Append the request to `seen` and return the implementation found for it."""
    seen.append(backends.request_for(operator, kinds, list(tensors)))
    return find(seen[-1])


def test_scheduled_sampling_asks_for_an_operator_of_its_own(monkeypatch):
    """Check the request, which `training_requests` lists, and that a backend that accepts it computes the logits."""
    sampling = {"train.scheduled_sampling": "linear", "train.precision": "32-true"}
    config = Config().with_values({f"model.{name}": value for name, value in {**SMALL, "attention": "dot"}.items()})
    wanted = training_requests(config.with_values(sampling), "cpu", "32-true")
    made, (source, lengths, target) = network(), batch()
    noise = Noise(seed=1, step=1, examples=torch.arange(2), rate=0.2)
    asked, logits = [], torch.randn(2, 3, 8)

    def accept(operator, kinds, tensors):
        asked.append(backends.request_for(operator, kinds, list(tensors)))
        return backends.Choice(lambda *arguments: logits if arguments[3:] == (noise, 0.5) else None, None)

    monkeypatch.setattr("peephole.nn.decoder.find_for", accept)
    assert made(source, lengths, target, noise=noise, sampling_probability=0.5) is logits
    assert [request.operator for request in asked] == ["sampled_decoder"]
    assert str(asked[0]) in map(str, wanted)


def test_a_backend_can_compute_the_decoder_with_input_feeding(monkeypatch):
    made, (source, lengths, target) = network(input_feeding=True), batch()
    noise = Noise(seed=1, step=1, examples=torch.arange(2), rate=0.2)
    found = Readouts(torch.randn(2, 3, 6), torch.randn(2, 3, 17), None, None)

    def accept(operator, kinds, tensors):
        accepted = operator == "feeding_decoder" and kinds["input_feeding"] == "readout"
        return backends.Choice((lambda *given: found if given[3] is noise else None) if accepted else None, None)

    monkeypatch.setattr("peephole.nn.decoder.find_for", accept)
    wanted = torch.nn.functional.linear(found.readout, made.decoder.output.weight, made.decoder.output.bias)
    assert torch.equal(made(source, lengths, target, noise=noise), wanted)


def test_a_backend_can_compute_the_loss_of_copying(monkeypatch):
    made, (source, lengths, target) = network(output="copy"), batch()
    loss = torch.tensor(3.0)

    def accept(operator, kinds, tensors):
        assert (operator, kinds, len(tensors)) == ("output_loss", {"output": "copy"}, 5)
        return backends.Choice(lambda output, *_: loss if output is made.decoder.output else None, None)

    monkeypatch.setattr("peephole.nn.copying.find_for", accept)
    assert made.loss_sum(torch.stack([source, source], 2), lengths, target) is loss
