"""The radius of `EntropyGRPOTrainer`'s steps: as whole logits give it, logged, clipped, and without a trace."""

import copy

import pytest
import torch
from transformers import AutoModelForCausalLM, TrainerCallback

from entrokit.engines.trl import EntropyAccountCallback, RadiusOptions
from entrokit.optim.radius import slope_spread
from entrokit.optim.radius.slopes import length_of

from .trainers import trainer, weights


def double(checkpoint):
    model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float64)
    with torch.no_grad():
        # The padding token's embedding is zero, where a normalised layer has a slope of 1 / sqrt(eps).
        model.get_input_embeddings().weight[0] = 0.1
    return model


def whole(model, before, update, batches, temperature):
    """r from whole logits, by torch's own product, over all trained tokens."""
    twin = copy.deepcopy(model).eval()
    twin.set_attn_implementation("eager")
    worst = 0.0
    for batch in batches:
        ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1)
        mask = torch.cat([batch["prompt_mask"], batch["completion_mask"]], 1)
        length = batch["completion_ids"].shape[1]

        inputs = {"input_ids": ids, "attention_mask": mask, "use_cache": False}
        _, slopes = torch.func.jvp(
            lambda p, inputs=inputs: torch.func.functional_call(twin, p, (), inputs).logits, (before,), (update,)
        )
        spread = slope_spread(slopes[:, -length - 1 : -1]) / temperature
        worst = max(worst, float(torch.where(batch["completion_mask"].bool(), spread, 0.0).max()))
    return worst / torch.pi


@pytest.mark.parametrize("clip", [None, 0.01])
def test_r_is_that_of_whole_logits_and_a_clipped_step_has_it(checkpoint, config, task, clip):
    options = {"max_steps": 1, "gradient_accumulation_steps": 2, "temperature": 0.7, "lr_scheduler_type": "constant"}
    t = trainer(
        checkpoint, config, task, model=double(checkpoint), options=options, radius=RadiusOptions(rows=None, clip=clip)
    )
    before, batches = weights(t), []
    saw = t.radius.saw
    t.radius.saw = lambda inputs: (batches.append(inputs), saw(inputs))
    t.train()
    ((step, found),) = t.radius.history
    taken = {n: p - before[n] for n, p in weights(t).items()}
    r = whole(t.model, before, taken, batches, 0.7)
    assert (step, found.rows, found.of, len(batches)) == (0, 16, 16, 2)
    assert found.scale * found.r == pytest.approx(r, rel=1e-6)
    assert found.norm * found.scale == pytest.approx(length_of(taken), rel=1e-9)
    if clip is not None:
        assert found.r > clip
        assert r == pytest.approx(clip, rel=1e-6)


def test_measuring_changes_nothing_and_is_logged(checkpoint, config, task):
    plain = trainer(checkpoint, config, task)
    plain.train()
    own = trainer(checkpoint, config, task, radius=RadiusOptions(every=2, rows=3))
    own.train()
    assert all(torch.equal(p, weights(plain)[n]) for n, p in weights(own).items())
    assert [step for step, _ in own.radius.history] == [0, 2]
    logged = [log["radius/r"] for log in own.state.log_history if "radius/r" in log]
    assert logged == [found.r for _, found in own.radius.history]
    for _, found in own.radius.history:
        assert (found.rows, found.of, found.beyond, found.scale) == (3, 8, 0.25, 1.0)
        assert found.shortfall >= 0


class Broken(TrainerCallback):
    """Makes a gradient NaN once it was clipped."""

    def on_pre_optimizer_step(self, args, state, control, **kwargs):
        next(p for p in kwargs["model"].parameters() if p.grad is not None).grad.fill_(float("nan"))


def test_a_broken_step_ends_a_run_only_where_steps_are_clipped(checkpoint, config, task):
    # One step: what is sampled from a model of NaN is the trainer's own affair.
    options = {"max_steps": 1}
    plain = trainer(checkpoint, config, task, options=options, callbacks=[Broken()])
    plain.train()
    own = trainer(checkpoint, config, task, options=options, callbacks=[Broken()], radius=RadiusOptions())
    own.train()
    for name, p in weights(own).items():
        torch.testing.assert_close(p, weights(plain)[name], rtol=0, atol=0, equal_nan=True)
    ((step, found),) = own.radius.history
    assert (step, found.r, found.scale) == (0, float("inf"), 1.0)
    assert [log["radius/r"] for log in own.state.log_history if "radius/r" in log] == [float("inf")]
    clipped = trainer(checkpoint, config, task, options=options, callbacks=[Broken()], radius=RadiusOptions(clip=1.0))
    before = weights(clipped)
    with pytest.raises(FloatingPointError, match="NaN or infinite; parameters were put back"):
        clipped.train()
    assert all(torch.equal(p, before[n]) for n, p in weights(clipped).items())


def test_a_quantile_of_the_rows_may_count(checkpoint, config, task):
    found = []
    for reduction in ("max", 0.5):
        t = trainer(
            checkpoint, config, task, options={"max_steps": 1}, radius=RadiusOptions(rows=None, reduction=reduction)
        )
        t.train()
        found.append(t.radius.history[0][1].r)
    assert 0 < found[1] < found[0]


def test_differences_agree(checkpoint, config, task):
    found = []
    for method in ("jvp", "difference"):
        options = {"max_steps": 2}
        t = trainer(
            checkpoint,
            config,
            task,
            model=double(checkpoint),
            options=options,
            radius=RadiusOptions(rows=None, method=method),
        )
        t.train()
        found.append([f.r for _, f in t.radius.history])
    assert found[0] == pytest.approx(found[1], rel=1e-4)


def test_a_head_that_is_not_known_goes_by_its_logits(checkpoint, config, task):
    found = []
    for known in (True, False):
        t = trainer(checkpoint, config, task, model=double(checkpoint), radius=RadiusOptions(rows=None))
        if not known:
            object.__setattr__(t.radius._forward, "head_unknown", "asked to")
        t.train()
        found.append([f.r for _, f in t.radius.history])
    # Later steps follow the loss, whose statistics are summed in another order.
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-6)


def test_adapters_alone_move(checkpoint, config, task):
    peft = pytest.importorskip("peft")
    adapters = peft.LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM", init_lora_weights=False)
    t = trainer(checkpoint, config, task, radius=RadiusOptions(rows=4, clip=0.05), peft_config=adapters)
    t.train()
    assert all(f.r > 0 and f.r * f.scale <= 0.05 * (1 + 1e-6) for _, f in t.radius.history)


def test_an_account_of_clipped_steps_is_refused(checkpoint, config, task):
    t = trainer(checkpoint, config, task, radius=RadiusOptions(clip=1.0))
    with pytest.raises(ValueError, match=r"RadiusOptions\(clip=1.0\) would shorten"):
        EntropyAccountCallback(t)
    EntropyAccountCallback(trainer(checkpoint, config, task, radius=RadiusOptions()))


@pytest.mark.parametrize(
    "options",
    [
        {"every": 0},
        {"rows": 0},
        {"clip": 0.0},
        {"clip": float("inf")},
        {"every": 2, "clip": 1.0},
        {"method": "exact"},
        {"reduction": 0.0},
    ],
)
def test_options_out_of_range_are_named(options):
    with pytest.raises(ValueError, match=list(options)[-1]):
        RadiusOptions(**options)


def test_sharded_parameters_are_refused(checkpoint, config, task, monkeypatch):
    t = trainer(checkpoint, config, task, radius=RadiusOptions())
    monkeypatch.setattr(t, "is_fsdp_enabled", True)
    with pytest.raises(ValueError, match="hold parameters in pieces"):
        type(t.radius)(t, RadiusOptions(), t._forward)
