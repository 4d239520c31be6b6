"""Providers: where records and pixels come from, and which addresses may be opened at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import unquote, urlsplit

from pydantic import Field, StringConstraints

from models.settings import Settings
from pipeline.conventions import COLLECTIONS, Convention, Record, Refused, scene, surroundings
from pipeline.sensors import SensorName

__all__ = [
    "ApiProvider",
    "Provider",
    "Record",
    "Refused",
    "StaticProvider",
    "locator",
    "scene",
    "surroundings",
]


class _Provider(Settings):
    convention: Convention
    collections: dict[SensorName, tuple[str, ...]] = Field(default_factory=dict)
    """Collections to ask for a sensor; the convention's own where absent."""
    hosts: tuple[str, ...] = ()
    """Hosts (``*.`` for any below) or ``s3://bucket`` that pixels may come from."""
    roots: tuple[str, ...] = ()
    """Folders beside the catalogue's own that a local catalogue's pixels may lie in."""
    sign: bool = False
    s3_endpoint: str = ""
    """Host of the S3 service; keys come from the environment."""
    connections: int = Field(0, ge=0)
    """Most connections at a time that the provider allows; 0 is no limit."""

    def collections_of(self, sensor: str) -> tuple[str, ...]:
        named: Mapping[Any, tuple[str, ...]] = self.collections
        return named.get(sensor) or COLLECTIONS[self.convention].get(sensor, ())


class StaticProvider(_Provider):
    """A tree of JSON files that starts at ``catalog``: a path (relative to the config) or http(s) URL."""

    kind: Literal["static"]
    catalog: str = Field(min_length=1)

    @property
    def address(self) -> str:
        """Where its records are."""
        return self.catalog


class ApiProvider(_Provider):
    """A STAC API."""

    kind: Literal["api"]
    url: Annotated[str, StringConstraints(pattern=r"^https?://[^\s/]+")]

    @property
    def address(self) -> str:
        """Where its records are."""
        return self.url


Provider = StaticProvider | ApiProvider


def locator(provider: Provider) -> Callable[[str], str]:
    """A check of asset addresses: http(s) and s3 on the provider's own hosts, and files only for a
    catalogue that is itself local, below its folder. Raises Refused for anything else, ``/vsi...``
    included."""
    home = urlsplit(provider.address)
    local = home.scheme not in ("http", "https")
    roots = [Path(provider.address).parent, *map(Path, provider.roots)] if local else []
    roots = [root.resolve() for root in roots]

    def locate(href: str) -> str:
        if not href.isprintable() or "\\" in href:
            raise Refused(f"asset address of a kind that is not allowed: {href[:80]!a}")
        try:
            url = urlsplit(href)
            host = url.hostname or ""
        except ValueError:
            raise Refused(f"asset address of a kind that is not allowed: {href[:80]!a}") from None
        if url.scheme in ("http", "https"):
            # A name before @ could make two readers see two hosts.
            if url.username is None and _host_allowed(host, home.hostname or "", provider.hosts):
                return href
            raise Refused(f"asset on a host that is not the provider's: {host}")
        if url.scheme == "s3":
            if ".." not in url.path and any(href.startswith(h.rstrip("/") + "/") for h in provider.hosts):
                return href
            raise Refused(f"asset in a bucket that is not the provider's: s3://{url.netloc}")
        if not local or url.scheme not in ("", "file") or host:
            raise Refused(f"asset address of a kind that is not allowed: {href[:80]!a}")
        path = Path(unquote(url.path) if url.scheme == "file" else href)
        if str(path).lower().startswith("/vsi"):
            raise Refused(f"asset address of a kind that is not allowed: {href[:80]!a}")
        real = path.resolve()
        if not any(real.is_relative_to(root) for root in roots):
            raise Refused(f"asset outside the catalogue's folder: {href[:200]}")
        return str(path)

    return locate


def _host_allowed(host: str, home: str, hosts: tuple[str, ...]) -> bool:
    below = any(h.startswith("*.") and host.endswith(h[1:]) for h in hosts)
    return bool(host) and (host == home or host in hosts or below)
