"""`entrokit doctor`: versions, back ends, plug-ins, and what works on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from entrokit.extras import EXTRAS, lacking, pip_install

if TYPE_CHECKING:
    from entrokit.engines.versions import Installed

console = Console()

_PARTS = {
    "torch": "methods and their statistics",
    "trl": "training with TRL",
    "verl": "training with verl",
    "tinker": "training on Tinker",
    "report": "pages and pictures",
    "tensorboard": "reading TensorBoard files",
    "wandb": "reading W&B's local files",
    "tasks": "reasoning-gym and maths tasks",
    "information": "scorecards and exact borders of moments",
    "generative": "flows and diffusion models",
    "physics": "schools, particles and stiff flows",
}


def doctor(
    ray: Annotated[
        str | None,
        typer.Option(help="ask each node of this Ray cluster (host:port, or auto) whether verl has the plug-in there"),
    ] = None,
) -> None:
    """Prints versions, back ends, and what works here; exit code 1 if an installed package is unsupported or broken."""
    from entrokit.engines.versions import installed

    packages = installed()
    unfit = [p for p in packages if p.version is not None and not p.fits and _used(p, packages)]
    _print_versions(packages)
    _print_parts(packages)
    broken = _plug_ins_of_verl(packages) + _vllm() + _ray(ray)
    if not lacking("torch"):
        _print_device()
        broken += _broken_plug_ins()
    if unfit or broken:
        raise typer.Exit(1)


def _used(package: Installed, packages: list[Installed]) -> bool:
    """Whether what entrokit wants a package for is there: transformers without TRL is somebody else's."""
    first = next((p for p in EXTRAS.get(package.extra, ()) if p != "torch"), package.package)
    return any(p.package == first and p.version is not None for p in packages)


def _said(package: Installed) -> str:
    if package.version is None:
        return package.package
    return f"{package.package} {package.version} (needs {package.supported})"


def _print_versions(packages: list[Installed]) -> None:
    table = Table(box=None, pad_edge=False)
    for head in ("package", "installed", "supported", "for"):
        table.add_column(head)
    for p in packages:
        style = "green" if p.fits else "dim" if p.version is None else "bold red"
        row = (p.package, p.version or "–", p.supported or "any", f"entrokit[{p.extra}]" if p.extra else "entrokit")
        table.add_row(*(Text(cell, style=style) for cell in row))
    console.print(table)


def _print_parts(packages: list[Installed]) -> None:
    """What works, and where it does not: what is lacking, or of another version, and the command that brings it."""
    unfit = {p.package: _said(p) for p in packages if not p.fits}
    own = [_said(p) for p in packages if not p.extra and not p.fits]
    console.print(Text(f"entrokit itself: {'lacks ' + ', '.join(own) if own else 'works'}"))
    for extra, what in _PARTS.items():
        absent = lacking(extra)
        lacks = [unfit.get(p, p) for p in EXTRAS[extra] if p in absent or p in unfit]
        said = f"lacks {', '.join(lacks)}: {pip_install(extra)}" if lacks else "works"
        console.print(Text(f"{what}: {said}"), soft_wrap=True)


def _print_device() -> None:
    import torch

    from entrokit.distributions import backend

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    name = torch.cuda.get_device_name() if device.type == "cuda" else f"{torch.get_num_threads()} threads"
    console.print(Text(f"device: {device.type} ({name})"))
    for dtype in (torch.float32, torch.bfloat16):
        chosen = {form: backend(device, dtype, form=form).name for form in ("logits", "linear")}
        console.print(Text(f"statistics of {dtype}: {', '.join(f'{f} by {n}' for f, n in chosen.items())}"))


def _plug_ins_of_verl(packages: list[Installed]) -> list[str]:
    """Prints how verl's plug-ins load, where verl is installed, and returns those that do not."""
    from entrokit.engines.plugins import plug_ins

    if not any(p.package == "verl" and p.version for p in packages):
        return []
    found = plug_ins()
    for plug_in in found:
        text = f"verl plug-in {plug_in.name} ({plug_in.target}): {plug_in.problem or 'works'}"
        console.print(Text(text, style="bold red" if plug_in.problem else "green"))
    if not any(plug_in.name == "entrokit" for plug_in in found):
        console.print(Text("verl plug-in entrokit: not installed as a package; pip install it where verl runs"))
    return [plug_in.name for plug_in in found if plug_in.problem]


def _vllm() -> list[str]:
    """Prints what is to say of vLLM, where it is installed, and returns what keeps it from starting."""
    from entrokit.engines.vllm import remarks, vllm_version

    version = vllm_version()
    if version is None:
        return []
    found = remarks()
    console.print(Text(f"vLLM {version}: {'cannot start' if any(r.broken for r in found) else 'no fault found'}"))
    for remark in found:
        console.print(Text(f"  {remark.text}", style="bold red" if remark.broken else ""), soft_wrap=True)
    return [remark.text for remark in found if remark.broken]


def _ray(address: str | None) -> list[str]:
    """Prints what is to know of Ray, where it is installed, and returns the nodes that would train without entrokit."""
    from entrokit.engines.ray import nodes, remarks
    from entrokit.engines.versions import version_of

    if address is None:
        for text in remarks() if version_of("ray") else ():
            console.print(Text(f"Ray: {text}"), soft_wrap=True)
        return []
    try:
        asked = nodes(address)
    except ConnectionError as error:
        raise typer.BadParameter(str(error), param_hint="--ray") from error
    for node in asked:
        text = f"Ray node {node.address}: {node.problem or 'verl has the plug-in'}"
        console.print(Text(text, style="bold red" if node.problem else "green"), soft_wrap=True)
    return [node.address for node in asked if node.problem]


def _broken_plug_ins() -> list[str]:
    """Prints which methods and papers of other packages could not be taken, and returns them."""
    from entrokit.papers.registry import CATALOGUE
    from entrokit.rlvr.interventions import INTERVENTIONS, PRESETS

    # An entry point of interventions is asked for presets, too: told once.
    found = dict.fromkeys(str(broken) for house in (INTERVENTIONS, PRESETS, CATALOGUE) for broken in house.broken)
    for text in found:
        console.print(Text(f"plug-in {text}", style="bold red"), soft_wrap=True)
    return list(found)
