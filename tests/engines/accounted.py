"""Short runs with an account of every step, on prompts that hold the padding token."""

import json
from pathlib import Path

from entrokit.engines.trl import EntropyAccountCallback
from entrokit.runs import StepAccount
from entrokit.runs.layout import ACCOUNT
from entrokit.training.pocket import character_tokenizer

from .conftest import length_reward

PAD = 0
# So small that the second order of a step, which falls with the square of the rate, is under a thousandth of its first.
RATE = 1e-6


class Summed(EntropyAccountCallback):
    """Keeps the sum of the shares' sizes, by which the rounding of their sum is measured."""

    sizes: list[float]

    def _shares(self, direction, chosen):
        shares = super()._shares(direction, chosen)
        self.sizes.append(sum(abs(s.share) for s in shares))
        return shares


def trained(kind, model, config, task, **options):
    """The accounts of four steps, with the sizes of their shares; every prompt holds the padding token."""
    tokenizer = character_tokenizer()
    data = task.train.map(lambda row: {"prompt": f"{row['prompt'][:3]}<pad>{row['prompt'][3:]}"})
    assert all(ids.count(PAD) == 1 for ids in tokenizer(data["prompt"][:])["input_ids"])
    trainer = kind(
        model,
        reward_funcs=length_reward,
        args=config(**({"learning_rate": RATE, "steps_per_generation": 2, "max_grad_norm": 0.0} | options)),
        train_dataset=data,
        processing_class=tokenizer,
    )
    callback = Summed(trainer, every=1, rows=None)
    callback.sizes = []
    trainer.add_callback(callback)
    trainer.train()
    lines = Path(trainer.args.output_dir, ACCOUNT).read_text(encoding="utf-8").splitlines()
    return list(zip([StepAccount.from_dict(json.loads(line)) for line in lines], callback.sizes, strict=True))
