"""`weft config` tells what is in force, who says so, and in which order they are asked."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from libs.plans.file import load, read
from libs.plans.plans import Plan, RateLimit
from libs.plans.schema import plan_leaves
from tools.cli.__main__ import app
from tools.stack.explain_plans import explain
from tools.stack.explain_services import SECRET, explain_service, explain_stack, service_keys
from tools.stack.explained import Level, Says
from tools.stack.part import DEFAULT_STATE, Part
from tools.stack.plans import PLANS_FILE
from tools.stack.replicas import SERVICES
from tools.stack.snapshot import PartSnapshot, Snapshot

PLANS = """\
prices:
  embed: {input: 0.02}
  other: {input: 1.00, output: 3.00}
plans:
  free: {}
  gold:
    limits: {tenant: {minute: 200}, groups: {search: {minute: 20}}}
    budgets: {key: {day: {money: 5.00}}}
default_plan: free
tenants:
  acme.eu: {plan: gold, limits: {tenant: {minute: 500}}, budgets: none}
  globex: {open_calls: 3, limits: none}
"""


@pytest.fixture
def state(tmp_path: Path) -> Path:
    (tmp_path / PLANS_FILE).write_text(PLANS)
    return tmp_path


def weft(*arguments: str) -> tuple[int, str, str]:
    """The exit code, the standard output and the standard error of a command."""
    done = CliRunner().invoke(app, arguments)
    return done.exit_code, done.stdout, done.stderr


def explained(state: Path, key: str) -> list[str]:
    """The lines that a good key is explained with."""
    code, told, wrong = weft("config", "explain", key, "--state", str(state))
    assert (code, wrong) == (0, "")
    return told.splitlines()


def test_a_value_is_explained_level_by_level(state: Path) -> None:
    """The value, what it is, where it comes from, and what each level says, the strongest first."""
    assert explained(state, "tenants.acme.eu.limits.tenant.minute") == [
        "tenants.acme.eu.limits.tenant.minute = 500",
        "  most calls within any minute or hour",
        "  from: settings file: tenant (plans.yaml:11)",
        "",
        "Who says what of it, the strongest first:",
        "> settings file: tenant  500  (plans.yaml:11)",
        "  settings file: plan    200  (plans.yaml:7)",
        "  built-in default       100",
        "",
        "The order for every value: command line > weft up > environment > settings file: tenant > settings file: plan"
        " > settings file > built-in default",
    ]


@pytest.mark.parametrize(
    ("key", "value", "source"),
    [
        ("tenants.acme.eu.limits.tenant.hour", "1000", "built-in default"),
        ("tenants.acme.eu.limits.groups.search.minute", "20", "settings file: plan (plans.yaml:7)"),
        ("tenants.acme.eu.budgets.key.day.money", "none", "settings file: tenant (plans.yaml:11, budgets: none)"),
        ("tenants.acme.eu.plan", "gold", "settings file: tenant (plans.yaml:11)"),
        ("tenants.globex.plan", "free", "settings file (plans.yaml:9)"),
        ("tenants.globex.open_calls", "3", "settings file: tenant (plans.yaml:12)"),
        ("tenants.stranger.limits.tenant.minute", "100", "built-in default"),
        ("plans.gold.budgets.key.day.money", "5.00", "settings file: plan (plans.yaml:8)"),
        ("plans.gold.budgets.key.day.tokens", "none", "built-in default"),
        ("plans.free.highest_priority", "normal", "built-in default"),
        ("prices.embed.input", "0.02", "settings file (plans.yaml:2)"),
        ("prices.embed.output", "0", "built-in default"),
        ("prices.unheard-of.output", "3.00", "settings file (plans.yaml:3)"),
        ("currency", "USD", "built-in default"),
        ("default_plan", "free", "settings file (plans.yaml:9)"),
    ],
)
def test_where_values_come_from(state: Path, key: str, value: str, source: str) -> None:
    """Each value of the settings file, also of tenants and models that it does not name."""
    assert [explained(state, key)[line] for line in (0, 2)] == [f"{key} = {value}", f"  from: {source}"]


@pytest.mark.parametrize("tenant", ["acme.eu", "globex", "stranger"])
def test_what_is_explained_is_what_counts(state: Path, tenant: str) -> None:
    """For every limit and budget, the explanation and the plan that the gateway has agree."""
    path = state / PLANS_FILE
    plan, text = load(path).of(tenant), read(path)
    assert plan is not None
    expected = in_force(plan)
    for leaf in plan_leaves():
        key = ".".join(leaf)
        found = explain(text, f"tenants.{tenant}.{key}")
        assert found is not None
        assert (key, found.in_force.text) == (key, expected.get(key, "none"))


def in_force(plan: Plan) -> dict[str, str]:
    """A plan's values by their keys, as the file would say them."""

    def limits(scope: str, found: tuple[RateLimit, ...]) -> dict[str, str]:
        return {f"limits.{scope}.{limit.name.partition('/')[2]}": str(limit.limit) for limit in found}

    values = {**limits("tenant", plan.tenant_limits), **limits("key", plan.key_limits)}
    for group, found in plan.group_limits.items():
        values |= limits(f"groups.{group}", found)
    for budget in (*plan.tenant_budgets, *plan.key_budgets):
        money = budget.name.endswith("money")
        values[f"budgets.{budget.name.replace('/', '.')}"] = f"{budget.limit / 1e9:.2f}" if money else str(budget.limit)
    rest = {"highest_priority": plan.highest_priority, "fallback": str(plan.may_fall_back).lower()}
    return {**values, **rest, "open_calls": str(plan.open_calls)}


@pytest.mark.parametrize(
    ("key", "told"),
    [
        ("tenants.acme.eu.limits.tenant.minut", "did you mean 'tenants.acme.eu.limits.tenant.minute'?"),
        ("plans.glod.open_calls", "did you mean 'plans.gold.open_calls'?"),
        ("WEFT_RAG_MAX_DOCUMENT", "did you mean 'WEFT_RAG_MAX_DOCUMENTS'?"),
        ("port.gatway", "did you mean 'port.gateway'?"),
        ("quux", "`weft config show` lists all"),
    ],
)
def test_an_unknown_key_finds_the_nearest(state: Path, key: str, told: str) -> None:
    """Exit code 2, and what could be meant."""
    expected = f"weft: there is no setting {key!r}; {told}\n"
    assert weft("config", "explain", key, "--state", str(state)) == (2, "", expected)


def test_without_a_settings_file_that_is_said(tmp_path: Path) -> None:
    """Its keys cannot be explained yet; all others can."""
    file = tmp_path / PLANS_FILE
    told = f"weft: there is no settings file {file} yet: `weft up` makes it, or name one with --file\n"
    assert weft("config", "explain", "plans.free.open_calls", "--state", str(tmp_path)) == (2, "", told)
    assert explained(tmp_path, "WEFT_RAG_MAX_DOCUMENTS")[0] == "WEFT_RAG_MAX_DOCUMENTS = 100000"


def test_a_tenant_without_a_plan_is_said_to_be_refused(state: Path) -> None:
    """Where there is no default plan, who is not named may nothing."""
    (state / PLANS_FILE).write_text("plans: {free: {}}\n")
    told = explained(state, "tenants.stranger.open_calls")
    assert told[0] == "tenants.stranger.open_calls = none: who has no plan is refused"


def test_a_spoilt_file_hides_nothing_else(state: Path) -> None:
    """What does not stand in it is explained and listed all the same; for the rest, its problems are told."""
    (state / PLANS_FILE).write_text("plans: {free: {open_calls: 0}}\n")
    assert explained(state, "WEFT_RAG_MAX_DOCUMENTS")[0] == "WEFT_RAG_MAX_DOCUMENTS = 100000"
    for arguments, listed in ((("explain", "plans.free.open_calls"), False), (("show",), True)):
        code, told, wrong = weft("config", *arguments, "--state", str(state))
        assert (code, "WEFT_RAG_MAX_DOCUMENTS" in told) == (2, listed)
        assert "plans.yaml:1: plans.free.open_calls: must be" in wrong


def test_the_environment_goes_before_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a service's own settings, while it does not run: this shell's environment is what it would get."""
    before = explain_service("WEFT_RAG_MAX_DOCUMENTS", None)
    monkeypatch.setenv("WEFT_RAG_MAX_DOCUMENTS", "5")
    after = explain_service("WEFT_RAG_MAX_DOCUMENTS", None)
    assert before is not None
    assert after is not None
    assert before.in_force == Says(Level.BUILT_IN, "100000")
    assert after.in_force == Says(Level.ENVIRONMENT, "5", "this shell")


@pytest.fixture
def running() -> Iterator[Snapshot]:
    """A rag, as it were, that was started with settings of its own."""
    settings = {
        "WEFT_RAG_LISTEN": "127.0.0.1:9",
        "WEFT_RAG_MAX_DOCUMENTS": "7",
        "WEFT_RAG_REDIS_URL": "redis://:hunter2@x",
    }
    with subprocess.Popen(["cat"], env=settings, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as process:
        assert process.stdin and process.stdout
        process.stdin.write(b"?")
        process.stdout.read(1)  # now it runs its program
        part = PartSnapshot("rag", "127.0.0.1:9", "ready", process.pid)
        yield Snapshot(os.getpid(), 0, "tools.stack.parts", "up", parts=(part,))
        process.kill()


def test_a_running_service_has_what_it_was_started_with(running: Snapshot, monkeypatch: pytest.MonkeyPatch) -> None:
    """What this shell says now is not in force before the next start; what `weft up` sets goes before both."""
    monkeypatch.setenv("WEFT_RAG_MAX_DOCUMENTS", "5")
    monkeypatch.setenv("WEFT_RAG_LISTEN", "127.0.0.1:5")
    place = f"rag, pid {running.parts[0].pid}"
    found = {key: explain_service(f"WEFT_RAG_{key}", running) for key in ("MAX_DOCUMENTS", "LISTEN", "REDIS_URL")}
    assert {key: one and one.in_force for key, one in found.items()} == {
        "MAX_DOCUMENTS": Says(Level.ENVIRONMENT, "7", place),
        "LISTEN": Says(Level.WEFT_UP, "127.0.0.1:9", place),
        "REDIS_URL": Says(Level.WEFT_UP, SECRET, place),
    }


def test_of_a_service_that_has_just_ended_this_shell_speaks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is to be seen of the process any more; what it would be started with next is told as such."""
    monkeypatch.setenv("WEFT_RAG_MAX_DOCUMENTS", "5")
    with subprocess.Popen(["true"], env={"WEFT_RAG_MAX_DOCUMENTS": "7"}) as process:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        part = PartSnapshot("rag", "127.0.0.1:9", "ready", process.pid)
        ended = Snapshot(os.getpid(), 0, "tools.stack.parts", "up", parts=(part,))
        for key in ("MAX_DOCUMENTS", "LISTEN"):
            assert explain_service(f"WEFT_RAG_{key}", ended) == explain_service(f"WEFT_RAG_{key}", None)
        found = explain_service("WEFT_RAG_MAX_DOCUMENTS", ended)
    assert found is not None
    assert found.in_force == Says(Level.ENVIRONMENT, "5", "this shell")


def test_a_port_comes_from_an_option_a_variable_or_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """In this order; what a running part has and neither of the others says was an option of `weft up`."""
    parts = (Part("rag", 7701, lambda stack: pytest.fail("nothing is started")),)
    here = PartSnapshot("rag", "127.0.0.1:9", "ready", os.getpid())
    running = Snapshot(os.getpid(), 0, "tools.stack.parts", "up", parts=(here,))

    def port(snapshot: Snapshot | None) -> tuple[Level, str | None]:
        found = explain_stack("port.rag", parts, Path("/state"), False, snapshot)
        assert found is not None
        return found.in_force.level, found.in_force.text

    assert port(None) == (Level.BUILT_IN, "7701")
    assert port(running) == (Level.COMMAND_LINE, "9")
    monkeypatch.setenv("WEFT_PORT_RAG", "9")
    assert port(None) == port(running) == (Level.ENVIRONMENT, "9")


def test_the_state_comes_from_an_option_a_variable_or_the_default(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As every command takes it."""
    monkeypatch.setenv("WEFT_STATE", "/elsewhere")
    assert explained(state, "state")[:3:2] == [f"state = {state}", "  from: command line (--state)"]
    assert "> environment            /elsewhere  (WEFT_STATE)" in weft("config", "explain", "state")[1]
    monkeypatch.delenv("WEFT_STATE")
    assert weft("config", "explain", "state")[1].startswith(f"state = {DEFAULT_STATE}\n")


def test_all_that_is_set_is_listed(state: Path) -> None:
    """Each key with its value and where it comes from; with a beginning, only those, also what nobody has set."""
    code, told, _ = weft("config", "show", "--state", str(state))
    lines = [line.split(maxsplit=2) for line in told.splitlines()]
    assert code == 0
    assert ["WEFT_RAG_MAX_DOCUMENTS", "100000", "built-in default"] in lines
    assert ["tenants.acme.eu.limits.tenant.minute", "500", "settings file: tenant (plans.yaml:11)"] in lines
    keys = {line[0] for line in lines}
    assert {key for service in SERVICES for key, known in service_keys(service).items() if known.default} <= keys
    assert "plans.free.limits.key.minute" not in keys
    _, told, _ = weft("config", "show", "plans.free.limits.key", "--state", str(state))
    assert [line.split(maxsplit=2) for line in told.splitlines()] == [
        ["plans.free.limits.key.minute", "none", "built-in default"],
        ["plans.free.limits.key.hour", "none", "built-in default"],
    ]
    assert weft("config", "show", "quux", "--state", str(state))[0] == 2


def test_a_file_is_checked(tmp_path: Path) -> None:
    """A good one with its version; a bad one with exit code 2 and every problem, by the path that was given."""
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text(PLANS)
    bad.write_text("plans:\n  a: {open_calls: 0}\n  b: {limit: none}\n")
    code, told, _ = weft("config", "check", str(good))
    assert (code, told) == (0, f"{good} is good: 2 plans, 2 tenants; version {load(good).version}\n")
    for arguments in (("check", str(bad)), ("explain", "plans.a.open_calls", "--file", str(bad))):
        code, told, wrong = weft("config", *arguments)
        assert (code, told) == (2, "")
        assert [line.partition(": ")[0].strip() for line in wrong.splitlines()[1:]] == [f"{bad}:2", f"{bad}:3"]
    code, _, wrong = weft("config", "check", str(tmp_path / "none.yaml"))
    assert (code, "none.yaml: cannot be read (No such file or directory)" in wrong) == (2, True)
