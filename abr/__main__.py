"""The command `abr`, also as `python -m abr`."""

import os
import sys

# For each statement DuckDB makes and drops thousands of small objects. The GNU C library keeps seven blocks of a size
# at hand for each thread and takes a lock for more; with these many a cycle takes a fifth less time.
TUNABLES = "glibc.malloc.tcache_count=2000"


def main() -> None:
    """Run the command line and end the process with the exit code it deserves."""
    start_tuned()
    from abr import cli  # noqa: PLC0415  a second's work, not to be done twice

    cli.main()


def start_tuned() -> None:
    """Start this program again, as the same process, with TUNABLES, as they are read only when a process starts.

    Returns where it was started so, where somebody tuned the C library otherwise, or where it is another one.
    """
    if is_tuned() or not sys.executable:
        return
    os.environ["GLIBC_TUNABLES"] = TUNABLES
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606  no shell: the same program again


def is_tuned() -> bool:
    """Return whether the C library is tuned already, or has nothing to tune."""
    return "GLIBC_TUNABLES" in os.environ or "CS_GNU_LIBC_VERSION" not in os.confstr_names


if __name__ == "__main__":
    main()
