"""Counts tests in what `go test -json` and pytest write, and picks the output of those that failed."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from kit.steps import Count, Result, tail


def go_result(log: Path, code: int) -> Result:
    """Counts every test, example, fuzz seed and subtest. A package that fails without a failing test (it does
    not build, it panics, it ends early) counts as one failure; so does a run that fails without naming any
    package."""
    count = Count()
    output: dict[tuple[str, str], list[str]] = {}
    failed: list[tuple[str, str]] = []
    failed_packages: list[tuple[str, str]] = []
    loose: list[str] = []  # lines that are no events: what the go command itself says
    built: dict[str, list[str]] = {}
    for line in log.read_text(errors="replace").splitlines():
        try:
            event = json.loads(line)
            action = event["Action"]
        except (ValueError, KeyError, TypeError):
            loose.append(line)
            continue
        key = (event.get("Package", ""), event.get("Test", ""))
        if action == "output":
            output.setdefault(key, []).append(event["Output"])
        elif action == "build-output":
            built.setdefault(event["ImportPath"], []).append(event["Output"])
        elif action == "fail" and key[1]:
            failed.append(key)
        elif action == "fail":
            failed_packages.append((key[0], event.get("FailedBuild", "")))
        elif action == "pass" and key[1]:
            count.passed += 1
        elif action == "skip" and key[1]:
            count.skipped += 1
            loose.append(f"skipped: {key[0]} {key[1]}")
    report: list[str] = []
    count.failed = len(failed)
    with_failed_test = {package for package, _ in failed}
    for package, test in failed:
        report += [f"FAIL {package} {test}\n", *output.get((package, test), [])]
    for package, build in failed_packages:
        if package not in with_failed_test:
            count.failed += 1
            unfinished = [
                text for (of, test), lines in output.items() if of == package and test for text in lines
            ]
            report += [
                f"FAIL {package}\n",
                *built.get(build, []),
                *output.get((package, ""), []),
                *unfinished[-200:],
            ]
    if code != 0 and count.failed == 0:
        count.failed = 1
    if count.failed or count.skipped:
        report += [text + "\n" for text in loose]
    if code == 0 and count.passed == 0:
        count.failed = 1
        report.append("no test ran\n")
    return Result(count, "".join(report))


def pytest_result(log: Path, xml: Path, code: int) -> Result:
    """Counts the tests of a JUnit report. No report, no tests, or a failing run without a failed test is a
    failure."""
    count = Count()
    try:
        suites = list(ElementTree.parse(xml).getroot().iter("testsuite"))
    except (OSError, ElementTree.ParseError):
        suites = []
    for suite in suites:
        failed = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
        skipped = int(suite.get("skipped", 0))
        count.add(Count(int(suite.get("tests", 0)) - failed - skipped, failed, skipped))
    if count.failed == 0 and (code != 0 or count.passed == 0):
        count.failed = 1
        return Result(count, f"exit code {code}\n{tail(log, 200)}")
    return Result(count, log.read_text(errors="replace") if count.failed or count.skipped else "")


def lab_result(log: Path, code: int) -> Result:
    """Counts the runs of the lab's services in the line that scripts/lab --json prints at its end. A run of the lab
    that ends without it counts as one failure, and so does a bad exit code without a wrong service."""
    count = Count()
    report: list[str] = []
    result = None
    for line in log.read_text(errors="replace").splitlines():
        if line.startswith('{"schema": "demarc.lab/1"'):
            result = json.loads(line)
    for service in result["services"] if result else ():
        for number, run in enumerate(service["runs"], 1):
            if run["wrong"]:
                count.failed += 1
                report += [f"FAIL {service['name']}, run {number}: {wrong}\n" for wrong in run["wrong"]]
            else:
                count.passed += 1
    if not count.failed and (code != 0 or not count.passed):
        count.failed = 1
        report.append(tail(log))
    return Result(count, "".join(report))
