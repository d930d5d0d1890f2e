"""One folder per kind. A folder here is a kind; nothing else has to know of it."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from reconciler.engine.kind import Kinds


@cache
def all_kinds() -> Kinds:
    """Every kind there is: each package in this folder has one, called KIND."""
    packages = sorted(module.name for module in pkgutil.iter_modules(__path__) if module.ispkg)
    return Kinds(importlib.import_module(f"{__name__}.{name}").KIND for name in packages)
