"""Policies of the end-to-end tests. The rule matches every test's parent cgroup and all below it."""

ENFORCE = """\
apiVersion: memgov/v1
kind: Policy
rules:
  - name: test
    match: {cgroup: "/memgov-host-*/**"}
    mode: enforce
"""

OBSERVE = ENFORCE.replace("enforce", "observe")
