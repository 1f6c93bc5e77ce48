"""Module: a tree of named parameters, buffers and modules."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from ..dtypes import is_float
from ..errors import OptionError, ShapeError
from ..tape import Tensor, compute


class Parameter(Tensor):
    """A Tensor that training changes.

    >>> Parameter([1.0, 2.0]).requires_grad
    True
    """

    def __init__(
        self, data, dtype: str | None = None, *, device: str = "cpu", requires_grad: bool = True
    ):
        super().__init__(data, dtype, device=device, requires_grad=requires_grad)


Callback = Callable[["Module", tuple, Tensor], Tensor | None]  # module, arguments, output


class Handle:
    """Removes a callback: call ``remove``, or use it in a ``with``."""

    def __init__(self, module: Module, callback: Callback):
        self.module, self.callback = module, callback
        module._callbacks = (*module._callbacks, self)

    def remove(self) -> None:
        self.module._callbacks = tuple(h for h in self.module._callbacks if h is not self)

    def __enter__(self) -> Handle:
        return self

    def __exit__(self, *error) -> None:
        self.remove()


class Module:
    """A layer or a network: ``forward`` computes, attributes hold what it is made of.

    Found by attribute, in the order of definition: Parameters, plain Tensors (buffers: state that
    no gradient changes) and Modules. Names that start with an underscore are private, and not
    found. Lists of modules go into a ModuleList or a Sequential.

    >>> class Scale(Module):
    ...     def __init__(self):
    ...         self.weight = Parameter([2.0])
    ...
    ...     def forward(self, x):
    ...         return x * self.weight
    >>> net = Scale()
    >>> list(net.named_parameters()), net(Tensor([3.0])).numpy().tolist()
    (['weight'], [6.0])
    """

    training = True
    _callbacks: tuple[Handle, ...] = ()

    def forward(self, *args):
        raise NotImplementedError(f"{type(self).__name__} has no forward")

    def __call__(self, *args, **kwargs):
        y = self.forward(*args, **kwargs)
        for handle in self._callbacks:
            replacement = handle.callback(self, args, y)
            y = y if replacement is None else replacement
        return y

    def __setattr__(self, name: str, value) -> None:
        several = isinstance(value, list | tuple | dict) and not name.startswith("_")
        inner = value.values() if isinstance(value, dict) else value
        if several and any(isinstance(v, Tensor | Module) for v in inner):
            raise OptionError(
                f"{type(self).__name__}.{name}: expected a Tensor or a Module; got a "
                f"{type(value).__name__} of them, whose parameters would not be found.",
                "wrap modules in nn.ModuleList or nn.Sequential; "
                "a name that starts with _ stays private.",
            )
        before = vars(self).get(name)
        if isinstance(before, Parameter) and isinstance(value, Tensor):
            if not isinstance(value, Parameter):
                raise OptionError(
                    f"{type(self).__name__}.{name}: expected a Parameter, as it was; got a Tensor, "
                    "which no optimiser would train.",
                    "wrap it, nn.Parameter(t.numpy()), or write the values: p.write(...).",
                )
        elif isinstance(value, Tensor | Module) and callable(getattr(type(self), name, None)):
            raise OptionError(
                f"{type(self).__name__}.{name}: expected a free name; got a method's.",
                "choose another name for the layer.",
            )
        object.__setattr__(self, name, value)

    def named_modules(self) -> dict[str, Module]:
        """This module, under the name "", and all below it; a shared one under its first name."""
        return _first({"": self} | _of(Module, self._members()))

    def named_parameters(self) -> dict[str, Parameter]:
        """By dotted name; a shared one under its first name."""
        return _first(_of(Parameter, self._members()))

    def parameters(self) -> list[Parameter]:
        return list(self.named_parameters().values())

    def named_buffers(self) -> dict[str, Tensor]:
        """The Tensors that are no Parameters; a shared one under its first name."""
        tensors = _of(Tensor, self._members())
        return _first({k: t for k, t in tensors.items() if not isinstance(t, Parameter)})

    def train(self, mode: bool = True) -> Module:
        """Training behaviour of dropout and batch normalisation, here and below."""
        for module in self.named_modules().values():
            module.training = mode
        return self

    def eval(self) -> Module:
        return self.train(False)

    def state_dict(self) -> dict[str, np.ndarray]:
        """Copies of all parameters and buffers; a shared one under each of its names."""
        return {name: t.numpy() for name, t in _of(Tensor, self._members()).items()}

    def load_state_dict(self, state: Mapping, strict: bool = True) -> None:
        """Writes values in place: optimisers and captured steps see them.

        PyTorch's counters ``num_batches_tracked`` are passed over.

        Args:
            state: Arrays by name; floats are converted to the parameter's dtype.
            strict: False leaves what is missing as it is, and ignores what is unexpected.

        Raises:
            OptionError: Names are missing or unexpected.
            ShapeError: An array of another shape. Nothing has been written then.
        """
        tensors = _of(Tensor, self._members())
        given = {k: v for k, v in state.items() if k.rpartition(".")[2] != "num_batches_tracked"}
        missing = [name for name in tensors if name not in given]
        unexpected = [name for name in given if name not in tensors]
        if strict and (missing or unexpected):
            raise OptionError(
                f"load_state_dict: expected the {len(tensors)} names of "
                f"{type(self).__name__}; missing: {_some(missing)}; unexpected: "
                f"{_some(unexpected)}.",
                "build the network that the state was saved from, rename, or pass strict=False.",
            )
        found = {name: np.asarray(given[name]) for name in tensors if name in given}
        for name, array in found.items():
            if array.shape != tensors[name].shape:
                raise ShapeError(
                    f"load_state_dict: expected {name} {tensors[name].shape}; got {array.shape}.",
                    "build the network with the sizes that the state was saved with.",
                )
        for name, array in found.items():
            tensors[name].write(array)

    def own_parameters(self) -> list[Parameter]:
        """Those of this module itself, without the modules below."""
        return [v for v in vars(self).values() if isinstance(v, Parameter)]

    def flops(self, inputs: tuple, output) -> int:
        """Products and additions of one forward; 0 unless a layer says otherwise."""
        return 0

    def on_output(self, callback: Callback) -> Handle:
        """Calls ``callback(module, inputs, output)`` after each forward, until it is removed.

        What it returns takes the place of the output; None leaves it.

        >>> from trivet import nn
        >>> net, seen = nn.Sequential(nn.Linear(3, 2), nn.ReLU()), {}
        >>> with getattr(net, "0").on_output(lambda module, inputs, y: seen.update(y=y.shape)):
        ...     out = net(Tensor([[1.0, 2.0, 3.0]]))
        >>> seen
        {'y': (1, 2)}
        """
        return Handle(self, callback)

    def to(self, dtype: str) -> Module:
        """Float parameters and buffers in another dtype, in place; gradients are dropped.

        Build optimisers and capture steps afterwards: what they hold keeps its dtype.
        """
        for t in _of(Tensor, self._members()).values():
            if is_float(t.dtype) and t.dtype != dtype:
                t.buffer = compute("cast", t, geometry=dtype)[0].buffer
                t.grad = None
        return self

    def _members(self, prefix: str = "") -> Iterator[tuple[str, Tensor | Module]]:
        """Everything below with its dotted name, parents first."""
        for name, value in vars(self).items():
            if not name.startswith("_") and isinstance(value, Tensor | Module):
                yield prefix + name, value
                if isinstance(value, Module):
                    yield from value._members(f"{prefix}{name}.")


def _of(kind: type, members) -> dict:
    return {name: value for name, value in members if isinstance(value, kind)}


def _first(named: dict) -> dict:
    """Each value once, under its first name."""
    seen: dict[int, str] = {}
    for name, value in named.items():
        seen.setdefault(id(value), name)
    return {name: named[name] for name in seen.values()}


def _some(names: list[str], most: int = 6) -> str:
    """The first names of a list, for a message."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return (", ".join(names[:most]) or "none") + more
