"""Hostile text logs, drawn from a seed: ordinary ones of every shape, some of them cut, doubled or overwritten.

A log that nothing was done to gives its rows back, NaN and infinity included; any other gives rows or a note. No
exception, and no minutes for a short text.
"""

from __future__ import annotations

import csv
import io
import json
import math
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from entrokit.runs.row import Row
from entrokit.runs.shapes.console import console_rows
from entrokit.runs.shapes.json_text import json_document_rows, json_line_rows
from entrokit.runs.shapes.lines import parse_line
from entrokit.runs.shapes.sniff import rows_of
from entrokit.runs.shapes.tables import table_rows
from entrokit.runs.training_log import Notes

NAMES = ["actor/entropy", "critic/score/mean", "reward", "kl", "grad_norm", "completions/mean_length", "acc/mean@1"]
SECONDS = 20.0
Fields = dict[str, float]


def fields(r: random.Random) -> Fields:
    kinds: list[Callable[[], float]] = [
        r.random,
        lambda: r.gauss(0, 1e6),
        lambda: 1e-6 * r.random(),
        lambda: float(r.randrange(999)),
        lambda: r.choice([math.nan, math.inf, -math.inf, 0.0, -0.0, 1e-300]),
    ]
    # One finite number: what has none could be a table's header, or a config.
    return {"loss": r.random()} | {n: r.choice(kinds)() for n in r.sample(NAMES, r.randrange(1, len(NAMES)))}


def verl(step: int, row: Fields) -> str:
    return f"(TaskRunner pid=1) step:{step} - " + " - ".join(f"{n}:{v}" for n, v in row.items())


def numpy(step: int, row: Fields) -> str:
    return f"step:{step} - " + " - ".join(f"{n}:np.float64({v})" for n, v in row.items())


def python_dict(step: int, row: Fields) -> str:
    return f"rollout {step}: {row}"


def megatron(step: int, row: Fields) -> str:
    return f" [2026-03-03 16:01] iteration {step:8}/     624 |" + "".join(f" {n}: {v} |" for n, v in row.items())


def postfix(step: int, row: Fields) -> str:
    return f"a: 1%|x| {step}/900 [00:10<01:20, 1.10it/s, " + ", ".join(f"{n}={v}" for n, v in row.items()) + "]"


def titan(step: int, row: Fields) -> str:
    return f"[rank0] step: {step}  " + "  ".join(f"{n}:  {v}" for n, v in row.items())


PRINTED: list[Callable[[int, Fields], str]] = [verl, numpy, python_dict, megatron, postfix, titan]
FOREIGN = [
    "",
    "=====",
    "(WorkerDict pid=1) saved",
    "done",
    '10.0.0.1 "GET /x?step=3 HTTP/1.1" 200',
    "{",
    "wandb: a ▁▂█",
]


def console_line(seed: int) -> None:
    """A line gives its row, or, once mutated, a row or none."""
    r = random.Random(seed)
    row, step = fields(r), r.randrange(900)
    line = r.choice(PRINTED)(step, row)
    _same([parse_line(line)], [(step, row)], line)
    _sound([parse_line(hostile(r, line))])


def console_file(seed: int) -> None:
    """A console with other lines between gives its rows, whole or broken at a terminal's width."""
    r = random.Random(seed)
    printed = r.choice(PRINTED)
    rows = [(i, fields(r)) for i in range(1, r.randrange(2, 20))]
    lines = [line for step, row in rows for line in [printed(step, row), *r.sample(FOREIGN, r.randrange(3))]]
    if r.random() < 0.2:
        width = r.randrange(40, 140)
        lines = [line[i : i + width] for line in lines for i in range(0, max(1, len(line)), width)]
        _sound(_read(console_rows, "\n".join(lines)))
        return
    end = r.choice(["\n", "\r\n"])
    _same(_read(console_rows, end.join(lines) + end, encoding(r)), rows, lines)
    _sound(_read(console_rows, hostile(r, end.join(lines))))


def table_text(seed: int) -> None:
    """A table of any delimiter and encoding gives its rows."""
    r = random.Random(seed)
    names = ["step", *r.sample(NAMES, r.randrange(1, len(NAMES)))]
    rows = [
        (None, dict(zip(names, [float(i), *(fields(r)["loss"] for _ in names[1:])], strict=True)))
        for i in range(r.randrange(1, 30))
    ]
    delimiter, comma = r.choice([(",", False), ("\t", False), (";", False), (";", True), ("\t", True), ("|", False)])
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, quoting=r.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
    if delimiter == "|":
        writer = csv.writer(out, delimiter=delimiter)
    writer.writerow(names)
    for _, row in rows:
        cells = [repr(v).replace(".", ",") if comma else repr(v) for v in row.values()]
        writer.writerow(cells)
    _same(_read(table_rows, out.getvalue(), encoding(r)), rows, out.getvalue())
    _sound(_read(table_rows, hostile(r, out.getvalue())))


def json_text(seed: int) -> None:
    """JSON, whichever way round, gives its rows."""
    r = random.Random(seed)
    names = r.sample(NAMES, r.randrange(1, len(NAMES)))
    rows: list[tuple[float | None, Mapping[str, float]]] = [
        (None, {"step": float(i), **{n: r.choice([r.random(), math.nan, math.inf]) for n in names}})
        for i in range(r.randrange(2, 20))
    ]
    plain = [row for _, row in rows]
    columns = {name: [row[name] for row in plain] for name in plain[0]}
    document = r.choice([plain, {"log_history": plain}, columns])
    text = json.dumps(document, indent=r.choice([None, 1]))
    _same(_read(json_document_rows, text, encoding(r)), rows, text)
    lines = "\n".join(map(json.dumps, plain))
    _same(_read(json_line_rows, lines, encoding(r)), rows, lines)
    _sound(_read(json_document_rows, hostile(r, text)))
    _sound(_read(json_line_rows, hostile(r, lines)))


def any_file(seed: int) -> None:
    """Whatever bytes a file holds, its shape is told, and rows or a note come of it."""
    r = random.Random(seed)
    printed = r.choice(PRINTED)
    good = r.choice(
        [
            "\n".join(printed(i, fields(r)) for i in range(5)),
            "\n".join(json.dumps(fields(r)) for _ in range(5)),
            json.dumps([fields(r) for _ in range(5)]),
            "step,reward\n" + "".join(f"{i},{r.random()}\n" for i in range(5)),
            r.choice(["[", "{", '{"a":', "{'a': ", "(", '"', "\r", "\n", "|", ",", "\x00", "step:1 - "])
            * r.randrange(5000),
        ]
    )
    data = bytearray(hostile(r, good).encode(encoding(r), "replace"))
    for _ in range(r.choice([0, 0, 1, 20])):
        if data:
            data[r.randrange(len(data))] = r.randrange(256)
    data = r.choice([data, data, bytearray(r.randbytes(r.randrange(300))), data[: r.randrange(len(data) + 1)]])
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        file = Path(folder) / r.choice(["train.log", "a.csv", "run-a-tag-b.csv", "x.json"])
        file.write_bytes(data)
        notes = Notes()
        recording = rows_of(file, notes)
        if recording is None:
            assert notes.lines()
        else:
            _sound(list(recording.rows()))


def hostile(r: random.Random, good: str) -> str:
    """A text with pieces cut out, doubled, turned round or replaced by words that readers stumble over."""
    words = [
        "nan",
        "-inf",
        "1e999",
        "9" * 400,
        "np.float64(",
        "{'a': ",
        "[[",
        "\x00",
        "\r",
        "\n",
        " - ",
        "|",
        '"',
        "'",
        "\\",
    ]
    words += [
        "step:3 - ",
        "\u202e",
        "\ufeff",
        "٣",
        "½",
        "{" * 200,
        "step 3: {'a': __import__('os')}",
        "\x1b[31m",
        ":",
        "=",
    ]
    for _ in range(r.randrange(1, 6)):
        i, j = sorted((r.randrange(len(good) + 1), r.randrange(len(good) + 1)))
        j = min(j, i + 200)
        middle = r.choice(["", good[i:j] * 2, r.choice(words), good[i:j][::-1]])
        good = good[:i] + middle + good[j:]
    return good


def encoding(r: random.Random) -> str:
    return r.choice(["utf-8", "utf-8", "utf-8-sig", "utf-16"])


def _read(reader: Callable[[Path, Notes], Iterator[Row]], text: str, code: str = "utf-8") -> list[Row]:
    start = time.process_time()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        file = Path(folder) / "train.log"
        file.write_bytes(text.encode(code, "replace"))
        rows = list(reader(file, Notes()))
    assert time.process_time() - start < SECONDS, text[:200]
    return rows


def _sound(rows: list[Any]) -> None:
    for row in rows:
        if row is None:
            continue
        assert isinstance(row, Row)
        assert row.fields, row
        assert row.step is None or isinstance(row.step, float), row
        assert row.run is None or isinstance(row.run, str), row
        for name, value in row.fields.items():
            assert isinstance(name, str), row
            assert value is None or isinstance(value, (int, float, bool, str)), row


def _same(rows: list[Any], expected: Any, text: object) -> None:
    found = [(row.step, {n: repr(float(v)) for n, v in row.fields.items()}) for row in rows if row is not None]
    wanted = [(None if s is None else float(s), {n: repr(float(v)) for n, v in row.items()}) for s, row in expected]
    assert found == wanted, (found, wanted, text)


SHAPES: dict[str, Callable[[int], None]] = {
    "console lines": console_line,
    "consoles": console_file,
    "tables": table_text,
    "JSON": json_text,
    "files": any_file,
}
