"""Modules made of modules."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from .module import Module


class ModuleList(Module):
    """Modules under the names "0", "1", ...; whoever holds the list calls them.

    >>> from trivet.nn import ReLU
    >>> layers = ModuleList([ReLU(), ReLU()])
    >>> list(layers.named_modules()), len(layers)
    (['', '0', '1'], 2)
    """

    def __init__(self, modules: Iterable[Module] = ()):
        for module in modules:
            self.append(module)

    def append(self, module: Module) -> ModuleList:
        setattr(self, str(len(self)), module)
        return self

    def __iter__(self) -> Iterator[Module]:
        return iter([m for m in vars(self).values() if isinstance(m, Module)])

    def __len__(self) -> int:
        return len(list(iter(self)))

    def __getitem__(self, i: int) -> Module:
        return list(self)[i]


class Sequential(ModuleList):
    """One module after the other, named "0", "1", ... or as a dict says.

    >>> from trivet.nn import Linear, ReLU
    >>> list(Sequential(Linear(3, 2), ReLU()).named_parameters())
    ['0.weight', '0.bias']
    >>> list(Sequential({"fc": Linear(3, 2), "relu": ReLU()}).named_parameters())
    ['fc.weight', 'fc.bias']
    """

    def __init__(self, *modules: Module | Mapping[str, Module]):
        if len(modules) == 1 and isinstance(modules[0], Mapping):
            for name, module in modules[0].items():
                setattr(self, name, module)
        else:
            super().__init__(modules)

    def forward(self, x):
        for module in self:
            x = module(x)
        return x


class Identity(Module):
    """Its input."""

    def forward(self, x):
        return x
