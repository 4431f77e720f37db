"""The acceptance cases of this directory, made complete for a run through Kafka and PostgreSQL.

What a file leaves out is filled in as README.md says. All cases share one database, so each gets accounts and numbers
of its own: the ids of a file are replaced by others of the same form and letter case.
"""

import copy
import itertools
import json
import pathlib
import re
import uuid

HERE = pathlib.Path(__file__).parent
CATALOGUE = json.loads((HERE.parents[1] / "schemas/errors.json").read_text())
SUCCESS_CODES = {"ConnectNumber": 201, "DisconnectNumber": 204, "RemoveOperatorConnectNumberType": 204}
ECHOED = ("correlation_id", "batch_id", "source_system", "actor", "channel_name", "number")
ALWAYS_NULL = ("previous_channel_name", "number_type", "items", "offset", "limit", "total")
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_NUMBER = re.compile(r"(\+|00)([1-9][0-9]{8,14})")
_numbers = itertools.count(1)


class Case:
    """name, inventory (lines), edits, steps, after (number -> what number_view then shows differently)."""

    def __init__(self, shared, case):
        self.name = f"{case['id']}: {case['title']}"
        self.inventory = copy.deepcopy(shared) + case.get("inventory", [])
        self.edits = case.get("edits", [])
        self.steps = case["steps"]
        self.after = case.get("after", {})
        self.all = case.get("all", {})
        self._rename()
        self.accounts = [line["id"] for line in self.inventory if line["type"] == "account"]
        for index, step in enumerate(self.steps):
            self._complete(index, step)

    def lines(self, kind):
        return [line for line in self.inventory if line["type"] == kind]

    # -- ids of its own

    def _rename(self):
        numbers = {}
        accounts = {line["id"].lower() for line in self.inventory if line["type"] == "account"}
        for step in [self.all, *self.steps]:
            for part in ("send", "with"):
                account = step.get(part, {}).get("account_id")
                if isinstance(account, str) and _UUID.fullmatch(account):
                    accounts.add(account.lower())

        def number(digits):
            if digits not in numbers:
                numbers[digits] = f"{digits[:2]}{next(_numbers):0{len(digits) - 2}d}"
            return numbers[digits]

        def text(old):
            found = _NUMBER.fullmatch(old)
            if found:
                return found[1] + number(found[2])
            if old.lower() not in accounts:
                return old
            new = str(uuid.uuid5(uuid.NAMESPACE_OID, f"{self.name} {old.lower()}"))
            return new if old == old.lower() else new.upper()

        def renamed(value):
            if isinstance(value, str):
                return text(value)
            if isinstance(value, list):
                return [renamed(item) for item in value]
            if isinstance(value, dict):
                return {text(key): renamed(item) for key, item in value.items()}
            return value

        for part in ("inventory", "edits", "all", "steps", "after"):
            setattr(self, part, renamed(getattr(self, part)))

    # -- what a file leaves out

    def _complete(self, index, step):
        if "redeliver" in step:
            return
        if "resend" in step:
            earlier = self.steps[step["resend"]]
            step["send"] = {**earlier["send"], **step.get("with", {})}
            if "writer" in earlier:
                step.setdefault("writer", earlier["writer"])
            step.setdefault("expect", {"same_as": step["resend"]})
        elif "send" in step:
            step["send"] = {"command_id": f"00000000-0000-4000-8000-{index + 1:012d}", "account_id": self.accounts[0],
                            **self.all.get("send", {}), **step["send"]}
            step.setdefault("expect", {})
        step.update({key: step["expect"][key] for key in ("same_as", "dead_letter", "passed_over") if key in step["expect"]})
        if not {"same_as", "dead_letter", "passed_over"} & set(step):
            step["result"] = expected_result(step["send"], {**self.all.get("expect", {}), **step["expect"]})


def catalogue_entry(reason):
    return next(entry for entry in CATALOGUE["errors"] if entry["urn"].endswith(":" + reason))


def expected_result(send, expect):
    """Everything as sent, nothing else; expect says what is otherwise."""
    def sent(name):
        return send.get(name) if isinstance(send.get(name), str) else None

    refused = expect.get("refused") or []
    result = {"command_id": sent("command_id") or "", "account_id": sent("account_id") or "", "command_type": send["type"],
              **{name: sent(name) for name in ECHOED}, "number_as_received": sent("number"),
              **dict.fromkeys(ALWAYS_NULL), "channel_version": None if refused else 1,
              "status_code": SUCCESS_CODES.get(send["type"], 200),
              "error_identifier": None, "error_message": None, "error_reason": None, "errors": []}
    if refused:
        first = catalogue_entry(refused[0][0])
        result.update(status_code=first["status_code"], error_identifier=first["identifier"],
                      error_message=first["message"], error_reason=first["urn"])
        result["errors"] = [{"reason": catalogue_entry(row[0])["urn"], "pointer": row[1],
                             **({"message_contains": row[2]} if row[2:] else {})} for row in refused]
    result.update(expect)
    result.pop("refused", None)
    result.pop("body_has", None)
    result["warnings"] = [dict(zip(("code", "pointer"), row)) for row in expect.get("warnings", [])]
    result["changes"] = [dict(zip(("pointer", "before", "after"), row)) for row in expect.get("changes", [])]
    if refused:
        result["outcome"] = "REJECTED"
    return result


def _expanded(value):
    """{"repeat": "x", "times": 5} and {"list": "x", "times": 5} as the text and the list they stand for."""
    if isinstance(value, list):
        return [_expanded(item) for item in value]
    if not isinstance(value, dict):
        return value
    if "repeat" in value:
        return value["repeat"] * value["times"]
    if "list" in value:
        return [value["list"]] * value["times"]
    return {key: _expanded(item) for key, item in value.items()}


def load():
    """All cases of all files."""
    cases = []
    for path in sorted(HERE.glob("*.json")):
        file = _expanded(json.loads(path.read_text()))
        cases += [Case(file.get("inventory", []), case) for case in file["cases"]]
    numbers = [line["number"] for case in cases for line in case.lines("number")]
    assert len(numbers) == len(set(numbers)), "two cases have a number in common"
    return cases
