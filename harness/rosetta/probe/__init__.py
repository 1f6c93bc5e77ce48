"""What runs inside every framework's environment: Python 3.6 or later, whatever NumPy is there."""

from .run import Run as Run
