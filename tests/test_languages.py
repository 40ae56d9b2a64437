"""C++ and JavaScript: the same tests, the same walls, answers compared outside."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox import Limits, Program, Sandbox, StdioTest
from sandbox.languages import cpp, javascript
from sandbox.outcomes import TestResult

QUICK = Limits(test_cpu_s=1.0, cpu_s=3.0)
SOLUTIONS = {
    "cpp": """
        using namespace std;
        int add(int a, int b) { return a + b; }
        vector<string> turn(vector<string>& words) {
            reverse(words.begin(), words.end()); return words; }
        map<string, int> count(const string& s) {
            map<string, int> m; for (char c : s) m[string(1, c)]++; return m; }
        struct Solution { pair<int, double> size(vector<vector<int>> rows, optional<double> x) {
            return {int(rows.size()), x ? *x : 0.5}; } };
        int fail(int x) { throw runtime_error("no"); }
        int die(int x) { abort(); }
        int loud(int x) { cout << "[1, \\"value\\", 7]" << x; return x; }
        int spin(int x) { for (volatile int i = 0;; i = i + 1); }
    """,
    "javascript": """
        const add = (a, b) => a + b;
        function turn(words) { return words.reverse(); }
        async function count(s) {
          const m = {}; for (const c of s) m[c] = (m[c] || 0) + 1; return m; }
        class Solution { size(rows, x) { return [rows.length, x === null ? 0.5 : x]; } }
        function fail() { throw new RangeError('no'); }
        function die() { process.abort(); }
        function loud(x) { console.log('[1, "value", 7]', x); return x; }
        function spin() { for (;;); }
    """,
}
SUM = {
    "cpp": "#include <iostream>\nint main() { long s = 0, x; while (std::cin >> x) s += x;"
    " std::cout << s << '\\n'; }",
    "javascript": "const text = require('fs').readFileSync('/dev/stdin', 'utf8');\n"
    "console.log(text.split(/\\s+/).map(Number).reduce((a, b) => a + b));",
}
both = pytest.mark.parametrize("language", SOLUTIONS)


@pytest.fixture(scope="module")
def box():
    """A sandbox of tier A."""
    with Sandbox(workers=2, limits=QUICK, tier="A") as opened:
        yield opened


def judge(box, language, code, *tests, **more):
    """The outcome of one program."""
    (outcome,) = box.run([Program("it", code, tests=tests, language=language, **more)])
    return outcome


def statuses(outcome):
    """The status word of each test."""
    return [test.status for test in outcome.tests]


@both
def test_calls_are_judged_one_by_one(box, language):
    """Right, wrong, raising, dying, printing and endless calls each get their own status."""
    tests = {
        "assert add(1, 2) == 3": "pass",
        "assert add(1, 2) == 4": "fail",
        "assert turn(['a', 'b\\n\"ü\\\\']) == ['b\\n\"ü\\\\', 'a']": "pass",
        "assert count('aab') == {'a': 2, 'b': 1}": "pass",
        "assert Solution().size([(1, 2), (3,)], None) == (2, 0.5)": "pass",
        "assert Solution().size([], 2) == (0, 2)\nassert add(0, 0) == 0": "pass",
        "assert fail(1) == 1": "error",
        "assert die(1) == 1": "killed",
        "assert loud(8) == 8": "pass",
        "assert spin(1) == 1": "timeout",
        "assert missing_comes_last": "not_run",
    }
    outcome = judge(box, language, SOLUTIONS[language], *tests)
    assert statuses(outcome) == list(tests.values())
    assert (outcome.verdict, outcome.integrity) == ("wrong", "isolated")


@both
def test_stdin_and_stdout(box, language):
    """A whole program is judged by what it prints, and keeps what it printed."""
    tests = (StdioTest("1 2\n3", "6\n"), StdioTest("1", "2"))
    outcome = judge(box, language, SUM[language], *tests)
    assert (statuses(outcome), outcome.stdout) == (["pass", "fail"], "6\n1\n")


def test_es_modules_run(box):
    """A program that imports and awaits at top level is an ES module."""
    code = "import fs from 'fs';\nawait null;\nconsole.log(Number(fs.readFileSync(0)) + 1);\n"
    assert judge(box, "js", code, StdioTest("41", "42")).verdict == "correct"


CPP_TYPES = {
    "long long": "-2**63",
    "double": "0.1",
    "float": "float('inf')",
    "bool": "True",
    "char": "'x'",
    "string": "'\\x00 ü \U0001f40d \\\\ \"'",
    "vector<vector<double>>": "[[1, 2.5], []]",
    "map<string, vector<int>>": "{'a': [1], 'b': []}",
    "unordered_map<int, string>": "{1: 'a', -2: ''}",
    "set<int>": "{3, 1}",
    "optional<string>": "None",
    "tuple<int, string, bool>": "(1, 'a', False)",
    "vector<pair<string, int>>": "[('a', 1)]",
    "vector<bool>": "[True, False]",
    "const deque<char>&": "['a', 'b']",
}


def test_cpp_types_cross_unchanged(box):
    """A value of every supported type comes back from the identity as it went in."""
    functions = [f"auto f{i}({kind} x) {{ return x; }}" for i, kind in enumerate(CPP_TYPES)]
    code = "using namespace std;\n" + "\n".join(functions)
    tests = [f"assert f{i}({v}) == {v}" for i, v in enumerate(CPP_TYPES.values()) if "inf" not in v]
    outcome = judge(box, "cpp", code, *tests, "assert f2(1e400) > 1e308")
    assert [test for test in outcome.tests if test.status != "pass"] == []


PLAIN = st.none() | st.booleans() | st.integers(-(2**53), 2**53 - 1) | st.floats(allow_nan=False)
VALUES = st.recursive(
    PLAIN | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=5, deadline=None)
@given(st.lists(VALUES, min_size=10, max_size=30))
def test_javascript_values_cross_unchanged(box, values):
    """Any plain value, and its list with a tuple, comes back from the identity as it went in."""
    said = [repr(value).replace("inf", "1e999") for value in values]
    tests = [f"assert same({text}) == {text}\nassert same(({text},)) == [{text}]" for text in said]
    outcome = judge(box, "js", "const same = (x) => x;", *tests)
    assert [test for test in outcome.tests if test.status != "pass"] == []


ESCAPES = {
    "cpp": """#include <bits/stdc++.h>
        #include <unistd.h>
        #include <fcntl.h>
        #include <sys/socket.h>
        #include <sys/syscall.h>
        int main() {
            std::cout << (fork() != -1)
                << (socket(AF_INET, SOCK_STREAM, 0) != -1)
                << (open("/etc/passwd", O_RDONLY) != -1)
                << (open("/proc/self/maps", O_RDONLY) != -1)
                << (open("/usr/it", O_CREAT | O_WRONLY, 0700) != -1) << (setuid(0) != -1)
                << (getppid() != 0) << (fcntl(3, F_GETFD) != -1) << (fcntl(4, F_GETFD) != -1);
            char* none[] = {nullptr};
            std::cout << (execve("/bin/sh", none, none) != -1);
            int shell = open("/bin/sh", O_RDONLY);
            long again = syscall(SYS_execveat, shell, "", none, none, AT_EMPTY_PATH);
            std::cout << (again != -1) << "\\n";
        }""",
    "javascript": """
        const tries = [
          () => require('child_process').execSync('true'),
          () => require('fs').readFileSync('/etc/passwd'),
          () => require('fs').readdirSync('/proc/self'),
          () => require('fs').writeFileSync('/usr/it', ''),
          () => process.setuid(0),
          () => { if (process.ppid) return; throw new Error(); },
          () => require('fs').fstatSync(3).isSocket() || (() => { throw new Error(); })(),
        ];
        const open = tries.map((attempt) => { try { attempt(); return 1; } catch { return 0; } });
        const line = require('net').connect(80, '127.0.0.1');
        line.on('connect', () => console.log('connected'));
        line.on('error', () => console.log(open.join('')));""",
}


@both
def test_walls_hold(box, language):
    """A compiled or hosted program cannot fork, execute, connect, nor see host files or others."""
    outcome = judge(box, language, ESCAPES[language])
    assert (outcome.exit_status, set(outcome.stdout.strip())) == (0, {"0"}), outcome


HOGS = {
    "cpp": "#include <vector>\nint main() { std::vector<std::vector<char>> v;"
    " for (;;) v.emplace_back(1 << 24, 'x'); }",
    "javascript": "const v = []; for (;;) v.push(new Array(1e5).fill({}));",
}


@both
def test_memory_is_limited(box, language):
    """A program that takes ever more memory ends as out of memory, and the next one runs."""
    limits = Limits(memory_mb=128, test_cpu_s=5)
    outcome = judge(box, language, HOGS[language], StdioTest("", ""), limits=limits)
    assert statuses(outcome) == ["oom"]
    assert judge(box, language, SUM[language], StdioTest("1", "1")).verdict == "correct"


@pytest.mark.parametrize(
    "line", ['#include "/etc/passwd"', 'asm(".incbin \\"/etc/passwd\\"");', "int main() {"]
)
def test_what_does_not_compile_is_an_error(box, line):
    """Bad source is an error that quotes the compiler, which cannot read host files either."""
    outcome = judge(
        box, "cpp", f"{line}\nint add(int a, int b) {{ return a; }}", "assert add(1, 2)"
    )
    assert (outcome.verdict, statuses(outcome)) == ("error", ["error"])
    assert outcome.exception.startswith("does not compile: ")
    assert "root:" not in outcome.stderr


def test_binaries_are_found_again(box, monkeypatch):
    """The same source is compiled once: its second outcome takes no compiler."""
    code = SUM["cpp"] + "// once"
    assert judge(box, "cpp", code, StdioTest("2", "2")).verdict == "correct"
    monkeypatch.setattr(cpp, "_compile", lambda *_: TestResult("error", exception="compiled again"))
    assert judge(box, "cpp", code, StdioTest("2", "2")).verdict == "correct"
    assert judge(box, "cpp", code + " ", StdioTest("2", "2")).exception == "compiled again"


def test_cpp_is_refused_where_it_cannot_be_compiled():
    """In tier B, which has no private /tmp, C++ is infra and says why; JavaScript runs."""
    with Sandbox(workers=1, tier="B", limits=QUICK) as weak:
        outcome = judge(weak, "cpp", SUM["cpp"] + "// new", StdioTest("2", "2"))
        assert (outcome.verdict, "tier A only" in outcome.exception) == ("infra", True)
        outcome = judge(weak, "javascript", SUM["javascript"], StdioTest("2", "2"))
        assert outcome.verdict == "correct"


@pytest.mark.parametrize("module, language", [(cpp, "cpp"), (javascript, "javascript")])
def test_a_missing_tool_is_never_wrong(box, module, language, monkeypatch):
    """Without g++ or node the verdict is infra, in one sentence that says what to install."""
    monkeypatch.setattr(module.shutil, "which", lambda name: None)
    found = getattr(module, {"cpp": "_compiler", "javascript": "_node"}[language])
    found.cache_clear()
    module.version.cache_clear()
    try:
        outcome = judge(box, language, SUM[language] + "//", StdioTest("1", "2"))
    finally:
        found.cache_clear()
    assert outcome.verdict == "infra"
    assert "is not installed: install it" in outcome.exception


@pytest.mark.parametrize(
    "test",
    ["for i in range(2):\n    assert add(i, 1) == i + 1", "assert add(2**80, 1)", "assert ("],
)
@both
def test_what_cannot_be_asked_is_not_judged(box, language, test):
    """A test that has no meaning in the language leaves the program unverified, not wrong."""
    outcome = judge(box, language, SOLUTIONS[language], test)
    assert (outcome.verdict, statuses(outcome)) == ("unverified", ["not_run"])


def test_unknown_languages_are_named(box):
    """A language that the sandbox does not run leaves the program unverified and says so."""
    outcome = judge(box, "cobol", "", StdioTest("", ""))
    assert outcome.verdict == "unverified" and "cobol" in outcome.exception
    assert json.dumps(outcome.exception)
