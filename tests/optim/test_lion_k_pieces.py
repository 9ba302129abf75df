"""Lion-K's steps in pieces: how much memory they take, and that they are the same steps."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from entrokit.optim.lion_k import LionK
from entrokit.optim.lion_k import update as pieces

from .lion_k_cases import OPTIONS, draw, parameter


def test_memory_is_one_buffer_of_the_parameters_dtype():
    params = [parameter(draw(3, 4), dtype) for dtype in (torch.float64, torch.float32, torch.bfloat16)]
    optimizer = LionK(params)
    for p in params:
        p.grad = torch.ones_like(p)
    optimizer.step()
    for p in params:
        assert optimizer.state[p].keys() == {"momentum"}
        assert optimizer.state[p]["momentum"].dtype == p.dtype
        assert optimizer.state[p]["momentum"].shape == p.shape


class Allocations(TorchDispatchMode):
    """The largest result, in elements, that an operation made new memory for."""

    largest = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        given = {t.untyped_storage().data_ptr() for t in tensors_in((args, kwargs or {}))}
        result = func(*args, **(kwargs or {}))
        for tensor in tensors_in(result):
            if tensor.untyped_storage().data_ptr() not in given:
                self.largest = max(self.largest, tensor.numel())
        return result


def tensors_in(tree):
    return [leaf for leaf in torch.utils._pytree.tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


@pytest.mark.parametrize("K", ["l1", "dead-zone", "huber", "half-square"])
def test_large_tensors_go_through_in_pieces_and_come_out_the_same(K, monkeypatch):
    monkeypatch.setattr(pieces, "_PIECE_ON_CPU", 64)
    results = []
    for foreach in (True, False):
        params = [parameter(draw(*shape, seed=i)) for i, shape in enumerate([(30, 30), (3,), (5, 5), (9, 8), (2,)])]
        params.append(parameter(draw(100, 2, seed=7), torch.float32))
        optimizer = LionK(params, 0.01, weight_decay=0.1, K=K, K_kwargs=OPTIONS[K], foreach=foreach)
        for step in range(2):
            for i, p in enumerate(params):
                p.grad = draw(*p.shape, seed=10 * step + i, dtype=p.dtype)
            with Allocations() as made:
                optimizer.step()
        results.append([p.detach().clone() for p in params])
        assert (made.largest <= 64) == foreach, "momenta are there since the first step"
    for one, other in zip(*results, strict=True):
        assert torch.equal(one, other)


def test_pieces_are_of_one_dtype_and_never_too_large(monkeypatch):
    sizes = [(torch.float64, 10), (torch.float64, 50), (torch.float32, 4), (torch.float32, 200), (torch.float64, 1)]
    moving = [pieces.Moving(*(torch.zeros(n, dtype=dtype) for _ in range(3))) for dtype, n in sizes]
    found = list(pieces._pieces(moving, elementwise=True))
    assert all(len({part.x.dtype for part in piece}) == 1 for piece in found)
    assert sum(part.x.numel() for piece in found for part in piece) == 265
    assert [len(piece) for piece in found] == [2, 2, 1]
    monkeypatch.setattr(pieces, "_PIECE_ON_CPU", 55)
    found = [[part.x.numel() for part in piece] for piece in pieces._pieces(moving, elementwise=True)]
    assert found == [[10], [50], [4], [55], [55], [55], [35], [1]]
    assert [len(piece) for piece in pieces._pieces(moving, elementwise=False)] == [1] * 5
