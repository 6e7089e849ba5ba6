"""One module per kind of model; every module in this folder is imported, which registers its kind."""

from importlib import import_module
from pkgutil import iter_modules


for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")
