"""Orders of preference that tests set: which backends run a call."""

REFERENCE = ["trivet.reference"]
BLOCKED = ["blocked_backend", "trivet.reference"]
CPU = ["trivet.native", "trivet.onednn", "trivet.reference"]
