"""System call numbers of x86-64 and aarch64, by what is allowed inside the jail."""

from __future__ import annotations

import platform

# name, x86-64 number, aarch64 number ("-": no such call there). What a Python program may need:
ALLOWED = """
read 0 63 | write 1 64 | readv 19 65 | writev 20 66 | pread64 17 67 | pwrite64 18 68
preadv 295 69 | pwritev 296 70 | lseek 8 62 | close 3 57 | close_range 436 436 | dup 32 23
dup2 33 - | dup3 292 24 | pipe 22 - | pipe2 293 59 | sendfile 40 71 | copy_file_range 326 285
open 2 - | openat 257 56 | creat 85 - | stat 4 - | fstat 5 80 | lstat 6 - | newfstatat 262 79
statx 332 291 | access 21 - | faccessat 269 48 | faccessat2 439 439 | readlink 89 -
readlinkat 267 78 | getdents 78 - | getdents64 217 61 | getcwd 79 17 | chdir 80 49
fchdir 81 50 | statfs 137 43 | fstatfs 138 44 | umask 95 166 | fadvise64 221 223 | fsync 74 82
fdatasync 75 83 | rename 82 - | renameat 264 38 | renameat2 316 276 | mkdir 83 -
mkdirat 258 34 | rmdir 84 - | unlink 87 - | unlinkat 263 35 | link 86 - | linkat 265 37
symlink 88 - | symlinkat 266 36 | truncate 76 45 | ftruncate 77 46 | chmod 90 - | fchmod 91 52
fchmodat 268 53 | utime 132 - | utimes 235 - | utimensat 280 88 | mmap 9 222 | mprotect 10 226
munmap 11 215 | mremap 25 216 | brk 12 214 | madvise 28 233 | mincore 27 232 | msync 26 227
membarrier 324 283 | poll 7 - | ppoll 271 73 | select 23 - | pselect6 270 72
epoll_create 213 - | epoll_create1 291 20 | epoll_ctl 233 21 | epoll_wait 232 -
epoll_pwait 281 22 | eventfd2 290 19 | recvfrom 45 207 | shutdown 48 210 | getsockopt 55 209
getsockname 51 204 | getpeername 52 205 | rt_sigaction 13 134 | rt_sigprocmask 14 135
rt_sigreturn 15 139 | rt_sigpending 127 136 | rt_sigtimedwait 128 137 | rt_sigsuspend 130 133
sigaltstack 131 132 | pause 34 - | nanosleep 35 101 | clock_nanosleep 230 115
clock_gettime 228 113 | clock_getres 229 114 | gettimeofday 96 169 | getitimer 36 102
setitimer 38 103 | alarm 37 - | times 100 153 | restart_syscall 219 128 | getpid 39 172
getppid 110 173 | gettid 186 178 | getuid 102 174 | geteuid 107 175 | getgid 104 176
getegid 108 177 | getgroups 115 158 | getresuid 118 148 | getresgid 120 150 | getpgrp 111 -
getpgid 121 155 | getsid 124 156 | uname 63 160 | sysinfo 99 179 | getrlimit 97 163
getrusage 98 165 | getrandom 318 278 | getcpu 309 168 | getpriority 140 141 | sched_yield 24 124
sched_getaffinity 204 123 | sched_getparam 143 121 | sched_getscheduler 145 120 | exit 60 93
exit_group 231 94 | wait4 61 260 | futex 202 98 | set_robust_list 273 99
set_tid_address 218 96 | rseq 334 293 | arch_prctl 158 - | kill 62 129 | tkill 200 130
tgkill 234 131
"""
# Allowed with restricted arguments (seccomp.py), or used by ourselves before the filter is on.
OTHER = """
clone 56 220 | clone3 435 435 | ioctl 16 29 | prctl 157 167 | socketpair 53 199 | sendto 44 206
prlimit64 302 261 | fcntl 72 25 | execve 59 221 | execveat 322 281 | fork 57 - | vfork 58 -
waitid 247 95 | capset 126 91 | pivot_root 155 41 | mount 165 40
umount2 166 39 | setsid 112 157 | mount_setattr 442 442 | unshare 272 97
recvmsg 47 212 | pidfd_open 434 434
landlock_create_ruleset 444 444 | landlock_add_rule 445 445 | landlock_restrict_self 446 446
"""


def numbers(table: str) -> dict[str, int]:
    """The calls of a table that this machine's architecture has, by name."""
    column = {"x86_64": 1, "aarch64": 2}.get(platform.machine())
    if column is None:
        raise OSError(f"no system call table for {platform.machine()}; use x86_64 or aarch64")
    rows = [row.split() for line in table.strip().splitlines() for row in line.split("|")]
    return {row[0]: int(row[column]) for row in rows if row[column] != "-"}
