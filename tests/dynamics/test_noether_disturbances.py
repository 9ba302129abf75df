"""The monitor where others move parameters, gradients are missing, and runs stop and go on."""

import copy
import math

import pytest
import torch
from torch.nn import functional

from entrokit.dynamics.noether import (
    NoetherMonitor,
    find_symmetries,
)

from .noether_network import X, backward, largest, network, watched


def elsewhere(model, optimizer):
    """Loads a checkpoint of another model."""
    torch.manual_seed(3)
    model.load_state_dict(network().state_dict())


def unseen(model, optimizer):
    """Takes two steps that the monitor is not told of."""
    for n in range(2):
        backward(model, n)
        optimizer.step()


@torch.no_grad()
def projected(model, optimizer):
    model[0].weight.mul_(1.3)


@pytest.mark.parametrize("moves", [elsewhere, unseen, projected])
@pytest.mark.parametrize("after", [False, True], ids=["step", "after_step"])
@pytest.mark.parametrize("late", [False, True], ids=["before the gradient", "behind it"])
def test_what_others_move_between_steps_accuses_nobody_and_the_law_goes_on_from_there(moves, after, late):
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=0.1)
    monitor = watched(model, optimizer, 3)
    for n in range(3):
        if n == 1 and not late:
            moves(model, optimizer)
        backward(model, n)
        if n == 1 and late:
            moves(model, optimizer)
        if after:
            optimizer.step()
            monitor.after_step()
        else:
            monitor.step()
        assert monitor.broken() == {}
        assert len(monitor.residuals()) == len(monitor.breaking())
        # A gradient that was taken elsewhere is not orthogonal to the generator here.
        assert (largest(monitor) < 1e-12) != (late and n == 1)
        assert monitor.restarts == (n > 0)
    assert monitor.steps == 6


def test_where_others_move_every_time_a_false_claim_shows_in_its_residual():
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    monitor = NoetherMonitor(model, optimizer)
    for _ in range(2):
        projected(model, optimizer)
        with torch.no_grad():
            model[4].weight.mul_(0.9)
        model.zero_grad()
        functional.mse_loss(model(X), X[:, :3]).backward()
        monitor.step()
    assert set(monitor.broken()) == {"translation(4.bias)"}  # whose own parameter was left alone
    assert float(monitor.residuals()["translation(4.weight)"].abs().max()) > 1e-2


def test_what_moves_parameters_between_the_step_and_the_look_shows_in_the_residual():
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    monitor = watched(model, optimizer, 3)
    backward(model)
    optimizer.step()
    square = float(model[0].weight.detach().square().sum())
    with torch.no_grad():
        model[0].weight.mul_(1.01)
    monitor.after_step()
    residual = float(monitor.residuals()["scale(0.weight, 0.bias)"])
    assert residual == pytest.approx(0.01 * square / 0.05, rel=0.05)
    assert monitor.broken() == {}
    watched(model, optimizer, 1, monitor)
    assert largest(monitor) < 1e-12


def test_a_step_that_is_skipped_where_others_have_moved_accuses_nobody():
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    monitor = watched(model, optimizer, 2)
    elsewhere(model, optimizer)
    backward(model)
    monitor.after_step()
    assert all(bool(residual.isnan().all()) for residual in monitor.residuals().values())
    assert monitor.broken() == {}
    watched(model, optimizer, 1, monitor)
    assert largest(monitor) < 1e-12


def test_a_reset_forgets():
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    monitor = NoetherMonitor(model, optimizer)
    functional.mse_loss(model(X), X[:, :3]).backward()
    monitor.step()
    assert monitor.broken()
    monitor.reset()
    assert (monitor.broken(), monitor.balances(), monitor.steps) == ({}, {}, 0)
    elsewhere(model, optimizer)
    monitor.reset()
    watched(model, optimizer, 2, monitor)
    assert monitor.broken() == {}
    assert largest(monitor) < 1e-12
    assert monitor.restarts == 0


def test_a_checkpoint_goes_on_exactly(tmp_path):
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    monitor = watched(model, optimizer, 3)
    states = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "monitor": monitor.state_dict()}
    torch.save(states, tmp_path / "checkpoint.pt")
    watched(model, optimizer, 2, monitor)
    kept = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    twin = network()
    again = torch.optim.SGD(twin.parameters(), lr=0.05, momentum=0.9)
    resumed = NoetherMonitor(twin, again)
    twin.load_state_dict(kept["model"])
    again.load_state_dict(kept["optimizer"])
    resumed.load_state_dict(kept["monitor"])
    assert resumed.steps == 3
    assert resumed.summary() != {}
    watched(twin, again, 2, resumed)
    assert resumed.summary() == monitor.summary()
    assert (resumed.steps, resumed.restarts) == (5, 0)
    for name, found in monitor.breaking().items():
        assert torch.equal(found, resumed.breaking()[name])
    other = NoetherMonitor(model, optimizer, find_symmetries(model, kinds=("scale",)))
    with pytest.raises(ValueError, match="the state is of symmetries and blocks"):
        other.load_state_dict(kept["monitor"])
    assert other.steps == 0


def test_a_copy_watches_its_own_optimizer_and_a_monitor_that_is_gone_leaves_no_hook():
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    monitor = watched(model, optimizer, 2)
    twin, again, copied = copy.deepcopy((model, optimizer, monitor))
    for n in range(2):
        backward(twin, n)
        again.step()
        copied.after_step()
        assert largest(copied) < 1e-12
    assert (monitor.steps, copied.steps) == (2, 4)
    del monitor
    assert len(optimizer._optimizer_step_pre_hooks) == len(optimizer._optimizer_step_post_hooks) == 0


def test_a_gradient_that_is_not_finite_moves_nothing():
    model = network()
    monitor = watched(model, torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9), 2)
    kept = copy.deepcopy(model.state_dict())
    for bad in (math.nan, math.inf):
        backward(model)
        model[4].weight.grad[0, 0] = bad
        with pytest.raises(ValueError, match=r"4\.weight: its gradient holds NaN or inf; the step was not taken"):
            monitor.step()
        assert all(torch.equal(kept[name], p) for name, p in model.state_dict().items())
    watched(model, None, 1, monitor)
    assert largest(monitor) < 1e-12
    assert monitor.broken() == {}


def test_a_step_that_a_scaler_skips_is_no_step():
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=0.1)
    monitor = watched(model, optimizer, 3)
    backward(model)
    model[0].weight.grad.fill_(math.inf)
    monitor.after_step()
    assert all(bool(residual.isnan().all()) for residual in monitor.residuals().values())
    assert monitor.broken() == {}
    watched(model, optimizer, 1, monitor)
    assert largest(monitor) < 1e-12


def test_where_one_side_has_no_gradient_there_is_no_law():
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    monitor = watched(model, optimizer, 2)
    backward(model)
    model[4].weight.grad = None
    monitor.step()
    name = "rescale(2.weight, 2.bias / 4.weight)"
    assert bool(monitor.residuals()[name].isnan().all())
    watched(model, optimizer, 1, monitor)
    assert largest(monitor) < 1e-12


def test_gradients_are_looked_at_before_they_are_gone():
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    monitor = NoetherMonitor(model, optimizer)
    backward(model)
    optimizer.step()
    optimizer.zero_grad()
    monitor.after_step()
    assert largest(monitor) < 1e-12
    assert 0.0 < float(torch.cat(list(monitor.breaking().values())).max()) < 1e-12


def test_a_step_that_a_scaler_skips_behind_one_unseen_tests_no_gradients():
    """Those that are there were taken behind the unseen step, and are not orthogonal to where it began."""
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    monitor = watched(model, optimizer, 1)
    backward(model, 1)
    optimizer.step()
    backward(model, 2)
    monitor.after_step()
    assert largest(monitor) < 1e-12
    assert max(float(found.max()) for found in monitor.breaking().values()) < 1e-12


def test_gradients_of_a_closure_are_held_against_the_symmetries():
    model = network()
    monitor = NoetherMonitor(model, torch.optim.SGD(model.parameters(), lr=0.05))

    def closure():
        model.zero_grad()
        loss = functional.mse_loss(model(X), X[:, :3])
        loss.backward()
        return loss

    backward(model)  # of which the closure makes nothing
    monitor.step(closure)
    assert set(monitor.broken()) == {"translation(4.weight)", "translation(4.bias)"}


def test_a_state_that_is_loaded_brings_new_groups():
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    monitor = watched(model, optimizer, 2)
    optimizer.load_state_dict(optimizer.state_dict())
    halved = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)
    for _ in range(3):
        watched(model, optimizer, 1, monitor)
        assert largest(monitor) < 1e-12
        halved.step()


def test_a_gradient_that_is_not_finite_spoils_no_verdict_where_the_step_is_taken_all_the_same():
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    monitor = watched(model, optimizer, 1)
    before = {name: found.clone() for name, found in monitor.breaking().items()}
    backward(model)
    model[0].weight.grad[0, 0] = math.inf
    optimizer.step()
    monitor.after_step()
    name = "scale(0.weight, 0.bias)"
    assert torch.equal(monitor.breaking()[name], before[name])
    assert monitor.broken() == {}
