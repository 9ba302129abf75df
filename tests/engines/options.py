"""Options of `GRPOConfig` for runs that are compared number by number."""

# On a CPU in float32, every step logged, nothing saved or sent.
QUIET = {
    "logging_steps": 1,
    "report_to": [],
    "save_strategy": "no",
    "use_cpu": True,
    "bf16": False,
    "gradient_checkpointing": False,
    "disable_tqdm": True,
    "seed": 3,
}
# Plain gradient descent at a constant rate, which anybody can do by hand.
PLAIN = QUIET | {"optim": "sgd", "lr_scheduler_type": "constant", "learning_rate": 0.05}
