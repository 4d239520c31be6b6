"""Where the files lie that come with the program: providers, legends, boundaries, targets, the demonstration."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
_INSTALLED, _CHECKOUT = _PACKAGE / "configs", _PACKAGE.parent / "configs"
CONFIGS = _INSTALLED if _INSTALLED.is_dir() else _CHECKOUT
