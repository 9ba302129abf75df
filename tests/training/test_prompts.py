"""How prompts reach models: in words and as messages where a model reads those, as they are where it does not."""

from dataclasses import replace

import pytest
from datasets import Dataset

from entrokit.rlvr.tasks import load_task
from entrokit.training.models import ModelError
from entrokit.training.pocket import PocketConfig, character_tokenizer, fresh_model
from entrokit.training.prompts import datasets_for
from entrokit.training.settings import TrainSettings

CHAT = "{% for m in messages %}{{ m['role'] + ':' + m['content'] + ' ' }}{% endfor %}"


@pytest.fixture(scope="module")
def model():
    made = fresh_model(PocketConfig(width=32, layers=1, heads=2))
    made.config.max_position_embeddings = 4096
    return made


@pytest.fixture
def chat():
    tokenizer = character_tokenizer()
    tokenizer.chat_template = CHAT
    return tokenizer


def put(model, tokenizer, task="countdown", **options):
    settings = TrainSettings("grpo", "x", task=task, model="m", **options)
    made = load_task(task, train_size=4)
    train, held_out = datasets_for(settings, made, model, tokenizer)
    return made, train, held_out


def test_a_model_without_a_template_reads_the_notation(model):
    task, train, held_out = put(model, character_tokenizer(), evaluation_prompts=3)
    assert train["prompt"][:] == task.train["prompt"][:]
    assert held_out["prompt"][:] == task.evaluation["prompt"][:][:3]


def test_a_model_with_a_template_reads_words(model, chat):
    task, train, _ = put(model, chat, system="Be brief.", answer="tags")
    numbers, target = task.train[0]["numbers"], task.train[0]["target"]
    words = (
        f"Use each of the numbers {numbers[0]}, {numbers[1]} and {numbers[2]} exactly once, with +, -, * and brackets, "
        f"to make {target}. Answer with the expression alone. Write your final answer between <answer> and </answer>."
    )
    assert train[0]["prompt"] == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": words}]
    assert (train[0]["numbers"], train[0]["target"], train[0]["family"]) == (numbers, target, task.train[0]["family"])


def asked_as_messages(*roles):
    """Countdown, its prompts as messages already."""
    task = load_task("countdown", train_size=2, eval_size=2)

    def put(row):
        return row | {"prompt": [{"role": role, "content": row["prompt"]} for role in roles]}

    rows = [[put(row) for row in part] for part in (task.train, task.evaluation)]
    return replace(task, train=Dataset.from_list(rows[0]), evaluation=Dataset.from_list(rows[1]))


def test_messages_are_asked_for_the_form_of_the_answer_too(model, chat):
    settings = TrainSettings("grpo", "x", model="m", answer="tags", system="Be brief.")
    train, _ = datasets_for(settings, asked_as_messages("user", "assistant", "user"), model, chat)
    assert [m["role"] for m in train[0]["prompt"]] == ["system", "user", "assistant", "user"]
    assert ["<answer>" in m["content"] for m in train[0]["prompt"]] == [False, False, False, True]


def test_a_second_system_message_is_refused(model, chat):
    settings = TrainSettings("grpo", "x", model="m", system="Be brief.")
    with pytest.raises(ValueError, match="prompts of countdown bring a system message of their own; leave it out"):
        datasets_for(settings, asked_as_messages("system", "user"), model, chat)


def test_held_out_prompts_have_to_fit_too(model):
    task = load_task("countdown", train_size=2, eval_size=2)
    long = Dataset.from_list([task.evaluation[0], task.evaluation[1] | {"prompt": "1" * 4090}])
    with pytest.raises(ModelError, match="held-out prompt 1 has 4090 tokens"):
        datasets_for(TrainSettings("grpo", "x"), replace(task, evaluation=long), model, character_tokenizer())


@pytest.mark.parametrize("length", [4086, 4087])
def test_prompt_and_completion_may_fill_the_context_to_the_last_token(length, model):
    task = load_task("countdown", train_size=2, eval_size=2)
    rows = Dataset.from_list([task.train[0], task.train[1] | {"prompt": "1" * length}])
    settings = TrainSettings("grpo", "x", model="m", max_completion_length=10)

    def put():
        return datasets_for(settings, replace(task, train=rows), model, character_tokenizer())

    if length + 10 <= 4096:
        assert len(put()[0]) == 2
    else:
        with pytest.raises(ModelError, match=f"training prompt 1 has {length} tokens; .* than the 4096 of m's context"):
            put()


def test_no_held_out_prompts(model, chat):
    assert len(put(model, chat, evaluation_prompts=0)[2]) == 0


@pytest.mark.parametrize("name", ["countdown", "sums", "instructions"])
def test_the_words_say_what_the_notation_says(name, model, chat):
    """An answer that is right in the notation is right for the prompt in words, which names all its numbers."""
    task = load_task(name, train_size=20)
    for row in task.train:
        words = task.in_words(row)
        if name == "countdown":
            assert all(str(n) in words for n in (*row["numbers"], row["target"]))
        elif name == "sums":
            assert all(part in words for part in row["prompt"].rstrip("=").split("+"))
        else:
            wanted, _, length = row["constraints"]
            assert f"exactly {length['at_least']} letters" in words
            assert f"letter {wanted['keyword']} must occur exactly" in words
