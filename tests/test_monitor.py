"""The beat, with a clock that only moves when told to; the signals, in real processes that run real long queries."""

import itertools
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from abr import monitor
from abr.exceptions import DataIntegrityError

ROOT = Path(__file__).parent.parent


class Clock:
    """A clock that moves when something sleeps or works."""

    def __init__(self, now=0.0):
        self.now = now

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        assert seconds >= 0
        self.now += seconds


def starts_of(durations, interval=5.0, now=0.0, **options):
    clock, starts, left = Clock(now), [], list(durations)

    def tick():
        starts.append(clock.now - now)
        clock.sleep(left.pop(0))

    count = monitor.run_every(interval, tick, clock=clock, sleep=clock.sleep, stopped=lambda: not left, **options)
    assert count == len(starts)
    return starts


def test_short_ticks_start_on_the_beat():
    assert starts_of([0.1, 4.9, 0, 2]) == [0, 5, 10, 15]


def test_a_late_tick_is_followed_at_once_and_then_the_beat_is_back_on_its_grid():
    assert starts_of([0.1, 6, 0.1, 0.1]) == [0, 5, 11, 15]


def test_a_very_late_tick_is_made_up_for_once_however_many_beats_were_missed():
    assert starts_of([23, 0.1, 0.1]) == [0, 23, 25]


def test_a_tick_that_ends_on_the_beat_is_not_late():
    assert starts_of([5, 5, 5]) == [0, 5, 10]


def test_ticks_that_are_always_late_follow_one_another_without_overlap():
    assert starts_of([6, 6, 6, 6]) == [0, 6, 12, 18]


def test_a_thousand_ticks_later_the_beat_has_not_drifted():
    assert starts_of([0.3] * 1_000, interval=0.7, now=123_456.789)[-1] == pytest.approx(0.7 * 999, abs=1e-6)


@settings(deadline=None)
@given(st.lists(st.floats(0, 40), min_size=1, max_size=30), st.sampled_from([0.5, 5.0, 7.3]))
def test_no_tick_overlaps_and_every_tick_on_time_is_on_the_grid(durations, interval):
    starts = starts_of(durations, interval)
    for index, (start, following) in enumerate(itertools.pairwise(starts)):
        end = start + durations[index]
        assert following >= end
        beats = following / interval
        assert following == pytest.approx(end) or beats == pytest.approx(round(beats), abs=1e-6)
        assert following <= max(end, start + interval) + 1e-6


def test_cycles_end_the_loop_without_a_last_wait():
    clock = Clock()
    assert monitor.run_every(5, lambda: clock.sleep(1), clock=clock, sleep=clock.sleep, cycles=3) == 3
    assert clock.now == 11
    assert monitor.run_every(5, pytest.fail, clock=clock, sleep=clock.sleep, cycles=0) == 0


def test_the_countdown_changes_on_the_second_and_ends_with_0():
    seen = []
    starts_of([0.2, 0], idle=lambda seconds: seen.append(round(seconds, 3)))
    assert seen == [4.8, 4.5, 4.0, 3.5, 3.0, 2.5, 2.0, 1.5, 1.0, 0.5, 0]


def test_a_wait_that_is_ended_early_adds_a_tick_and_the_beat_stays_on_its_grid():
    clock, starts = Clock(), []
    arrivals = [6.2, 7.95, 14.95, 20.0]

    def tick():
        starts.append(round(clock.now, 3))
        arrivals[:] = [moment for moment in arrivals if moment > clock.now]
        clock.sleep(0.1)

    monitor.run_every(
        5,
        tick,
        clock=clock,
        sleep=clock.sleep,
        stopped=lambda: clock.now > 26,
        woken=lambda: any(moment <= clock.now for moment in arrivals),
    )
    assert starts == [0, 5, 6.25, 8.0, 10, 15, 20, 25]


def test_an_extra_tick_that_lasts_past_the_beat_is_followed_by_the_one_that_was_waited_for():
    clock, starts, durations = Clock(), [], [0.1, 6, 0.1, 0.1]

    def tick():
        starts.append(round(clock.now, 3))
        clock.sleep(durations.pop(0))

    monitor.run_every(
        5,
        tick,
        clock=clock,
        sleep=clock.sleep,
        stopped=lambda: not durations,
        woken=lambda: len(durations) == 3 and clock.now >= 2,
    )
    assert starts == [0, 2, 8, 10]


def test_waking_is_looked_for_sixteen_times_a_second():
    clock, looks = Clock(), []
    monitor.run_every(5, lambda: None, clock=clock, sleep=clock.sleep, woken=lambda: looks.append(clock.now), cycles=2)
    assert looks == [number / 16 for number in range(80)]
    looks.clear()
    monitor.run_every(
        0.2, lambda: None, clock=clock, sleep=clock.sleep, woken=lambda: looks.append(clock.now), cycles=3
    )
    assert [round(moment - looks[0], 3) for moment in looks] == [0, 0.013, 0.075, 0.138, 0.2, 0.213, 0.275, 0.338]


def test_a_stop_ends_the_wait_without_another_tick():
    clock, stops = Clock(), []

    def sleep(seconds):
        clock.sleep(seconds)
        stops.append(True)

    assert monitor.run_every(5, lambda: None, clock=clock, sleep=sleep, stopped=lambda: bool(stops)) == 1


def test_an_error_of_a_tick_ends_the_loop():
    def tick():
        raise DataIntegrityError("inbox is missing")

    with pytest.raises(DataIntegrityError):
        monitor.watch(5, tick, interrupt=pytest.fail)


def test_handlers_and_timer_are_as_before_after_the_work():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM)]
    signals = monitor.watch(5, lambda: None, interrupt=pytest.fail, cycles=1)
    assert (signals.count, signals.interrupted) == (0, False)
    after = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM)]
    assert after == before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_what_an_interruption_raises_ends_quietly_but_a_verdict_about_the_books_does_not():
    def interrupted(error, cause=None):
        with monitor.Signals(lambda: None) as signals, signals.working():
            signals._on_alarm(signal.SIGALRM, None)
            raise error from cause
        return signals.interrupted

    assert interrupted(RuntimeError("INTERRUPT Error: Interrupted!"))
    assert interrupted(DataIntegrityError("database failed"), RuntimeError("INTERRUPT Error: Interrupted!"))
    with pytest.raises(DataIntegrityError):
        interrupted(DataIntegrityError("control totals differ"))
    with pytest.raises(RuntimeError), monitor.Signals(lambda: None) as signals, signals.working():
        raise RuntimeError("no signal came")


# ---- real processes -----------------------------------------------------------------------------------------------

LONG_QUERY = "insert into t select sum(hash(a.range + b.range)) % 7 from range(1000000) a, range(1000000) b"
CHILD = """
    import sys, time
    import duckdb
    from abr import monitor

    connection = duckdb.connect(sys.argv[1])
    connection.execute("create table if not exists t (i bigint)")

    def say(word):
        print(word, flush=True)

    def transaction(*statements):
        connection.begin()
        try:
            connection.execute("insert into t values (1)")
            say("working")
            for statement in statements:
                connection.execute(statement)
            connection.commit()
        except BaseException:
            connection.rollback()
            raise
"""


@pytest.fixture
def start(tmp_path):
    """Start a child that runs CHILD and the given lines, and end it afterwards whatever happens."""
    children = []
    # A child inherits what is ignored; tests that are themselves run under nohup ignore SIGHUP.
    inherited = signal.signal(signal.SIGHUP, signal.SIG_DFL)

    def started(body, prefix=(), **options):
        script = tmp_path / "child.py"
        script.write_text(textwrap.dedent(CHILD) + textwrap.dedent(body), encoding="utf-8")
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        command = [*prefix, sys.executable, str(script), str(tmp_path / "t.duckdb")]
        pipe = subprocess.PIPE
        child = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment, **options)
        children.append(child)
        return child

    yield started
    signal.signal(signal.SIGHUP, inherited)
    for child in children:
        child.kill()
        child.communicate()


def said(child, word):
    for text in child.stdout:
        if text.strip() == word:
            return
    pytest.fail(f"the child never said {word!r}: {child.stderr.read()}")


def ended(child):
    """Return the rest of what the child said; it must end well within the time its work would need."""
    out, err = child.communicate(timeout=60)
    assert (child.returncode, err) == (0, "")
    return out


def row_count(tmp_path):
    code = "import duckdb, sys; print(duckdb.connect(sys.argv[1]).execute('select count(*) from t').fetchone()[0])"
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "t.duckdb")], capture_output=True, text=True, check=True
    )
    return int(done.stdout)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_between_two_ticks_a_signal_ends_the_wait_at_once(start, number):
    child = start(
        """
        def idle(seconds_left):
            if idle.first:
                idle.first = False
                say("waiting")
        idle.first = True
        signals = monitor.watch(3600, lambda: None, interrupt=connection.interrupt, idle=idle)
        say(f"ended {signals.interrupted}")
        """
    )
    said(child, "waiting")
    child.send_signal(number)
    assert ended(child) == "ended False\n"


def test_without_a_countdown_a_signal_ends_the_wait_too(start):
    child = start('monitor.watch(3600, lambda: say("ticked"), interrupt=connection.interrupt)')
    said(child, "ticked")
    child.send_signal(signal.SIGTERM)
    ended(child)


def test_the_first_signal_lets_the_tick_finish(start, tmp_path):
    child = start(
        """
        def tick():
            connection.begin()
            connection.execute("insert into t values (1)")
            say("working")
            deadline = time.monotonic() + 30
            while not signals.count and time.monotonic() < deadline:
                connection.execute("select sum(range) from range(1000000)").fetchall()
            connection.execute("insert into t values (2)")
            connection.commit()

        with monitor.Signals(connection.interrupt, grace_seconds=60) as signals, signals.working():
            tick()
        say(f"ended {signals.count} {signals.interrupted}")
        """
    )
    said(child, "working")
    child.send_signal(signal.SIGTERM)
    assert ended(child) == "ended 1 False\n"
    assert row_count(tmp_path) == 2


def test_a_tick_that_does_not_finish_in_time_is_interrupted_and_rolled_back(start, tmp_path):
    child = start(
        f"""
        signals = monitor.watch(
            5, lambda: transaction({LONG_QUERY!r}), interrupt=connection.interrupt, grace_seconds=0.3
        )
        say(f"ended {{signals.count}} {{signals.interrupted}}")
        """
    )
    said(child, "working")
    child.send_signal(signal.SIGTERM)
    assert ended(child) == "ended 1 True\n"
    assert row_count(tmp_path) == 0


def test_a_second_signal_interrupts_at_once(start, tmp_path):
    child = start(
        f"""
        import signal, threading
        def second():
            while not signals.count:
                time.sleep(0.01)
            signal.raise_signal(signal.SIGINT)
        with monitor.Signals(connection.interrupt, grace_seconds=3600) as signals, signals.working():
            say("ready")
            threading.Thread(target=second, daemon=True).start()
            transaction({LONG_QUERY!r})
        say(f"ended {{signals.interrupted}}")
        """
    )
    said(child, "working")
    child.send_signal(signal.SIGINT)
    assert ended(child) == "ended True\n"
    assert row_count(tmp_path) == 0


def test_an_interrupt_between_two_queries_is_not_lost(start, tmp_path):
    child = start(
        f"""
        def tick():
            say("ready")
            deadline = time.monotonic() + 60
            while not signals._has_called_interrupt and time.monotonic() < deadline:
                time.sleep(0.01)
            transaction({LONG_QUERY!r})

        with monitor.Signals(connection.interrupt, grace_seconds=0.1) as signals, signals.working():
            tick()
        say(f"ended {{signals.interrupted}}")
        """
    )
    said(child, "ready")
    child.send_signal(signal.SIGTERM)
    said(child, "working")
    assert ended(child) == "ended True\n"
    assert row_count(tmp_path) == 0


def test_a_signal_on_the_way_out_does_not_change_the_exit_code(start):
    child = start(
        """
        monitor.watch(3600, lambda: say("ticked"), interrupt=connection.interrupt)
        say("leaving")
        sys.stdin.readline()
        """,
        stdin=subprocess.PIPE,
    )
    said(child, "ticked")
    child.send_signal(signal.SIGINT)
    said(child, "leaving")
    child.send_signal(signal.SIGINT)
    child.send_signal(signal.SIGTERM)
    child.stdin.write("\n")
    child.stdin.flush()
    ended(child)


def test_started_with_nohup_it_outlives_its_terminal(start):
    child = start(
        """
        with monitor.Signals(connection.interrupt) as signals:
            say("ready")
            sys.stdin.readline()
            say(f"ended {signals.count}")
        """,
        prefix=["nohup"],
        stdin=subprocess.PIPE,
    )
    said(child, "ready")
    child.send_signal(signal.SIGHUP)
    child.stdin.write("\n")
    child.stdin.flush()
    out, _ = child.communicate(timeout=60)
    assert (child.returncode, out) == (0, "ended 0\n")


def test_a_reader_that_leaves_ends_the_output_quietly(tmp_path):
    script = tmp_path / "many.py"
    script.write_text(
        textwrap.dedent(
            """
            import sys
            from abr import monitor
            with monitor.closed_pipe_is_quiet():
                def tick():
                    for number in range(10000):
                        print("line", number)
                monitor.watch(0.01, tick, interrupt=lambda: None)
            """
        ),
        encoding="utf-8",
    )
    pipeline = f"{sys.executable} {script} | head -n 1; exit ${{PIPESTATUS[0]}}"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["bash", "-c", pipeline], capture_output=True, text=True, env=environment, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "line 0\n", "")


def test_an_exit_code_survives_a_reader_that_leaves():
    code = "import sys; from abr import monitor\nwith monitor.closed_pipe_is_quiet():\n print('x'); sys.exit(10)"
    read, write = os.pipe()
    os.close(read)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": ""}
    done = subprocess.run(
        [sys.executable, "-c", code], stdout=write, stderr=subprocess.PIPE, text=True, env=environment, check=False
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (10, "")


def test_waiting_for_a_signal_waits_as_long_as_it_was_told():
    with monitor.Signals(lambda: None) as signals:
        started = time.monotonic()
        signals.sleep(0.05)
        assert time.monotonic() - started >= 0.045
