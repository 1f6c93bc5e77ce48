"""Every exception the engine raises on purpose. Imports nothing."""


class TrivetError(Exception):
    """Base class. Takes the fix along with the complaint, so no error goes out without one."""

    def __init__(self, complaint: str, fix: str):
        super().__init__(complaint, fix)

    def __str__(self) -> str:
        return "{}\n  Fix: {}".format(*self.args)


class ShapeError(TrivetError, ValueError):
    """Shapes, axes or sizes that do not fit each other."""


class DtypeError(TrivetError, TypeError):
    """Dtypes that do not mix, or a conversion that would lose values."""


class DeviceError(TrivetError, RuntimeError):
    """Tensors on different devices, or a device that is not there."""


class OptionError(TrivetError, ValueError):
    """An argument outside the values it may take."""


class IdError(TrivetError, IndexError):
    """A class id or an index outside its range."""


class KernelMissing(TrivetError, NotImplementedError):
    """No backend can run a call; the message gives each one's reason."""


class BackendMissing(TrivetError, ImportError):
    """A backend whose library is not installed, or not for this machine; another one runs."""


class GradientError(TrivetError, RuntimeError):
    """A gradient that does not exist, or whose saved values have changed since."""


class CaptureError(TrivetError, RuntimeError):
    """Something that a captured step cannot replay."""


class FormatError(TrivetError, ValueError):
    """A file that is not what it claims to be, or holds what the engine does not know."""
