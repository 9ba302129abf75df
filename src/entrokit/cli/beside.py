"""Two runs side by side, in lines of a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from .shown import printable

if TYPE_CHECKING:
    from entrokit.diagnose import Comparison

_STYLES = {"apart": "bold red", "not-apart": "bold green", "identical": "bold green"}
_MOST, _WIDEST = 12, 60


def comparison_lines(c: Comparison) -> list[Text]:
    """The comparison; whatever came from the runs' files is stripped of control characters."""
    lines = [
        Text.assemble(
            (c.verdict, _STYLES.get(c.verdict, "bold yellow")), f": {printable(_without_verdict(c.sentence))}"
        )
    ]
    for name, d in zip(c.names, c.diagnoses, strict=True):
        lines.append(
            Text.assemble(f"  {printable(name)}: ", (d.verdict, "bold"), f", {printable(d.findings[0].cause)}")
        )
    if c.ends:
        both = "; ".join(f"{key} {a:.4g} against {b:.4g}" for key, (a, b) in c.ends.items())
        lines.append(Text(f"  at the end: {both}"))
    lines += [Text(f"  step {x.step:<8g} {printable(x.key):<24} {x.words()}") for x in c.apart[:_MOST]]
    if len(c.apart) > _MOST:
        lines.append(Text(f"  and {len(c.apart) - _MOST} more"))
    if c.configs:
        lines.append(Text("settings that differ:", style="bold"))
        for key, (a, b) in list(c.configs.items())[:_MOST]:
            lines.append(Text(f"  {printable(key)}: {_short(a)} against {_short(b)}"))
        if len(c.configs) > _MOST:
            lines.append(Text(f"  and {len(c.configs) - _MOST} more"))
    for name, keys in zip(c.names, c.only, strict=True):
        if keys:
            more = f" and {len(keys) - _MOST} more" if len(keys) > _MOST else ""
            lines.append(Text(f"{printable(name)} alone has {printable(', '.join(keys[:_MOST]))}{more}", style="dim"))
    lines += [Text(f"{printable(k)} is not compared: {why}", style="dim") for k, why in c.left_out.items()]
    lines += [Text(printable(n), style="dim") for n in c.notes]
    return lines


def _without_verdict(sentence: str) -> str:
    """The sentence without the words that repeat the verdict before it."""
    for verdict in ("not apart", "identical", "too short to tell", "nothing to compare"):
        sentence = sentence.removeprefix(f"{verdict}: ")
    return sentence


def _short(value: object) -> str:
    text = printable(str(value))
    return text if len(text) <= _WIDEST else f"{text[:_WIDEST]}…"
