"""A text maze: up to twelve moves with an answer to each, a reward at the end, and shortest paths known.

The prompt names a maze, where the walker stands and where it must get: ``"417a1d4:"``, on a grid of columns ``a`` to
``e`` and rows ``1`` to ``5``. The policy says a move, ``n``, ``e``, ``s`` or ``w``; the maze answers with the cell that
it leads to (``"b1"``), or ``##`` where there is a wall, which nothing in the prompt gives away. One token a character.
Whoever knows the walls needs 4 to 8 moves (`distance`).

With ``tool=True`` the policy may also say ``m``: the map answers with the first move of a shortest path. A call takes a
turn too, and there are 18 of them.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any, ClassVar

from ..knobs import check_range
from .episode import Answer, Environment
from .task import Task

SIZE = 5
TURNS, TOOL_TURNS = 12, 18
MOVES = {"n": (0, 1), "e": (1, 0), "s": (0, -1), "w": (-1, 0)}
TOOL, WALL, INVALID = "m", "##", "!!"
_WALLED = 0.1
_NEAREST, _FARTHEST = 4, 8
_NAMES = 1000

Cell = tuple[int, int]


@dataclass(frozen=True)
class Maze:
    """Where one may go. ``walls``: pairs of neighbouring cells that a wall parts, both ways round."""

    start: Cell
    goal: Cell
    walls: frozenset[tuple[Cell, Cell]]

    def after(self, cell: Cell, move: str) -> Cell | None:
        """The cell that a move leads to; None at a wall or the edge."""
        dx, dy = MOVES[move]
        there = cell[0] + dx, cell[1] + dy
        inside = 0 <= there[0] < SIZE and 0 <= there[1] < SIZE
        return there if inside and (cell, there) not in self.walls else None

    def distances(self) -> dict[Cell, int]:
        """Fewest moves to the goal from every cell that it can be reached from."""
        known, border = {self.goal: 0}, [self.goal]
        for cell in border:
            # Walls part both ways, so that a path back is a path there.
            for there in (self.after(cell, move) for move in MOVES):
                if there is not None and there not in known:
                    known[there] = known[cell] + 1
                    border.append(there)
        return known

    def best(self, cell: Cell) -> str:
        """The first move of a shortest path to the goal."""
        known = self.distances()
        return min(MOVES, key=lambda move: known.get(self.after(cell, move) or cell, SIZE * SIZE))


@lru_cache(maxsize=4096)
def maze_of(prompt: str) -> Maze:
    """The maze that a prompt names.

    Raises:
        ValueError: no prompt of this task.
    """
    name, start, goal = prompt[:3], prompt[3:5], prompt[5:7]
    if len(prompt) != 8 or not name.isdigit() or prompt[7] != ":":
        raise ValueError(f"maze: a prompt looks like '417a1d4:', got {prompt!r}")
    rng, walls = random.Random(f"maze {name}"), set()
    for x in range(SIZE):
        for y in range(SIZE):
            for there in ((x + 1, y), (x, y + 1)):
                if rng.random() < _WALLED:
                    walls |= {((x, y), there), (there, (x, y))}
    return Maze(_cell(start), _cell(goal), frozenset(walls))


def distance(prompt: str) -> int | None:
    """Moves of a shortest path; None where there is none."""
    maze = maze_of(prompt)
    return maze.distances().get(maze.start)


@dataclass
class MazeEpisode:
    """A walk: see the module."""

    prompt: str
    turns: int = TURNS
    tool: bool = False
    cell: Cell = field(init=False)
    taken: int = field(default=0, init=False)
    solved: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self.cell = maze_of(self.prompt).start

    def step(self, turn: str) -> Answer:
        """The maze's answer to a move."""
        maze, over = maze_of(self.prompt), self.taken + 1 >= self.turns
        self.taken += 1
        if self.tool and turn == TOOL:
            return Answer(maze.best(self.cell), over, tool=True)
        if turn not in MOVES:
            return Answer(INVALID, over)
        there = maze.after(self.cell, turn)
        if there is None:
            return Answer(WALL, over)
        self.cell, self.solved = there, there == maze.goal
        return Answer(_name(there), over or self.solved)


@dataclass(frozen=True)
class MazeDemonstrations:
    """Walks that head for the goal as the crow flies with probability ``heed``, and go anywhere else.

    With ``tool`` they ask for the map with probability ``call``, and then heed what it says as often.
    """

    alphabet: ClassVar[str] = "0123456789:abcdenswm#!"
    heed: float = 0.15
    tool: bool = False
    call: float = 0.1

    def __post_init__(self) -> None:
        check_range(self, "heed", 0.0, 1.0)
        check_range(self, "call", 0.0, 1.0)

    def sample(self, rng: random.Random) -> tuple[str, str]:
        prompt, text = random_prompt(rng), ""
        episode = MazeEpisode(prompt, TOOL_TURNS if self.tool else TURNS, self.tool)
        answer, turn = Answer(""), ""
        while not answer.over:
            turn = self._turn(episode, answer, turn, rng)
            answer = episode.step(turn)
            text += turn + answer.text
        return prompt, text

    def _turn(self, episode: MazeEpisode, before: Answer, last: str, rng: random.Random) -> str:
        heeds = rng.random() < self.heed
        if before.tool and heeds:
            return before.text
        if self.tool and not before.tool and rng.random() < self.call:
            return TOOL
        goal = maze_of(episode.prompt).goal
        towards = [
            m
            for m, (dx, dy) in MOVES.items()
            if (goal[0] - episode.cell[0]) * dx + (goal[1] - episode.cell[1]) * dy > 0
        ]
        if before.text == WALL:
            towards = [m for m in towards if m != last] or [m for m in MOVES if m != last]
        return rng.choice(towards if heeds and towards else list(MOVES))


def random_prompt(rng: random.Random) -> str:
    """A maze whose goal is 4 to 8 moves away."""
    while True:
        start, goal = (_name((rng.randrange(SIZE), rng.randrange(SIZE))) for _ in range(2))
        prompt = f"{rng.randrange(_NAMES):03d}{start}{goal}:"
        moves = distance(prompt)
        if moves is not None and _NEAREST <= moves <= _FARTHEST:
            return prompt


def reward(completions: list[Any], solved: list[bool], **kwargs: Any) -> list[float]:
    """TRL reward function: 1.0 for whoever got there, as the environment saw it, whatever the policy wrote."""
    return [float(there) for there in solved]


def maze(train_size: int = 4096, eval_size: int = 256, seed: int = 0, tool: bool = False) -> Task:
    """Mazes as TRL expects a task, with their environment: datasets with ``prompt`` and ``moves``, prompts distinct."""
    from datasets import Dataset

    rng, found = random.Random(seed), dict[str, None]()
    while len(found) < train_size + eval_size:
        found[random_prompt(rng)] = None
    rows = [{"prompt": p, "moves": distance(p)} for p in found]
    turns = TOOL_TURNS if tool else TURNS
    return Task(
        name="maze:tool" if tool else "maze",
        train=Dataset.from_list(rows[:train_size]),
        evaluation=Dataset.from_list(rows[train_size:]),
        reward=reward,
        max_completion_length=3 * turns + 1,
        demonstrations=MazeDemonstrations(tool=tool),
        environment=Environment(partial(MazeEpisode, turns=turns, tool=tool), "", longest_turn=1),
    )


def _name(cell: Cell) -> str:
    return f"{'abcde'[cell[0]]}{cell[1] + 1}"


def _cell(name: str) -> Cell:
    if len(name) != 2 or name[0] not in "abcde" or name[1] not in "12345":
        raise ValueError(f"maze: no cell {name!r}; there are a1 to e5")
    return "abcde".index(name[0]), int(name[1]) - 1
