"""Which versions of other packages entrokit works with, as its own metadata says, and which are installed."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import metadata

from packaging.requirements import Requirement
from packaging.version import InvalidVersion, Version

from entrokit.extras import extra_of, pip_install


@dataclass(frozen=True)
class Installed:
    """One package: ``version`` is None where it is not installed, ``supported`` a specifier such as ``>=1.16,<2``.

    ``extra``: the one that is there for it; empty where entrokit itself needs it.
    """

    package: str
    version: str | None
    supported: str
    extra: str

    @property
    def fits(self) -> bool:
        """Whether it is installed in a supported version."""
        number = parsed(self.version)
        return number is not None and Requirement(f"{self.package}{self.supported}").specifier.contains(
            number, prereleases=True
        )


def installed() -> list[Installed]:
    """Every package that entrokit or one of its extras (but ``dev`` and ``all``) asks for, in that order.

    Empty where entrokit is run from its sources without being installed: nothing then says what it needs.
    """
    found: dict[str, Installed] = {}
    try:
        asked = metadata.requires("entrokit") or []
    except metadata.PackageNotFoundError:
        return []
    for text in asked:
        requirement = Requirement(text)
        extra = ""
        if requirement.marker:
            asking = [e for e in _extras() if requirement.marker.evaluate({"extra": e})]
            if not asking:
                continue
            extra = extra_of(requirement.name) or asking[0]
        found.setdefault(
            requirement.name,
            Installed(requirement.name, version_of(requirement.name), str(requirement.specifier), extra),
        )
    return list(found.values())


def require(*packages: str) -> None:
    """Refuses packages in versions that entrokit was not made for, at import rather than at step 900.

    Raises:
        ImportError: one is missing, or of another version; the message says what to install.
    """
    for package in installed():
        if package.package not in packages or package.fits:
            continue
        has = f"{package.version} is installed" if package.version else "it is not installed"
        install = f"{pip_install(*filter(None, [package.extra]))} '{package.package}{package.supported}'"
        raise ImportError(f"entrokit needs {package.package}{package.supported}, {has}: {install}")


def _extras() -> list[str]:
    known = metadata.metadata("entrokit").get_all("Provides-Extra") or []
    return [e for e in known if e not in ("dev", "all")]


def parsed(version: str | None) -> Version | None:
    """A version as a number; None where it is none, such as ``dev`` of a build of one's own."""
    try:
        return Version(version or "")
    except InvalidVersion:
        return None


def version_of(package: str) -> str | None:
    """The version of a package that is installed; None where it is not."""
    try:
        return metadata.version(package)
    except (metadata.PackageNotFoundError, KeyError):  # or its metadata, cut short, says none
        return None
