"""What `two_processes.py` is asked to train, and how it is started."""

from pathlib import Path

from entrokit.rlvr.cards import methods

from ..processes import run

SCRIPT = Path(__file__).with_name("two_processes.py")
# What each process replays, it draws from its own memory: test_replay.py holds that to its word.
LEFT_OUT = {"self-imitation"}
# Knobs at which two cuts of a batch can be compared, where a method's own example is at an edge.
AT = {
    # A share whose threshold no token's entropy comes near: first tokens of a group tie, and rounding would split them.
    "forking-tokens": "grpo+steer(min_weight=0.3)+forking-tokens(rho=0.28)",
    "siren": "dr_grpo+siren(coef=0.5, anchor=0.5)",
    "epo": "grpo+empg+epo(coef=0.1, alpha=5.0, kappa_low=0.99, kappa_high=1.01)",
    "recap": "grpo+recap(temperature=0.1)",
}
SPECS = [
    *(AT.get(m.name, m.card.examples[0]) for m in methods().values() if m.kind != "preset" and m.name not in LEFT_OUT),
    "dapo+siren(coef=0.5, scope='step')",
    "grpo+weighted-grpo(normalize='pair')",
    "grpo+aepo-reward(variant='paper', window=2)+aepo-kl(beta=0.1, variant='paper', window=2, quantile=0.5)",
    "dapo+adaptive-temperature+token-group-average+adaptive-clip(pivot=0.5)+redistribute-advantage(pivot=0.5)",
]


# As `accelerate launch --use_fsdp --fsdp_version 2` sets it.
FSDP2 = {
    "ACCELERATE_USE_FSDP": "true",
    "FSDP_VERSION": "2",
    "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
    "FSDP_TRANSFORMER_CLS_TO_WRAP": "Qwen3DecoderLayer",
    "FSDP_RESHARD_AFTER_FORWARD": "true",
    "FSDP_STATE_DICT_TYPE": "FULL_STATE_DICT",
    "FSDP_CPU_RAM_EFFICIENT_LOADING": "false",
}


def trained(launcher, checkpoint, folder, name, **environment):
    out = folder / f"{name}.json"
    return run([*launcher, str(SCRIPT), checkpoint, str(folder / name), str(out), *SPECS], out, **environment)
