"""`entrokit doctor`: versions, back ends, and what works on this machine."""

from __future__ import annotations

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from entrokit.engines.plugins import PlugIn, plug_ins
from entrokit.engines.versions import Installed, installed

console = Console()

_PARTS = {
    "": "entrokit itself",
    "trl": "training with TRL",
    "report": "pages and pictures",
    "tensorboard": "reading TensorBoard files",
    "tasks": "reasoning-gym and maths tasks",
    "verl": "training with verl",
}


def doctor() -> None:
    """Prints versions, back ends, and what works here; exit code 1 if an installed version is unsupported."""
    import torch

    from entrokit.distributions import backend

    packages = installed()
    table = Table(box=None, pad_edge=False)
    for head in ("package", "installed", "supported", "for"):
        table.add_column(head)
    for p in packages:
        style = "green" if p.fits else "dim" if p.version is None else "bold red"
        row = (p.package, p.version or "–", p.supported or "any", f"entrokit[{p.extra}]" if p.extra else "entrokit")
        table.add_row(*(Text(cell, style=style) for cell in row))
    console.print(table)
    for extra, what in _PARTS.items():
        own = [p for p in packages if p.extra == extra]
        lacking = [p.package for p in own if not p.fits]
        console.print(Text(f"{what}: {'works' if not lacking else 'lacks ' + ', '.join(lacking)}"))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    name = torch.cuda.get_device_name() if device.type == "cuda" else f"{torch.get_num_threads()} threads"
    console.print(Text(f"device: {device.type} ({name})"))
    for dtype in (torch.float32, torch.bfloat16):
        chosen = {form: backend(device, dtype, form=form).name for form in ("logits", "linear")}
        console.print(Text(f"statistics of {dtype}: {', '.join(f'{f} by {n}' for f, n in chosen.items())}"))
    broken = [p for p in packages if p.version is not None and not p.fits] + _verls_plug_ins(packages)
    if broken:
        raise typer.Exit(1)


def _verls_plug_ins(packages: list[Installed]) -> list[PlugIn]:
    """Prints how verl's plug-ins load, where verl is installed, and returns those that do not."""
    if not any(p.package == "verl" and p.version for p in packages):
        return []
    found = plug_ins()
    for plug_in in found:
        text = f"verl plug-in {plug_in.name} ({plug_in.target}): {plug_in.problem or 'works'}"
        console.print(Text(text, style="bold red" if plug_in.problem else "green"))
    if not any(plug_in.name == "entrokit" for plug_in in found):
        console.print(Text("verl plug-in entrokit: not installed as a package; pip install it where verl runs"))
    return [plug_in for plug_in in found if plug_in.problem]
