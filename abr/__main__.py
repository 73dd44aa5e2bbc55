"""The command `abr`, also as `python -m abr`."""

import os
import signal
import sys

# For each statement DuckDB makes and drops thousands of small objects, and thousands of blocks of some kilobytes for
# its vectors. The GNU C library keeps seven objects of a size at hand for each thread, the allocator that DuckDB brings
# along on Linux no block above 32 kB and few below, of which it lets some go after every 64 kB it has given out; for
# more either takes locks and walks its lists.
TUNABLES = {
    "GLIBC_TUNABLES": "glibc.malloc.tcache_count=2000",
    "DUCKDB_JE_MALLOC_CONF": "tcache_max:4194304,tcache_nslots_large:200,lg_tcache_nslots_mul:3,"
    "tcache_gc_incr_bytes:67108864",
}


def main() -> None:
    """Run the command line and end the process with the exit code it deserves."""
    # Until the command line can say so itself, Ctrl-C ends the process without a word.
    is_heeded = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if is_heeded:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    start_tuned()
    from abr import cli  # noqa: PLC0415  a second's work, not to be done twice

    if is_heeded:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    cli.main()


def start_tuned() -> None:
    """Start this program again, as the same process, with TUNABLES, as they are read only when a process starts.

    Returns where it was started so, or where there is nothing to tune. What somebody set otherwise stays.
    """
    if is_tuned() or not sys.executable:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        return
    os.environ.update(TUNABLES | os.environ)
    # While Python starts it has words of its own for Ctrl-C: that waits until the program is here again.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606  no shell: the same program again


def is_tuned() -> bool:
    """Return whether the allocators are tuned already, or are not those that can be."""
    return os.environ.keys() >= TUNABLES.keys() or "CS_GNU_LIBC_VERSION" not in os.confstr_names


if __name__ == "__main__":
    main()
