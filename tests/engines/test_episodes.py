"""Episodes inside one `generate`: who said which token, what is trained on, and what TRL's own tools fill in."""

from pathlib import Path

import pytest
import torch

from entrokit.engines.trl import EntropyGRPOTrainer, EpisodeRollout
from entrokit.engines.trl.batch import rollouts_of
from entrokit.engines.trl.episodes import EnvironmentTurns
from entrokit.rlvr import PolicyStats
from entrokit.rlvr.tasks import Answer, Environment, load_task
from entrokit.rlvr.tasks.maze import MOVES, MazeDemonstrations, MazeEpisode
from entrokit.rlvr.tasks.task import Task
from entrokit.rlvr.turns import Turns
from entrokit.training.pocket import PocketConfig, character_tokenizer, fresh_model


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
            real = own.tokens[row][own.real[row]].tolist()
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
            assert own.trained[row].tolist()[: len(expected)] == expected
            assert own.real[row].sum() == len(expected)
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
    assert not seen[0].advantages[~own.trained].any()
    current = own.behaviour
    leaves = PolicyStats(**{k: v.clone().requires_grad_() for k, v in current.columns().items()})
    prepared = t.recipe.prepare(own, seen[0].advantages, t._context())
    loss = t.recipe.loss(leaves, own, seen[0].advantages, prepared).loss
    for gradient in torch.autograd.grad(loss, [leaves.logp, leaves.entropy]):
        assert not gradient[~own.trained].any()
        assert gradient[own.trained].any()


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


class Guess:
    """The environment of the docs: the last turn decides."""

    def __init__(self, prompt):
        self.heard, self.solved = [], False

    def step(self, turn):
        self.heard.append(turn)
        self.solved = turn == "n"
        return Answer("#", over=self.solved)


def played(player, said, limit=None):
    """Episodes side by side in a `generate` that pads a row for as long as another goes on, with these tokens said."""
    _, tokenizer = player
    environment = Environment(Guess, turn_ends="nesw", longest_turn=3)
    episodes = [Guess("") for _ in said]
    turns = EnvironmentTurns(environment, episodes, tokenizer)
    scripts = [tokenizer.encode(text) + [tokenizer.eos_token_id] * text.endswith(" ") for text in said]
    rows = [[0] for _ in said]
    done = [False] * len(said)
    for _ in range(limit or 20):
        forced = turns(torch.tensor(rows), torch.zeros(len(said), len(tokenizer)))
        for i, row in enumerate(rows):
            if done[i]:
                row.append(tokenizer.pad_token_id)
            elif torch.isinf(forced[i]).any():
                row.append(int(forced[i].argmax()))
            else:
                row.append(scripts[i].pop(0) if scripts[i] else tokenizer.eos_token_id)
            done[i] = done[i] or row[-1] == tokenizer.eos_token_id
    return episodes, turns, [row[1:] for row in rows]


def test_an_episode_hears_nothing_after_its_end(player):
    """One is solved at once, one gives up in mid-turn; a third goes on while they are padded."""
    episodes, turns, rows = played(player, ["n", "m", "sssssn"])
    assert [e.heard for e in episodes] == [["n"], [], ["s"] * 5 + ["n"]]
    assert [e.solved for e in episodes] == [True, False, True]
    eos = player[1].eos_token_id
    ends = [row.index(eos) + 1 for row in rows]
    assert turns.mask(0, ends[0]) == [1, 0, 0]
    assert turns.mask(1, ends[1]) == [1, 1]
    assert len(turns.mask(2, 20)) == ends[2]
    assert turns.tool_calls == [0, 0, 0]


def test_a_turn_that_ends_with_the_completion_is_heard(player):
    episodes, turns, rows = played(player, ["sn"], limit=3)
    assert episodes[0].heard == ["s"], "generate shows the last token to nobody"
    turns.hear_last(0, rows[0])
    assert episodes[0].heard == ["s", "n"]
    assert episodes[0].solved
    turns.hear_last(0, rows[0])
    assert episodes[0].heard == ["s", "n"]
    given_up, turns, rows = played(player, ["m"], limit=2)
    turns.hear_last(0, rows[0])
    assert given_up[0].heard == []


def test_solved_episodes_are_rewarded_in_a_real_step(player, config):
    """Whoever was solved stays so, however long others go on."""
    model, tokenizer = player
    played = []

    class Watched(Guess):
        def __init__(self, prompt):
            super().__init__(prompt)
            self.once = False
            played.append(self)

        def step(self, turn):
            answer = super().step(turn)
            self.once = self.once or self.solved
            return answer

    def reward(completions, solved, **columns):
        return [float(s) for s in solved]

    task = load_task("maze", train_size=16)
    t = EntropyGRPOTrainer(
        model,
        reward_funcs=reward,
        args=config(max_completion_length=40, max_steps=1, per_device_train_batch_size=16),
        train_dataset=task.train,
        processing_class=tokenizer,
        rollout_func=EpisodeRollout(Environment(Watched, turn_ends="nesw", longest_turn=4)),
    )
    seen = []
    t._on_generation = seen.append
    t.train()
    assert [e.once for e in played] == [e.solved for e in played] == seen[0].rollouts.reward.bool().tolist()
    assert any(e.solved for e in played)
    assert not all(e.solved for e in played)
