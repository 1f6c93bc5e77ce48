"""What is done to a trace before it is replayed. Each pass takes code and gives code."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container
from dataclasses import dataclass, replace

from .. import registry, tuning
from ..launch import Note, choose
from ..registry import Call, Plan
from ..spec import Spec
from ..tuning import Leg


@dataclass(frozen=True)
class Code:
    """Launches, and of every slot its spec and, if it is a view, whose memory it lies in."""

    notes: list[Note]
    specs: list[Spec]  # by slot
    views: dict[int, tuple[int, int]]  # slot: slot of the owner, offset in bytes

    def owner(self, slot: int) -> int:
        return self.views[slot][0] if slot in self.views else slot


def merge_reorders(code: Code, survivors: set[int]) -> Code:
    """Drops each reorder that repeats one of a value unchanged since."""
    writes = Counter(code.owner(slot) for note in code.notes for slot in note.written)
    so_far, first, alias, merged = Counter(), {}, {}, []
    for note in code.notes:
        note = replace(note, slots=tuple(alias.get(slot, slot) for slot in note.slots))
        if note.call.name == "reorder":
            out, source = note.slots[:2]
            key = source, so_far[code.owner(source)], note.plan.outs
            # a copy made to be written stays a copy, and so does one that views look into
            plain = out not in code.views and not any(o == out for o, _ in code.views.values())
            if plain and out not in survivors and writes[out] == 1:
                alias[out] = first.setdefault(key, out)
                if alias[out] != out:
                    continue
        so_far.update(code.owner(slot) for slot in note.written)
        merged.append(note)
    return replace(code, notes=merged)


def join(code: Code, survivors: set[int], fixed: set[int]) -> Code:
    """Joins a launch with the only reader of its (first) result, where a backend offers to.

    With tuning on, not where the joined kernel measures clearly slower than the two.

    The joined kernel is named ``a+b``; its geometry is both geometries and the place of a's result
    among b's operands; its operands are a's, then b's without that one; its results are b's, then
    a's others. It is taken only if it accepts the operands as they lie, but for ``fixed`` values
    that no launch writes, weights: they are reordered once for all replays.
    """
    notes, specs, k = list(code.notes), list(code.specs), 0
    uses = Counter(slot for note in notes for slot in note.slots)
    viewed = {*code.views, *(owner for owner, _ in code.views.values())}
    single = {slot for slot, n in uses.items() if n == 2} - viewed - survivors  # maker and reader
    makers = {note.outs[0]: note for note in notes if note.outs and not note.plan.writes}
    private = {slot for note in notes for slot in note.outs[1:]}
    origin = _origins(code, fixed, viewed | survivors)
    reordered: dict[tuple[int, Spec], Note] = {}
    while k < len(notes):
        b = notes[k]
        for at, slot in enumerate(b.ins):
            a = makers.get(slot) if slot in single else None
            place = None if a is None else _place_of_both(a, k, notes, code)
            joined = None if place is None else _joined(a, b, at, private, origin, specs)
            if joined:
                call, plan, outs, ins = joined
                lie = [_as_wanted(*pair, call, reordered, specs) for pair in zip(ins, plan.ins)]
                origin |= {new: slot for new, slot in zip(lie, ins) if new != slot}
                slots = (*outs, *lie)
                if plan.workspace:
                    slots = (*slots, len(specs))
                    specs.append(Spec((plan.workspace,), "uint8"))
                notes[place] = makers[b.outs[0]] = Note(call, plan, slots, b.line)
                del notes[k if place < k else notes.index(a)]
                k = place - 2  # look at the joined launch again: chains grow link by link
                break
        k = max(k + 1, 0)
    notes = [*reordered.values(), *notes]  # what they read is there from the beginning
    unread = origin.keys() - {slot for note in notes for slot in note.ins}
    notes = [note for note in notes if unread.isdisjoint(note.outs)]
    return replace(code, notes=notes, specs=specs)


def _origins(code: Code, fixed: set[int], bound: set[int]) -> dict[int, int]:
    """Values that stay as they are, and copies of them in other layouts: of which they are one."""
    written = Counter(code.owner(slot) for note in code.notes for slot in note.written)
    origin = {slot: slot for slot in fixed if not written[slot]}
    for note in code.notes:
        copied = note.call.name == "reorder" and note.ins[0] in origin
        if copied and written[note.outs[0]] == 1 and note.outs[0] not in bound:
            origin[note.outs[0]] = origin[note.ins[0]]
    return origin


def _as_wanted(slot, spec, call, reordered, specs) -> int:
    """The slot of a value in the layout that a launch wants; reordered only if it is fixed."""
    if specs[slot] == spec:
        return slot
    if (slot, spec) not in reordered:
        move = Call("reorder", (specs[slot],), spec.layout, call.device, call.means)
        slots = (len(specs), slot)
        specs.append(spec)
        reordered[slot, spec] = Note(move, choose(move), slots)
    return reordered[slot, spec].outs[0]


def reuse_dropped(code: Code, survivors: set[int]) -> Code:
    """Lets the gradient of dropout(relu(x)) read the dropped result in place of two other things.

    It is 0 exactly where the rectifier or dropout made it so: the bits need not be drawn again,
    and the rectifier's own result has one reader less, so that ``join`` may take it.
    """
    notes, specs = list(code.notes), code.specs
    uses = Counter(slot for note in notes for slot in note.slots)
    writes = Counter(code.owner(slot) for note in notes for slot in note.written)
    viewed = {*code.views, *(owner for owner, _ in code.views.values())}
    makers = {note.outs[0]: note for note in notes if note.outs}
    dropped = {
        (*note.ins, note.call.geometry): note.outs[0]
        for note in notes
        if note.call.name == "dropout" and makers.get(note.ins[0], note).call.name == "relu"
    }

    def made_for_one(slot):
        alone = uses[slot] == 2 and slot not in viewed | survivors  # its maker and its reader
        return makers.get(slot) if alone else None

    for pull in [note for note in notes if note.call.name == "relu_grad"]:
        gy, rectified = pull.ins
        drop = made_for_one(gy)
        turn = drop if drop and drop.call.name == "reorder" else None
        drop = made_for_one(turn.ins[0]) if turn else drop
        if not drop or drop.call.name != "dropout":
            continue
        (arrived, key), p = drop.ins, drop.call.geometry
        y = dropped.get((rectified, key, p))
        if y is None or any(writes[code.owner(s)] > 1 for s in (arrived, key, rectified, y)):
            continue
        if (specs[arrived], specs[y]) != (specs[drop.outs[0]], specs[rectified]):
            continue
        call = replace(pull.call, name="relu_dropout_grad", ins=pull.plan.ins, geometry=p)
        plan = _as_they_lie(call, pull.plan.outs, registry.PREFERENCE[call.device])
        if plan and not plan[0].workspace:
            if turn:
                moved = (turn.outs[0], arrived, *turn.slots[2:])
                notes[notes.index(turn)] = replace(turn, slots=moved)
            slots = (*pull.outs, gy if turn else arrived, y)
            notes[notes.index(pull)] = Note(call, plan[0], slots, pull.line)
            notes.remove(drop)
    return replace(code, notes=notes)


def _as_they_lie(
    call: Call, outs: tuple[Spec, ...], order, free: Container[int] = ()
) -> list[Plan]:
    """Plans that take the operands as they lie, but the free ones, and make these results."""
    answers = (registry.ask(backend, call) for backend in order)
    plans = [p for answer in answers if not isinstance(answer, str) for p in answer]
    return [
        p
        for p in plans
        if p.outs == outs
        and all(i in free or a == b for i, (a, b) in enumerate(zip(p.ins, call.ins)))
    ]


def _place_of_both(a: Note, k: int, notes: list[Note], code: Code) -> int | None:
    """Where launch a and launch k, which reads it, may run as one: late, early, or nowhere."""
    early = notes.index(a)
    between = notes[early + 1 : k]
    written = {code.owner(slot) for note in between for slot in note.written}
    touched = {code.owner(slot) for note in between for slot in note.slots}
    if not written & set(map(code.owner, a.ins)) and not touched & set(map(code.owner, a.outs)):
        return k
    others = {code.owner(slot) for slot in notes[k].ins if slot != a.outs[0]}
    return None if written & others else early


def _joined(a: Note, b: Note, at: int, private, origin, specs):
    """(call, plan, slots of the results, of the operands before those fixed are reordered)."""
    if b.plan.writes or "+" in b.call.name:  # a chain grows at its end, so its name says all
        return None
    ins = [origin.get(slot, slot) for slot in (*a.ins, *b.ins[:at], *b.ins[at + 1 :])]
    lie = (*a.plan.ins, *b.plan.ins[:at], *b.plan.ins[at + 1 :])
    lie = tuple(specs[slot] if slot in origin else spec for slot, spec in zip(ins, lie))
    outs = (*b.plan.outs, *a.plan.outs[1:])
    name, geometry = f"{a.call.name}+{b.call.name}", (a.call.geometry, b.call.geometry, at)
    kept = a.call.auxiliaries and b.call.auxiliaries
    call = replace(b.call, name=name, ins=lie, geometry=geometry, auxiliaries=kept)
    # what is made beside a result may be for the backend alone that made it
    bound = {note.plan.backend for note in (a, b) if private & set(note.slots)}
    order = [one for one in registry.PREFERENCE[call.device] if bound <= {one}]
    free = {i for i, slot in enumerate(ins) if slot in origin}
    plans = registry.ranked(_as_they_lie(call, outs, order, free))
    if (a.plan.reduced or b.plan.reduced) and not call.means.tuned:
        plans = [p for p in plans if p.reduced]
    if plans and call.means.tuned:
        joined = Leg(call, tuning.pick(call, plans))
        slower = tuning.slower(joined, Leg(a.call, a.plan), Leg(b.call, b.plan, at))
        plans = [] if slower else [joined.plan]
    return (call, plans[0], (*b.outs, *a.outs[1:]), ins) if plans else None


RECTIFIED = "batch_norm+relu", "batch_norm_onward+relu"
AGAIN = {
    "relu_grad+batch_norm_grad": "batch_norm_relu_grad",
    "relu_grad+batch_norm_grad+add": "batch_norm_relu_grad+add",
}


def rectify_again(code: Code) -> Code:
    """Spares the gradient of a rectified normalisation reading the result.

    It says no more than where the rectifier was closed, and can be computed again from operands
    that are there, and the bias. What else the gradient reads is what the normalisation did: the
    tape allows no write to it. A bias written meanwhile is no longer the one that was added.
    """
    notes, specs, made, latest = list(code.notes), list(code.specs), {}, {}
    for k, note in enumerate(notes):
        if note.call.name in RECTIFIED:
            made[note.outs[0]] = k
        elif note.call.name in AGAIN and note.ins[1] in made:
            gy, y, x, weight, mean, inv, *other = note.ins
            a = notes[made[y]]
            bias = a.ins[2]
            same = (x, weight, mean, inv) == (*a.ins[:2], *a.outs[1:])
            if same and latest.get(code.owner(bias), -1) < made[y]:
                ins = gy, x, weight, mean, inv, bias, *other
                notes[k] = instead(note, AGAIN[note.call.name], ins, specs) or note
        latest |= {code.owner(slot): k for slot in note.written}
    return replace(code, notes=notes, specs=specs)


def instead(note: Note, name: str, ins: tuple[int, ...], specs: list[Spec]) -> Note | None:
    """A launch with other operands, if its backend has a kernel of that name for what they are."""
    lie = tuple(specs[slot] for slot in ins)
    call = replace(note.call, name=name, ins=lie)
    answer = registry.ask(note.plan.backend, call)
    plans = [] if isinstance(answer, str) else answer
    plan = next((p for p in plans if (p.ins, p.outs) == (lie, note.plan.outs)), None)
    if plan is None:
        return None
    slots = (*note.outs, *ins)
    if plan.workspace:
        slots = (*slots, len(specs))
        specs.append(Spec((plan.workspace,), "uint8"))
    return replace(note, call=call, plan=plan, slots=slots)


def overlay(code: Code, survivors: set[int], outside: Container[int]) -> Code:
    """Lays a result over an operand that ends there, where the plan can work in place."""
    views, last = dict(code.views), {}
    for k, note in enumerate(code.notes):
        last |= {code.owner(slot): k for slot in note.slots}
    for k, note in enumerate(code.notes):
        for place, at in note.plan.over:
            out, slot = note.outs[place], note.ins[at]
            owner, offset = views.get(slot, (slot, 0))
            free = last[owner] == k and owner not in survivors and owner not in outside
            fits = not offset and code.specs[out].nbytes <= code.specs[owner].nbytes
            if (
                not (free and fits)
                or out in survivors
                or out in views
                or note.slots.count(slot) > 1
            ):
                continue
            views |= {v: (owner, at) for v, (of, at) in views.items() if of == out}
            views[out], last[owner] = (owner, 0), last[out]
            break
    return replace(code, views=views)


def share_workspace(code: Code) -> Code:
    """One scratch memory for all launches: they run one at a time, and it stays in the cache."""
    users = [note for note in code.notes if note.plan.workspace]
    if not users:
        return code
    shared = len(code.specs)
    size = max(note.plan.workspace for note in users)
    views = code.views | {note.slots[-1]: (shared, 0) for note in users}
    return replace(code, specs=[*code.specs, Spec((size,), "uint8")], views=views)


def prepare(code: Code, fixed: set[int]) -> Code:
    """Takes launches apart whose weights no launch writes: what depends on these comes first."""
    written = Counter(code.owner(slot) for note in code.notes for slot in note.written)
    notes, specs = [], list(code.specs)
    for note in code.notes:
        ahead = note.plan.ahead
        few = [note.ins[k] for k in ahead.operands] if ahead else []
        if few and all(slot in fixed and not written[slot] for slot in few):
            backend, block = note.plan.backend, len(specs)
            specs.append(ahead.first.outs[0])
            first = replace(ahead.first, backend=backend)
            call = replace(note.call, name=f"{note.call.name}{AHEAD}", ins=first.ins)
            notes.append(Note(call, first, (block, *few), note.line))
            slots = (*note.outs, *note.ins, block)
            if ahead.rest.workspace:
                slots = (*slots, len(specs))
                specs.append(Spec((ahead.rest.workspace,), "uint8"))
            note = replace(note, plan=replace(ahead.rest, backend=backend), slots=slots)
        notes.append(note)
    return replace(code, notes=notes, specs=specs)


AHEAD = ", ahead"  # ends the names of launches that make what another one reads


def hoist(code: Code, survivors: set[int], outside: Container[int]) -> tuple[Code, list[Note]]:
    """Takes out what need not recur: reorders, and what comes ahead of a launch, of values that
    existed before and that no launch writes."""
    written = Counter(code.owner(slot) for note in code.notes for slot in note.written)
    bound = {*survivors, *code.views, *(owner for owner, _ in code.views.values())}
    taken, kept = [], []
    for note in code.notes:
        constant = note.call.name == "reorder" or note.call.name.endswith(AHEAD)
        if constant:
            out, sources = note.outs[0], set(map(code.owner, note.ins))
            constant = all(source in outside and not written[source] for source in sources)
            constant &= written[out] == 1 and out not in bound
        (taken if constant else kept).append(note)
    return replace(code, notes=kept), taken
