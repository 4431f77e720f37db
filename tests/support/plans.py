"""What PostgreSQL does for each statement of a worker: its plan with the rows and pages that were read, as auto_explain
writes it into the server's log for the sessions of a worker whose connection string has SESSION as options. Says also
what is wrong with a plan; which batches are worth a look, a test knows.

    log = plans.Log(servers, stack.conninfo)
    stack.worker(postgres__conninfo=make_conninfo(stack.conninfo, options=plans.SESSION))
    ...
    for execution in log.read():
        wrong += execution.faults(growing)
"""

import dataclasses
import json
import re

from psycopg.conninfo import conninfo_to_dict

SESSION = " ".join(f"-c {setting}" for setting in (
    "session_preload_libraries=auto_explain", "auto_explain.log_min_duration=0", "auto_explain.log_format=json",
    "auto_explain.log_analyze=on", "auto_explain.log_buffers=on", "auto_explain.log_timing=off", "auto_explain.log_verbose=on",
    "auto_explain.log_nested_statements=on", "log_min_duration_statement=0", "log_parameter_max_length=0"))

# What a plan may cost for each row that is asked for: a descent into an index reads three or four pages, and a command may
# concern several rows. And once: the first pages of a table and of its free space map.
ROWS_EACH, PAGES_EACH, PAGES_ONCE = 8, 24, 24

_BY_KEY = {"Index Scan", "Index Only Scan", "Bitmap Index Scan", "Tid Scan"}
_ENTRY = re.compile(r"\S+ \S+ \S+ \[(\d+)\] (?:\S+@(\S+) .*?)?LOG:  duration: \S+ ms  (.*)", re.DOTALL)


def nodes(plan):
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


def tables(plan):
    return {node["Relation Name"] for node in nodes(plan) if "Relation Name" in node}


@dataclasses.dataclass
class Execution:
    """One statement as it was run once. batch: how many rows it was asked for, at most; one of the server's own, such as a
    look at a foreign key, is run for a row."""

    name: str
    plan: dict
    batch: int = 1

    @property
    def keys(self):
        """Elements of the arrays that it was given, where it takes them apart."""
        return max((node["Actual Rows"] for node in nodes(self.plan) if node["Node Type"] == "Function Scan"), default=0)

    @property
    def pages(self):
        return self.plan["Shared Hit Blocks"] + self.plan["Shared Read Blocks"]

    @property
    def rows(self):
        """The most that one scan of a table has looked at."""
        return max((_rows(node) for node in nodes(self.plan) if "Relation Name" in node), default=0)

    def faults(self, growing):
        """What is wrong with it, as texts: ways through one of the growing tables that are none by a key, and more rows
        or pages than the batch accounts for."""
        wrong = [fault for node in nodes(self.plan) for fault in _node_faults(node, growing)]
        if self.rows > ROWS_EACH * self.batch:
            wrong.append(f"looks at {self.rows:,} rows")
        if self.pages > PAGES_EACH * self.batch + PAGES_ONCE:
            wrong.append(f"reads {self.pages:,} pages")
        return [f"{self.name}, batch of {self.batch}: {fault}" for fault in wrong]


def _rows(node):
    each = sum(node.get(key, 0) for key in ("Actual Rows", "Rows Removed by Filter", "Rows Removed by Index Recheck"))
    return each * node["Actual Loops"]


def _node_faults(node, growing):
    kind, table = node["Node Type"], node.get("Relation Name")
    if kind in ("Hash Join", "Merge Join"):
        yield from (f"{kind} over {name}" for name in sorted(tables(node) & growing))
    if kind in _BY_KEY and (kind == "Bitmap Index Scan" or table in growing):
        if not node.get("Index Cond") and not node.get("TID Cond"):
            yield f"{kind} of all of {table or node['Index Name']}"
    elif table in growing and kind not in ("ModifyTable", "Bitmap Heap Scan"):
        yield f"{kind} over {table}"


class Log:
    """The server's log from now on, as far as it is about one database."""

    def __init__(self, servers, conninfo):
        self.path = servers.environment["SIPTRUNK_DEV_PG_LOG"]
        self.database = conninfo_to_dict(conninfo)["dbname"]
        with open(self.path, "rb") as file:
            self.at = file.seek(0, 2)
        self.names = {}  # of prepared statements, by their text
        self.transactions = {}  # process id -> executions of the batch that is under way

    def read(self):
        """The executions since the last time."""
        with open(self.path, "rb") as file:
            file.seek(self.at)
            data = file.read()
        end = data.rfind(b"\n") + 1
        self.at += end
        entries = re.split(r"\n(?!\t)", data[:end].decode())
        return [execution for entry in entries for execution in self._take(_ENTRY.match(entry))]

    def _take(self, entry):
        """Executions of a batch come out at its end, since the statements of one are judged by its size."""
        if not entry or entry[2] != self.database:
            return
        pid, (verb, _, rest) = entry[1], entry[3].partition(" ")
        name, _, text = rest.partition(": ")
        if verb == "parse":
            self.names[text] = name
        elif verb.startswith("plan:"):
            yield from self._add(pid, json.loads(entry[3].partition("\n")[2]))
        elif verb == "execute" and name == "load_begin":
            self.transactions[pid] = []
        elif verb == "execute" and text in ("COMMIT", "ROLLBACK") and pid in self.transactions:
            batch = self.transactions.pop(pid)
            size = max((execution.keys for execution in batch), default=0)
            yield from (dataclasses.replace(one, batch=size) if one.name in self.names.values() else one for one in batch)

    def _add(self, pid, explained):
        text = explained["Query Text"]
        execution = Execution(self.names.get(text, text), explained["Plan"])
        execution.batch = max(1, execution.keys)
        if pid in self.transactions:
            self.transactions[pid].append(execution)
        else:
            yield execution
