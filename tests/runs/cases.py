"""Runs and completions that tests write."""

import json

from entrokit.runs.layout import ROLLOUT_COLUMNS

# An answer of an OpenAI-compatible server: two tokens with the two likeliest of each.
CHAT = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "model": "m",
    "choices": [
        {
            "index": 0,
            "finish_reason": "length",
            "message": {"role": "assistant", "content": "4 2"},
            "logprobs": {
                "content": [
                    {
                        "token": "4",
                        "logprob": -0.1,
                        "bytes": [52],
                        "top_logprobs": [
                            {"token": "4", "logprob": -0.1, "bytes": [52]},
                            {"token": "5", "logprob": -2.5, "bytes": [53]},
                        ],
                    },
                    {
                        "token": " 2",
                        "logprob": -4.0,
                        "bytes": [32, 50],
                        "top_logprobs": [
                            {"token": ".", "logprob": -0.2, "bytes": [46]},
                            {"token": "!", "logprob": -2.0, "bytes": [33]},
                        ],
                    },
                ]
            },
        }
    ],
}


def columns(rows=2):
    """A generation batch of equal completions, as `RunWriter.rollouts` takes it."""
    one = {
        "group": 0,
        "prompt": "1 2 3=6:",
        "family": None,
        "completion": "1+2+3",
        "reward": 1.0,
        "advantage": 0.5,
        "truncated": False,
        "tokens": ["1", "+", "2"],
        "entropy": [0.1, 0.2, 0.3],
        "logp": [-0.1, -0.2, -0.3],
    }
    return {name: [one[name]] * rows for name in ROLLOUT_COLUMNS}


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def jsonl(path, rows):
    return write(path, "".join(json.dumps(row) + "\n" for row in rows))
