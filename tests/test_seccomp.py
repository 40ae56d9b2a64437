"""The system call policy that a slot's filter and a role's own filter make together.

The filters are run here by an interpreter of classic BPF, for both architectures: aarch64 is proven
by table only, as there is no such machine to run it on.
"""

import struct

import pytest

from sandbox import seccomp, syscall_numbers
from sandbox.orders import ROLES

ALLOW, EPERM, ENOSYS, ENOTTY, KILL = 0x7FFF0000, 0x50001, 0x50026, 0x50019, 0x80000000
ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
PYTHON = ("calls", "script", "tester", "inline")
THREAD, NEW_USER = 0x10000, 0x10000000


def run_filter(program, number, arguments, arch):
    """The action of a BPF program for one call; arguments are 64 bits wide."""
    data = struct.pack("<IIQ6Q", number, arch, 0, *arguments, *[0] * (6 - len(arguments)))
    code = [struct.unpack_from("HBBI", program, at) for at in range(0, len(program), 8)]
    at = register = 0
    while True:
        kind, yes, no, value = code[at]
        at += 1
        if kind == 0x06:
            return value
        if kind == 0x20:
            (register,) = struct.unpack_from("<I", data, value)
        elif kind == 0x54:
            register &= value
        elif kind == 0x05:
            at += value
        else:
            true = {0x15: register == value, 0x35: register >= value, 0x45: register & value}[kind]
            at += yes if true else no


@pytest.fixture(params=ARCH)
def policy(request, monkeypatch):
    """A function: the joint action for a role's call, by name or number."""
    machine = request.param
    monkeypatch.setattr("platform.machine", lambda: machine)
    table = syscall_numbers.numbers(syscall_numbers.ALLOWED)
    table |= syscall_numbers.numbers(syscall_numbers.OTHER)
    filters = {flag: seccomp.build_filters(namespaces=flag) for flag in (True, False)}

    def decide(role, call, *arguments, namespaces=True, arch=ARCH[machine]):
        slot, programs = filters[namespaces]
        number = table[call] if isinstance(call, str) else call
        both = [run_filter(p, number, arguments, arch) for p in (slot, programs[role])]
        return next((a for a in (KILL, ENOSYS, ENOTTY, EPERM) if a in both), ALLOW)

    decide.table = table
    return decide


def test_a_python_program_has_the_table_and_no_more(policy):
    """Over every number: the allowlist is allowed, all else is refused, in every Python role."""
    allowed = set(syscall_numbers.numbers(syscall_numbers.ALLOWED).values())
    judged = {policy.table[name] for name in seccomp._restricted()}
    for role in PYTHON:
        for number in set(range(700)) - judged:
            expected = ALLOW if number in allowed else EPERM
            assert policy(role, number) == expected, (role, number)


def test_what_a_slot_needs_is_taken_back(policy):
    """Mounting, executing, jailing and process descriptors end with the slot; kill stays in A."""
    never = ["mount", "setsid", "capset", "recvmsg", "pidfd_open", "landlock_restrict_self"]
    never += ["unshare", "pivot_root", "umount2", "mount_setattr", "execve", "waitid"]
    never += [name for name in ("fork", "vfork") if name in policy.table]
    for role in PYTHON:
        assert {policy(role, name) for name in never} == {EPERM}, role
    assert policy("calls", "kill") == ALLOW


@pytest.mark.parametrize(
    ("call", "arguments", "action"),
    [
        ("clone", (THREAD,), ALLOW),
        ("clone", (0,), EPERM),
        ("clone", (THREAD | NEW_USER,), EPERM),
        ("clone3", (), ENOSYS),
        ("ioctl", (0, 0x5401), ALLOW),
        ("ioctl", (0, 0x5412), ENOTTY),  # TIOCSTI
        ("ioctl", (0, 0x5412 | 1 << 32), ENOTTY),  # the kernel compares 32 bits
        ("fcntl", (0, 3), ALLOW),
        ("fcntl", (0, 1024), EPERM),  # a lease
        ("prctl", (15,), ALLOW),
        ("prctl", (22, 2), EPERM),  # another filter
        ("prctl", (4, 1), EPERM),  # dumpable again
        ("prlimit64", (0,), ALLOW),
        ("prlimit64", (7,), EPERM),
        ("socketpair", (1, 1), ALLOW),
        ("socketpair", (1, 1 | 0o2000000), ALLOW),
        ("socketpair", (1, 2), EPERM),
        ("socketpair", (2, 1), EPERM),
        ("sendto", (3, 0, 0, 0, 0), ALLOW),
        ("sendto", (3, 0, 0, 0, 1 << 40), EPERM),
    ],
)
def test_arguments_decide(policy, call, arguments, action):
    """Calls whose harm is in their arguments are allowed for the harmless ones."""
    assert {policy(role, call, *arguments) for role in PYTHON} == {action}


def test_without_namespaces_signals_and_file_changes_end(policy):
    """Where other processes and files are in reach, kill, chmod and the like are refused too."""
    for name in ("kill", "tkill", "tgkill", "fchmod", "fchmodat", "utimensat", "truncate"):
        found = {policy(role, name, namespaces=False) for role in PYTHON}
        assert found == {EPERM}, name
    assert policy("calls", "read", namespaces=False) == ALLOW


def test_roles_that_are_not_python_may_do_one_thing_more(policy):
    """Becoming a binary for two of them, processes for the compiler; namespaces for none."""
    assert set(ROLES) - set(PYTHON) == {"native", "hosted", "build"}
    for role in ("native", "hosted", "build"):
        assert policy(role, "execveat") == ALLOW
        assert policy(role, "execve") == (ALLOW if role == "build" else EPERM)
        assert policy(role, "clone", 0) == (ALLOW if role == "build" else EPERM)
        assert policy(role, "clone", NEW_USER) == EPERM
        assert policy(role, "mount") == policy(role, "capset") == EPERM


def test_foreign_architectures_are_killed(policy):
    """A call by another ABI ends the process, whatever its number."""
    foreign = (set(ARCH.values()) | {0x40000003, 0x40000028}) - {policy_arch(policy)}
    for arch in foreign:
        assert {policy("calls", number, arch=arch) for number in (0, 1, 63, 221)} == {KILL}
    if policy_arch(policy) == ARCH["x86_64"]:
        assert policy("calls", 0x40000000) == policy("calls", 0x40000001) == KILL  # x32


def policy_arch(policy):
    """Which architecture the policy is for: only x86-64 has the call ``fork``."""
    return ARCH["x86_64" if "fork" in policy.table else "aarch64"]
