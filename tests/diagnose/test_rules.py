"""What thresholds alone do not tell of the rules: their neighbours, their words, and runs without rewards."""

import numpy as np
import pytest

from entrokit.diagnose import EntropyRewardLaw, LawOfRun, diagnose, law_words

from .logs import log_of

N = 120
SOUND = {"entropy": np.linspace(0.6, 0.5, N), "reward": np.linspace(0.2, 0.6, N)}


def findings(courses, **more):
    return diagnose(log_of(courses, **more)).findings


def verdicts(courses, **more):
    return [f.verdict for f in findings(courses, **more)]


def test_a_sound_run_that_logs_much():
    assert verdicts(
        SOUND | {"kl": np.linspace(0, 0.3, N), "grad_norm": np.full(N, 0.3), "length": np.full(N, 400)}
    ) == ["healthy"]


def test_a_correlation_that_was_low_all_along_is_told_and_no_mismatch():
    low, gap = np.full(N, 0.972), np.full(N, 0.006)
    (healthy,) = findings(SOUND | {"sampler_correlation": low, "sampler_prob_gap": gap})
    assert healthy.verdict == "healthy"
    assert any("correlate by 0.972" in e for e in healthy.evidence)
    fell = np.linspace(0.995, 0.95, N)
    assert verdicts(SOUND | {"sampler_correlation": fell, "sampler_prob_gap": gap}) == ["mismatch"]
    assert verdicts(SOUND | {"sampler_correlation": low}) == ["mismatch"]  # nothing else is known


def test_maxima_of_gaps_are_not_judged():
    assert verdicts(SOUND | {"sampler_logp_gap_dot_max": np.full(N, 9.0)}) == ["healthy"]


@pytest.mark.parametrize(("gap", "verdict"), [(np.linspace(0.004, 0.06, N), "mismatch"), (np.full(N, 0.06), "healthy")])
def test_a_gap_that_grows_is_one_of_stale_weights_whatever_its_size(gap, verdict):
    (first,) = findings(SOUND | {"sampler_logp_gap": gap})
    assert first.verdict == verdict
    assert ("stale" in first.cause) == (verdict == "mismatch")


def test_parts_that_pay_for_form_may_be_given_up():
    right, form = np.linspace(0.2, 0.8, N), np.linspace(0.5, 0.05, N)
    given_up = {"reward_dot_part__correct": right, "reward_dot_part__format": form, "reward": right + form}
    assert verdicts(SOUND | given_up) == ["healthy"]
    swapped = {"reward_dot_part__correct": form, "reward_dot_part__format": right, "reward": right + form}
    assert verdicts(SOUND | swapped)[0] == "reward-hacking"


def test_a_held_out_score_by_families():
    fell = np.concatenate([np.linspace(0.3, 0.6, 6), np.linspace(0.55, 0.2, 6)])
    courses = SOUND | {"validation__a": fell, "validation__b": fell + 0.1}
    (finding, *_) = findings(courses)
    assert finding.verdict == "reward-hacking"
    assert finding.onset == pytest.approx(N / 2, abs=N / 10)


def test_kl_in_one_stretch_of_the_positions():
    even = np.linspace(0.02, 0.05, N)
    places = {f"kl_dot_position__{i}": even for i in range(8)}
    assert verdicts(SOUND | places) == ["healthy"]
    (finding,) = findings(SOUND | places | {"kl_dot_position__0": np.linspace(0.02, 0.6, N)})
    assert (finding.verdict, finding.cause) == ("kl-blow-up", "one stretch of the positions leaves the reference alone")


def test_single_steps_of_the_kl_estimator_are_no_blow_up():
    kl = np.linspace(0.01, 0.05, N)
    kl[[30, 60, 110, 115]] = 1e4
    assert verdicts(SOUND | {"kl": kl}) == ["healthy"]


def test_solved_prompts_are_no_alarm():
    courses = SOUND | {"reward": np.linspace(0.3, 0.97, N), "zero_variance": np.linspace(0.1, 0.8, N)}
    assert verdicts(courses) == ["healthy", "too-easy"]


def test_supervised_runs_are_judged_by_their_loss_and_get_no_recipe():
    loss = 0.8 + 1.2 * np.exp(-6 * np.linspace(0, 1, N))
    assert verdicts({"loss": loss}, kind="supervised") == ["healthy"]
    assert verdicts({"loss": loss[:5]}, kind="supervised") == ["insufficient-data"]
    rises = np.concatenate([loss[:80], np.linspace(0.8, 2.0, 40)])
    for courses, verdict in (
        ({"loss": rises}, "loss-divergence"),
        ({"loss": loss, "eval_loss": np.concatenate([loss[::20], [1.1, 1.3, 1.5]])}, "overfitting"),
        ({"loss": np.full(N, 2.3)}, "plateau"),
        ({"loss": np.where(np.arange(N) < 50, loss, np.nan)}, "broken-numbers"),
    ):
        (first, *_) = findings(courses, kind="supervised")
        assert first.verdict == verdict
        assert first.remedies
        assert all(r.recipe is None for r in first.remedies)


@pytest.mark.parametrize(
    ("a", "b", "r2", "words"),
    [
        (0.248, 0.618, 0.9, "R = -0.248 e^H + 0.618"),
        (0.152, -0.194, 0.9, "R = -0.152 e^H - 0.194"),
        (-0.152, -0.194, 0.9, None),
        (0.2, 0.6, 0.05, None),
    ],
)
def test_the_law_in_words(a, b, r2, words):
    assert law_words(LawOfRun(EntropyRewardLaw(a, b, r2), (0, 1), (0, 1), 0.0, ())) == words


@pytest.mark.parametrize("n", [0, 1, 2, 3, 9])
def test_hardly_any_points(n):
    names = ("loss", "grad_norm", "kl", "length", "truncated", "zero_variance", "accuracy", "validation", "clip_share")
    courses = {name: np.full(n, 0.5) for name in (*SOUND, *names, "reward_dot_part__a", "reward_dot_part__b")}
    assert verdicts(courses)[-1] in ("insufficient-data", "healthy")
    assert verdicts({"loss": np.full(n, 0.5)}, kind="supervised") == ["insufficient-data"]


def test_a_clip_that_always_took_a_little_less_is_no_saturation():
    def clipped(start, end):
        return SOUND | {"clip_share": np.linspace(start, end, N)}

    assert "clip-saturation" not in verdicts(clipped(0.28, 0.35))  # as it always was
    assert "clip-saturation" in verdicts(clipped(0.2, 0.4))  # half as much again
    assert "clip-saturation" in verdicts(clipped(0.01, 0.35))


def test_steps_that_are_large_every_third_time_are_no_spikes():
    def norms(every):
        return SOUND | {"grad_norm": np.where(np.arange(N) % every == every - 1, 40.0, 1.0)}

    assert "gradient-spikes" not in verdicts(norms(3))
    assert "gradient-spikes" in verdicts(norms(15))


def test_a_gap_that_grows_within_its_noise_is_not_one_of_stale_weights():
    wave = np.tile([1.0, -1.0], N // 2)
    rise = np.linspace(0.001, 0.03, N)
    assert "mismatch" in verdicts(SOUND | {"sampler_logp_gap": rise})
    assert "mismatch" not in verdicts(SOUND | {"sampler_logp_gap": rise + 0.05 * wave})


def test_a_low_correlation_is_told_beside_another_gap_although_it_did_not_fall():
    courses = SOUND | {"sampler_correlation": np.full(N, 0.97), "sampler_kl": np.full(N, 0.05)}
    (mismatch, *_) = findings(courses)
    assert mismatch.verdict == "mismatch"
    assert any("correlate by 0.970" in e for e in mismatch.evidence)


def test_answers_that_shrank_are_told_where_the_gain_is_one_of_noise():
    wave, half = np.tile([0.1, -0.1], N // 2), np.arange(N) >= N // 2
    shrunk = {"entropy": SOUND["entropy"], "length": np.where(half, 60.0, 1000.0)}
    assert "length-collapse" in verdicts(shrunk | {"reward": 0.4 + wave + 0.12 * half})
    assert "length-collapse" not in verdicts(shrunk | {"reward": 0.4 + wave + 0.4 * half})


def test_a_reward_that_fell_and_stayed_there_is_no_standstill():
    small = 0.005 * np.random.default_rng(0).normal(size=N)
    rose = np.linspace(0.2, 0.6, 40)
    courses = {"entropy": SOUND["entropy"]}
    assert "plateau" in verdicts(courses | {"reward": np.concatenate([rose, np.full(80, 0.6)]) + small})
    fell = np.concatenate([rose, np.linspace(0.6, 0.4, 20), np.full(60, 0.4)])
    assert "plateau" not in verdicts(courses | {"reward": fell + small})


def test_groups_that_were_flat_from_the_start_have_lost_nothing():
    low = {"entropy": SOUND["entropy"], "reward": 0.3 + 0.01 * np.random.default_rng(0).normal(size=N)}
    causes = [f.cause for f in findings(low | {"zero_variance": np.linspace(0.65, 0.9, N)})]
    assert "most groups tell nothing apart" in causes
    assert not any("lost" in cause for cause in causes)
    causes = [f.cause for f in findings(low | {"zero_variance": np.linspace(0.4, 0.9, N)})]
    assert any("lost" in cause for cause in causes)


def test_a_held_out_score_that_falls_with_the_reward_is_not_hacked():
    courses = SOUND | {"validation": np.concatenate([np.linspace(0.3, 0.6, 8), np.linspace(0.58, 0.2, 8)])}
    assert "reward-hacking" in verdicts(courses)
    half = N // 2
    both = np.concatenate([np.linspace(0.2, 0.6, half), np.linspace(0.6, 0.3, half)])
    assert "reward-hacking" not in verdicts(courses | {"reward": both})


def test_a_spread_that_small_batches_make_vanish_now_and_then_is_not_lost():
    now_and_then = np.tile([0.93, 0.0], 15)
    now_and_then[:3], now_and_then[-3:] = 0.93, 0.0
    short = {name: course[:30] for name, course in SOUND.items()}
    assert "no-signal" not in verdicts(short | {"advantage_dot_std": now_and_then})
    assert "no-signal" in verdicts(short | {"advantage_dot_std": np.linspace(0.93, 0.0, 30)})


@pytest.mark.parametrize(("holding", "alone"), [(1, False), (3, True)])
def test_a_family_went_wrong_alone_where_half_of_all_hold(holding, alone):
    """Of four: one falls deep; of the others some fall to half, which is no failure of their own."""
    small = 0.01 * np.random.default_rng(0).normal(size=N)
    ends = [0.02, *[0.6] * holding, *[0.3] * (3 - holding)]
    families = {f"reward__{i}": np.linspace(0.6, end, N) + small for i, end in enumerate(ends)}
    assert ("local-failure" in verdicts(SOUND | families)) is alone


def test_a_reward_that_was_lost_while_entropy_exploded_is_told_as_the_explosion_alone():
    reward = np.concatenate([np.linspace(0.5, 0.0, 60), np.zeros(60)])
    assert "collapse" in verdicts(SOUND | {"reward": reward})
    told = verdicts({"entropy": np.linspace(0.4, 3.0, N), "reward": reward})
    assert "explosion" in told
    assert "collapse" not in told


def test_evaluations_that_jump_are_no_overfitting():
    loss = {"loss": np.linspace(2.0, 1.0, N)}
    wave = np.tile([0.15, -0.15], 5)
    assert "overfitting" not in verdicts(loss | {"eval_loss": 1.0 - wave}, kind="supervised")
    rises = np.concatenate([np.linspace(1.4, 1.0, 5), np.linspace(1.05, 1.3, 5)])
    assert "overfitting" in verdicts(loss | {"eval_loss": rises}, kind="supervised")


def test_a_reward_that_fell_within_its_first_tenth_is_told_from_where_it_was():
    small = 0.002 * np.random.default_rng(0).random(N)
    reward = np.concatenate([np.full(4, 0.5), np.zeros(N - 4)]) + small
    crashed = next(f for f in findings(SOUND | {"reward": reward}) if f.verdict == "collapse")
    assert crashed.evidence[0].startswith("reward fell from 0.50")
