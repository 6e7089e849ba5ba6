"""What happens inside a network while it groks: train, checkpoint, decompose, measure, report.

The names are those of `__init__.pyi`. Each is loaded when first used, so that `import grokinterp` costs little
beyond torch.
"""

import lazy_loader


__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
