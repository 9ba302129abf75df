"""The logs that every tool judges, each with the kinds of failure that are right for it."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
HEALTHY = "healthy"
NOTHING = "nothing to judge"


@dataclass(frozen=True)
class Case:
    """One log.

    Attributes:
        source: whose log; maker: the tool whose simulator wrote it, which alone gets `native`, its own recording of it.
        kind: as its source names it. right: the kinds that are right, by the names of `benchmarks/diagnosis.py`; with
            `HEALTHY` among them no alarm is the right answer, with `NOTHING` to say so is.
    """

    id: str
    source: str
    kind: str
    right: frozenset[str]
    path: Path
    native: str | None = None
    maker: str | None = None

    def as_line(self) -> str:
        plain = {"id": self.id, "path": str(self.path), "native": self.native, "maker": self.maker}
        return json.dumps(plain) + "\n"


SIMULATED: dict[str, dict[str, set[str]]] = {
    "rldoctor": {
        "healthy": {HEALTHY},
        "entropy_collapse": {"collapse"},
        "saturated_groups": {"too easy", "no signal"},
        "too_hard": {"too hard", "no signal"},
        "reward_hacking": {"reward hacking"},
        "length_hacking": {"length hacking", "reward hacking"},
        "truncation": {"truncation"},
        "kl_blowup": {"KL blow-up"},
        "clip_saturation": {"clip saturation"},
        "grad_spikes": {"gradient spikes"},
        "plateau": {"plateau"},
        "format_domination": {"one part of the reward"},
    },
    "rlprobe": {
        "healthy": {HEALTHY},
        "kl_blowup": {"KL blow-up"},
        "entropy_collapse": {"collapse"},
        "reward_hack_length": {"length hacking", "reward hacking"},
        "format_gaming": {"one part of the reward", "reward hacking"},
        "clip_saturation": {"clip saturation"},
        "degenerate_groups": {"no signal"},
        "adv_collapse": {"no signal"},
        "value_divergence": {"value loss"},
        "grad_pathology": {"gradient spikes", "broken numbers"},
        "truncation_starve": {"truncation"},
        "repetition_spiral": {"repetition"},
        "reward_std_death": {"no signal"},
        "ref_drift_asymmetry": {"drift at one position"},
        "throughput_rot": {"throughput"},
    },
}

PLANTED: dict[str, set[str]] = {
    "healthy": {HEALTHY},
    "learning_rate_too_high": {"collapse"},
    "clip-higher_too_wide": {"collapse"},
    "entropy_bonus_too_large": {"explosion"},
    "constant_reward": {"no signal"},
    "duplicated_prompts": {"few prompts"},
    "sampling_from_a_nucleus": {"mismatch"},
    "limit_too_short": {"truncation"},
    "one_family_broken": {"local failure"},
}
"""By the folder's name that `entrokit.bench.planted` gives; the verdicts are those of that module."""

FIELD: dict[str, set[str]] = {
    "f01": {"truncation"},
    "f02": {"collapse"},
    "f04": {HEALTHY},
    "f05": {HEALTHY},
    "f06": {"collapse"},
    "f07": {HEALTHY},
    "f08": {"no signal"},
    "f09": {"truncation", "no signal"},
    "f11": {HEALTHY, "collapse"},  # entropy falls to a tenth while the reward rises: nobody said which
    "f14": {HEALTHY},
    "f15": {"collapse"},
    "f16": {"truncation"},
    "f17": {HEALTHY},
    "f18": {"collapse"},
    "f20": {"mismatch"},
    "f22": {"collapse"},
    "f23": {"collapse"},
    "f25": {"collapse"},
    "f27": {HEALTHY},
    "f28": {HEALTHY},
    "f30": {"collapse"},
    "f31": {NOTHING},
    # The reward neither rises nor is it one value: each of these words is fair.
    "f32": {HEALTHY, "plateau", "no signal", "too hard"},
    "f35": {"impossible entropy"},
    "f36": {"broken numbers"},
    "f37": {"broken numbers"},
    "f38": {HEALTHY, "too easy"},
    "f40": {HEALTHY, "too easy", "no signal"},
    "f41": {"collapse"},
    "f42": {"collapse"},
    "f44": {HEALTHY},
    "f45": {"truncation"},
    "f49": {HEALTHY},
    "f52": {HEALTHY},
    "f54": {HEALTHY},
    # Two runs in one log, the first collapsed, the second well: either may be judged, if it is not the mixture.
    "f56": {HEALTHY, "collapse"},
    "f58": {HEALTHY},
    "f61": {"local failure"},
    "f62": {"one part of the reward", "reward hacking"},
    "f65": {HEALTHY},
    "f66": {HEALTHY},
    "f67": {"impossible entropy"},
    "f68": {"collapse"},
    "f71": {"broken numbers"},
    "f73": {"no signal", "too hard"},
    "f75": {"collapse"},
    "f77": {HEALTHY},
}
"""By the id at the beginning of a file's name; what each is made after stands in the README beside the files."""


def simulated(python: Path, folder: Path, steps: int, seeds: Sequence[int]) -> Iterator[Case]:
    """The peers' simulators, run by the peers' own Python; `CalledProcessError` where that fails."""
    command = [str(python), str(HERE / "simulated.py"), str(folder), str(steps), *map(str, seeds)]
    for line in subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines():
        found = json.loads(line)
        maker = found["source"].partition(",")[0]
        name = f"{found['source']}/{found['kind']}-{found['seed']}"
        right = frozenset(SIMULATED[maker][found["kind"]])
        # Under TRL's names a log is what the others would meet; the recording stays its maker's.
        yield Case(name, found["source"], found["kind"], right, Path(found["path"]), found["native"], maker)


def planted(folder: Path) -> Iterator[Case]:
    """Runs that `experiments/planted_causes.py` has trained into ``folder``; none where there is none."""
    for run in sorted(folder.glob("*-seed*")):
        kind = run.name.rpartition("-seed")[0]
        if kind in PLANTED:
            yield Case(f"planted/{run.name}", "planted runs", kind, frozenset(PLANTED[kind]), run)


def field(folder: Path, work: Path, python: Path | None) -> Iterator[Case]:
    """The field cases, one an id; files that belong together are copied into a folder, events written where asked."""
    for name, right in FIELD.items():
        files = sorted(p for p in folder.iterdir() if p.name.startswith(f"{name}-"))
        if not files:
            continue
        path = files[0]
        if path.suffix == ".py":
            if python is None:
                continue
            path = work / name
            subprocess.run([str(python), str(files[0]), str(path)], check=True, capture_output=True)
        elif len(files) > 1:
            path = work / name
            path.mkdir(parents=True, exist_ok=True)
            for file in files:
                shutil.copy(file, path)
        yield Case(f"field/{name}", "field cases", name, frozenset(right), path)


def without_answer(folder: Path) -> list[str]:
    """What lies among the field cases that `field` leaves out, since it is not said what is right."""
    names = sorted(p.name for p in folder.iterdir() if p.name != "README.md")
    return [name for name in names if name.partition("-")[0] not in FIELD]
