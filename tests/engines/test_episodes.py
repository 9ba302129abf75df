"""Episodes inside one `generate`: who said which token, what is trained on, and what TRL's own tools fill in."""

from pathlib import Path

import pytest
import torch

from entrokit.engines.pocket import PocketConfig, character_tokenizer, fresh_model
from entrokit.engines.trl import EntropyGRPOTrainer, EpisodeRollout
from entrokit.engines.trl.batch import rollouts_of
from entrokit.engines.trl.episodes import EnvironmentTurns
from entrokit.rlvr import PolicyStats
from entrokit.rlvr.tasks import load_task
from entrokit.rlvr.tasks.maze import MOVES, MazeDemonstrations, MazeEpisode
from entrokit.rlvr.tasks.task import Task
from entrokit.rlvr.turns import Turns


@pytest.fixture(scope="module")
def player():
    """An untrained policy of the maze's alphabet."""
    demonstrations = MazeDemonstrations(tool=True)
    config = PocketConfig(width=32, layers=1, heads=2, demonstrations=demonstrations)
    return fresh_model(config), character_tokenizer(demonstrations.alphabet)


def trainer(player, config, task: Task, spec="grpo", **options):
    model, tokenizer = player
    seen = []
    t = EntropyGRPOTrainer(
        model,
        reward_funcs=task.reward,
        args=config(max_completion_length=task.max_completion_length, **options),
        train_dataset=task.train,
        eval_dataset=task.evaluation,
        processing_class=tokenizer,
        recipe=spec,
        rollout_func=EpisodeRollout(task.environment),
        on_generation=seen.append,
    )
    return t, seen


@pytest.mark.parametrize("name", ["maze", "maze:tool"])
def test_what_was_said_is_what_the_environment_answered(player, config, name):
    """Every completion, turn by turn: forced tokens are the maze's answers, and chosen ones alone are trained on."""
    task = load_task(name, train_size=16)
    t, seen = trainer(player, config, task, max_steps=2)
    t.train()
    _, tokenizer = player
    tool = name.endswith("tool")
    turns_allowed = 18 if tool else 12
    calls = 0
    for batch in seen:
        own = batch.rollouts
        for row, prompt in enumerate(batch.prompts):
            episode = MazeEpisode(prompt, turns_allowed, tool)
            real = own.tokens[row][own.attention[row]].tolist()
            # An untrained policy says anything, the padding token included.
            said, expected, answer, called = [tokenizer.decode([token]) for token in real[:-1]], [], None, 0
            assert real[-1] == tokenizer.eos_token_id
            while said and (answer is None or not answer.over):
                answer = episode.step(said[0])
                called += answer.tool
                assert "".join(said[1:]).startswith(answer.text)
                expected += [True] + [False] * len(answer.text)
                said = said[1 + len(answer.text) :]
            assert said == []
            ended_by_itself = answer is None or not answer.over
            expected += [ended_by_itself]  # the end is the environment's word, unless the policy gave up
            assert own.train[row].tolist()[: len(expected)] == expected
            assert own.attention[row].sum() == len(expected)
            assert bool(own.reward[row]) == episode.solved
            assert int(own.tool_calls[row]) == called
            assert not own.truncated[row]
            calls += called
        assert Turns.of(own).order.max() < turns_allowed + 1
    assert bool(calls) == tool


def test_tokens_of_the_environment_get_no_gradient(player, config):
    t, seen = trainer(player, config, load_task("maze", train_size=16), "grpo+epo(coef=0.1)+empg", max_steps=1)
    t.train()
    own = seen[0].rollouts
    assert not seen[0].advantages[~own.train].any()
    current = own.behaviour
    leaves = PolicyStats(**{k: v.clone().requires_grad_() for k, v in current.columns().items()})
    prepared = t.recipe.prepare(own, seen[0].advantages, t._context())
    loss = t.recipe.loss(leaves, own, seen[0].advantages, prepared).loss
    for gradient in torch.autograd.grad(loss, [leaves.logp, leaves.entropy]):
        assert not gradient[~own.train].any()
        assert gradient[own.train].any()


def test_evaluation_plays_too_and_vllm_is_refused(player, config):
    task = load_task("maze", train_size=16)
    t, seen = trainer(player, config, task, max_steps=1)
    t.eval_dataset = task.evaluation.select(range(8))
    assert t.evaluate() is not None
    assert seen[0].evaluation
    t.use_vllm = True
    with pytest.raises(ValueError, match="give a rollout_func of your own"):
        EpisodeRollout(task.environment)(["417a1d4:"], t)


def test_a_turn_that_never_ends_is_cut(player):
    _, tokenizer = player
    task = load_task("maze", train_size=8)
    turns = EnvironmentTurns(task.environment, [task.environment.start("417a1d4:")], tokenizer)
    ids = torch.tensor([tokenizer.encode("417a1d4:")])
    scores = torch.zeros(1, len(tokenizer))
    for said in tokenizer.encode("0"):  # no move
        assert torch.equal(turns(ids, scores), scores)
        ids = torch.cat([ids, torch.tensor([[said]])], 1)
    forced = turns(ids, scores)
    assert forced.argmax().item() == tokenizer.encode("!")[0]
    assert torch.isinf(forced).sum() == len(tokenizer) - 1
    assert turns.mask(0, 2) == [1, 0]


def test_trls_own_tool_mask_fills_turns_and_calls():
    """As `GRPOTrainer._tool_call_loop` gives it: 1 on what the assistant said, 0 on results of tools."""
    eos = 1
    mask = torch.tensor([[1, 1, 0, 0, 1, 1, 0, 1], [1, 1, 1, 1, 1, 1, 1, 1]])
    output = {
        "completion_ids": torch.tensor([[5, eos, 7, 7, 6, eos, 7, eos], [5, 6, eos, 0, 0, 0, 0, 0]]),
        "completion_mask": torch.tensor([[1] * 8, [1] * 3 + [0] * 5]),
        "tool_mask": mask,
    }
    own = rollouts_of(
        output,
        PolicyStats(logp=torch.zeros(2, 8)),
        torch.tensor([1.0, 0.0]),
        first_row=0,
        per_prompt=2,
        eos_token_ids=[eos],
    )
    turns = Turns.of(own)
    assert turns.trajectory.tolist() == [0, 0, 0, 1]
    assert turns.tokens.tolist() == [2, 2, 1, 3]
    from entrokit.rlvr.interventions.tool_reward import tool_calls

    assert tool_calls(own).tolist() == [2, 0]
    cut = dict(output, completion_mask=torch.tensor([[1] * 7 + [0], [1] * 2 + [0] * 6]))
    own = rollouts_of(
        cut, PolicyStats(logp=torch.zeros(2, 8)), torch.zeros(2), first_row=0, per_prompt=2, eos_token_ids=[eos]
    )
    assert own.truncated.tolist() == [True, True]  # an end in the middle is that of a turn


def test_every_move_of_the_alphabet_is_one_token(player):
    _, tokenizer = player
    assert all(len(tokenizer.encode(move)) == 1 for move in (*MOVES, "m", "#", "!"))


def test_the_environment_in_the_docs_can_be_played(player, config):
    text = (Path(__file__).parents[2] / "docs" / "episodes.md").read_text(encoding="utf-8")
    code = text.split("```python\n")[1].split("```")[0].split("trainer = ")[0]
    scope: dict = {}
    exec(code, scope)
    episode = scope["environment"].start("1234567")
    assert [episode.step(t).text for t in ("6\n", "7\n")] == ["wrong\n", "right\n"]
    assert episode.solved
    assert scope["reward"](completions=["", ""], solved=[True, False]) == [1.0, 0.0]
