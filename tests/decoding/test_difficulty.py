"""DiffAdapt: the sheet's worked numbers, routing, and a model that is left as it was."""

import math

import pytest
import torch

from entrokit.decoding.difficulty import (
    STRATEGIES,
    DifficultyProbe,
    Strategy,
    generate_routed,
    generation_entropy,
    label_difficulty,
    prefill_states,
    route,
    u_shape_report,
)

W1 = [[0.5, -0.25, 0.1], [-0.3, 0.8, 0.2], [0.05, 0.1, -0.6], [1, 0, 0.4]]
W2 = [[0.3, -0.2, 0.5, 0.1], [-0.1, 0.4, 0.2, 0], [0.2, 0.1, -0.3, 0.6]]
STATES = torch.tensor([[1.0, 2.0, -1.0], [-0.5, 0.3, 0.8]])


@pytest.fixture
def probe():
    found = DifficultyProbe(3, hidden=4)
    with torch.no_grad():
        for p, value in zip(found.parameters(), (W1, [0.1, -0.1, 0.0, 0.2], W2, [0.0, 0.1, -0.1]), strict=True):
            p.copy_(torch.tensor(value))
    return found


def test_check_1_entropies():
    laws = [[0.7, 0.2, 0.1], [1.0, 0.0, 0.0], [1 / 3] * 3]
    H = torch.tensor([-sum(p * math.log(p) for p in law if p) for law in laws])
    assert H.tolist() == pytest.approx([0.801819, 0, 1.098612], abs=1e-6)
    rows = torch.cat([H, torch.tensor([math.nan])])[None]
    mask = torch.tensor([[1, 1, 1, 0]]).bool()
    assert generation_entropy(rows, mask).tolist() == pytest.approx([0.633477], abs=1e-6)


def test_what_holds_nothing_is_not_certain(probe):
    rows, mask = torch.ones(3, 2), torch.tensor([[0, 0], [1, 0], [0, 0]]).bool()
    with pytest.raises(ValueError, match=r"responses \[0, 2\] have no tokens in the mask"):
        generation_entropy(rows, mask)
    assert generation_entropy(rows[:0], mask[:0]).tolist() == []
    with pytest.raises(ValueError, match="no questions"):
        u_shape_report(torch.empty(0), torch.empty(0), torch.empty(0))
    with pytest.raises(ValueError, match=r"questions \[1\] are NaN"):
        probe.predict(torch.tensor([[1.0, 2.0, 3.0], [math.nan, 0.0, 0.0]]))
    for h in (torch.empty(0, 3), torch.ones(1, 3), torch.full((4, 3), math.nan)):
        with pytest.raises(ValueError, match="at least 2 finite"):
            DifficultyProbe(3).fit(h, torch.zeros(len(h), dtype=torch.long))


def test_check_2_labels():
    a = torch.tensor([1.0, 1.0, 0.6, 0.6, 0.2, 0.2, 0.8, 0.3], dtype=torch.float64)
    h = torch.tensor([0.2, 0.4, 0.2, 0.5, 0.2, 0.6, 0.3, 0.1], dtype=torch.float64)
    assert label_difficulty(a, h, 0.8, 0.3, 0.3).tolist() == [1, 0, 0, 0, 2, 2, 1, 0]
    with pytest.raises(ValueError, match="gamma=0.9 and alpha=0.8"):
        label_difficulty(a, h, 0.8, 0.3, 0.9)


def test_check_3_the_probe(probe):
    logits = probe(STATES)
    torch.testing.assert_close(logits, torch.tensor([[0.305, 0.67, 0.225], [-0.088, 0.28, -0.043]]))
    expected = [[0.297298, 0.428262, 0.274440], [0.286462, 0.413892, 0.299647]]
    torch.testing.assert_close(probe.predict_proba(STATES), torch.tensor(expected), atol=1e-6, rtol=0)
    loss = torch.nn.functional.cross_entropy(logits, torch.tensor([1, 2]))
    assert float(loss) == pytest.approx(1.026586, abs=1e-6)


def test_check_4_budgets():
    assert [s.budget(32_768) for s in STRATEGIES] == [13_107, 32_768, 16_384]
    assert Strategy("", 1.0, 0.001).budget(10) == 1
    with pytest.raises(ValueError, match="token_fraction in"):
        Strategy("", 0.5, 1.5)


def test_check_6_doubt_means_normal(probe):
    with torch.no_grad():
        probe.layers[2].bias.copy_(torch.tensor([5.0, 0.0, 0.0]))
    assert [s for s, _ in route(STATES, probe, max_tokens=10)] == [STRATEGIES[0]] * 2
    assert route(STATES, probe, max_tokens=10, min_confidence=1.01) == [(STRATEGIES[1], 10)] * 2


def test_another_width_and_a_missing_class_are_said():
    with pytest.raises(ValueError, match="made for hidden states of width 3, got 5"):
        DifficultyProbe(3)(torch.zeros(2, 5))
    h = torch.randn(20, 3)
    with pytest.warns(UserWarning, match="no question is labelled hard"):
        DifficultyProbe(3).fit(h, (h[:, 0] > 0).long(), epochs=2)


def test_a_fit_is_the_same_again_and_learns_what_can_be_learnt():
    g = torch.Generator().manual_seed(0)
    h = torch.randn(300, 4, generator=g) * torch.tensor([1.0, 100.0, 1.0, 1e-3])
    y = (h[:, 0].abs() > 1.0).long() + (h[:, 0].abs() > 2.0).long()
    found = []
    for _ in range(2):
        torch.manual_seed(1)
        found.append(DifficultyProbe(4, hidden=32).fit(h, y, lr=1e-2, epochs=60))
    assert torch.equal(found[0].predict(h), found[1].predict(h))
    assert (found[0].predict(h) == y).float().mean() > 0.95


def test_the_u_shape():
    level = torch.tensor([1, 1, 2, 3])
    report = u_shape_report(level, torch.tensor([0.4, 0.6, 0.25, 0.75]), torch.tensor([1.0, 1.0, 0.5, 0.0]))
    assert report.level == [1, 2, 3]
    assert report.entropy == pytest.approx([0.5, 0.25, 0.75])
    assert report.relative_drop == pytest.approx(0.5)


@pytest.fixture(scope="module")
def policy():
    pytest.importorskip("transformers")
    from entrokit.training.pocket import PocketConfig, character_tokenizer, fresh_model

    tokenizer = character_tokenizer()
    tokenizer.padding_side = "left"
    return fresh_model(PocketConfig(width=16, layers=1, heads=2)), tokenizer


def test_check_5_states_do_not_depend_on_the_batch_and_the_model_stays(policy):
    model, tokenizer = policy
    model.train()
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    both = tokenizer(["1+2=", "1+2+3+4="], return_tensors="pt", padding=True)
    alone = tokenizer(["1+2="], return_tensors="pt")
    states = prefill_states(model, both["input_ids"], both["attention_mask"])
    torch.testing.assert_close(
        states[:1], prefill_states(model, **{k: alone[k] for k in ("input_ids", "attention_mask")})
    )
    right = torch.nn.functional.pad(alone["input_ids"], (0, 3))
    mask = torch.nn.functional.pad(alone["attention_mask"], (0, 3))
    torch.testing.assert_close(prefill_states(model, right, mask), states[:1])
    with pytest.raises(ValueError, match=r"prompts \[1\] have no tokens"):
        prefill_states(model, both["input_ids"], both["attention_mask"] * torch.tensor([[1], [0]]))
    assert model.training
    probe = DifficultyProbe(states.shape[1], hidden=4)
    with pytest.warns(UserWarning, match="labelled hard"):
        probe.fit(states, torch.tensor([0, 1]), epochs=3)
    assert all(torch.equal(p, before[n]) and p.grad is None for n, p in model.named_parameters())


def test_questions_are_answered_in_order_each_within_its_budget(policy):
    model, tokenizer = policy
    questions = ["1+2=", "7*8=", "4-1=", "2*2="]
    both = tokenizer(questions, return_tensors="pt", padding=True)
    states = prefill_states(model, both["input_ids"], both["attention_mask"])
    probe = DifficultyProbe(states.shape[1], hidden=8)
    wanted = torch.tensor([0, 1, 2, 0])
    probe.fit(states, wanted, lr=5e-2, epochs=300)
    assert probe.predict(states).tolist() == wanted.tolist()
    answers = generate_routed(
        model, tokenizer, questions, probe, max_tokens=10, write=lambda question, strategy: question
    )
    assert [a.strategy for a in answers] == [STRATEGIES[k] for k in wanted]
    assert all(a.tokens <= a.strategy.budget(10) for a in answers)
    assert all(a.tokens == a.strategy.budget(10) for a in answers if a.truncated)
    tokenizer.padding_side = "right"
    with pytest.raises(ValueError, match="padding_side='left'"):
        generate_routed(model, tokenizer, questions, probe)
    tokenizer.padding_side = "left"
