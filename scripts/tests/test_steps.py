"""Steps run after what they need, and what did not run is never taken for what passed."""

import threading

import pytest
from kit import Failure
from kit.steps import Commands, Count, Result, Step, run_all, select


def no_stop():
    raise AssertionError("nothing was interrupted")


def test_a_step_waits_for_its_needs_and_counts_add_up():
    order = []

    def step(name, needs=()):
        return Step(name, lambda: order.append(name) or Result(Count(passed=2)), needs)

    total = run_all([step("c", ["b"]), step("b", ["a"]), step("a")], 2, no_stop)
    assert order == ["a", "b", "c"]
    assert total == Count(passed=6)


def test_steps_without_needs_run_at_the_same_time():
    meet = threading.Barrier(2, timeout=30)
    total = run_all([Step("a", lambda: none(meet.wait())), Step("b", lambda: none(meet.wait()))], 2, no_stop)
    assert total == Count()


def none(_):
    return None


@pytest.mark.parametrize("error", [Failure("no disk"), ValueError("a defect")])
def test_what_needs_a_broken_step_fails_too(error, capsys):
    def broken():
        raise error

    ran = []
    steps = [
        Step("a", broken),
        Step("b", lambda: ran.append("b"), ["a"]),
        Step("c", lambda: ran.append("c"), ["b"]),
    ]
    assert run_all(steps, 2, no_stop) == Count(failed=3)
    assert ran == []
    said = capsys.readouterr().out
    assert str(error) in said
    assert "b: NOT RUN, it needs: a" in said


def test_select_takes_the_needs_along():
    steps = [Step("a", none), Step("b one", none, ["a"], "g"), Step("b two", none, [], "g"), Step("c", none)]
    assert [step.name for step in select(steps, ["b one"])] == ["a", "b one"]
    assert [step.name for step in select(steps, ["g"])] == ["a", "b one", "b two"]
    with pytest.raises(Failure, match="no step is called 'x'"):
        select(steps, ["x"])


def test_a_command_is_ended_with_its_children():
    commands = Commands()
    with pytest.raises(Failure, match="no end after 1 s"):
        commands.run("test of steps", ["sh", "-c", "echo started; sleep 600 & sleep 600"], seconds=1)


def test_after_stop_nothing_starts():
    commands = Commands()
    commands.stop()
    with pytest.raises(Failure, match="interrupted"):
        commands.run("test of steps", ["true"])
