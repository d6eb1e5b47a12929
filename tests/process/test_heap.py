"""The heap for large blocks: compiled here, loaded before the C library, and used by a process."""

import json
import os
import subprocess
import sys

import pytest

from costmodel.errors import CostmodelError
from costmodel.heap import library
from costmodel.heap.library import heap_bytes, is_loaded, with_the_heap


def compiles():
    try:
        library.library()
    except CostmodelError:
        return False
    return True


needs_compiler = pytest.mark.skipif(not compiles(), reason="no C compiler, or no Linux")


def run(code, *arguments):
    """What a process with the heap prints, as JSON."""
    told = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, env=with_the_heap())
    assert told.returncode == 0, told.stderr
    return json.loads(told.stdout)


ALLOCATE = """
import ctypes, json, os, random, sys
from costmodel.heap.library import heap_bytes, is_loaded
c = ctypes.CDLL(None)
c.posix_memalign.argtypes = [ctypes.POINTER(ctypes.c_void_p), ctypes.c_size_t, ctypes.c_size_t]
c.free.argtypes = c.malloc_usable_size.argtypes = [ctypes.c_void_p]
c.malloc_usable_size.restype = c.realloc.restype = ctypes.c_size_t
c.realloc.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
page = os.sysconf("SC_PAGESIZE")
def take(nbytes, alignment=64):
    found = ctypes.c_void_p()
    assert c.posix_memalign(ctypes.byref(found), alignment, nbytes) == 0
    assert found.value % alignment == 0
    return found.value
def resident():
    return next(1024 * int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmRSS"))
"""


@needs_compiler
def test_blocks_keep_what_is_written_into_them():
    """Of 4,000 blocks of 1 byte to 4 MB, taken and given back at random, none overlaps another, and none is left."""
    found = run(
        ALLOCATE
        + """
draw, live, most = random.Random(7), {}, 0
for number in range(4000):
    if live and draw.random() < 0.5:
        block, nbytes, byte = live.pop(draw.choice(list(live)))
        seen = ctypes.string_at(block, nbytes)
        assert seen[0] == seen[-1] == seen[nbytes // 2] == byte
        c.free(block)
    else:
        nbytes = int(2 ** draw.uniform(0, 22))
        block, byte = take(nbytes), number % 251
        ctypes.memset(block, byte, nbytes)
        live[number] = block, nbytes, byte
    most = max(most, sum(-(-n // page) * page for _, n, _ in live.values() if n >= 65536))
    in_use, peak, held = heap_bytes()
    assert held <= peak + peak // 64 + page
for block, _, _ in live.values():
    c.free(block)
print(json.dumps({"loaded": is_loaded(), "bytes": heap_bytes(), "most": most}))
"""
    )
    assert found["loaded"] and found["bytes"][:2] == [0, found["most"]]


@needs_compiler
def test_no_more_is_held_than_was_in_use_at_most():
    """64 blocks of 1 MB, every second given back: no hole is as large as 2 MB, and yet no more memory is held."""
    found = run(
        ALLOCATE
        + """
M = 2**20
blocks = [take(M) for _ in range(64)]
for block in blocks:
    ctypes.memset(block, 1, M)
before = resident()
for block in blocks[::2]:
    c.free(block)
large = [take(2 * M) for _ in range(16)]
for block in large:
    ctypes.memset(block, 2, 2 * M)
print(json.dumps({"more": resident() - before, "bytes": heap_bytes(), "kept": ctypes.string_at(blocks[1], M).count(1)}))
"""
    )
    assert found["bytes"][:2] == [64 * 2**20] * 2 and found["bytes"][2] <= 65 * 2**20
    assert found["more"] < 4 * 2**20 and found["kept"] == 2**20  # what is in use is never given back


@needs_compiler
def test_the_c_librarys_other_calls_know_the_blocks():
    found = run(
        ALLOCATE
        + """
block = take(100_000)
ctypes.memset(block, 5, 100_000)
usable = c.malloc_usable_size(block)
larger = c.realloc(block, 300_000)
same = ctypes.string_at(larger, 100_000).count(5)
c.free(larger)
small = take(100)
c.free(small), c.free(None), c.free(c.realloc(None, 50))
child = os.fork()
if not child:
    c.free(take(10**6))
    os._exit(7)
status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
print(json.dumps([usable - -(-100_000 // page) * page, same, status, heap_bytes()[0], take(0) != 1]))
"""
    )
    assert found == [0, 100_000, 7, 0, True]


@needs_compiler
def test_what_is_never_there_is_not_given():
    """A size beyond all addresses is an error, as the C library says; what was given back twice ends the process."""
    found = run(
        ALLOCATE
        + """
import errno
none = ctypes.c_void_p()
codes = [c.posix_memalign(ctypes.byref(none), 64, 2**64 - 1 - k) for k in (0, 1, 4094, 4096)]
block = take(10**6)
child = os.fork()
if not child:
    c.free(block), c.free(block)
    os._exit(0)
print(json.dumps([codes, os.waitpid(child, 0)[1] != 0, heap_bytes()[0] >= 10**6]))
"""
    )
    assert found == [[12] * 4, True, True]  # ENOMEM


@needs_compiler
def test_a_child_does_not_hold_its_parents_holes():
    found = run(
        ALLOCATE
        + """
from costmodel.heap.library import settle
block = take(50 * 2**20)
ctypes.memset(block, 1, 50 * 2**20)
c.free(block)
before = heap_bytes()
reading, writing = os.pipe()
child = os.fork()
if not child:
    os.write(writing, json.dumps(heap_bytes()).encode())
    os._exit(0)
os.waitpid(child, 0)
told, after = json.loads(os.read(reading, 100)), heap_bytes()
settle()
print(json.dumps([before[2], told[2], after[2], heap_bytes()[2]]))
"""
    )
    assert found == [50 * 2**20, 0, 50 * 2**20, 0]


@needs_compiler
def test_a_peak_of_long_ago_is_forgotten():
    found = run(
        ALLOCATE
        + """
block = take(200 * 2**20)
ctypes.memset(block, 1, 200 * 2**20)
c.free(block)
for _ in range(3 * 4096):
    c.free(take(2**20))
print(json.dumps([heap_bytes()[1], heap_bytes()[2] <= 2 * 2**20]))
"""
    )
    assert found == [2**20, True]


@needs_compiler
def test_a_step_of_torch_lies_in_the_heap():
    """A map of 16 MB and its square: 32 MB at once, and none when both are gone."""
    found = run("""
import json, torch
from costmodel.heap.library import heap_bytes
before = heap_bytes()[0]
x = torch.ones(4, 1024, 1024)
y = x * x
total = float(y.sum())
peak = heap_bytes()[1] - before
del x, y
print(json.dumps([total, peak, heap_bytes()[0] - before]))
""")
    assert found == [4 * 1024 * 1024, 32 * 2**20, 0]


def test_this_process_says_whether_it_has_the_heap():
    assert is_loaded() is (heap_bytes() is not None)


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="no such users and modes")
def test_without_a_compiler_one_message_says_so(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(library.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(library.sys, "platform", "linux")
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(CostmodelError, match="no C compiler 'no-such-compiler'.*allowed: one in the variable CC"):
        library.library()
    monkeypatch.setenv("CC", f"{sys.executable} -c 1/0")
    with pytest.raises(CostmodelError, match="does not compile the heap for large blocks: ZeroDivisionError"):
        library.library()
    assert not list(tmp_path.glob("**/*.so"))
    monkeypatch.setattr(library.sys, "platform", "darwin")
    with pytest.raises(CostmodelError, match="runs on Linux; found darwin"):
        library.library()


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="no such users and modes")
def test_only_folders_of_this_users_own_are_trusted(monkeypatch, tmp_path):
    """A folder into which others may write, a link to one, and one whose name LD_PRELOAD would cut are left out."""
    monkeypatch.setattr(library.sys, "platform", "linux")
    (tmp_path / "open").mkdir(mode=0o777)
    (tmp_path / "open").chmod(0o777)
    (tmp_path / "link").symlink_to(tmp_path)
    assert not library._is_own(tmp_path / "open") and not library._is_own(tmp_path / "link")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "with space"))
    monkeypatch.setattr(library.tempfile, "gettempdir", lambda: str(tmp_path / "a:b"))
    with pytest.raises(CostmodelError, match="cannot be written to a folder without spaces, colons and dollar signs"):
        library.library()


@needs_compiler
def test_it_is_compiled_once(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    first = library.library()
    assert first.parent == tmp_path / "costmodel" and os.stat(first).st_size
    monkeypatch.setattr(library.subprocess, "run", None)
    assert library.library() == first
    assert with_the_heap()["LD_PRELOAD"].split(":")[0] == str(first)
