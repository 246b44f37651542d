"""Who may ask: keys, and names and pages of other sites that a browser would speak for."""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from ..errors import OptionError
from .refusals import Refusal


@dataclass(frozen=True)
class Access:
    """What is let in.

    keys    -- of which a request has to name one, where there are any
    hosts   -- names that the server is asked by, besides addresses and localhost
    origins -- of pages of other sites that may ask, such as https://example.org; "*" is all
    """

    keys: Sequence[str] = ()
    hosts: Sequence[str] = ()
    origins: Sequence[str] = ()

    def __post_init__(self) -> None:
        for host in self.hosts:
            if not (_is_address(host) or _name(host) == host.lower() != ""):
                raise OptionError(
                    f"{ascii(host[:100])} is no name of a host; expected one such as "
                    "reader.example.org, without http:// and without a port"
                )
        for origin in self.origins:
            if not (origin in ("*", "null") or _is_origin(origin)):
                raise OptionError(
                    f"{ascii(origin[:100])} is no origin as browsers send it; expected one such as "
                    "https://example.org, in lower case and without a path"
                )

    def check_host(self, named: Sequence[str]) -> str:
        """The host that a request is for, by its `Host` headers.

        A name that is not the server's is one that a page had its own site lead here by.
        """
        if len(named) != 1:
            raise Refusal(400, f"the request has {len(named)} Host headers; expected one")
        host = named[0].strip()
        name = _name(host)
        known = {"localhost", *(own.lower() for own in self.hosts)}
        if not (name in known or name.endswith(".localhost") or _is_address(name)):
            raise Refusal(
                403,
                f"this server is not known as {ascii(name[:100])}; ask it by its address, or start "
                "it with --allow-host and that name",
                code="unknown_host",
            )
        return host

    def check_origin(self, origin: str | None, host: str) -> dict[str, str]:
        """The headers that let the page of an `Origin` read the answer, of another site or not."""
        if origin is None:
            return {}
        if origin in self.origins or "*" in self.origins:
            return {"Access-Control-Allow-Origin": origin, "Vary": "Origin"}
        try:
            same = urlsplit(origin).netloc.lower() == host.lower()
        except ValueError:
            same = False
        if not same:
            raise Refusal(
                403,
                f"pages of {ascii(origin[:100])} may not ask this server; start it with --cors and "
                "that origin to let them",
                code="unknown_origin",
            )
        return {}

    def check_key(self, authorization: str | None) -> None:
        """Raise `Refusal` unless a key is named, or none is needed."""
        if not self.keys:
            return
        scheme, _, given = (authorization or "").partition(" ")
        sent = given.strip().encode("latin-1", "replace")
        # every key is compared, so that the time does not say which one is near
        fits = [hmac.compare_digest(sent, key.encode()) for key in self.keys]
        if scheme.lower() != "bearer" or not any(fits):
            said = "is not one of this server's" if authorization else "is missing"
            raise Refusal(
                401,
                f"the API key {said}; send it as Authorization: Bearer KEY",
                code="invalid_api_key",
                headers={"WWW-Authenticate": "Bearer"},
            )


def checked_keys(keys: Iterable[str]) -> list[str]:
    """Keys without spaces around them; an `OptionError` for what no client can send as one."""
    found = [key.strip() for key in keys]
    for key in found:
        if not key or not key.isprintable():
            what = "has characters that are not printed" if key else "is empty"
            raise OptionError(f"an API key {what}; expected one of letters, digits and signs")
    return found


def _name(host: str) -> str:
    """The name or address in what a `Host` header says; empty where there is none."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _is_origin(text: str) -> bool:
    scheme, _, host = text.partition("://")
    return bool(scheme and _name(host)) and text == text.lower() and not set("/?#@ ") & set(host)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return False
    return True
