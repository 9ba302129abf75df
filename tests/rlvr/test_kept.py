"""What a loss of kept tokens is divided by."""

import pytest
import torch

from entrokit.rlvr import Context, Totals
from entrokit.rlvr.kept import ROWS, TOKENS, kept_shares, kept_totals

TRAINED = torch.tensor([[True, True, True, False], [True, False, False, False], [True, True, False, False]])
KEPT = torch.tensor([[True, False, False, False], [False, False, False, False], [True, True, False, False]])
NONE = torch.zeros_like(TRAINED)


def test_shares_are_of_tokens_and_of_rows_with_any():
    shares = kept_shares(KEPT, TRAINED, Context())
    assert {name: float(value) for name, value in shares.items()} == pytest.approx({TOKENS: 3 / 6, ROWS: 2 / 3})


def test_nothing_trained_has_shares_of_0_and_not_of_nan():
    assert [float(v) for v in kept_shares(NONE, NONE, Context()).values()] == [0.0, 0.0]
    totals = kept_totals(Totals(), {}, NONE.clone(), NONE)
    assert (float(totals.tokens), float(totals.rows)) == (0.0, 0.0)


@pytest.mark.parametrize("tokens", [None, 20.0])
@pytest.mark.parametrize("rows", [None, 9.0])
def test_a_step_s_total_takes_the_step_s_share_and_a_micro_batch_s_its_own(tokens, rows):
    prepared = {TOKENS: torch.tensor(0.25), ROWS: torch.tensor(0.5)}
    totals = kept_totals(Totals(tokens=tokens, rows=rows, length=7), prepared, KEPT, TRAINED)
    assert float(totals.tokens) == pytest.approx(3.0 if tokens is None else 5.0)
    assert float(totals.rows) == pytest.approx(2.0 if rows is None else 4.5)
    assert totals.length == 7
