"""Tier A: the slot's own namespaces and its read-only root, set up once per slot.

The root holds the interpreter, the system libraries and four devices; no /proc, /sys, /etc or
/home. Each program later gets a PID and a mount namespace of its own inside these.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

from sandbox.syscalls import Step, call, step

NEW_MOUNT, NEW_PID = 0x20000, 0x20000000
_NEW_USER = 0x10000000
_SLOT = NEW_MOUNT | 0x40000000 | 0x08000000 | 0x04000000 | 0x02000000  # net, IPC, UTS, cgroup
_NOSUID, _NODEV, _NOEXEC, _BIND, _REC, _PRIVATE = 2, 4, 8, 4096, 16384, 1 << 18
_DETACH, _AT_FDCWD, _AT_RECURSIVE = 2, -100, 0x8000
_READ_ONLY_NOSUID_NODEV = 1 | 2 | 4  # MOUNT_ATTR_*
_SET_DUMPABLE = 4
_DEVICES = ("null", "zero", "random", "urandom")
_NOBODY = 65534


def _mount(
    source: str, target: str, kind: str | None, flags: int, options: str | None = None
) -> None:
    encoded = [None if text is None else os.fsencode(text) for text in (kind, options)]
    call("mount", os.fsencode(source), os.fsencode(target), encoded[0], flags, encoded[1])


def plan_box(*, disk_mb: int, files: int) -> list[Step]:
    """Mount a private, empty /tmp and go there (in a program's own mount namespace)."""
    options = f"size={disk_mb}m,nr_inodes={files},mode=1777".encode()
    flags = _NOSUID | _NODEV | _NOEXEC
    return [step("mount", b"tmpfs", b"/tmp", b"tmpfs", flags, options), step("chdir", b"/tmp")]


def become_nobody() -> None:
    """Give up root for good, if we have it: candidates never run as the kernel's uid 0."""
    if os.getuid() == 0:
        os.setgroups([])
        os.setresgid(_NOBODY, _NOBODY, _NOBODY)
        os.setresuid(_NOBODY, _NOBODY, _NOBODY)
        call("prctl", _SET_DUMPABLE, 1, 0, 0, 0)  # so that our own /proc/self stays ours


def _map_user(proc: int, uid: int, gid: int) -> None:
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{uid} {uid} 1"),
        ("gid_map", f"{gid} {gid} 1"),
    ):
        descriptor = os.open(f"self/{name}", os.O_WRONLY, dir_fd=proc)
        os.write(descriptor, text.encode())
        os.close(descriptor)


def _fill_root(root: str, shown: list[str]) -> None:
    for path in shown:
        Path(root + path).mkdir(parents=True, exist_ok=True)
        _mount(path, root + path, None, _BIND | _REC)
    for name in ("bin", "lib", "lib64"):
        if Path("/", name).is_symlink():
            Path(root, name).symlink_to(Path("/", name).readlink())
    for name in ("dev", "tmp", "old"):
        Path(root, name).mkdir()
    for name in _DEVICES:
        Path(root, "dev", name).touch()
        _mount(f"/dev/{name}", f"{root}/dev/{name}", None, _BIND)


def _change_root(shown: list[str]) -> None:
    """Pivot into a tmpfs that shows the given directories; needs a private mount namespace."""
    _mount("none", "/", None, _REC | _PRIVATE)
    places = ("/mnt", "/srv", "/media", "/run", "/tmp")
    root = next(p for p in places if Path(p).is_dir() and not any(s.startswith(p) for s in shown))
    _mount("tmpfs", root, "tmpfs", _NOSUID | _NODEV, "size=1m,mode=755")
    _fill_root(root, shown)
    call("pivot_root", os.fsencode(root), os.fsencode(f"{root}/old"))
    os.chdir("/")
    call("umount2", b"/old", _DETACH)
    Path("/old").rmdir()
    attributes = struct.pack("QQQQ", _READ_ONLY_NOSUID_NODEV & ~4, 0, 0, 0)
    call("mount_setattr", _AT_FDCWD, b"/", _AT_RECURSIVE, attributes, len(attributes))
    for path in shown:
        attributes = struct.pack("QQQQ", _READ_ONLY_NOSUID_NODEV, 0, 0, 0)
        call("mount_setattr", _AT_FDCWD, os.fsencode(path), _AT_RECURSIVE, attributes, 32)


def enter_namespaces(shown: list[str]) -> None:
    """Move this process into its own namespaces and root; it keeps power over those only.

    As root the tree is built first and root given up before the user namespace exists, so that the
    kernel's uid 0 is nowhere inside. Raises OSError where the machine does not permit it.
    """
    proc = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    if os.getuid() == 0:
        call("unshare", NEW_MOUNT)
        _change_root(shown)
        become_nobody()
        call("unshare", _NEW_USER | _SLOT)
        _map_user(proc, _NOBODY, _NOBODY)
    else:
        uid, gid = os.getuid(), os.getgid()
        call("unshare", _NEW_USER | _SLOT)
        _map_user(proc, uid, gid)
        _change_root(shown)
    os.close(proc)
