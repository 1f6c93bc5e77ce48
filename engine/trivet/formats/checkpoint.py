"""Checkpoints: tensors as safetensors, the rest as JSON beside it.

``run/last.json`` names its ``run/last-<digest>.safetensors``. Both are written under another name,
flushed to the disk and renamed, the JSON last: whenever a save is interrupted, the JSON that is
there belongs to tensors that are there.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file
from safetensors.numpy import save as bytes_of

from ..errors import FormatError, OptionError, TrivetError
from ..tape import Tensor

FORMAT = "trivet checkpoint 1"
AGAIN = "copy both files again, or go back to an earlier checkpoint."


def save(path: str | Path, **parts) -> Path:
    """Writes a checkpoint, and replaces an older one of that name only when all is on the disk.

    Args:
        path: Of the JSON; the suffix may be left out.
        parts: By name: what has a ``state_dict`` (networks, optimisers, schedules), Tensors and
            arrays, and whatever JSON can hold (counts, a NumPy generator's state). None is left
            out.

    Returns:
        The path of the JSON.

    Raises:
        OptionError: A part that is none of these.

    >>> import tempfile
    >>> from trivet import nn
    >>> folder, net = tempfile.TemporaryDirectory(), nn.Linear(3, 2)
    >>> file = save(f"{folder.name}/last", net=net, step=7)
    >>> load(file, net=net)
    {'step': 7}
    >>> folder.cleanup()
    """
    path, arrays, rest = _with_suffix(path), {}, {}
    for name, part in parts.items():
        if isinstance(part, Tensor | np.ndarray):
            arrays[name] = part.numpy() if isinstance(part, Tensor) else part
        elif hasattr(part, "state_dict"):
            state = part.state_dict()
            in_file = {k: v for k, v in state.items() if isinstance(v, np.ndarray | np.generic)}
            arrays |= {f"{name}/{k}": np.asarray(v) for k, v in in_file.items()}
            rest[name] = {k: v for k, v in state.items() if k not in in_file}
        elif part is not None:
            rest[name] = part
    tensors = _bytes(arrays)
    digest = hashlib.sha256(tensors).hexdigest()
    beside = path.with_name(f"{path.stem}-{digest[:16]}.safetensors")
    document = {"format": FORMAT, "tensors": beside.name, "sha256": digest, "parts": rest}
    text = _json(document)
    path.parent.mkdir(parents=True, exist_ok=True)
    _write(beside, tensors)
    _write(path, text.encode())
    older = re.compile(re.escape(path.stem) + r"-[0-9a-f]{16}\.safetensors(\.part)?")
    for file in path.parent.iterdir():
        if older.fullmatch(file.name) and file.name != beside.name:
            file.unlink()
    return path


def load(path: str | Path, **parts) -> dict:
    """Reads a checkpoint into the parts given, in place; returns what nobody was given for.

    Args:
        path: Of the JSON; the suffix may be left out.
        parts: By the names they were saved under: what has ``load_state_dict``, and Tensors. None
            is passed over.

    Raises:
        FormatError: Truncated, corrupt, or of another network; the parts may be half loaded only
            in the last case.
    """
    path = _with_suffix(path)
    arrays, rest = _read(path)
    parts = {name: part for name, part in parts.items() if part is not None}
    states = [key for key, value in rest.items() if isinstance(value, dict)]
    for name, part in parts.items():
        holds = list(arrays) if isinstance(part, Tensor) else states
        if name not in holds:
            raise FormatError(
                f"{path}: expected a part {name!r}; it holds {', '.join(sorted(holds)) or 'none'}.",
                "ask for what was saved, under the same name.",
            )
    for name, part in parts.items():
        try:
            if isinstance(part, Tensor):
                part.write(arrays.pop(name))
            else:
                mine = [key for key in arrays if key.startswith(f"{name}/")]
                state = {key[len(name) + 1 :]: arrays.pop(key) for key in mine}
                part.load_state_dict(state | rest.pop(name))
        except TrivetError as e:
            complaint, fix = e.args
            raise FormatError(f"{path}: {name} does not fit: {complaint}", fix) from e
    return rest | arrays


def _read(path: Path) -> tuple[dict[str, np.ndarray], dict]:
    """The tensors and the rest, checked against each other."""
    document = _document(path)
    beside = path.with_name(Path(document["tensors"]).name)
    try:
        return _tensors(beside, document["sha256"]), document["parts"]
    except FileNotFoundError:
        if _document(path) != document:  # a save replaced both meanwhile
            return _read(path)
        raise FormatError(f"{beside}: expected beside {path.name}; no such file.", AGAIN) from None


def _document(path: Path) -> dict:
    try:
        document = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise FormatError(f"{path}: expected a checkpoint; no such file.", "check it.") from None
    except ValueError as e:
        raise FormatError(f"{path}: expected JSON; got a damaged file ({e}).", AGAIN) from e
    found = document.get("format") if isinstance(document, dict) else None
    if found != FORMAT or not document.keys() >= {"tensors", "sha256", "parts"}:
        raise FormatError(
            f"{path}: expected the format {FORMAT!r}; got {found!r}.",
            "pass the .json that checkpoint.save has written.",
        )
    return document


def _tensors(file: Path, expected: str) -> dict[str, np.ndarray]:
    with open(file, "rb") as data:
        digest = hashlib.file_digest(data, "sha256").hexdigest()
    if digest != expected:
        raise FormatError(
            f"{file}: expected sha256 {expected}; got {digest} "
            f"({file.stat().st_size} bytes): truncated or damaged.",
            AGAIN,
        )
    return load_file(file)


def _with_suffix(path: str | Path) -> Path:
    path = Path(path)
    return path if path.suffix == ".json" else path.with_name(f"{path.name}.json")


def _bytes(arrays: dict[str, np.ndarray]) -> bytes:
    try:
        return bytes_of({k: np.asarray(a, order="C") for k, a in arrays.items()})
    except SafetensorError as e:
        raise OptionError(
            f"checkpoint.save: expected arrays of numbers; {e}.",
            "pass text as a list, objects as a dict of what they hold.",
        ) from e


def _json(document: dict) -> str:
    try:
        return json.dumps(document, indent=1)
    except TypeError as e:
        raise OptionError(
            f"checkpoint.save: expected parts with a state_dict, arrays, or values that JSON "
            f"holds; {e}.",
            "convert it: int(x), list(x), generator.bit_generator.state.",
        ) from e


def _write(path: Path, data: bytes) -> None:
    """All or nothing, and on the disk when it returns."""
    temporary = path.with_name(f"{path.name}.part")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:  # a disk that is full needs the room
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the new name too
    finally:
        os.close(folder)
