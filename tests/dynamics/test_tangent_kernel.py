"""The tangent kernel, whole and in pieces, against a double loop over samples and outputs."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from entrokit.dynamics.laziness import RateRNN, kernel_alignment, tangent_kernel
from entrokit.dynamics.laziness._jacobian import SampleJacobian
from entrokit.dynamics.laziness.kernel import plan_for

from ..rounding import assert_within, bound


def normal(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def double_loop(model, inputs, names=None):
    """Every entry as the product of two gradients of the whole batch's forward pass."""
    chosen = [p for name, p in model.named_parameters() if names is None or name in names]
    out = model.eval()(inputs).flatten()
    rows = [torch.autograd.grad(y, chosen, retain_graph=True, materialize_grads=True) for y in out]
    K = torch.empty(len(rows), len(rows), dtype=torch.float64)
    for i, a in enumerate(rows):
        for j, b in enumerate(rows):
            K[i, j] = sum((x * y).sum() for x, y in zip(a, b, strict=True))
    return K


class Tied(nn.Module):
    """A language model whose readout is its embedding."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(5, 3)
        self.readout = nn.Linear(3, 5, bias=False)
        self.readout.weight = self.embed.weight

    def forward(self, tokens):
        return self.readout(torch.tanh(self.embed(tokens)).cumsum(1))


class Sideways(nn.Module):
    """A parameter that is a transposed view."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(normal(4, 3).T)

    def forward(self, x):
        return torch.sin(x @ self.weight.T)


def mlp():
    model = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(0.5), nn.Linear(6, 3))
    model[1].running_mean += 0.3
    return model, normal(4, 4)


def conv():
    layers = nn.Conv2d(1, 2, 2), nn.Tanh(), nn.Flatten(), nn.Linear(8, 2)
    return nn.Sequential(*layers), normal(3, 1, 3, 3)


CASES = {
    "mlp": mlp,
    "conv": conv,
    "rates": lambda: (RateRNN(2, 4, 2, rank=1), normal(2, 3, 2)),
    "tied": lambda: (Tied(), torch.tensor([[0, 4], [2, 2]])),
    "sideways": lambda: (Sideways(), normal(3, 4)),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("vectorize", [True, False])
def test_it_is_the_double_loop_however_it_is_cut(case, vectorize):
    model, inputs = CASES[case]()
    model = model.double()
    exact = double_loop(model, inputs)
    # All of J at once, some of its rows, and cuts of them.
    for memory, chunk in ((10**8, None), (10**8, 2), (8 * 4 * 70, None), (8 * 4 * 32, None), (8 * 4 * 32, 2)):
        K = tangent_kernel(model, inputs, chunk=chunk, memory=memory, vectorize=vectorize)
        torch.testing.assert_close(K, exact, atol=1e-9, rtol=0)
        assert torch.equal(K, K.T)


def test_samples_come_first_and_outputs_within_them():
    model = nn.Linear(2, 2, bias=False)
    x = torch.tensor([[1.0, 0.0], [2.0, 0.0]])
    expected = torch.tensor([[1.0, 0, 2, 0], [0, 1, 0, 2], [2, 0, 4, 0], [0, 2, 0, 4]])
    assert torch.equal(tangent_kernel(model, x), expected)


def test_check_2_a_worked_kernel():
    X = torch.tensor([[1, 0, 0], [1, 1, 0], [0, 1, -1]], dtype=torch.float64)
    W0, w0 = torch.diag(torch.tensor([2.0, 1.0, 0.5])), torch.tensor([[1.0, 0.0, -1.0]])

    def kernel(W, w):
        model = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 1, bias=False)).double()
        model.load_state_dict({"0.weight": W, "1.weight": w})
        return tangent_kernel(model, X)

    assert kernel_alignment(kernel(W0, w0), kernel(W0 + 0.3, 2 * w0)) == pytest.approx(0.992327, abs=1e-6)


def test_parameters_are_chosen_by_name_or_by_what_is_trained():
    model, x = mlp()
    model = model.double()
    for names in (["0.weight"], ["4.weight", "0.bias"]):
        torch.testing.assert_close(tangent_kernel(model, x, names), double_loop(model, x, names), atol=1e-9, rtol=0)
    assert torch.equal(tangent_kernel(model, x, "0.weight"), tangent_kernel(model, x, ["0.weight", "0.weight"]))
    whole = double_loop(model, x, ["0.weight", "0.bias", "1.weight", "1.bias"])
    for p in model[4].parameters():
        p.requires_grad_(False)
    torch.testing.assert_close(tangent_kernel(model, x), whole, atol=1e-9, rtol=0)


def test_a_tied_weight_is_one_by_either_name():
    model, tokens = CASES["tied"]()
    one, other = (tangent_kernel(model, tokens, [name]) for name in ("embed.weight", "readout.weight"))
    assert torch.equal(one, other)
    assert torch.equal(one, tangent_kernel(model, tokens, ["embed.weight", "readout.weight"]))
    assert torch.equal(one, tangent_kernel(model, tokens))


@pytest.mark.parametrize("vectorize", [True, False])
def test_a_parameter_without_a_say_adds_zeros(vectorize):
    model = nn.Module()
    model.idle, model.busy = nn.Parameter(torch.ones(3)), nn.Linear(2, 1)
    model.forward = lambda x: model.busy(x)
    x = torch.ones(2, 2)
    assert not tangent_kernel(model, x, ["idle"], vectorize=vectorize).any()
    K = tangent_kernel(model, x, vectorize=vectorize)
    assert torch.equal(K, torch.full((2, 2), 3.0))


def test_rows_of_half_precision_are_added_in_float32():
    x = (100.0 * normal(4, 300)).bfloat16()
    model = nn.Linear(300, 1, bias=False).bfloat16()
    K = tangent_kernel(model, x)
    assert K.dtype == torch.float32
    exact = x.double() @ x.double().T
    # Rows are x itself; their products are exact in float32, and 300 of them are added.
    assert_within(K, exact, bound(float((x.double().abs() @ x.double().abs().T).max()), 300))


def test_the_model_is_as_before():
    model, x = mlp()
    model[3].eval()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    with torch.no_grad():
        tangent_kernel(model, x.float())
    with pytest.raises(RuntimeError):
        tangent_kernel(model, normal(2, 9).float())
    assert [module.training for module in model.modules()] == [True, True, True, True, False, True]
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def test_a_model_that_vmap_cannot_run_is_run_sample_by_sample():
    class Last(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.GRU(2, 3, batch_first=True)

        def forward(self, x):
            return self.inner(x)[0][:, -1]

    model, x = Last().double(), normal(3, 4, 2)
    with pytest.raises(RuntimeError, match="pass vectorize=False"):
        tangent_kernel(model, x)
    K = tangent_kernel(model, x, vectorize=False)
    torch.testing.assert_close(K, double_loop(model, x), atol=1e-9, rtol=0)


@given(
    st.integers(1, 9),
    st.integers(1, 5),
    st.lists(st.integers(1, 40), min_size=1, max_size=4),
    st.integers(4, 3000),
    st.sampled_from([None, 1, 3, 20]),
)
@settings(max_examples=200)
def test_a_plan_takes_every_row_and_column_once_and_keeps_within_its_budget(n, o, sizes, entries, chunk):
    named = {f"p{i}": size for i, size in enumerate(sizes)}
    plan = plan_for(n, o, named, entries, chunk)
    rows = [i * o + k for c in plan.chunks for i in range(n)[c.samples] for k in range(o)[c.outputs]]
    assert rows == list(range(n * o))
    assert [(c.start, c.stop) for c in plan.chunks] == [
        (rows[c.start], rows[c.start] + len(range(n)[c.samples]) * len(range(o)[c.outputs])) for c in plan.chunks
    ]
    columns = [(name, i) for block in plan.blocks for name, cut in block.items() for i in range(named[name])[cut]]
    assert sorted(columns) == sorted((name, i) for name, size in named.items() for i in range(size))
    tallest = max(c.stop - c.start for c in plan.chunks)
    widest = max(sum(cut.stop - cut.start for cut in block.values()) for block in plan.blocks)
    if chunk is None or entries >= 4 * tallest:
        assert tallest * widest <= max(1, entries // 4)
        assert (plan.held + 3) * tallest * widest <= entries


def made(monkeypatch, model, x, **options):
    """How many rows of J are made, and the most entries at once."""
    count, most, honest = [0], [0], SampleJacobian.rows

    def counting(self, inputs, block, outputs):
        found = honest(self, inputs, block, outputs)
        count[0] += next(iter(found.values())).shape[:2].numel()
        most[0] = max(most[0], sum(part.numel() for part in found.values()))
        return found

    monkeypatch.setattr(SampleJacobian, "rows", counting)
    tangent_kernel(model, x, **options)
    return count[0], most[0]


def test_rows_are_made_once_where_they_fit_and_few_times_where_not(monkeypatch):
    model, x = nn.Linear(9, 2), normal(8, 9).float()
    # J is 16 rows of 20 entries. Of 1280, a sixteenth is a chunk of 4 rows, and all can be held.
    assert made(monkeypatch, model, x, memory=4 * 1280) == (16, 80)
    # Of 160, a chunk is one row, and 8 - 3 are held: tiles of 5 rows, met by 16, 11, 6, 1.
    assert made(monkeypatch, model, x, memory=4 * 160) == (16 + 11 + 6 + 1, 20)
    # Of 40, a row is cut into 10 + 10 columns, and 4 - 3 are held.
    assert made(monkeypatch, model, x, memory=4 * 40) == (2 * sum(range(1, 17)), 10)


def test_what_is_not_finite_shows():
    model, x = nn.Linear(2, 1), torch.tensor([[1.0, math.nan], [1.0, 1.0]])
    K = tangent_kernel(model, x)
    assert bool(K[0].isnan().all())
    assert float(K[1, 1]) == 3.0
    with pytest.raises(ValueError, match="K0: 3 of 4 entries are NaN"):
        kernel_alignment(K, K)


class Named(nn.Linear):
    def forward(self, x):
        return {"logits": super().forward(x)}


class Chosen(nn.Linear):
    def forward(self, x):
        return super().forward(x).argmax(1)


@pytest.mark.parametrize(
    ("model", "inputs", "options", "message"),
    [
        (nn.Linear(2, 1), torch.empty(0, 2), {}, "at least one sample"),
        (nn.Linear(2, 1), torch.tensor(1.0), {}, r"inputs \[n, ...\]"),
        (
            nn.Linear(2, 1),
            torch.ones(2, 2),
            {"params": ["bias", "wieght"]},
            "no parameter 'wieght'; it has weight, bias",
        ),
        (nn.Linear(2, 1), torch.ones(2, 2), {"params": []}, "no parameter to differentiate"),
        (nn.ReLU(), torch.ones(2, 2), {}, "no parameter to differentiate"),
        (nn.Linear(0, 2, bias=False), torch.ones(2, 0), {}, "no parameter to differentiate"),
        (Chosen(2, 3), torch.ones(2, 2), {}, r"gives torch.int64 \[1\]"),
        (nn.Linear(2, 1).requires_grad_(False), torch.ones(2, 2), {}, "let some require a gradient"),
        (nn.Linear(2, 1), torch.ones(2, 2), {"chunk": 0}, "chunk and memory must be at least 1"),
        (nn.Linear(2, 1), torch.ones(2, 2), {"memory": 0}, "chunk and memory must be at least 1"),
        (Named(2, 1), torch.ones(2, 2), {}, "the model returns dict; wrap it"),
        (nn.Sequential(nn.Linear(2, 3), nn.Flatten(0)), torch.ones(2, 2), {}, r"gives torch.float32 \[3\] for one"),
        (
            nn.Sequential(nn.Linear(2, 3), nn.AdaptiveMaxPool1d(0)),
            torch.ones(2, 2),
            {},
            r"gives torch.float32 \[1, 0\]",
        ),
    ],
)
def test_bad_input_is_named(model, inputs, options, message):
    with pytest.raises(ValueError, match=message):
        tangent_kernel(model, inputs, **options)
