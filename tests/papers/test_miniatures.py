"""The papers' own toy worlds: their exact starting points, and that a few steps move them the right way."""

import numpy as np
import pytest

from entrokit.papers.decoding import diffadapt
from entrokit.papers.rlvr import (
    ares,
    canon,
    empg,
    epo,
    light_if,
    pear,
    progrpo,
    rare_event_pairing,
    recap,
    siren,
    spear,
)
from entrokit.papers.rlvr import entropy_performance_exchange as exchange


def test_a_style_that_pays_is_learnt_and_one_that_does_not_is_dropped():
    paying, costly = (canon.style(0, "μ = 1", *world) for world in canon.WORLDS.values())
    assert paying[0] == costly[0] == 0.5
    assert paying[-1] > 0.7
    assert costly[-1] < 0.3
    assert canon.style(0, "fixed bonus", 0.5, 0.5)[-1] > 0.7, "a bonus pays where nothing else does"


def test_four_answers_start_where_the_check_says(monkeypatch):
    monkeypatch.setattr(progrpo, "STEPS", 3)
    entropy, accuracy = progrpo.four_answers(0, 0.3, "any_correct")
    q = np.array([0.45, 0.25, 0.15]) / 0.85
    assert entropy[0] == pytest.approx(-(q * np.log(q)).sum())
    assert accuracy[0] == pytest.approx(0.85)
    assert len(entropy) == 4


def test_success_starts_at_a_quarter_and_a_late_bonus_moves_late_tokens(monkeypatch):
    monkeypatch.setattr(exchange, "UPDATES", 6)
    none, late, early = (exchange.late_decides(0, k) for k in (0.0, 15.0, -15.0))
    assert none[0, 0] == pytest.approx(0.25)
    assert none[1, 0] == 0
    assert late[0, -1] > none[0, -1] > 0.25
    assert early[1, -1] > late[1, -1]


def test_a_pair_of_prompts_starts_balanced(monkeypatch):
    monkeypatch.setattr(rare_event_pairing, "UPDATES", 5)
    course = rare_event_pairing.pair_of_prompts(0, "prompt")
    assert course[:, 0].tolist() == pytest.approx([0.1, 0.1, 1.0])
    assert course[0, -1] > 0.1


def test_forks_and_fillers_before_any_step(monkeypatch):
    monkeypatch.setattr(siren, "STEPS", 0)
    success, forks, junk = siren.forks_and_fillers(0, "SIREN")
    assert 0.2 < success < 0.6
    assert 0.9 < forks <= np.log(3) + 1e-6
    assert 0.0 < junk < 0.05
    monkeypatch.setattr(siren, "STEPS", 40)
    assert siren.forks_and_fillers(0, "naive bonus")[2] > 2 * junk


def test_the_toy_reasoner_needs_five_tokens(monkeypatch):
    monkeypatch.setattr(pear, "UPDATES", 3)
    length, accuracy = pear.toy_reasoner(0, True)
    assert length.shape == accuracy.shape == (3,)
    assert (length >= 5 - 3).all()
    assert (length <= pear.MOST_THINKING + 1).all()
    assert 0.5 < accuracy[0] < 1.0


def test_supervised_training_sharpens_and_leaving_tokens_out_sharpens_less():
    start, target = light_if.supervised(0, 1.0, 0.0, steps=0)
    plain, learnt = light_if.supervised(0, 1.0, 0.0, steps=40)
    spared, _ = light_if.supervised(0, 0.5, 0.8, steps=40)
    assert start > spared > plain
    assert learnt > 2 * target


def test_tea_keeps_right_tokens_alive():
    (none, success), (spread, _) = (light_if.shares_of_right(0, alpha) for alpha in (0.0, 1.0))
    assert spread > none
    assert success > 0.9


def test_entropy_swings_as_the_check_says():
    spreads = [np.std(epo.oscillation(alpha)[100:]) for alpha in epo.ALPHAS]
    assert spreads == pytest.approx([0.5104, 0.4288, 0.3150, 0.2268], abs=2e-4)


def test_two_routes_start_even_and_the_bonus_leans_to_the_certain_one(monkeypatch):
    monkeypatch.setattr(empg, "UPDATES", 40)
    without, with_it = (np.mean([empg.two_routes(zeta, s)[-1] for s in range(4)]) for zeta in (0.0, 0.5))
    assert empg.two_routes(0.0, 0)[0] == 0.5
    assert with_it > 0.65 > without


def test_weights_of_two_rewards_start_even_and_the_settled_one_falls():
    course = np.array(recap.weights_of(0.2, 0))
    assert course[0].tolist() == [1.0, 1.0]
    assert course.sum(1) == pytest.approx(np.full(recap.STEPS, 2.0))
    assert course[-50:, 1].mean() > 1.1 > 0.9 > course[-50:, 0].mean()


def test_the_worlds_labels_come_in_the_checks_shares():
    _, _, _, states, labels = diffadapt.world(0)
    shares = np.bincount(labels.numpy(), minlength=3) / diffadapt.QUESTIONS
    assert shares == pytest.approx([0.30, 0.48, 0.22], abs=0.04)
    assert states.shape == (1500, 8)


def test_imitation_starts_uniform_and_finds_what_rewards_alone_do_not(monkeypatch):
    monkeypatch.setattr(spear, "UPDATES", 70)
    none, warm, at_once = (spear.imitation(gamma, 0) for gamma in spear.GAMMAS.values())
    assert none[0][0] == pytest.approx(4.0**-5, rel=0.1)
    assert none[1][0] == pytest.approx(np.log(4), abs=1e-2)
    assert none[0][-1] < 0.1 < warm[0][-1]
    assert at_once[1][29] < warm[1][29] < none[1][29]


def test_windows_of_high_entropy_grow_with_length(monkeypatch):
    monkeypatch.setattr(ares, "SEQUENCES", 300)
    count, length = ares.two_states(0)
    assert (count <= np.maximum(length - ares.WINDOW + 1, 0)).all()
    assert np.corrcoef(count, length)[0, 1] > 0.6
