"""One module a command; ``cli`` finds them. A module has ``command``, a typed function for typer."""
