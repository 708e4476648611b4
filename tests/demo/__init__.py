"""The demo: the kernel kills the only service that works, beside 700 MiB that nobody needs; then the same with memgov."""
