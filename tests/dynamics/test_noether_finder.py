"""Symmetries found in a model's structure, and what is not taken for one."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from entrokit.dynamics.noether import Part, Symmetry, check_symmetry, find_symmetries, symmetry_breaking

from .noether_network import classified


class Mixed(nn.Module):
    """Every structure that is looked for, and two that break it: tanh, and a residual connection."""

    def __init__(self):
        super().__init__()
        self.conv1, self.batch = nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.conv2, self.group = nn.Conv2d(6, 8, 3, padding=1), nn.GroupNorm(2, 8)
        self.wide, self.narrow, self.layer = nn.Linear(32, 12), nn.Linear(12, 10), nn.LayerNorm(10)
        self.rms = nn.RMSNorm(10)
        self.gate, self.up, self.down = nn.Linear(10, 7), nn.Linear(10, 7), nn.Linear(7, 5, bias=False)
        self.inner, self.out = nn.Linear(5, 5), nn.Linear(5, 3)

    def forward(self, x):
        x = functional.relu(self.batch(self.conv1(x)))
        x = functional.max_pool2d(self.group(self.conv2(x)).relu(), 2)
        x = x.view(x.size(0), -1)
        x = self.rms(self.layer(self.narrow(torch.relu(self.wide(x)))))
        x = self.down(functional.silu(self.gate(x)) * self.up(x))
        return self.out(torch.tanh(x + self.inner(x)))


FOUND = {
    "scale(conv1.weight)": 6,
    "rescale(batch.weight, batch.bias / conv2.weight)": 6,
    "scale(conv2.weight, conv2.bias)": 2,
    "rescale(group.weight, group.bias / wide.weight)": 8,
    "rescale(wide.weight, wide.bias / narrow.weight)": 12,
    "scale(narrow.weight, narrow.bias)": 1,
    "translation(narrow.weight)": 12,
    "translation(narrow.bias)": 1,
    "rescale(rms.weight / gate.weight, up.weight)": 10,
    "rescale(up.weight, up.bias / down.weight)": 7,
    "translation(out.weight)": 5,
    "translation(out.bias)": 1,
}


def names(model, **options):
    return [symmetry.name for symmetry in find_symmetries(model, **options)]


def test_every_structure_is_found_and_holds_by_gradient_and_by_finite_moves():
    model = Mixed()
    found = find_symmetries(model)
    assert {symmetry.name: symmetry.parts[0].blocks for symmetry in found} == FOUND
    parameters, gradients, loss = classified(model, torch.randn(16, 1, 4, 4, dtype=torch.float64))
    for symmetry in found:
        # The ε of a norm breaks the scale: its share of the variance, which is not tiny at initialisation.
        bound = 1e-3 if symmetry.kind == "scale" else 1e-12
        assert float(symmetry_breaking(symmetry, parameters, gradients).max()) < bound, symmetry.name
        assert check_symmetry(loss, symmetry, parameters, 0.1) < bound * 0.1, symmetry.name


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (nn.Sequential(nn.Linear(4, 6), nn.Dropout(), nn.BatchNorm1d(6)), {"scale(0.weight, 0.bias)"}),
        (nn.Sequential(nn.Linear(4, 6), nn.Identity(), nn.BatchNorm1d(6, affine=False)), {"scale(0.weight)"}),
        (nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.RMSNorm(6)), {"scale(0.weight, 0.bias)"}),
        (nn.Sequential(nn.Linear(4, 6), nn.Sigmoid(), nn.LayerNorm(6)), set()),
        (nn.Sequential(nn.Linear(4, 6), nn.RMSNorm(6)), {"scale(0.weight, 0.bias)"}),
        (nn.Sequential(nn.Conv1d(2, 4, 3, groups=2), nn.InstanceNorm1d(4)), {"scale(0.weight)"}),
        (nn.Sequential(nn.Conv1d(2, 4, 3), nn.ReLU(), nn.Conv1d(4, 4, 3, groups=2)), set()),
        (nn.Sequential(nn.Linear(4, 3), nn.LogSoftmax(-1)), {"translation(0.weight)", "translation(0.bias)"}),
        (nn.Sequential(nn.Linear(4, 3), nn.Softmax(0)), set()),
        (nn.Sequential(nn.Linear(4, 1)), set()),
        # Flattened, the six channels of both places lie one by one.
        (nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Flatten(), nn.Linear(12, 1)), set()),
        (nn.Sequential(nn.LayerNorm(6), nn.Flatten(), nn.Linear(12, 1)), set()),
        (nn.Sequential(nn.RMSNorm(6), nn.Flatten(), nn.Linear(12, 1)), set()),
        # Over two axes there are no channels, and a column moves the mean by what its input is there.
        (nn.Sequential(nn.LayerNorm([6, 6]), nn.Linear(6, 1)), set()),
        (nn.Sequential(nn.Linear(4, 6), nn.LayerNorm([5, 6])), {"scale(0.weight, 0.bias)"}),
        (nn.Sequential(nn.LayerNorm(4, bias=False), nn.Linear(4, 1)), {"rescale(0.weight / 1.weight)"}),
    ],
)
def test_what_a_structure_proposes(model, expected):
    assert set(names(model)) == expected


def test_what_is_used_twice_or_tied_is_left_out():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x):
            return self.b(torch.relu(self.a(torch.relu(self.a(x)))))

    assert names(Twice(), kinds=("rescale",)) == []
    tied = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
    assert len(names(tied, kinds=("rescale",))) == 2
    tied[4].weight = tied[0].weight
    assert names(tied, kinds=("rescale",)) == []
    assert names(tied) == ["translation(4.bias)"]


def test_a_weight_read_by_hand_is_used_twice():
    class ByHand(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 3)

        def forward(self, x):
            return self.b(torch.relu(self.a(x))) + 0.1 * self.a.weight.sum()

    assert names(ByHand(), kinds=("rescale",)) == []


@pytest.mark.parametrize("gate", [torch.sigmoid, torch.relu, lambda h: h])
def test_a_product_with_itself_is_not_homogeneous(gate):
    class Squared(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 3)

        def forward(self, x):
            h = self.a(x)
            return self.b(h * gate(h))

    assert names(Squared(), kinds=("rescale",)) == []


def test_between_two_norms_the_coarser_one_says_what_moves_together():
    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.group, self.batch = nn.Conv1d(2, 4, 3), nn.GroupNorm(2, 4), nn.BatchNorm1d(4)

        def forward(self, x):
            h = self.conv(x)
            return self.group(h) + self.batch(h)

    assert find_symmetries(Both()) == [Symmetry("scale", (Part("conv.weight", 2), Part("conv.bias", 2)))]


def test_of_a_model_that_cannot_be_traced_the_parts_are_searched():
    class Branching(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))

        def forward(self, x):
            return self.body(x) if x.sum() > 0 else self.body(-x)

    assert names(Branching()) == ["rescale(body.0.weight, body.0.bias / body.2.weight)"]


def test_weights_that_are_computed_or_not_yet_there_are_left_out():
    model = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(4, 6)), nn.ReLU(), nn.Linear(6, 3))
    assert names(model) == ["translation(2.weight)", "translation(2.bias)"]
    assert names(nn.Sequential(nn.LazyLinear(4), nn.ReLU(), nn.LazyLinear(3))) == []
    assert names(nn.Sequential(nn.Linear(0, 4), nn.ReLU(), nn.Linear(4, 0)), kinds=("rescale",)) == []
    assert names(nn.Sequential()) == []


def test_a_compiled_model_has_its_own_names():
    class Compiled(nn.Module):
        """What `torch.compile` puts around a model, without its imports."""

        def __init__(self, model):
            super().__init__()
            self._orig_mod = model

        def forward(self, x):
            return torch.compile(self._orig_mod)(x)

    model = Compiled(nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)))
    found = find_symmetries(model, kinds=("rescale",))
    assert [part.name for part in found[0].parts] == ["_orig_mod.0.weight", "_orig_mod.0.bias", "_orig_mod.2.weight"]


def test_a_language_model_of_transformers():
    """Whole it cannot be traced; its MLPs can, and it says itself which layer gives the logits."""
    transformers = pytest.importorskip("transformers")
    options = {"vocab_size": 30, "hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 1}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2}

    def model(**more):
        return transformers.LlamaForCausalLM(transformers.LlamaConfig(**options, **heads, **more))

    mlp = "rescale(model.layers.0.mlp.up_proj.weight / model.layers.0.mlp.down_proj.weight)"
    assert names(model(tie_word_embeddings=True)) == [mlp]
    untied = model(tie_word_embeddings=False)
    assert names(untied) == [mlp, "translation(lm_head.weight)"]
    ids = torch.randint(0, 30, (2, 8))
    untied(input_ids=ids, labels=ids).loss.backward()
    parameters = dict(untied.named_parameters())
    gradients = {name: p.grad for name, p in parameters.items()}
    for symmetry in find_symmetries(untied):
        assert float(symmetry_breaking(symmetry, parameters, gradients).max()) < 1e-3


@pytest.mark.parametrize("norm", [nn.BatchNorm1d(5), nn.BatchNorm1d(12), nn.GroupNorm(4, 12), nn.InstanceNorm1d(5)])
def test_a_norm_over_another_axis_sees_all_channels_together(norm):
    """Of ``[N, T, 6]`` it takes the T for channels."""
    model = nn.Sequential(nn.Linear(4, 6), norm, nn.Linear(6, 3)).double()
    scale = Symmetry("scale", (Part("0.weight"), Part("0.bias")))
    assert find_symmetries(model, kinds=("scale",)) == [scale]
    x = torch.randn(16, getattr(norm, "num_features", 12), 4, dtype=torch.float64)
    parameters, gradients, _ = classified(nn.Sequential(model, nn.Flatten()), x)
    bare = {name.removeprefix("0."): p for name, p in parameters.items()}
    slopes = {name.removeprefix("0."): g for name, g in gradients.items()}
    assert float(symmetry_breaking(scale, bare, slopes).max()) < 1e-3
    row = Symmetry("scale", (Part("0.weight", 6), Part("0.bias", 6)))
    assert float(symmetry_breaking(row, bare, slopes).max()) > 1e-2


class ScaledRMSNorm(nn.Module):
    """One that torch has not, and whose forward pass is no stop for a trace."""

    def __init__(self, size):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))

    def forward(self, x):
        return self.weight * x / x.square().mean(-1, keepdim=True).sqrt()


def test_a_norm_of_another_s_making_is_known_by_its_name():
    found = names(nn.Sequential(nn.Linear(4, 6), ScaledRMSNorm(6), nn.Linear(6, 1)))
    assert set(found) == {"scale(0.weight, 0.bias)", "rescale(1.weight / 2.weight)"}


def test_what_is_read_beside_its_norm_has_a_scale():
    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.batch = nn.Conv1d(2, 4, 3), nn.BatchNorm1d(4)

        def forward(self, x):
            h = self.conv(x)
            return self.batch(h) + h

    assert names(Residual(), kinds=("scale",)) == []


def test_a_head_that_the_trace_finds_too_is_named_once():
    class Model(nn.Sequential):
        def get_output_embeddings(self):
            return self[-1]

    assert names(Model(nn.Linear(4, 3))) == ["translation(0.weight)", "translation(0.bias)"]
