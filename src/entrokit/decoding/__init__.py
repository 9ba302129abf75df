"""Floor 2: what acts on logits while a model samples, and what chooses how it samples.

`adaptive_temperature`, `difficulty`, `forks`, `path_nucleus`.
"""

from entrokit.moved import by_name, moved_names

_BEFORE = {
    "entrokit.decoding.difficulty": (
        "STRATEGIES DifficultyProbe RoutedAnswer Strategy generate_routed generation_entropy "
        "label_difficulty prefill_states route u_shape_report"
    ),
    "entrokit.decoding.forks": "fork_temperature",
    "entrokit.decoding.adaptive_temperature": "EntropyScale EntropyTemperature entropy_scale",
}

__getattr__ = moved_names(__name__, by_name(_BEFORE))
