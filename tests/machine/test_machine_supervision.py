"""Programs are kept running, found again and ended, whoever was killed in between."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from sublet.machine import supervision
from sublet.machine.processes import Processes, Program, exclusive
from sublet.machinery.status import Conflict, ServiceUnavailable


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def until(check, seconds=15.0):
    end = time.monotonic() + seconds
    while not (found := check()):
        assert time.monotonic() < end, "it did not happen in time"
        await asyncio.sleep(0.02)
    return found


def sleeper(name="one", *, command=("sleep", "600")):
    return Program(name, tuple(command), stop_seconds=2.0)


@pytest.fixture
async def processes(tmp_path):
    made = Processes(tmp_path / "run")
    yield made
    await supervision.stop(made.directory)


async def test_a_started_process_is_found_again_by_its_record(processes):
    pid = processes.start(sleeper())
    assert Processes(processes.directory).pid("one") == pid
    assert os.getsid(pid) == pid != os.getsid(0)
    assert processes.start(sleeper()) == pid
    assert processes.program("one") == sleeper()
    assert 0 <= processes.seconds("one") < 5


async def test_a_started_process_holds_nothing_open_of_who_started_it(processes):
    reading, writing = os.pipe()
    os.set_inheritable(writing, True)
    pid = processes.start(sleeper())
    os.close(writing)
    assert await asyncio.wait_for(asyncio.to_thread(os.read, reading, 1), 5) == b""
    os.close(reading)
    assert alive(pid)


async def test_a_recycled_process_id_is_not_mistaken_for_the_process(processes):
    pid = processes.start(sleeper())
    record = processes.directory / "one.pid"
    boot, stat = record.read_text().splitlines()
    fields = stat.split()
    other = " ".join([str(os.getpid()), *fields[1:]])
    record.write_text(f"{boot}\n{other}\n")
    assert processes.pid("one") is None
    assert await processes.stop("one") is False
    record.write_text(f"{boot}\n{stat}\n")
    assert processes.pid("one") == pid


async def test_after_a_reboot_no_record_counts(processes):
    processes.start(sleeper())
    record = processes.directory / "one.pid"
    kept = record.read_text()
    record.write_text("11111111-2222-3333-4444-555555555555\n" + kept.splitlines()[1] + "\n")
    assert processes.pid("one") is None
    record.write_text(kept)


async def test_half_a_record_counts_as_none(processes):
    processes.directory.mkdir()
    (processes.directory / "one.pid").write_text("garbage")
    assert processes.pid("one") is None
    assert await processes.stop("one") is False


async def test_a_process_that_ignores_the_term_signal_is_killed(processes):
    script = "import signal,time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf',flush=True); time.sleep(600)"
    pid = processes.start(sleeper(command=(sys.executable, "-c", script)))
    await until(lambda: "deaf" in processes.log_end("one"))
    assert await processes.stop("one", 0.3)
    assert not alive(pid)


async def test_the_exit_status_is_known_to_the_parent(processes):
    processes.start(sleeper(command=("sh", "-c", "exit 7")))
    assert await processes.ended("one") == 7


async def test_a_command_that_is_not_there_says_so_in_its_log(processes):
    processes.start(sleeper(command=("/no/such/program",)))
    await until(lambda: "/no/such/program" in processes.log_end("one"))


def test_only_one_holds_a_lock(tmp_path):
    lock = tmp_path / "lock"
    with exclusive(lock, "busy"), pytest.raises(Conflict, match="busy"), exclusive(lock, "busy"):
        pytest.fail("two hold the lock")
    with exclusive(lock, "busy"):
        assert lock.exists()


async def test_an_ended_program_is_started_again(processes):
    supervision.supervise(processes.directory, [sleeper()])
    pid = await until(lambda: processes.pid("one"))
    os.kill(pid, signal.SIGKILL)
    again = await until(lambda: (found := processes.pid("one")) and found != pid and found)
    assert again != pid
    found = {each.name: each for each in supervision.status(processes.directory)}
    assert found["one"].restarts == 1 and found["one"].last_exit == -signal.SIGKILL
    assert found["supervisor"].pid


async def test_a_killed_supervisor_takes_nothing_with_it_and_the_next_adopts(processes):
    supervision.supervise(processes.directory, [sleeper()])
    pid = await until(lambda: processes.pid("one"))
    first = processes.pid("supervisor")
    os.kill(first, signal.SIGKILL)
    await processes.ended("supervisor")
    supervision.supervise(processes.directory, [sleeper()])
    assert processes.pid("supervisor") not in (None, first)
    await asyncio.sleep(0.5)
    assert processes.pid("one") == pid
    os.kill(pid, signal.SIGKILL)
    await until(lambda: processes.pid("one") not in (None, pid))


async def test_a_new_list_restarts_only_what_changed(processes):
    supervision.supervise(processes.directory, [sleeper("one"), sleeper("two"), sleeper("three")])
    for name in ("one", "two", "three"):
        await until(lambda name=name: processes.pid(name))
    before = {name: processes.pid(name) for name in ("one", "two", "three")}
    changed = sleeper("two", command=("sleep", "601"))
    supervision.supervise(processes.directory, [sleeper("one"), changed])
    await until(lambda: processes.pid("three") is None and processes.program("two") == changed)
    await until(lambda: processes.pid("two") not in (None, before["two"]))
    assert processes.pid("one") == before["one"]


async def test_stop_ends_supervisor_and_programs_and_forgets_them(processes):
    supervision.supervise(processes.directory, [sleeper("one"), sleeper("two")])
    pids = [await until(lambda name=name: processes.pid(name)) for name in ("one", "two", "supervisor")]
    assert await supervision.stop(processes.directory)
    assert not any(alive(pid) for pid in pids)
    assert processes.names() == []
    assert not await supervision.stop(processes.directory)


async def test_stop_also_ends_programs_whose_supervisor_is_gone(processes):
    supervision.supervise(processes.directory, [sleeper()])
    pid = await until(lambda: processes.pid("one"))
    os.kill(processes.pid("supervisor"), signal.SIGKILL)
    assert await supervision.stop(processes.directory)
    assert not alive(pid)


async def test_a_second_supervisor_of_one_directory_gives_up(processes):
    supervision.supervise(processes.directory, [sleeper()])
    await until(lambda: processes.pid("one"))
    second = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "sublet.machine.supervision", str(processes.directory),
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    _, said = await asyncio.wait_for(second.communicate(), 20)
    assert second.returncode == 1 and b"another supervisor" in said


def test_a_broken_list_is_named(tmp_path):
    (tmp_path / "programs.json").write_text(json.dumps([{"name": "x"}]))
    with pytest.raises(ServiceUnavailable, match=r"programs\.json"):
        supervision.read_programs(tmp_path)


async def test_a_list_whose_writer_was_killed_before_it_told_is_taken_with_the_next(processes):
    one, two = sleeper("one"), sleeper("two")
    supervision.supervise(processes.directory, [one])
    await until(lambda: processes.pid("one"))
    listed = json.dumps([program.to_object() for program in (one, two)], indent=1)
    (processes.directory / "programs.json").write_text(listed)
    supervision.supervise(processes.directory, [one, two])
    await until(lambda: processes.pid("two"))


async def test_a_supervisor_that_is_told_of_a_list_while_it_starts_lives_and_takes_it(processes):
    one, two = sleeper("one"), sleeper("two")
    supervision.supervise(processes.directory, [one])
    young = processes.pid(supervision.SUPERVISOR)
    for _ in range(20):
        supervision.supervise(processes.directory, [one, two])
        await asyncio.sleep(0.02)
    await until(lambda: processes.pid("one") and processes.pid("two"))
    assert processes.pid(supervision.SUPERVISOR) == young
