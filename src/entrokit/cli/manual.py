"""What every command owes whoever reads its help: an example to copy, and what its exit codes mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells count it: 128 and the signal's number."""

EVERY: Mapping[str, str] = MappingProxyType(
    {
        "0": "done",
        "1": "an error, said in one line on standard error",
        "2": "a wrong command: an option or an argument that cannot be meant",
        "130": "Ctrl-C",
    }
)
"""What exit codes mean where a command says nothing else."""

VERDICTS = "10-32"
"""Exit codes of `entrokit.diagnose.exit_codes`: a verdict's own number."""

OVERVIEW = (
    "Exit codes: 0 done; 1 an error, or what was asked about is not in order (a claim that failed, a package that is "
    f"broken); 2 a wrong command; {VERDICTS} the verdict that --fail-on names; 130 Ctrl-C. docs/cli.md has them by "
    "command."
)
"""For the help of the whole."""


@dataclass(frozen=True)
class Manual:
    """An example, and exit codes by number.

    Attributes:
        example: one command line. own: what codes mean in this command, where that is more than `EVERY` says.
    """

    example: str
    own: Mapping[str, str] = field(default_factory=dict)

    @property
    def codes(self) -> dict[str, str]:
        """Meaning of every exit code that the command may leave with, lowest first."""
        whole = {**EVERY, **self.own}
        return {code: whole[code] for code in sorted(whole, key=lambda code: int(code.partition("-")[0]))}

    @property
    def epilog(self) -> str:
        """The end of the command's help."""
        codes = "; ".join(f"{code} {meaning}" for code, meaning in self.codes.items())
        return f"Exit codes: {codes}.\n\nExample: {self.example}"
