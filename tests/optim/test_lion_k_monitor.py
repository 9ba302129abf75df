"""Lion-K's theory beside training: in one's own loop, and in a Trainer."""

import builtins
import math

import pytest
import torch

from entrokit.optim.lion_k import LionK, LionKMonitor, feasibility, kkt_gap, lionk_callback, lionk_lyapunov

from .lion_k_cases import OPTIONS, Smooth, draw, member, parameter


@pytest.mark.filterwarnings("error")
def test_a_record_is_what_the_functions_say():
    matrix, bias, still = parameter(0.3 * draw(3, 3)), parameter(0.3 * draw(3)), parameter(draw(2))
    optimizer = LionK(
        [
            {"params": [matrix], "K": "nuclear", "weight_decay": 0.5},
            {"params": [bias, still], "weight_decay": 0.2, "scheme": "implicit"},
        ],
        lr=0.05,
    )
    monitor = LionKMonitor(optimizer)
    for _ in range(3):
        matrix.grad, bias.grad = draw(3, 3, seed=1), draw(3, seed=2)
        monitor.on_step(loss=torch.tensor(1.5, requires_grad=True))
        optimizer.step()
    matrix.grad, bias.grad = draw(3, 3, seed=3), draw(3, seed=4)
    record = monitor.on_step(2.0)
    m = [optimizer.momentum(p) for p in (matrix, bias)]
    excess = lionk_lyapunov(0.0, matrix, m[0], "nuclear", 0.05, (0.9, 0.99), 0.5)
    excess += lionk_lyapunov(0.0, bias, m[1], "l1", 0.05, (0.9, 0.99), 0.2, scheme="implicit")
    assert record.step == 3
    assert record.excess == pytest.approx(excess)
    assert record.lyapunov == pytest.approx(2.0 + excess)
    assert record.kkt_gap == pytest.approx(
        kkt_gap(matrix, matrix.grad, "nuclear", 0.5) + kkt_gap(bias, bias.grad, "l1", 0.2)
    )
    assert record.distance == max(feasibility(matrix, "nuclear", 0.5), feasibility(bias, "l1", 0.2))
    assert [r.loss for r in monitor.history] == [1.5, 1.5, 1.5, 2.0]
    assert bool(m[0].abs().max() > 0)


def test_every_so_often_and_without_a_loss():
    p = parameter(draw(3))
    optimizer = LionK([p], 0.1, weight_decay=0.1)
    monitor = LionKMonitor(optimizer, every=3)
    for _ in range(7):
        p.grad = torch.ones_like(p)
        monitor.on_step()
        optimizer.step()
    assert [record.step for record in monitor.history] == [0, 3, 6]
    assert monitor.history[-1].lyapunov is None


def test_outside_of_the_feasible_set_and_at_lr_zero():
    p = parameter([5.0, 0.0])
    p.grad = torch.ones_like(p)
    optimizer = LionK([p], 0.1, weight_decay=0.5)
    record = LionKMonitor(optimizer).on_step(1.0)
    assert (record.distance, record.kkt_gap, record.lyapunov) == (1.5, math.inf, math.inf)
    optimizer.param_groups[0]["lr"] = 0.0
    assert math.isnan(LionKMonitor(optimizer).on_step(1.0).lyapunov)


@pytest.mark.parametrize(("dtype", "lr"), [(torch.float32, 0.03), (torch.float16, 0.05), (torch.bfloat16, 0.1)])
@pytest.mark.parametrize("scheme", ["explicit", "implicit"])
@pytest.mark.parametrize("K", ["l1", "l2", "top-k", "huber", "nuclear", "logsumexp"])
def test_from_outside_it_becomes_finite_where_only_rounding_is_left(dtype, lr, scheme, K):
    p = parameter(1.25 * member(K).grad(draw(2, 3)), dtype)
    optimizer = LionK([p], lr, weight_decay=1.0, K=K, K_kwargs=OPTIONS[K], scheme=scheme)
    monitor, still = LionKMonitor(optimizer), False
    slope = -draw(2, 3).to(dtype)
    p.grad = slope.clone()
    # As after many steps of this gradient.
    optimizer.state[p]["momentum"] = -slope
    if dtype != torch.bfloat16:
        assert monitor.on_step(0.0).lyapunov == math.inf
    for _ in range(1000):
        old = p.detach().clone()
        optimizer.step()
        if still := torch.equal(old, p.detach()):
            break
    assert still
    record = monitor.on_step(0.0)
    assert record.distance < 2 * torch.finfo(dtype).eps / lr
    assert math.isfinite(record.kkt_gap)
    assert math.isfinite(record.lyapunov)
    # Of a feasible point it is at least 0. Two eps outside pass for feasible, and float32 sums round: λ⟨x, ∇f⟩ then
    # falls below −K(−∇f) by as much of it; of logsumexp, ∇f is not bounded by K, but by its own sum.
    size = float(slope.float().abs().sum())
    assert record.kkt_gap > -(2 * torch.finfo(dtype).eps + 2e-6) * 2 * size


def test_rounding_is_no_excuse_where_steps_still_move():
    p = parameter([1.0 + 1e-4], torch.float32)
    p.grad = -torch.ones_like(p)
    assert LionKMonitor(LionK([p], 0.1, weight_decay=1.0)).on_step(0.0).kkt_gap == math.inf
    # Ten times smaller steps are rounded away ten times farther out, but never beyond twice the bound.
    assert math.isfinite(LionKMonitor(LionK([p], 0.001, weight_decay=1.0)).on_step(0.0).kkt_gap)
    far = parameter([2.1], torch.bfloat16)
    far.grad = -torch.ones_like(far)
    record = LionKMonitor(LionK([far], 1e-5, weight_decay=1.0)).on_step(0.0)
    assert record.kkt_gap == record.lyapunov == math.inf
    assert record.distance == pytest.approx(1.1, abs=0.01)


def test_a_k_of_ones_own_is_forgiven_rounding_too():
    p = parameter([1.0 + 5e-6], torch.float32)
    p.grad = -torch.ones_like(p)
    assert kkt_gap(p, p.grad, Smooth(), 1.0) == math.inf
    assert math.isfinite(LionKMonitor(LionK([p], 0.01, weight_decay=1.0, K=Smooth())).on_step(0.0).kkt_gap)


@pytest.mark.parametrize("broken", [0, 1])
def test_a_distance_that_is_nan_is_not_lost_among_groups(broken):
    params = [parameter(torch.full((2, 2), 9.0)) for _ in range(2)]
    optimizer = LionK([{"params": [params[0]]}, {"params": [params[1]], "K": "nuclear"}], 0.1, weight_decay=0.5)
    for p in params:
        p.grad = torch.ones_like(p)
    with torch.no_grad():
        params[broken][0, 0] = math.nan
    record = LionKMonitor(optimizer).on_step(1.0)
    assert math.isnan(record.distance)
    assert math.isnan(record.kkt_gap)
    assert math.isnan(record.lyapunov)


def test_maximising_f_is_minimising_its_negative():
    p, grad = parameter([0.5, -0.5]), draw(2)
    p.grad = grad
    record = LionKMonitor(LionK([p], 0.1, weight_decay=0.5, maximize=True)).on_step(-3.0)
    assert record.kkt_gap == pytest.approx(kkt_gap(p, -grad, "l1", 0.5))
    assert record.lyapunov == pytest.approx(-3.0 + record.excess)


def test_what_cannot_be_watched_is_named():
    p = parameter(draw(2))
    with pytest.raises(ValueError, match="watches a LionK, got SGD"):
        LionKMonitor(torch.optim.SGD([p], 0.1))
    with pytest.raises(ValueError, match="every must be at least 1, got 0"):
        LionKMonitor(LionK([p]), every=0)
    with pytest.raises(ValueError, match="between backward and optimizer.step"):
        LionKMonitor(LionK([p])).on_step(1.0)
    p.grad = torch.ones_like(p)
    with pytest.raises(ValueError, match="not least at 0"):
        LionKMonitor(LionK([p], K="logsumexp")).on_step(1.0)


class Regression(torch.nn.Module):
    """What a Trainer trains: a loss out of inputs and labels."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(0.3 * draw(4, dtype=torch.float32))

    def forward(self, inputs, labels):
        return {"loss": (inputs @ self.weight - labels).square().mean()}


def trained(tmp_path, callback, optimizer, steps=6):
    from transformers import Trainer, TrainingArguments

    model = Regression()
    data = [{"inputs": draw(4, seed=i, dtype=torch.float32), "labels": torch.tensor(float(i % 3))} for i in range(16)]
    arguments = TrainingArguments(
        str(tmp_path),
        per_device_train_batch_size=16,
        max_steps=steps,
        logging_steps=2,
        learning_rate=0.01,
        weight_decay=0.5,
        lr_scheduler_type="constant",
        report_to=[],
        save_strategy="no",
        use_cpu=True,
        disable_tqdm=True,
        max_grad_norm=0.0,
    )
    trainer = Trainer(
        model=model, args=arguments, train_dataset=data, optimizers=(optimizer(model), None), callbacks=[callback]
    )
    trainer.train()
    return trainer


def test_in_a_trainer(tmp_path):
    pytest.importorskip("transformers")
    callback = lionk_callback()
    trainer = trained(tmp_path, callback, lambda model: LionK(model.parameters(), 0.01, weight_decay=0.5))
    rows = [row for row in trainer.state.log_history if "loss" in row]
    assert [record.step for record in callback.monitor.history] == [row["step"] for row in rows] == [2, 4, 6]
    for record, row in zip(callback.monitor.history, rows, strict=True):
        assert row["lion_k/distance"] == record.distance == 0.0
        assert row["lion_k/kkt_gap"] == record.kkt_gap > 0
        assert row["lion_k/lyapunov"] == pytest.approx(row["loss"] + row["lion_k/excess"])
        assert row["lion_k/excess"] == record.excess > 0


def test_in_a_trainer_with_another_optimizer_and_other_steps(tmp_path):
    pytest.importorskip("transformers")
    callback = lionk_callback(every=3)
    trained(tmp_path, callback, lambda model: LionK(model.parameters(), 0.01, weight_decay=0.5))
    assert [(record.step, record.loss is None) for record in callback.monitor.history] == [(3, True), (6, False)]
    with pytest.raises(ValueError, match="watches a LionK, got SGD"):
        trained(tmp_path, lionk_callback(), lambda model: torch.optim.SGD(model.parameters(), 0.01))
    with pytest.raises(ValueError, match="every must be at least 1"):
        lionk_callback(every=0)


def test_a_trainer_that_trains_again_is_watched_with_its_new_optimizer(tmp_path):
    pytest.importorskip("transformers")
    callback, made = lionk_callback(), []

    def optimizer(model):
        made.append(LionK(model.parameters(), 0.01, weight_decay=0.5))
        return made[-1]

    for _ in range(2):
        trained(tmp_path, callback, optimizer, steps=2)
    assert callback.monitor.optimizer is made[1]
    assert [record.step for record in callback.monitor.history] == [2, 2]


def test_without_transformers_the_error_says_what_to_install(monkeypatch):
    real = builtins.__import__

    def without(name, *rest, **others):
        if name.partition(".")[0] == "transformers":
            raise ImportError(name)
        return real(name, *rest, **others)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match="a callback of transformers needs transformers: pip install"):
        lionk_callback()
