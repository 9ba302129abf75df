"""What the losses that PLD is compared with do not take."""

import pytest
import torch

from entrokit.losses.pld import dist_loss, dkd_loss, kd_loss

LOGITS = torch.zeros(2, 3)


@pytest.mark.parametrize("loss", [kd_loss, dist_loss, dkd_loss], ids=lambda loss: loss.__name__)
@pytest.mark.parametrize(
    ("student", "teacher", "target", "temperature", "message"),
    [
        (LOGITS, LOGITS, [0, -100], 1.0, "label -100 of row 1 is none of 3 classes"),
        (LOGITS, LOGITS, [3, 0], 1.0, "label 3 of row 0"),
        (LOGITS, LOGITS[:1], [0, 0], 1.0, r"got \[2, 3\], \[1, 3\] and \[2\]"),
        (LOGITS[None], LOGITS[None], [[0, 0]], 1.0, r"expected logits \[N, C\]"),
        (LOGITS[:0], LOGITS[:0], [], 1.0, "needs a row and two classes"),
        (LOGITS[:, :1], LOGITS[:, :1], [0, 0], 1.0, "needs a row and two classes"),
        (LOGITS, LOGITS, [0, 0], 0.0, "temperature must be above 0"),
    ],
)
def test_it_is_named(loss, student, teacher, target, temperature, message):
    with pytest.raises(ValueError, match=f"{loss.__name__}: .*{message}"):
        loss(student, teacher, torch.tensor(target, dtype=torch.long), temperature=temperature)
