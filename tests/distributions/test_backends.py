import subprocess
import sys

import pytest
import torch

from entrokit.distributions import backend, backends, linear_token_statistics, token_statistics
from entrokit.distributions.backends import VARIABLE


@pytest.fixture(autouse=True)
def _automatic(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)


@pytest.fixture
def gpu(monkeypatch):
    """A machine with a Hopper GPU and the packages named, as far as the choice can see."""

    def build(*packages, capability=(9, 0)):
        monkeypatch.setattr(backends, "_is_installed", lambda package: package in packages)
        backends._has_its_fast_kernel.cache_clear()
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: capability)

    yield build
    backends._has_its_fast_kernel.cache_clear()


CUDA = torch.device("cuda", 0)
TWO = {"logp", "entropy"}


def test_cpu_tensors_use_torch():
    assert backend("cpu").name == "torch"
    assert backend("cpu", form="linear", need=TWO).name == "torch"


def test_cuda_tensors_use_triton(gpu):
    gpu("triton", "liger_kernel", "cutlass")
    assert backend(CUDA).name == "triton"
    assert backend(CUDA, torch.bfloat16, form="linear").name == "triton"


def test_liger_serves_two_statistics_where_it_has_its_kernel(gpu):
    gpu("triton", "liger_kernel", "cutlass")
    assert backend(CUDA, torch.bfloat16, form="linear", need=TWO).name == "liger"
    assert backend(CUDA, torch.float32, form="linear", need=TWO).name == "triton"
    assert backend(CUDA, torch.bfloat16, form="linear", need=TWO, plain_head=False).name == "triton"
    assert backend(CUDA, torch.bfloat16, form="linear", need={"collision"}).name == "triton"
    gpu("triton", "liger_kernel", "cutlass", capability=(8, 0))
    assert backend(CUDA, torch.bfloat16, form="linear", need=TWO).name == "triton"
    gpu("triton", "liger_kernel")
    assert backend(CUDA, torch.bfloat16, form="linear", need=TWO).name == "triton"


def test_a_gpu_without_triton_is_told_once(gpu):
    gpu()
    backends._warn_once.cache_clear()
    with pytest.warns(RuntimeWarning, match=r"triton is not installed \(pip install triton\).*several times slower"):
        chosen = backend(CUDA)
    assert chosen.name == "torch"
    assert "not installed" in chosen.reason


def test_float64_on_a_gpu_is_torch_without_a_warning(gpu, recwarn):
    gpu("triton")
    assert backend(CUDA, torch.float64).name == "torch"
    assert not recwarn.list


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("cuda", {}, r"ENTROKIT_BACKEND=cuda: unknown; back ends are \['liger', 'torch', 'triton'\]"),
        ("liger", {}, "liger serves the linear form only"),
        ("liger", {"form": "linear"}, "liger has no collision, varentropy, weighted_surprise"),
        ("liger", {"form": "linear", "need": TWO, "plain_head": False}, "liger takes no bias"),
        ("triton", {"dtype": torch.float64}, "triton has no float64"),
    ],
)
def test_a_forced_back_end_that_cannot_serve_says_why(monkeypatch, gpu, name, arguments, message):
    gpu("triton", "liger_kernel")
    monkeypatch.setenv(VARIABLE, name)
    with pytest.raises(ValueError, match=message):
        backend("cpu", **arguments)


def test_a_forced_back_end_that_is_not_installed(monkeypatch, gpu):
    gpu()
    monkeypatch.setenv(VARIABLE, "triton")
    with pytest.raises(ValueError, match="triton is not installed"):
        token_statistics(torch.zeros(1, 3), torch.tensor([0]))
    monkeypatch.setenv(VARIABLE, "liger")
    with pytest.raises(ValueError, match="liger-kernel is not installed"):
        linear_token_statistics(torch.zeros(1, 3), torch.zeros(5, 3), torch.tensor([0]), need=TWO)


def test_an_unknown_form():
    with pytest.raises(ValueError, match="form: must be 'logits' or 'linear', got 'head'"):
        backend(form="head")


def test_kernels_are_not_imported_before_they_are_used():
    code = "import sys, entrokit.distributions; print('triton' in sys.modules, 'liger_kernel' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "liger_kernel" not in result.stdout
    assert result.stdout.split()[1] == "False"
