"""One module per kind of model. All modules in this directory are imported, which registers their kinds."""

from importlib import import_module
from pkgutil import iter_modules


for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")
