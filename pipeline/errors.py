"""The error tree. Each class is one exit code; each message is one sentence a user can act on."""

from __future__ import annotations

from typing import Any


class PhusaError(Exception):
    """Base. Exit 1: an error of ours, or blocks that failed by one.

    ``more`` stands beside the error in what ``--json`` prints.
    """

    exit_code = 1

    def __init__(self, message: str = "", **more: Any) -> None:
        super().__init__(message)
        self.more = more


class InputError(PhusaError):
    """Bad config, arguments or input: names the file, row or key, what was found and expected."""

    exit_code = 2


class QualityError(PhusaError):
    """A quality gate refuses."""

    exit_code = 3


class LossError(PhusaError):
    """More imagery was lost to faults than ``max_loss_percent`` allows."""

    exit_code = 4


class IntegrityError(PhusaError):
    """Stored content is not what its record says."""

    exit_code = 5
