"""Four paths a prompt, of a real model: right answers, likelihood, difference and cost."""

from __future__ import annotations

import statistics
import warnings
from collections.abc import Iterator

from ..claims import judge_interval
from ..entry import Shown
from ..evidence import Budget, Finding
from . import _real_paths
from ._paths import effective_chart, likelier, mean_course, one_hot, one_stem


def shown(budget: Budget) -> Iterator[Shown]:
    model, tokenizer = _real_paths.load()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = {
            arm: [_real_paths.answer(model, tokenizer, arm, seed) for seed in budget.seeds] for arm in _real_paths.ARMS
        }
    joint, samples, beam = _real_paths.JOINT, _real_paths.SAMPLES, _real_paths.BEAM
    right = {arm: [run.right for run in own] for arm, own in found.items()}
    right |= {f"{arm}, each of four": [run.right_each for run in own] for arm, own in found.items()}
    log_probs = {arm: [run.log_prob for run in own] for arm, own in found.items()}
    distinct = {arm: [run.distinct for run in own] for arm, own in found.items()}
    for other in (samples, beam):
        yield judge_interval(
            f"Its answers are right more often than {'those of ' if other == beam else ''}{other}.",
            f"share of right answers, {joint} minus {other}",
            "",
            right[joint],
            right[other],
            right,
            above=True,
            reference="the paper names the method enhanced; no figure of its own was found",
        )
    yield likelier(
        "Its answer is likelier than the best of four nucleus samples.",
        f"{joint} minus {samples}",
        joint,
        samples,
        log_probs,
    )
    yield likelier("Beam search's is likelier still.", f"{beam} minus {joint}", beam, joint, log_probs)
    yield judge_interval(
        "Its four paths are less different than four samples.",
        f"different texts of four, {joint} minus {samples}",
        "",
        distinct[joint],
        distinct[samples],
        distinct,
        above=False,
        reference="ours",
    )
    late = {a: [statistics.fmean(run.effective[16:]) for run in own] for a, own in found.items() if own[0].effective}
    yield one_hot(f"{_real_paths.TOKENS} tokens, from the 17th on", joint, late)
    yield one_stem(f"{_real_paths.TOKENS} tokens", joint, {a: [run.shared for run in own] for a, own in found.items()})
    tokens = {arm: [run.tokens for run in own] for arm, own in found.items()}
    yield Finding(
        "It costs no more passes than the others.",
        "tokens that the model reads a prompt, mean over seeds: at most those of four samples and of beam search",
        "; ".join(f"{arm} {statistics.fmean(own):.0f}" for arm, own in tokens.items()),
        statistics.fmean(tokens[joint]) <= min(statistics.fmean(tokens[other]) for other in (samples, beam)),
        "ours",
        tokens,
    )
    yield effective_chart(
        "SmolLM2-135M-Instruct: effective paths of four",
        {arm: mean_course([run.effective for run in own]) for arm, own in found.items() if own[0].effective},
    )
