"""KappaTune: which parameters of a model are matrices, and what is measured of each."""

import inspect
import json
import math

import pytest
import torch
from torch import nn

from entrokit.optim.condition import (
    SpectrumCache,
    condition_number,
    condition_numbers,
    gaussian_condition_number,
    measure_matrices,
    normalized_log_volume,
    relative_to_gaussian,
)

from .conditioned import DIAGONAL, Experts, Tied, three


def test_check_1_of_a_model():
    kappas = condition_numbers(three())
    assert list(kappas) == ["ones.weight", "diagonal.weight", "two.weight"]
    assert kappas["ones.weight"] == math.inf
    assert kappas["diagonal.weight"] == pytest.approx(4.0, rel=1e-9)
    assert kappas["two.weight"] == pytest.approx(2.710229, abs=5e-7)


def test_what_is_said_of_a_matrix():
    found = measure_matrices(three(), rtol=0.0)
    diagonal, ones = found["diagonal.weight"], found["ones.weight"]
    assert diagonal.shape == (3, 3)
    assert (diagonal.count, diagonal.numel, diagonal.method) == (1, 9, "svd")
    assert diagonal.log_volume == pytest.approx(0.0, abs=1e-9)
    assert diagonal.normalized_log_volume == pytest.approx(float(normalized_log_volume(DIAGONAL)), abs=1e-9)
    assert diagonal.resolution == 2.0**23
    assert ones.log_volume == ones.normalized_log_volume == -math.inf
    assert measure_matrices(three())["two.weight"].method == "gram"
    assert measure_matrices(three(torch.bfloat16))["two.weight"].resolution == 128.0


def test_condition_numbers_take_what_measure_matrices_takes():
    own, whole = (inspect.signature(function) for function in (condition_numbers, measure_matrices))
    assert own.parameters == whole.parameters
    assert own.return_annotation == "dict[str, float]"
    with pytest.raises(TypeError, match="unexpected keyword argument 'max_dims'"):
        condition_numbers(three(), max_dims=3)


def test_nothing_is_changed_by_measuring():
    model = three()
    before = {name: p.clone() for name, p in model.named_parameters()}
    condition_numbers(model)
    assert all(torch.equal(p, before[name]) and p.requires_grad for name, p in model.named_parameters())


def test_a_tied_weight_counts_once_and_vectors_not_at_all():
    assert list(condition_numbers(Tied())) == ["embed.weight"]


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_half_precision_is_measured_as_it_is(half):
    model = nn.Linear(6, 9, dtype=half)
    exact = condition_number(model.weight.double())
    assert condition_numbers(model)["weight"] == pytest.approx(exact, rel=1e-9)


def test_kernels_are_flattened_by_their_first_dimension():
    model = nn.Sequential(nn.Conv2d(3, 5, 2), nn.ConvTranspose1d(4, 2, 3), nn.Conv1d(4, 6, 2, groups=2))
    found = measure_matrices(model)
    assert [one.shape for one in found.values()] == [(5, 12), (4, 6), (6, 4)]
    for name, p in model.named_parameters():
        if p.ndim > 1:
            assert found[name].kappa == pytest.approx(condition_number(p.reshape(len(p), -1)), rel=1e-9)
    with pytest.raises(ValueError, match="no matrix is left"):
        condition_numbers(model, flatten_conv=False)


def test_memory_that_is_not_contiguous():
    model = nn.Conv2d(3, 5, 2).to(memory_format=torch.channels_last)
    assert not model.weight.is_contiguous()
    exact = condition_number(model.weight.contiguous().reshape(5, 12))
    assert condition_numbers(model)["weight"] == pytest.approx(exact, rel=1e-9)


def test_fused_experts_are_averaged():
    model = nn.Sequential(Experts(DIAGONAL, torch.eye(3)))
    found = measure_matrices(model)["0.gate_up_proj"]
    assert found.kappa == pytest.approx((4.0 + 1.0) / 2.0, rel=1e-9)
    assert (found.shape, found.count, found.numel) == ((3, 3), 2, 18)
    half = float(normalized_log_volume(DIAGONAL)) / 2.0
    assert found.normalized_log_volume == pytest.approx(half, abs=1e-9)
    singular = measure_matrices(nn.Sequential(Experts(DIAGONAL, torch.ones(3, 3))))["0.gate_up_proj"]
    assert singular.kappa == math.inf
    assert singular.log_volume == -math.inf


def test_a_stack_of_stacks():
    model = Experts(torch.eye(3).expand(2, 3, 3), DIAGONAL.expand(2, 3, 3))
    assert measure_matrices(model)["gate_up_proj"].count == 4
    assert condition_numbers(model)["gate_up_proj"] == pytest.approx(2.5, rel=1e-9)


def test_large_ones_and_unwanted_ones_are_left_out():
    model = three()
    assert list(condition_numbers(model, max_dim=3)) == ["diagonal.weight", "two.weight"]
    assert list(condition_numbers(model, include=lambda name, p: p.shape == (2, 3))) == ["two.weight"]
    assert list(condition_numbers(nn.Sequential(Experts(*torch.ones(9, 2, 2))), max_dim=2)) == ["0.gate_up_proj"]
    assert condition_numbers(nn.Conv1d(2, 3, 2), max_dim=3), "no dimension of a kernel, though flat it has 4 columns"


def test_the_floor_is_added():
    kappas = condition_numbers(three(), floor=0.5)
    assert kappas["diagonal.weight"] == pytest.approx(2.0, rel=1e-9)
    assert kappas["ones.weight"] == pytest.approx(math.sqrt(8.0) / 0.5, rel=1e-9)


def test_empty_matrices_are_passed_over():
    model = nn.Sequential(Experts(torch.ones(0, 2)), nn.Linear(2, 2))
    assert list(condition_numbers(model)) == ["1.weight"]


def test_relative_to_gaussian_takes_the_shape_out():
    torch.manual_seed(0)
    model = nn.Sequential(*(nn.Linear(*shape, bias=False) for shape in ((64, 64), (64, 256), (256, 64))))
    for p in model.parameters():
        nn.init.normal_(p)
    found = measure_matrices(model)
    assert found["0.weight"].kappa > 10 * found["1.weight"].kappa
    relative = relative_to_gaussian(found)
    assert relative["1.weight"] == pytest.approx(1.0, rel=0.2)
    assert relative["2.weight"] == pytest.approx(1.0, rel=0.2)
    for (name, one), shape in zip(found.items(), ((64, 64), (64, 256), (64, 256)), strict=True):
        usual = gaussian_condition_number(*shape, draws=3, seed=5)
        assert relative_to_gaussian(found, draws=3, seed=5)[name] == pytest.approx(one.kappa / usual, rel=1e-12)
    # κ of square Gaussians lies within a factor of 10 of its median for 94 %: see the law in gaussian.py.
    assert 0.1 < relative["0.weight"] < 10.0


class TestCache:
    def test_it_gives_what_was_measured(self, tmp_path, monkeypatch):
        file, model = tmp_path / "deep" / "spectra.json", nn.Sequential(three(), Experts(DIAGONAL, torch.eye(3)))
        first = measure_matrices(model, cache=SpectrumCache(file))
        assert [one.name for one in file.parent.iterdir()] == ["spectra.json"]
        monkeypatch.setattr("entrokit.optim.condition.measure.singular_values", None)
        again = SpectrumCache(file)
        assert len(again) == 4
        assert measure_matrices(model, cache=again) == first
        assert measure_matrices(model, cache=again, floor=0.5)["0.diagonal.weight"].kappa == pytest.approx(2.0)

    def test_changed_weights_and_another_accuracy_are_measured_anew(self, tmp_path):
        cache, model = SpectrumCache(tmp_path / "spectra.json"), three()
        condition_numbers(model, cache=cache)
        with torch.no_grad():
            model["diagonal"].weight[0, 0] = 8.0
        assert condition_numbers(model, cache=cache)["diagonal.weight"] == pytest.approx(16.0, rel=1e-9)
        assert len(cache) == 4
        found = measure_matrices(model, cache=cache, rtol=0.0)
        assert found["two.weight"].method == "svd"

    def test_shape_and_precision_count(self, tmp_path):
        cache = SpectrumCache(tmp_path / "spectra.json")
        for weight in (torch.ones(2, 3), torch.ones(3, 2), torch.zeros(2, 3), torch.zeros(2, 3).bfloat16()):
            condition_numbers(Experts(*weight), cache=cache)
        assert len(cache) == 4

    @pytest.mark.parametrize("text", ["", "{}", "[]", json.dumps({"format": 0, "spectra": {}})])
    def test_another_file_is_refused(self, tmp_path, text):
        file = tmp_path / "other.json"
        file.write_text(text)
        with pytest.raises(ValueError, match=r"other.json: is no cache of spectra"):
            SpectrumCache(file)


class Wrapped(torch.Tensor):
    """As DTensor is: a tensor of a class of its own."""


def with_weight(weight, **options):
    model = nn.Sequential(nn.Linear(2, 2))
    model[0].weight = nn.Parameter(weight, **options)
    return model


@pytest.mark.parametrize(
    ("model", "error", "message"),
    [
        (lambda: nn.Sequential(nn.Linear(2, 3, device="meta")), ValueError, "0.weight: is on the meta device"),
        (lambda: nn.Sequential(nn.LazyLinear(3)), ValueError, "0.weight: has no shape yet"),
        (lambda: with_weight(torch.ones(2, 2, dtype=torch.uint8), requires_grad=False), TypeError, "0.weight.*uint8"),
        (lambda: with_weight(torch.ones(2, 2).to(torch.float8_e4m3fn)), TypeError, "0.weight.*float8.*dequantise"),
        (lambda: with_weight(torch.ones(2, 2, dtype=torch.complex64)), TypeError, "0.weight.*complex"),
        (lambda: with_weight(torch.ones(2, 2).as_subclass(Wrapped)), TypeError, "0.weight: is a Wrapped; .*sharded"),
        (lambda: with_weight(torch.tensor([[1.0, math.nan]])), ValueError, "0.weight: .* 1 of 2 entries are NaN"),
        (lambda: nn.LayerNorm(3), ValueError, "no matrix is left to measure"),
        (lambda: nn.ReLU(), ValueError, "no matrix is left to measure"),
    ],
)
def test_bad_models_are_named(model, error, message):
    with pytest.raises(error, match=message):
        condition_numbers(model())


def test_what_is_refused_can_be_left_out():
    model = nn.Sequential(nn.Linear(2, 2, device="meta"), nn.LazyLinear(2), three())
    kappas = condition_numbers(model, include=lambda name, p: name.startswith("2."))
    assert len(kappas) == 3


def test_a_sharded_tensor_is_named():
    distributed = pytest.importorskip("torch.distributed")
    if not distributed.is_available():
        pytest.skip("torch without torch.distributed")
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Shard, distribute_tensor
    from torch.testing._internal.distributed.fake_pg import FakeStore

    distributed.init_process_group("fake", store=FakeStore(), rank=0, world_size=2)
    try:
        weight = distribute_tensor(torch.ones(4, 2), init_device_mesh("cpu", (2,)), [Shard(0)])
        with pytest.raises(TypeError, match=r"0.weight: is a DTensor; .*full_tensor"):
            condition_numbers(with_weight(weight))
    finally:
        distributed.destroy_process_group()


def test_a_floor_is_checked_before_anything_is_measured():
    with pytest.raises(ValueError, match="floor must be above 0"):
        condition_numbers(nn.ReLU(), floor=-1.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cache": "spectra.json"}, r"cache: expected a SpectrumCache, got str; .*cache=SpectrumCache\(file\)"),
        ({"include": "2"}, "include: expected a function of name and parameter, got '2'"),
    ],
)
def test_options_of_another_kind_are_named(options, message):
    with pytest.raises(TypeError, match=message):
        measure_matrices(three(), **options)


def test_relative_to_gaussian_needs_shapes():
    with pytest.raises(TypeError, match=r"needs what measure_matrices\(model\) gives"):
        relative_to_gaussian(condition_numbers(three()))
