"""What `two_processes.py` is asked to train, and how it is started."""

from pathlib import Path

from ..processes import run

SCRIPT = Path(__file__).with_name("two_processes.py")
# Every base and every intervention of the catalogue, at knobs at which it acts on short completions.
SPECS = [
    "grpo",
    "cispo",
    "gspo",
    "rloo+clip-b(mu=0.2, side='both')",
    "reinforce_plus_plus+clip-v(mu=0.2, max_frac=0.3)",
    "reinforce_plus_plus_baseline+reference-kl(beta=0.1)",
    "dispo(correct='reward')",
    "grpo+clip-cov(ratio=0.2, low=0.0, high=9.0)",
    "dapo+kl-cov(ratio=0.2)",
    "dr_grpo+canon(mu=0.7)",
    "grpo+arm",
    "grpo+perplexity-shaping(alpha=0.3)+position-shaping",
    "grpo+weighted-grpo(normalize='pair')",
    "grpo+pear(end_of_thinking='+')",
    "dr_grpo+siren(coef=0.5, anchor=0.5)",
    "dapo+siren(coef=0.5, scope='step')",
    "dapo+tea",
    "grpo+entropy-bonus(coef=0.01)",
    "rloo_sequence+reward-kl(beta=0.1)",
    "grpo+empg+epo(coef=0.1, alpha=5.0, kappa_low=0.99, kappa_high=1.01)",
    "grpo+epo-official(coef=0.1)",
    "grpo+recap(temperature=0.1)",
    "dr_grpo+tool-reward",
    "dapo+aepo-reward(window=2, quantile=0.5)+aepo-kl(beta=0.1, window=2)",
    "grpo+aepo-reward(variant='paper', window=2)+aepo-kl(beta=0.1, variant='paper', window=2, quantile=0.5)",
    # A share whose threshold no token's entropy comes near: first tokens of a group tie, and rounding would split them.
    "grpo+steer(min_weight=0.3)+forking-tokens(rho=0.28)",
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
