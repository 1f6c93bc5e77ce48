"""One module a command; ``cli`` finds them. A module has ``command``, typed for typer."""
