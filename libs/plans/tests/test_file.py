"""A settings file is read as it is documented, and refused with every problem, its line and its remedy."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from libs.auth.tokens import is_tenant
from libs.plans.file import MOST_PROBLEMS, PlansError, load
from libs.plans.plans import Budget, Plan, Plans, Price, RateLimit

WHOLE = """\
currency: EUR
prices:
  generate: {input: 0.20, output: 0.60}
  embed: {input: 0.02}
  other: {input: 1.00, output: 3}
plans:
  standard:
    limits:
      tenant: {minute: 200}
      key: {minute: 50}
      groups: {generate: {minute: 20, hour: 1_000}}
    budgets:
      tenant: {day: {tokens: 1000000, money: 5.001}, month: {tokens: 20000000}}
      key: {day: {tokens: 100000}}
    highest_priority: high
    fallback: true
    open_calls: 7
  free: {}
default_plan: free
tenants:
  acme.eu: {plan: standard, limits: {tenant: {minute: 500}, groups: none}, budgets: {tenant: {day: none}}}
  globex: {open_calls: 3}
  initech: {plan: standard}
"""
MINUTE = RateLimit("tenant/minute", 100, 60)
HOUR = RateLimit("tenant/hour", 1000, 3600)


def plans(tmp_path: Path, text: str) -> Plans:
    path = tmp_path / "plans.yaml"
    path.write_text(text)
    return load(path)


def problems(tmp_path: Path, text: str) -> list[str]:
    with pytest.raises(PlansError) as caught:
        plans(tmp_path, text)
    return caught.value.problems


def test_a_whole_file(tmp_path: Path) -> None:
    """Limits, budgets (money in nanos), the rest of a plan, and prices (nanos for a token) are as the file says."""
    read = plans(tmp_path, WHOLE)
    assert read.plans["standard"] == Plan(
        name="standard",
        tenant_limits=(RateLimit("tenant/minute", 200, 60), HOUR),
        key_limits=(RateLimit("key/minute", 50, 60),),
        group_limits={"generate": (RateLimit("generate/minute", 20, 60), RateLimit("generate/hour", 1000, 3600))},
        tenant_budgets=(
            Budget("tenant/day/tokens", 1_000_000),
            Budget("tenant/day/money", 5_001_000_000),
            Budget("tenant/month/tokens", 20_000_000),
        ),
        key_budgets=(Budget("key/day/tokens", 100_000),),
        highest_priority="high",
        may_fall_back=True,
        open_calls=7,
    )
    assert read.prices.currency_code == "EUR"
    assert read.prices.models == {"generate": Price(200, 600), "embed": Price(20, 0)}
    assert (read.prices.other, read.prices.dearest) == (Price(1000, 3000), Price(1000, 3000))


def test_a_plan_that_says_nothing_has_the_defaults(tmp_path: Path) -> None:
    """100 calls a minute and 1,000 an hour for a tenant, nothing else limited, no budgets, no fallback."""
    read = plans(tmp_path, WHOLE)
    assert read.plans["free"] == Plan("free", (MINUTE, HOUR), (), {}, (), (), "normal", False, 100)
    assert read.default_plan == read.plans["free"]


def test_a_tenant_goes_before_its_plan_value_by_value(tmp_path: Path) -> None:
    """What a tenant's entry says is in force, `none` for all below it; of the rest, the plan's; then the defaults."""
    acme = plans(tmp_path, WHOLE).tenants["acme.eu"]
    assert acme.name == "standard"
    assert acme.tenant_limits == (RateLimit("tenant/minute", 500, 60), HOUR)
    assert acme.key_limits == (RateLimit("key/minute", 50, 60),)
    assert acme.group_limits == {}
    assert acme.tenant_budgets == (Budget("tenant/month/tokens", 20_000_000),)
    assert (acme.highest_priority, acme.open_calls) == ("high", 7)


def test_tenants_without_a_plan_of_their_own_have_the_default_one(tmp_path: Path) -> None:
    """Named ones with what is said of them, others as it is; without a default plan, others are unknown."""
    read = plans(tmp_path, WHOLE)
    globex, stranger = read.of("globex"), read.of("stranger")
    assert globex == Plan("free", (MINUTE, HOUR), (), {}, (), (), "normal", False, 3)
    assert stranger == read.plans["free"]
    assert read.of("initech") == read.plans["standard"]
    assert plans(tmp_path, "plans: {free: {}}").of("stranger") is None


def test_none_ends_what_is_below_and_a_stronger_level_begins_anew(tmp_path: Path) -> None:
    """A plan without limits has not even the default ones; its tenant may have one again."""
    text = "plans: {open: {limits: none}}\ntenants: {acme: {plan: open, limits: {tenant: {hour: 5}}}}\n"
    read = plans(tmp_path, text)
    assert (read.plans["open"].tenant_limits, read.plans["open"].group_limits) == ((), {})
    assert read.tenants["acme"].tenant_limits == (RateLimit("tenant/hour", 5, 3600),)


def test_versions_follow_the_content(tmp_path: Path) -> None:
    """The file's version is the SHA-256 of its bytes; the prices' changes with the prices and the currency alone."""
    first = plans(tmp_path, WHOLE)
    commented = plans(tmp_path, WHOLE + "# a comment\n")
    dearer = plans(tmp_path, WHOLE.replace("0.20", "0.21"))
    dollars = plans(tmp_path, WHOLE.replace("EUR", "USD"))
    assert len({read.version for read in (first, commented, dearer, dollars)}) == 4
    assert len(first.version) == 12
    assert commented.prices == first.prices
    assert len({read.prices.version for read in (first, dearer, dollars)}) == 3


def test_money_is_never_rounded(tmp_path: Path) -> None:
    """0.1, 0.29 and the largest budget come through to the thousandth, below 2^53 nanos."""
    text = (
        "plans: {a: {budgets: {tenant: {day: {money: 0.29}, month: {money: 9000000}}}}}\nprices: {other: {input: 0.1}}"
    )
    read = plans(tmp_path, text)
    budgets = [budget.limit for budget in read.plans["a"].tenant_budgets]
    assert budgets == [290_000_000, 9_000_000_000_000_000]
    assert max(budgets) < 2**53
    assert read.prices.other == Price(100, 0)


CALLS = "must be a whole number from 1 to 1,000,000,000, or `none`"
TOKENS = "must be a whole number from 1 to 1,000,000,000,000, or `none`"
MONEY = "must be money from 0.001 to 9,000,000, three decimals at most, or `none`"
PRICE = "must be money for a million tokens, 0 to 100,000, three decimals at most"
OPEN = "must be a whole number from 1 to 100,000"
NAME = "1 to 63 letters and digits, with single dots, hyphens or underscores between"
MODEL = "1 to 100 letters, digits and . _ : / @ -, a letter or digit first"
NO_PLANS = "has no plans; write e.g. `plans: {standard: {}}` and `default_plan: standard`"
REFUSED = [
    (
        "plans: {a: {limits: {tenant: {minute: 0}}}}",
        "plans.a.limits.tenant.minute: " + CALLS + ", and not '0'; write e.g. `minute: 100`",
    ),
    (
        "plans: {a: {limits: {tenant: {minute: -1}}}}",
        "plans.a.limits.tenant.minute: " + CALLS + ", and not '-1'; write e.g. `minute: 100`",
    ),
    (
        "plans: {a: {limits: {tenant: {hour: 1.5}}}}",
        "plans.a.limits.tenant.hour: " + CALLS + ", and not '1.5'; write e.g. `hour: 100`",
    ),
    (
        "plans: {a: {limits: {key: {hour: 0100}}}}",
        "plans.a.limits.key.hour: " + CALLS + ", and not '0100'; write e.g. `hour: 100`",
    ),
    (
        "plans: {a: {limits: {key: {hour: 1e3}}}}",
        "plans.a.limits.key.hour: " + CALLS + ", and not '1e3'; write e.g. `hour: 100`",
    ),
    (
        "plans: {a: {limits: {key: {hour: 1000000001}}}}",
        "plans.a.limits.key.hour: " + CALLS + ", and not '1000000001'; write e.g. `hour: 100`",
    ),
    ("plans: {a: {limits: {key: {hour: [1]}}}}", "plans.a.limits.key.hour: " + CALLS + "; write e.g. `hour: 100`"),
    ("plans: {a: {limits: }}", "plans.a.limits: is empty; write `none`, or take it away"),
    ("plans: {a: }", "plans.a: is empty; write `{}`, or take it away"),
    ("plans: {a: {limits: 100}}", "plans.a.limits: must be a group of settings or `none`; write e.g. `{tenant: ...}`"),
    ("plans: {a: none}", "plans.a: must be a group of settings; write e.g. `{limits: ...}`"),
    ("plans: [a]", "plans: must be a group of settings; write e.g. `NAME: {limits: ...}`"),
    (
        "plans: {a: {limits: {tenants: {minute: 1}}}}",
        "plans.a.limits.tenants: there is no kind of limit 'tenants'; did you mean 'tenant'?",
    ),
    (
        "plans: {a: {limits: {tenant: {second: 1}}}}",
        "plans.a.limits.tenant.second: there is no window of a limit 'second'; known are hour, minute",
    ),
    (
        "plans: {a: {limits: {groups: {generat: {minute: 1}}}}}",
        "plans.a.limits.groups.generat: there is no limit group in the contracts 'generat'; did you mean 'generate'?",
    ),
    (
        "plans: {a: {budgets: {tenant: {week: {tokens: 1}}}}}",
        "plans.a.budgets.tenant.week: there is no period of a budget 'week'; known are day, month",
    ),
    (
        "plans: {a: {budgets: {key: {day: {token: 1}}}}}",
        "plans.a.budgets.key.day.token: there is no unit of a budget 'token'; did you mean 'tokens'?",
    ),
    (
        "plans: {a: {budgets: {key: {day: {tokens: many}}}}}",
        "plans.a.budgets.key.day.tokens: " + TOKENS + ", and not 'many'; write e.g. `tokens: 1000000`",
    ),
    (
        "plans: {a: {budgets: {key: {day: {money: 9000000.001}}}}}",
        "plans.a.budgets.key.day.money: " + MONEY + ", and not '9000000.001'; write e.g. `money: 5.00`",
    ),
    (
        "plans: {a: {budgets: {key: {day: {money: 0}}}}}",
        "plans.a.budgets.key.day.money: " + MONEY + ", and not '0'; write e.g. `money: 5.00`",
    ),
    (
        "plans: {a: {budgets: {key: {day: {money: 5.0001}}}}}",
        "plans.a.budgets.key.day.money: " + MONEY + ", and not '5.0001'; write e.g. `money: 5.00`",
    ),
    (
        "plans: {a: {budgets: {key: {day: {money: 5 EUR}}}}}",
        "plans.a.budgets.key.day.money: " + MONEY + ", and not '5 EUR'; write e.g. `money: 5.00`",
    ),
    (
        "plans: {a: {highest_priority: hihg}}",
        "plans.a.highest_priority: must be one of low, normal, high, and not 'hihg'",
    ),
    (
        "plans: {a: {highest_priority: none}}",
        "plans.a.highest_priority: must be one of low, normal, high, and not 'none'",
    ),
    ("plans: {a: {fallback: yes}}", "plans.a.fallback: must be true or false, and not 'yes'"),
    ("plans: {a: {open_calls: 0}}", "plans.a.open_calls: " + OPEN + ", and not '0'; write e.g. `open_calls: 100`"),
    (
        "plans: {a: {open_calls: none}}",
        "plans.a.open_calls: " + OPEN + ", and not 'none'; write e.g. `open_calls: 100`",
    ),
    ("plans: {a: {open_call: 1}}", "plans.a.open_call: there is no setting 'open_call'; did you mean 'open_calls'?"),
    ("plans: {a b: {}}", "plans.a b: is no name of a plan; write " + NAME),
    ("plans: {a: {}}\ntenants: {a..b: {plan: a}}", "2: tenants.a..b: is no name of a tenant; write " + NAME),
    ("plans: {a: {}}\nprices: {'a b': {input: 1}}", "2: prices.a b: is no name of a model; write " + MODEL),
    (
        "plans: {a: {}}\nprices: {a: {input: 0.0001}}",
        "2: prices.a.input: " + PRICE + ", and not '0.0001'; write e.g. `input: 0.25`",
    ),
    (
        "plans: {a: {}}\nprices: {a: {inputs: 1}}",
        "2: prices.a.inputs: there is no setting 'inputs'; did you mean 'input'?",
    ),
    (
        "plans: {a: {}}\ncurrency: dollars",
        "2: currency: must be three capital letters of ISO 4217, and not 'dollars'; write e.g. `currency: USD`",
    ),
    ("plans: {gold: {}}\ndefault_plan: glod", "2: default_plan: there is no plan 'glod'; did you mean 'gold'?"),
    ("plans: {gold: {}}\ntenants: {a: {plan: silver}}", "2: tenants.a.plan: there is no plan 'silver'; known are gold"),
    (
        "plans: {gold: {}}\ntenants: {a: {}}",
        "2: tenants.a: has no plan, and there is no default_plan; write `plan: NAME`",
    ),
    ("plans: {gold: {}}\ntenants: {a: gold}", "2: tenants.a: must be a group of settings; write e.g. `{plan: ...}`"),
    ("plans: {}", NO_PLANS),
    ("", NO_PLANS),
    ("currency: USD", NO_PLANS),
    ("plans: {a: {}}\nplan: {}", "2: plan: there is no setting 'plan'; did you mean 'plans'?"),
    ("plans", NO_PLANS),
    ("- plans", NO_PLANS),
    ("plans: {a: {}, a: {}}", "plans.a stands twice, first at plans.yaml:1; remove one"),
    (
        "plans: {a: {limits: &l {tenant: &t {minute: x}, key: none}}}",
        "plans.a.limits.tenant.minute: " + CALLS + ", and not 'x'; write e.g. `minute: 100`",
    ),
    ('plans: {a: {fallback: "\\e[31m"}}', "plans.a.fallback: must be true or false, and not '\\x1b[31m'"),
]


@pytest.mark.parametrize(("text", "told"), REFUSED)
def test_a_mistake_is_told_with_its_place_and_remedy(tmp_path: Path, text: str, told: str) -> None:
    """One mistake is one line: the file, the line, the setting, what is wrong, what to write."""
    line = "" if told[0].isdigit() else "1: "
    assert problems(tmp_path, text) == [f"plans.yaml:{line}{told}"]


@pytest.mark.parametrize(
    "prices", ["", "prices: {embed: {input: 1}}", "prices: {other: {input: 0}}", "prices: {other: {}}"]
)
def test_a_budget_in_money_needs_a_price_for_every_model(tmp_path: Path, prices: str) -> None:
    """Otherwise a model without a price would cost nothing, and the budget would bound nothing."""
    told = problems(tmp_path, f"plans:\n  a:\n    budgets: {{key: {{day: {{money: 5}}}}}}\n{prices}")
    assert len(told) == 1
    assert told[0].startswith("plans.yaml:3: plans.a.budgets.key.day.money: is a budget in money, but prices.other")
    ended = f"plans: {{a: {{budgets: {{key: {{day: {{money: none}}}}}}}}}}\n{prices}"
    assert plans(tmp_path, ended).plans["a"].key_budgets == ()


def test_all_problems_are_told_at_once_and_no_false_ones(tmp_path: Path) -> None:
    """One for each mistake, in the file's order; what only follows from another mistake is not told."""
    text = """\
prices: {other: {input: free}}
plans:
  gold: {open_calls: many, budgets: {tenant: {day: {money: 5}}}}
default_plan: {}
tenants:
  acme: {limits: {tenant: {minute: x}}}
"""
    assert [problem.split(": ")[:2] for problem in problems(tmp_path, text)] == [
        ["plans.yaml:1", "prices.other.input"],
        ["plans.yaml:3", "plans.gold.open_calls"],
        ["plans.yaml:4", "default_plan"],
        ["plans.yaml:6", "tenants.acme.limits.tenant.minute"],
    ]


def test_problems_have_a_bound(tmp_path: Path) -> None:
    """A file that is wrong everywhere is told so with the first of them, and how many more there are."""
    told = problems(tmp_path, "plans:\n" + "".join(f"  p{number}: {{x: 1}}\n" for number in range(MOST_PROBLEMS + 9)))
    assert (len(told), told[-1]) == (MOST_PROBLEMS + 1, "plans.yaml: and 9 more")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """Is told by the name that the caller gives it."""
    with pytest.raises(PlansError, match=r"^conf/plans\.yaml: cannot be read"):
        load(tmp_path / "plans.yaml", "conf/plans.yaml")


@pytest.mark.parametrize(
    "name", ["a", "acme.eu", "a-b_c", "a--b", "a..b", ".a", "a-", "a/b", "", "é", "a" * 63, "a" * 64]
)
def test_tenants_are_named_as_in_tokens(tmp_path: Path, name: str) -> None:
    """A name that a token may have can stand in the file, and no other."""
    path = tmp_path / "plans.yaml"
    path.write_text(f"plans: {{p: {{}}}}\ndefault_plan: p\ntenants: {{'{name}': {{}}}}")
    try:
        taken = list(load(path).tenants) == [name]
    except PlansError:
        taken = False
    assert taken == is_tenant(name)


def test_no_bytes_break_the_reader(tmp_path: Path) -> None:
    """Whatever becomes of a file, it is read or refused, and a problem is one line that a terminal can show."""
    random = Random(1)
    path = tmp_path / "plans.yaml"
    refused = 0
    for _ in range(500):
        content = bytearray(WHOLE.encode())
        for _ in range(random.randint(1, 6)):
            start = random.randrange(len(content))
            content[start : start + random.randint(0, 8)] = random.choice(
                (bytes(random.choices(b"{}[]:,&*!|>%'\"#-?~\n\t 09aNe\xff\xc3\x00\x1b", k=3)), content[start:][:40])
            )
        path.write_bytes(content)
        try:
            load(path)
        except PlansError as error:
            refused += 1
            assert all(problem.startswith("plans.yaml") and problem.isprintable() for problem in error.problems)
    assert 0 < refused < 500
