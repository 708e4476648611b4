"""What the demo, the end-to-end tests and the benches share: cgroups, services, the governor, the kernel's log.

Python 3.11, standard library only. All times are time.monotonic(), the clock that memgovd prints as "t".
"""
