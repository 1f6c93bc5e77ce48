"""The documents that the parts of the suite exchange, as JSON schemas, and the check against them.

``job`` goes into a notebook, ``event`` is one line of what comes out, ``run`` the plan of a run,
``state`` one line of its jobs.jsonl, ``rows`` what other programs read; ``machine`` is what a
framework's machine.py prints, ``roofline`` what is made of it.
"""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from typing import Any

from jsonschema import Draft202012Validator

from ..errors import ResultError

SCHEMA = 1


def check(name: str, document: Any, where: str) -> None:
    """Refuses a document that is not what its schema says.

    Args:
        name: "job", "run", "state", "rows", "machine" or "roofline".
        where: What is named in the error: a file, a line.

    Raises:
        ResultError: The document is of a version that this rosetta does not read, or breaks its
            schema; the message has the place in the document and the value found there.
    """
    _refuse_other_versions(document, where)
    _report(_validator(name), document, where)


def check_event(event: Any, where: str) -> None:
    """``check`` for one line of an events file: by the schema of its kind.

    Raises:
        ResultError: As ``check``.
    """
    _report(_validator("event"), event, where)
    if event["event"] == "header":
        _refuse_other_versions(event, where)
    _report(_validator("event", event["event"]), event, where)


def _refuse_other_versions(document: Any, where: str) -> None:
    found = document.get("schema", SCHEMA) if isinstance(document, dict) else SCHEMA
    if found != SCHEMA:
        raise ResultError(
            f"{where}: schema {found!r}; this rosetta reads {SCHEMA}",
            "the version of rosetta that wrote it: the commit stands in its run.json",
        )


def _report(validator: Draft202012Validator, document: Any, where: str) -> None:
    error = next(validator.iter_errors(document), None)
    if error is not None:
        place = "".join(f"[{part!r}]" for part in error.absolute_path)
        raise ResultError(f"{where}: {place + ': ' if place else ''}{error.message[:300]}")


@cache
def _validator(name: str, kind: str = "") -> Draft202012Validator:
    text = resources.files(__name__).joinpath(f"{name}.json").read_text("utf-8")
    schema = json.loads(text)
    if kind:
        schema = {"$defs": schema["$defs"], "$ref": f"#/$defs/{kind}"}
    return Draft202012Validator(schema)
