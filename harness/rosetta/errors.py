"""What a person did or has that stops us, said in one sentence and with the fix."""


class RosettaError(Exception):
    """Ends a command with exit code 2 and no traceback.

    Args:
        message: What was expected and what arrived, with the value.
        fix: What to type or change; printed as ``Fix: ...`` on a line of its own.
    """

    def __init__(self, message: str, fix: str = "") -> None:
        super().__init__(f"{message}\n  Fix: {fix}" if fix else message)


class DataError(RosettaError):
    """A data set that is missing, cut off, altered or not what its name says."""


class SpecError(RosettaError):
    """A .toml file that says something we would otherwise have to guess."""


class ResultError(RosettaError):
    """A result that cannot be read as what it claims to be."""


class EnvironmentFailed(RosettaError):
    """A framework's environment that could not be built; its cells become rows with the reason."""
