"""The benchmarks' Java: the broker's own, jars that ./dev has fetched for one benchmark, classes compiled beside them."""
import glob
import os
import shutil
import subprocess

from psycopg.conninfo import conninfo_to_dict

import stage
from traffic import ROOT


def java():
    """The program that the broker runs on."""
    broker, _ = stage.server_pids()
    return os.readlink(f"/proc/{broker}/exe")


def version():
    return subprocess.run([java(), "--version"], stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()[0]


def home(name):
    return os.path.join(ROOT, ".dev", f"bench-{name}")


def class_path(name):
    """The broker's jars go first, so that theirs is the version of what both bring."""
    return ":".join([os.path.join(os.environ["SIPTRUNK_DEV_KAFKA_LIBS"], "*"), os.path.join(home(name), "libs", "*"),
                     os.path.join(home(name), "classes")])


def compile_classes(name):
    beside, classes = java() + "c", os.path.join(home(name), "classes")
    shutil.rmtree(classes, ignore_errors=True)
    sources = sorted(glob.glob(os.path.join(ROOT, "tests", "bench", name, "*.java")))
    subprocess.run([beside if os.path.exists(beside) else shutil.which("javac"), "--release", "17", "-Werror", "-Xlint:all,-path,-classfile",
                    "-cp", class_path(name), "-d", classes, *sources], check=True)


def jdbc_url(conninfo):
    """A libpq conninfo as pgjdbc reads it."""
    parts = conninfo_to_dict(conninfo)
    return f"jdbc:postgresql://{parts['host']}:{parts['port']}/{parts['dbname']}?user={parts['user']}"
