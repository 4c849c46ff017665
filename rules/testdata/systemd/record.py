#!/usr/bin/env python3
"""Writes down the seccomp filters that systemd makes of the settings of a unit.

systemd's own code (libsystemd-shared) puts each filter on a child, and the
kernel hands it out again (ptrace(2), PTRACE_SECCOMP_GET_FILTER): run as root,
without a filter of one's own. A line of a file is a program, as struct
sock_filter in hex, in the order in which they are installed: systemd has one
for each ABI of the machine.
"""
import ctypes, glob, os, signal, subprocess, sys

ERRNO_EPERM, ALLOW = ctypes.c_uint32(0x00050001), ctypes.c_uint32(0x7FFF0000)
SEIZE, INTERRUPT, GET_FILTER, DETACH = 0x4206, 0x4207, 0x420C, 17

shared = sorted(glob.glob("/usr/lib/*/systemd/libsystemd-shared-*.so"))[-1]
lib = ctypes.CDLL(shared)
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]


class Set(ctypes.Structure):  # src/shared/seccomp-util.h:SyscallFilterSet
    _fields_ = [("name", ctypes.c_char_p), ("help", ctypes.c_char_p), ("value", ctypes.c_char_p)]


sets = (Set * 29).in_dll(lib, "syscall_filter_sets")


def group(name):
    return next(ctypes.byref(s) for s in sets if s.name == name)


def load(default, name, action):
    return lib.seccomp_load_syscall_filter_set(default, group(name), action, True)


SETTINGS = {  # src/core/execute.c:apply_*
    "SystemCallFilter=@system-service SystemCallErrorNumber=EPERM": lambda: load(ERRNO_EPERM, b"@system-service", ALLOW),
    "SystemCallFilter=~@mount SystemCallErrorNumber=EPERM": lambda: load(ALLOW, b"@mount", ERRNO_EPERM),
    "RestrictSUIDSGID=yes": lib.seccomp_restrict_suid_sgid,
    "MemoryDenyWriteExecute=yes": lib.seccomp_memory_deny_write_execute,
    "RestrictRealtime=yes": lambda: lib.seccomp_restrict_realtime_full(1),
    "RestrictNamespaces=yes": lambda: lib.seccomp_restrict_namespaces(ctypes.c_ulong(0)),
    "ProtectClock=yes": lambda: load(ALLOW, b"@clock", ERRNO_EPERM),
    "ProtectHostname=yes": lib.seccomp_protect_hostname,
    "LockPersonality=yes": lambda: lib.seccomp_lock_personality(ctypes.c_ulong(0)),
}


def programs(install):
    ready, done = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(done, b"y" if install() >= 0 else b"n")
            signal.pause()
        finally:
            os._exit(1)
    os.close(done)
    try:
        assert os.read(ready, 1) == b"y", "the filter was not installed"
        assert libc.ptrace(SEIZE, pid, None, None) == 0 and libc.ptrace(INTERRUPT, pid, None, None) == 0
        os.waitpid(pid, 0)
        out = []
        while (n := libc.ptrace(GET_FILTER, pid, len(out), None)) > 0:
            buf = ctypes.create_string_buffer(8 * n)
            assert libc.ptrace(GET_FILTER, pid, len(out), buf) == n
            out.append(buf.raw.hex())
        return out
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


version = subprocess.run(["systemctl", "--version"], capture_output=True, text=True).stdout.splitlines()[0]
for setting, install in SETTINGS.items():
    name = setting.split()[0].replace("=yes", "").replace("=~@", "-without-").replace("=@", "-")
    with open(os.path.join(os.path.dirname(os.path.abspath(sys.argv[0])), os.uname().machine + "-" + name + ".hex"), "w") as f:
        f.write("# %s, %s: %s\n" % (version, os.uname().machine, setting))
        f.writelines(p + "\n" for p in programs(install))
