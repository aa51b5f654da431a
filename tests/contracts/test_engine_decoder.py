"""Tests the engine's decoder: large sizes, equal bits in any batch, number formats, and fallback to the definition.

test_seq2seq.py, which runs on every instruction set, compares it with the oracle.
"""

from __future__ import annotations

from functools import lru_cache

import pytest
import torch

from peephole import engine
from peephole.config import ModelConfig
from peephole.engine.attention import AttentionWeights
from peephole.engine.decoder import decode
from peephole.nn import GRUWeights, LSTMState, LSTMWeights, Noise, build_seq2seq, use_engine
from peephole.nn.backends import find_for
from peephole.nn.decoder import decoder_tensors

from .pairwise import covering

pytestmark = pytest.mark.skipif(not engine.available(), reason="without a compiler there is no engine")
instruction_sets = pytest.mark.parametrize("instruction_set", engine.instruction_sets())
ATTENTIONS = ["additive", "dot", "general", "fixed", "location", "coverage", "multihead"]
attentions = pytest.mark.parametrize("attention", ATTENTIONS)
PEEPHOLES = ["full", "diagonal", "none", "gru"]  # the last is another cell
peepholes = pytest.mark.parametrize("peephole", PEEPHOLES)
BATCH, SOURCE_STEPS, STEPS = 23, 9, 14


def make(attention="additive", peephole="full", decoder_layers=2, hidden_size=70, residual=False):
    """Return a model with random parameters and a batch with unequal lengths on both sides."""
    config = ModelConfig(
        cell="gru" if peephole == "gru" else "lstm",
        peephole="none" if peephole == "gru" else peephole,
        context="last" if attention == "fixed" else "attention",
        attention="additive" if attention == "fixed" else attention,
        hidden_size=hidden_size,
        encoder_size=hidden_size if attention == "dot" else 38,
        embedding_size=21,
        decoder_layers=decoder_layers,
        residual=residual,
        location_channels=7,
        location_width=5,
        attention_heads=2,
    )
    generator = torch.Generator().manual_seed(1)
    model = build_seq2seq(config, 30, 25)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))
    lengths = [torch.randint(1, most + 1, (BATCH,), generator=generator) for most in (SOURCE_STEPS, STEPS)]
    lengths[0][3], lengths[1][5] = SOURCE_STEPS, STEPS
    ids = [
        torch.randint(4, 25, (BATCH, most), generator=generator) * (torch.arange(most) < own[:, None])
        for own, most in zip(lengths, (SOURCE_STEPS, STEPS), strict=True)
    ]
    return model, ids[0], lengths[0], ids[1]


def run(problem, setting, *, rate=0.0, autocast=False):
    """Return the logits of real symbols, and the gradients of a random linear function of them."""
    model, source, source_lengths, target = problem
    noise = Noise(seed=1, step=2, examples=torch.arange(BATCH), rate=rate)
    with use_engine(setting), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        logits = model(source, source_lengths, target, noise=noise)
    logits = logits.to(model.decoder.output.weight.dtype).where((target != 0)[..., None], 0)
    factors = torch.randn(logits.shape, generator=torch.Generator().manual_seed(2))  # float32, also for float64
    return [logits.detach(), *torch.autograd.grad((logits * factors).sum(), list(model.parameters()))]


@lru_cache(maxsize=1)  # cases that differ only in the instruction set follow each other
def definition(attention, peephole, decoder_layers, residual, dtype):
    """Return each result of the definition in float64, and in the given type."""
    problem = make(attention, peephole, decoder_layers, residual=residual)
    problem[0].double()
    exact = run(problem, "off", rate=0.3)
    problem[0].to(dtype)
    return list(zip(exact, exact if dtype == torch.float64 else run(problem, "off", rate=0.3), strict=True))


DEPTHS = [(1, False), (3, False), (3, True)]  # layers, and whether they are residual
DTYPES = [torch.float32, torch.float64]


@pytest.mark.parametrize(
    ("instruction_set", "attention", "peephole", "dtype", "depth"),
    sorted(
        covering(engine.instruction_sets(), ATTENTIONS, PEEPHOLES, DTYPES, DEPTHS, strength=3),
        key=lambda case: list(map(str, case[1:])),
    ),
    ids=str,
)
def test_large_decoders_equal_the_definition(instruction_set, attention, peephole, dtype, depth, threads):
    """Compare with the definition in float64, by the norm of the error of each parameter's gradient.

    The terms of the gradient of W_s nearly cancel, so the error of the definition in float32 exceeds 1e-5; the engine
    may have up to twice that error.
    """
    threads(2)
    decoder_layers, residual = depth
    problem = make(attention, peephole, decoder_layers, residual=residual)
    problem[0].to(dtype)
    tolerance = 1e-12 if dtype == torch.float64 else 1e-5
    got_all = run(problem, instruction_set, rate=0.3)
    for (want, defined), got in zip(
        definition(attention, peephole, decoder_layers, residual, dtype), got_all, strict=True
    ):
        allowed = max(tolerance * float(want.norm()), 2 * float((defined - want).norm()))
        assert float((got - want).norm()) <= allowed
        assert want.abs().max() > 0


ENGINE_KINDS = {"dot": "product", "general": "product", "fixed": "fixed_context"}


def attention_shapes(attention, A, H, M):
    """Return the shapes of the weights of attention, by their names in `AttentionWeights`."""
    if attention in ENGINE_KINDS:
        return {}
    shapes = {"weight_query": (A, H), "vector": (A,)}
    if attention in ("location", "coverage"):
        shapes |= {"bias": (A,), "weight_location": (A, 7) if attention == "location" else (A,)}
    shapes |= {"filters": (7, 5)} if attention == "location" else {}
    return shapes | ({"weight_output": (M, M)} if attention == "multihead" else {})


class Recurrence:
    """Holds random arguments of `decode` and runs it on a selection of the batch's rows."""

    def __init__(self, attention, peephole):
        draw = torch.Generator().manual_seed(5)

        def random(*shape):
            return (0.4 * torch.randn(shape, generator=draw)).requires_grad_()

        B, T, U, E, M, H = BATCH, SOURCE_STEPS, STEPS, 21, 38, 38
        G = 3 * H if peephole == "gru" else 4 * H
        forms = {"full": [(3 * H, H)], "diagonal": [(3, H)], "none": [], "gru": [(G,)]}
        sizes = [[(G, size), (G, H), (G,), *forms[peephole]] for size in (E + M, H)]
        self.is_gru = peephole == "gru"
        self.weights = [[random(*shape) for shape in layer] for layer in sizes]
        A = H if attention in ENGINE_KINDS else 30
        self.kind = ENGINE_KINDS.get(attention, attention)
        self.own = {name: random(*shape) for name, shape in attention_shapes(attention, A, H, M).items()}
        self.embedded, self.masks = random(B, U, E), random(B, U, H)
        self.memory = random(B, M) if attention == "fixed" else random(B, T, M)
        self.keys = None if attention == "fixed" else random(B, T, A)
        self.asked = random(B, U, A) if self.own else None
        self.states = [random(B, H) for _ in range(2 if self.is_gru else 4)]
        self.lengths, self.source_lengths = (torch.randint(1, most + 1, (B,), generator=draw) for most in (U, T))
        self.lengths[5], self.source_lengths[3] = U, T
        self.factors = [torch.randn(B, U, size, generator=draw) for size in (H, M)]
        self.factors += [] if attention == "fixed" else [torch.randn(B, U, T, generator=draw)]

    def run(self, rows, residual=False):
        states = [state[rows] for state in self.states]
        found = decode(
            self.embedded[rows],
            self.lengths[rows],
            self.source_lengths[rows],
            self.memory[rows],
            None if self.keys is None else self.keys[rows],
            AttentionWeights(self.kind, **self.own, heads=2 if self.kind == "multihead" else 0),
            states if self.is_gru else [LSTMState(*states[:2]), LSTMState(*states[2:])],
            [GRUWeights(*layer) if self.is_gru else LSTMWeights(*layer) for layer in self.weights],
            [self.masks.detach()[rows]],
            residual,
            self.keys is not None,
            None if self.asked is None else self.asked[rows],
        )
        return [part for part in found if part is not None]  # a fixed context has no weights

    def gradients(self):
        loss = sum((part * factor).sum() for part, factor in zip(self.run(slice(None)), self.factors, strict=True))
        leaves = [
            self.embedded,
            self.memory,
            *self.states,
            *self.own.values(),
            *([] if self.asked is None else [self.asked]),
            *(weight for own in self.weights for weight in own),
        ]
        return torch.autograd.grad(loss, leaves + ([] if self.keys is None else [self.keys]))


@instruction_sets
@attentions
@pytest.mark.parametrize("operand", ["as_is", "bf16"])
@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("peephole", ["full", "gru"])
def test_a_pair_has_the_same_bits_in_any_batch(instruction_set, attention, operand, residual, peephole, threads):
    """Compare it alone, among others, in another order and on several numbers of threads."""
    problem = Recurrence(attention, peephole)
    generator = torch.Generator().manual_seed(3)
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=operand == "bf16")
    with torch.no_grad(), use_engine(instruction_set), autocast:
        threads(1)
        want = problem.run(torch.arange(BATCH), residual)
        for num_threads in (1, 2, 5):
            threads(num_threads)
            for size in (1, 2, 7, BATCH):
                rows = torch.randperm(BATCH, generator=generator)[:size]
                for got, whole in zip(problem.run(rows, residual), want, strict=True):
                    assert torch.equal(got, whole[rows])


@instruction_sets
@attentions
@peepholes
def test_gradients_have_the_same_bits_on_any_number_of_threads(instruction_set, attention, peephole, threads):
    problem = Recurrence(attention, peephole)
    with use_engine(instruction_set):
        threads(1)
        want = problem.gradients()
        for num_threads in (2, 5):
            threads(num_threads)
            for got, one in zip(problem.gradients(), want, strict=True):
                assert torch.equal(got, one)


@instruction_sets
@attentions
@pytest.mark.parametrize("peephole", ["full", "gru"])
def test_bfloat16_is_closer_to_float32_than_autocast(instruction_set, attention, peephole, threads):
    threads(2)
    problem = make(attention, peephole)
    want, got, cast = (
        run(problem, setting, autocast=autocast)
        for setting, autocast in (("off", False), (instruction_set, True), ("off", True))
    )
    errors = [
        sum(float((part - one).norm() / one.norm()) for part, one in zip(parts, want, strict=True))
        for parts in (got, cast)
    ]
    assert 0 < errors[0] < errors[1]


@pytest.mark.parametrize(
    ("attention", "operand", "residual", "cell"),
    covering(ATTENTIONS, ["as_is", "bf16"], [False, True], ["lstm", "gru"]),
)
def test_opcheck(attention, operand, residual, cell):
    """Without padded steps or units, which leave uninitialised elements in `saved` that opcheck would compare."""
    draw = torch.Generator().manual_seed(4)

    def random(*shape):
        return (0.3 * torch.randn(shape, generator=draw)).requires_grad_()

    B, T, U, E, M, H = 4, 16, 4, 16, 16, 16
    full = torch.full((B,), U)
    G, last = (4 * H, (3 * H, H)) if cell == "lstm" else (3 * H, (3 * H,))
    weights = [[random(G, size), random(G, H), random(G), random(*last)] for size in (E + M, H)]
    own = {name: random(*shape) for name, shape in attention_shapes(attention, H, H, M).items()}
    arguments = (
        random(B, U, E),
        full,
        torch.full((B,), T),
        random(B, M) if attention == "fixed" else random(B, T, M),
        None if attention == "fixed" else random(B, T, H),
        random(B, U, H) if own and cell == "gru" else None,
        *AttentionWeights("", **own)[1:7],
        [random(B, H) for _ in range(4 if cell == "lstm" else 2)],
        [weight for layer in weights for weight in layer],
        [random(B, U, H).detach()],
        attention != "fixed",
        cell,
        ENGINE_KINDS.get(attention, attention),
        2 if attention == "multihead" else 0,
        residual,
        operand,
        engine.instruction_sets()[0],
    )
    torch.library.opcheck(torch.ops.peephole.decoder.default, arguments)


def test_the_definition_computes_when_off_and_for_unsupported_types():
    model, source, source_lengths, _ = make(hidden_size=4, decoder_layers=1)
    state = model.start(source, source_lengths)

    def choice(embedded):
        return find_for("decoder", model.decoder.kinds(), decoder_tensors(model.decoder, embedded, state, []))

    embedded = torch.zeros(BATCH, 3, 21)
    assert choice(embedded).run is not None
    with use_engine("off"):
        assert choice(embedded) == (None, "turned off")
    with torch.autocast("cpu", torch.float16):
        assert choice(embedded) == (None, "engine: does not compute on tensors of kind 'float16 products'")
    assert choice(embedded.double()) == (None, "engine: does not compute on tensors of kind 'mixed'")
    assert choice(embedded[:, :0]) == (None, "engine: does not compute on tensors of kind 'empty'")
