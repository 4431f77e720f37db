"""File systems that are soon full, where the test may mount."""

import subprocess
import tempfile


def mount(place, size):
    """Whether we may. Size as mount takes it: 4096, 600m."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(place)]
    return subprocess.run(command, stderr=subprocess.DEVNULL).returncode == 0


def unmount(place):
    subprocess.run(["umount", "-l", str(place)], check=True)


def may_mount():
    with tempfile.TemporaryDirectory() as place:
        mounted = mount(place, 4096)
        if mounted:
            unmount(place)
        return mounted
