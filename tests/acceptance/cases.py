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
EDIT_SCHEMA = json.loads((HERE.parents[1] / "schemas/commands/EditChannel.avsc").read_text())
SUCCESS_CODES = {"ConnectNumber": 201, "DisconnectNumber": 204, "RemoveOperatorConnectNumberType": 204}
ECHOED = ("correlation_id", "batch_id", "source_system", "actor", "channel_name", "number")
ALWAYS_NULL = ("previous_channel_name", "number_type", "items", "offset", "limit", "total")
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_NUMBER = re.compile(r"(\+|00)([1-9][0-9]{8,14})")
_numbers = itertools.count(1)


class Case:
    """name, inventory (lines), edits, steps, after (number or channel -> what its view then shows), secrets."""

    def __init__(self, shared, case):
        self.name = f"{case['id']}: {case['title']}"
        self.inventory = copy.deepcopy(shared) + case.get("inventory", [])
        self.edits = case.get("edits", [])
        self.steps = case["steps"]
        self.after = case.get("after", {})
        self.secrets = case.get("secrets", True)
        self.all = case.get("all", {})
        self._rename()
        self.accounts = [line["id"] for line in self.inventory if line["type"] == "account"]
        self.versions = {(edit["account_id"], edit["channel_name"]): edit.get("version", 1) for edit in self.edits}
        for index, step in enumerate(self.steps):
            self._complete(index, step)

    def lines(self, kind):
        return [line for line in self.inventory if line["type"] == kind]

    # -- ids of its own

    def _rename(self):
        numbers = {}
        ids = {line["id"].lower() for line in self.inventory if "id" in line}
        for step in [self.all, *self.steps]:
            for part in ("send", "with"):
                account = step.get(part, {}).get("account_id")
                if isinstance(account, str) and _UUID.fullmatch(account):
                    ids.add(account.lower())

        def collect(value):
            if isinstance(value, str) and (found := _NUMBER.fullmatch(value)):
                numbers[found[2]] = None
            for inner in value.items() if isinstance(value, dict) else [value] if isinstance(value, list) else []:
                for item in inner:
                    collect(item)

        # In the order of the old ones, so that lists stay sorted.
        collect([getattr(self, part) for part in ("inventory", "edits", "all", "steps", "after")])
        for digits in sorted(numbers):
            numbers[digits] = f"{digits[:2]}{next(_numbers):0{len(digits) - 2}d}"
        new_ids = dict(zip(sorted(ids), sorted(str(uuid.uuid5(uuid.NAMESPACE_OID, f"{self.name} {old}")) for old in ids)))

        def text(old):
            found = _NUMBER.fullmatch(old)
            if found:
                return found[1] + numbers[found[2]]
            if old.lower() not in ids:
                return old
            new = new_ids[old.lower()]
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
            self._count_version(step["send"], step["result"])

    def _count_version(self, send, result):
        """Versions start at 1, or where "edits" left them, and each applied edit counts. What a result of success does
        not state is what has come of it."""
        edits = send["type"] == "EditChannel"
        key = str(send["account_id"]).lower(), str((send if edits else result).get("channel_name"))
        version = self.versions.get(key, 1)
        if edits and result["outcome"] == "APPLIED":
            version += 1
            self.versions.pop(key, None)
            self.versions[key[0], renamed(result) or key[1]] = version
        result.setdefault("channel_version", None if result["outcome"] == "REJECTED" else version)

    def channels_after(self, channels):
        """What the applied edits, as they are expected, make of channels: (account, name) -> row. And the passwords
        that were set."""
        channels, passwords = copy.deepcopy(channels), {}
        for step in self.steps:
            result = step.get("result", {})
            if result.get("outcome") != "APPLIED" or step["send"]["type"] != "EditChannel":
                continue
            account = step["send"]["account_id"].lower()
            old = account, step["send"]["channel_name"]
            new = account, renamed(result) or old[1]
            channels[new] = channels.pop(old)
            if old in passwords:
                passwords[new] = passwords.pop(old)
            channels[new]["version"] += 1
            for change in result["changes"]:
                if change["pointer"] == "/password":
                    passwords[new] = step["send"]["password"]
                    channels[new]["settings"]["password_set"] = True
                elif change["pointer"] != "/new_name":
                    _put(channels[new]["settings"], change["pointer"], change["after"])
        return channels, passwords


def renamed(result):
    """The new name that a result shows, or None."""
    return next((change["after"] for change in result["changes"] if change["pointer"] == "/new_name"), None)


def _put(settings, pointer, text):
    """Puts a change's text into the settings as a value of the guide's JSON form."""
    *groups, name = pointer[1:].split("/")
    fields = {field["name"]: field["type"] for field in EDIT_SCHEMA["fields"]}
    for group in groups:
        settings = settings[group]
        fields = {field["name"]: field["type"] for field in fields[group][1]["fields"]}
    kind = fields[name][1]
    plain = text is None or kind == "string" or isinstance(kind, dict) and kind["type"] == "record" or kind == "NullableString"
    settings[name] = text if plain else json.loads(text)


def catalogue_entry(reason):
    return next(entry for entry in CATALOGUE["errors"] if entry["urn"].endswith(":" + reason))


def expected_result(send, expect):
    """Everything as sent, nothing else; expect says what is otherwise."""
    def sent(name):
        return send.get(name) if isinstance(send.get(name), str) else None

    refused = expect.get("refused") or []
    result = {"command_id": sent("command_id") or "", "account_id": sent("account_id") or "", "command_type": send["type"],
              **{name: sent(name) for name in ECHOED}, "number_as_received": sent("number"),
              **dict.fromkeys(ALWAYS_NULL),
              "status_code": SUCCESS_CODES.get(send["type"], 200),
              "error_identifier": None, "error_message": None, "error_reason": None, "errors": []}
    if refused:
        first = catalogue_entry(refused[0][0])
        result.update(status_code=first["status_code"], error_identifier=first["identifier"],
                      error_message=first["message"], error_reason=first["urn"])
        result["errors"] = [{"reason": catalogue_entry(row[0])["urn"], "pointer": row[1],
                             **({"message_contains": row[2]} if row[2:] else {})} for row in refused]
    result.update(expect)
    for name in ("refused", "body_has", "body_lacks"):
        result.pop(name, None)
    result["warnings"] = [dict(zip(("code", "pointer"), row)) for row in expect.get("warnings", [])]
    result["changes"] = [dict(zip(("pointer", "before", "after"), row)) for row in expect.get("changes", [])]
    if refused:
        result["outcome"] = "REJECTED"
    if result.get("items"):
        result["items"] = [{**dict.fromkeys(("caller_id", "id", "name", "code")), **item} for item in result["items"]]
    if send["type"].startswith("List"):
        result["channel_version"] = None
        result.setdefault("outcome", "NO_CHANGE")
        if send["type"] == "ListCallerIds" and not refused:
            result.update(offset=send.get("offset", 0), limit=send.get("limit", 100))
    assert "outcome" in result, send
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
