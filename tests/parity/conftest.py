"""verl fixes its platform at its first import, so ours for the CPU comes before any test module."""

from importlib.util import find_spec

if find_spec("verl"):
    from . import verl_actor  # noqa: F401
