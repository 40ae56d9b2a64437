"""The datagrams between a supervisor and its slot; the first byte says which one it is.

r ready · u unfit and b broken (followed by the reason) · S spawn (role, then the numbers of
`jail.Use`) · s started (pid) · k kill (pid) · e ended (pid, wait status, CPU ns, max RSS kB)
"""

import struct

ROLES = ("calls", "script", "tester", "inline", "native", "hosted", "build")
SPAWN = struct.Struct("=cBdqqqqq")
STARTED = struct.Struct("=cI")  # kill has the same shape
ENDED = struct.Struct("=cIiqq")
