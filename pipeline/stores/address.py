"""The database's address, which may hold a password: connected to, and never shown."""

from __future__ import annotations

import re
from urllib.parse import unquote

import psycopg

from pipeline.errors import InputError, IntegrityError, PhusaError, QualityError

#: Our functions' own SQLSTATEs.
_OURS: dict[str, type[PhusaError]] = {"PH002": InputError, "PH003": QualityError, "PH005": IntegrityError}


def connect(dsn: str | None) -> psycopg.Connection:
    """A connection that commits each statement. Raises InputError where no database answers."""
    if not dsn:
        raise InputError("PHUSA_DSN is not set: give it the database's address")
    try:
        return psycopg.connect(dsn, connect_timeout=10, autocommit=True, application_name="phusa")
    except psycopg.Error as error:
        raise InputError(f"no database answers at PHUSA_DSN: {masked(str(error), dsn)}") from None


def masked(text: str, dsn: str) -> str:
    """``text`` as one line, without the password of ``dsn``."""
    text = " ".join(text.split())
    if dsn:
        text = text.replace(dsn, "PHUSA_DSN")
    for secret in sorted(_secrets(dsn), key=len, reverse=True):
        text = text.replace(secret, "***")
    return text


def _secrets(dsn: str) -> set[str]:
    """The password as written and as meant; also of an address that libpq cannot read."""
    found = set(re.findall(r"//[^/@\s]*?:(.*)@", dsn))
    found |= {a or b for a, b in re.findall(r"password\s*=\s*(?:'((?:[^'\\]|\\.)*)'|([^\s&]+))", dsn)}
    found |= {part for secret in found for part in secret.split("@")}  # libpq ends it at the first
    return {s for secret in found for s in (secret, unquote(secret)) if s}


def told(error: psycopg.Error) -> PhusaError | None:
    """The error that a refusal by the database means to people; None for a fault of its own."""
    said = str(error.diag.message_primary or error)
    if error.sqlstate in _OURS:
        return _OURS[error.sqlstate](said)
    if isinstance(error, psycopg.errors.InsufficientPrivilege):
        return InputError(f"the database refuses: {said}; `phusa db grant` gives roles")
    return None
