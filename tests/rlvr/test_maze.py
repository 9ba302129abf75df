"""The maze: its walls and shortest paths, what it answers, and that nothing but the walk is rewarded."""

import random
from itertools import product

import pytest

from entrokit.rlvr.tasks import load_task
from entrokit.rlvr.tasks.maze import (
    MOVES,
    SIZE,
    TOOL_TURNS,
    TURNS,
    MazeDemonstrations,
    MazeEpisode,
    distance,
    maze_of,
    random_prompt,
    reward,
)


def walk(prompt, moves, **options):
    episode = MazeEpisode(prompt, **options)
    return episode, [episode.step(m) for m in moves]


def shortest(prompt):
    maze, moves = maze_of(prompt), []
    cell = maze.start
    while cell != maze.goal:
        moves.append(maze.best(cell))
        cell = maze.after(cell, moves[-1])
    return moves


def test_shortest_paths_are_those_of_an_exhaustive_search():
    prompt = random_prompt(random.Random(3))
    maze, known = maze_of(prompt), {maze_of(prompt).start: 0}
    for steps in range(1, SIZE * SIZE):
        for cell in [c for c, d in known.items() if d == steps - 1]:
            for move in MOVES:
                there = maze.after(cell, move)
                if there is not None:
                    known.setdefault(there, steps)
    assert distance(prompt) == known[maze.goal]


def test_walls_part_both_ways_and_edges_hold():
    maze = maze_of("417a1d4:")
    assert maze.walls
    for (x, y), move in product(product(range(SIZE), repeat=2), MOVES):
        there = maze.after((x, y), move)
        if there is not None:
            back = {"n": "s", "s": "n", "e": "w", "w": "e"}[move]
            assert maze.after(there, back) == (x, y)
    assert maze.after((0, 0), "w") is None


def test_whoever_knows_the_walls_gets_there_in_4_to_8_moves():
    rng = random.Random(0)
    for _ in range(50):
        prompt = random_prompt(rng)
        moves = shortest(prompt)
        episode, answers = walk(prompt, moves)
        assert 4 <= len(moves) == distance(prompt) <= 8 < TURNS
        assert episode.solved
        assert [a.over for a in answers] == [False] * (len(moves) - 1) + [True]
        assert answers[-1].text == prompt[5:7]


def test_walls_nonsense_and_the_last_turn():
    prompt = "417a1d4:"
    _, answers = walk(prompt, ["w", "x", *"ww"], turns=4)
    assert [a.text for a in answers] == ["##", "!!", "##", "##"]
    assert [a.over for a in answers] == [False, False, False, True]
    episode, answers = walk(prompt, ["m"])
    assert answers[0].text == "!!"
    assert not answers[0].tool
    assert not episode.solved


def test_the_map_knows_the_way_and_takes_a_turn():
    prompt = random_prompt(random.Random(5))
    episode = MazeEpisode(prompt, TOOL_TURNS, tool=True)
    answer = None
    while answer is None or not answer.over:
        asked = episode.step("m")
        assert asked.tool
        answer = episode.step(asked.text)
    assert episode.solved
    assert episode.taken == 2 * distance(prompt)


@pytest.mark.parametrize("bad", ["", "417a1d4", "xx7a1d4:", "417a9d4:", "417z1d4:"])
def test_other_prompts_are_refused(bad):
    with pytest.raises(ValueError, match="maze: "):
        maze_of(bad)


@pytest.mark.parametrize("tool", [False, True])
def test_demonstrations_are_walks_that_fit(tool):
    rng, task = random.Random(0), load_task("maze:tool" if tool else "maze", train_size=8)
    kind = MazeDemonstrations(tool=tool)
    won = 0
    for _ in range(300):
        prompt, text = kind.sample(rng)
        assert set(prompt + text) <= set(kind.alphabet)
        assert len(text) + 1 <= task.max_completion_length
        assert len(prompt) + len(text) + 1 <= 64
        won += text.endswith(prompt[5:7])
    assert 0.08 < won / 300 < 0.35


def test_prompts_are_distinct_and_what_the_policy_wrote_is_not_rewarded():
    task = load_task("maze", train_size=40, seed=2)
    prompts = [*task.train["prompt"], *task.evaluation["prompt"]]
    assert len(set(prompts)) == len(prompts)
    assert task.train["moves"] == [distance(p) for p in task.train["prompt"]]
    assert reward(completions=["ne2d4", "ne2"], solved=[False, True]) == [0.0, 1.0]
