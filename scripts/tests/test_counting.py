"""The last line of `make test` is believed: each way in which a run can fail must show in its numbers."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from kit.counting import go_result, lab_result, pytest_result
from kit.steps import Count


def go_run(folder: Path, *sources: str) -> tuple:
    (folder / "go.mod").write_text("module example.org/counted\n\ngo 1.21\n")
    for number, source in enumerate(sources):
        (folder / f"p{number}").mkdir()
        (folder / f"p{number}" / "a_test.go").write_text(
            f'package p\n\nimport (\n"os"\n"testing"\n)\n\nvar _ = os.Exit\n\n{source}\n'
        )
    log = folder / "log"
    with open(log, "wb") as out:
        command = ["go", "test", "-json", "./..."]
        code = subprocess.run(command, cwd=folder, stdout=out, stderr=subprocess.STDOUT).returncode
    return go_result(log, code), code


def test_go_passes(tmp_path):
    result, code = go_run(tmp_path, 'func TestA(t *testing.T) { t.Run("b", func(t *testing.T) {}) }')
    assert (code, result.count, result.report) == (0, Count(passed=2), "")


def test_go_failure_shows_what_it_wrote(tmp_path):
    result, _ = go_run(
        tmp_path, 'func TestA(t *testing.T) { t.Error("the reason") }\nfunc TestB(t *testing.T) {}'
    )
    assert result.count == Count(passed=1, failed=1)
    assert "the reason" in result.report
    assert "TestB" not in result.report


def test_go_skip_is_counted_and_named(tmp_path):
    result, _ = go_run(tmp_path, "func TestA(t *testing.T) { t.Skip() }\nfunc TestB(t *testing.T) {}")
    assert result.count == Count(passed=1, skipped=1)
    assert "TestA" in result.report


def test_go_package_that_does_not_build(tmp_path):
    good = "func TestA(t *testing.T) {}"
    result, _ = go_run(tmp_path, good, "func TestB(t *testing.T) { undefinedName() }")
    assert result.count == Count(passed=1, failed=1)
    assert "undefinedName" in result.report


@pytest.mark.parametrize(
    ("end", "said"), [('panic("gone")', "gone"), ("os.Exit(0)", "TestA"), ("os.Exit(3)", "TestA")]
)
def test_go_run_that_ends_early(tmp_path, end, said):
    result, _ = go_run(tmp_path, f"func TestA(t *testing.T) {{ {end} }}\nfunc TestB(t *testing.T) {{}}")
    assert result.count == Count(failed=1)
    assert said in result.report


def test_go_without_any_test_is_a_failure(tmp_path):
    result, code = go_run(tmp_path, "var _ = testing.Short")
    assert code == 0
    assert result.count == Count(failed=1)


def pytest_run(folder: Path, source: str) -> object:
    (folder / "test_it.py").write_text(source)
    log, xml = folder / "log", folder / "junit.xml"
    with open(log, "wb") as out:
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "no:cacheprovider",
            f"--junitxml={xml}",
            "test_it.py",
        ]
        code = subprocess.run(command, cwd=folder, stdout=out, stderr=subprocess.STDOUT).returncode
    return pytest_result(log, xml, code)


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ("def test_a(): pass\ndef test_b(): pass", Count(passed=2)),
        ("def test_a(): pass\ndef test_b(): assert 0", Count(passed=1, failed=1)),
        ("import pytest\ndef test_a(): pytest.skip()\ndef test_b(): pass", Count(passed=1, skipped=1)),
        ("import no_such_module\ndef test_a(): pass", Count(failed=1)),
        ("", Count(failed=1)),
        ("import os\ndef test_a(): os._exit(0)", Count(failed=1)),
    ],
    ids=["passes", "fails", "skips", "cannot be imported", "no tests", "ends early with code 0"],
)
def test_pytest(tmp_path, source, count):
    result = pytest_run(tmp_path, source)
    assert result.count == count
    assert bool(result.report) == (count.failed + count.skipped > 0)


def test_runs_of_the_lab(tmp_path):
    log = tmp_path / "log"
    runs = [{"wrong": []}, {"wrong": ["the twin: ttl instead of nothing"]}]
    services = [{"name": "order", "runs": runs}, {"name": "peer", "runs": [{"wrong": []}]}]
    log.write_text("-- order, run 2: ...\n" + json.dumps({"schema": "demarc.lab/1", "services": services}) + "\n")
    result = lab_result(log, 1)
    assert (result.count.passed, result.count.failed) == (2, 1)
    assert result.report == "FAIL order, run 2: the twin: ttl instead of nothing\n"


def test_a_lab_that_ends_early_has_failed(tmp_path):
    log = tmp_path / "log"
    log.write_text("scripts/lab: no Redis\n")
    result = lab_result(log, 1)
    assert (result.count.passed, result.count.failed) == (0, 1) and "no Redis" in result.report
    log.write_text(json.dumps({"schema": "demarc.lab/1", "services": []}) + "\n")
    assert lab_result(log, 0).count.failed == 1
